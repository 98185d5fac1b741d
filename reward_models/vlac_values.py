"""From VLAC's pairwise answers to the value of each frame: its three rules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from embodied.reward_models.readout import Signal

FLOOR = 0.01
MIXED_FLOOR = 0.1


def simple(value: float, critic: float) -> float:
    """A share of what remains is gained, or lost: v + (1 - v) c. Below 0 it falls ever faster."""
    return value + (1 - value) * critic


def inverse(value: float, critic: float) -> float:
    """As `simple` forwards; backwards what a step of the same size forwards would have undone."""
    if critic >= 0:
        return simple(value, critic)
    return 1 - max(1 - value, FLOOR) / max(1 + critic, FLOOR)


def mixed(value: float, critic: float) -> float:
    """As `inverse` above the middle, by shares of what is done below it: stays in [0, 1]."""
    if critic >= 0:
        return simple(value, critic)
    if value > 0.5:
        return max(inverse(value, critic), MIXED_FLOOR)
    return value * (1 + critic)


RULES: Mapping[str, Callable[[float, float], float]] = {
    "simple": simple,
    "inverse": inverse,
    "mix_f": mixed,
}


def values(
    critics: Sequence[float], rule: str, *, dead_band: float = 0.0
) -> Float[np.ndarray, " step"]:
    """Value of each frame that was asked about, the first being 0.

    Args:
        critics: Share of what remained that was done from each frame to the next, in [-1, 1].
        rule: One of `RULES`.
        dead_band: Shares below this, either way, count as nothing.
    """
    found = [0.0]
    for critic in critics:
        moved = critic if abs(critic) > dead_band else 0.0
        found.append(RULES[rule](found[-1], moved))
    return np.array(found)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What VLAC says of a clip, frame by frame."""

    value: Signal
    """Share of the task that is done, by the rule; may leave [0, 1] under two of the rules."""
    done: Signal
    """Probability that the task is complete."""
    doubt: Signal
    """Half the distance between the values of the pairs and of the reversed pairs."""
    negative_rate: float
    """Share of the pairs that are said to lead backwards."""


def reading_of(
    forward: Sequence[float],
    backward: Sequence[float],
    done: Sequence[float],
    rule: Callable[[Sequence[float]], Float[np.ndarray, " step"]],
    hold: Int[np.ndarray, " time"],
) -> Reading:
    """What the answers say of a clip.

    Args:
        forward: Critic from each frame asked about to the next.
        backward: The opposite of what the reversed pairs got.
        done: Probability of completion at each frame asked about.
        rule: Chains critics to values.
        hold: Which of the frames asked about stands for each frame.
    """
    mean = [(ahead + behind) / 2 for ahead, behind in zip(forward, backward, strict=True)]
    apart = np.abs(rule(forward) - rule(backward)) / 2
    return Reading(
        value=rule(mean)[hold],
        done=np.array(done)[hold],
        doubt=apart[hold],
        negative_rate=float(np.mean([critic < 0 for critic in forward])) if forward else 0.0,
    )
