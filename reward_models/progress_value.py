"""From pairwise deltas to a bounded value, and from values to a verdict.

VLAC (arXiv 2509.15937): a forward delta c moves the value v to v + c (1 - v), because c is the
share of what remains. Its bounded variant ``mix_f`` undoes a forward step exactly where more than
half is done, and shrinks the value in proportion below, so that v never leaves [0, 1].
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.optimize import minimize
from scipy.special import expit, logit

from embodied.reward_models.base import Scores

FLOOR = 0.1
"""Least value after a backward step from above one half."""
REMAINS = 0.01
"""Least remaining share that a backward step assumes: at v = 1 nothing remains to be scaled."""
CONSECUTIVE = 2
"""Frames in a row that must agree before the task counts as complete."""
FALSE_ACCEPT_COST = 5.0
"""A falsely accepted failure poisons fine-tuning, a rejected success is only lost."""
ACCEPT = FALSE_ACCEPT_COST / (1 + FALSE_ACCEPT_COST)
"""Probability of success from which accepting costs less than rejecting."""
UNCALIBRATED = np.array([1.0, 0.0], np.float32)
"""Slope and offset that leave logits as they are."""


def mix_f(
    value: Float[np.ndarray, "*shape"], delta: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """The value after one step.

    Args:
        value: Share of the task that is done, in [0, 1].
        delta: Signed share of the remaining progress, in [-1, 1].

    Returns:
        The new value, in [0, 1].
    """
    forward = value + delta * (1 - value)
    left = np.maximum(1 - value, REMAINS) / np.maximum(1 + delta, REMAINS)
    undone = np.maximum(1 - left, FLOOR)
    shrunk = value * (1 + delta)
    return np.where(delta >= 0, forward, np.where(value > 0.5, undone, shrunk))


@dataclass(frozen=True, kw_only=True)
class Opinions:
    """What each member of the ensemble says of each frame."""

    value: Float[np.ndarray, "member time"]
    done: Float[np.ndarray, "member time"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the whole ensemble says of each frame."""

    progress: Float[np.ndarray, " time"]
    uncertainty: Float[np.ndarray, " time"]
    done: Float[np.ndarray, " time"]
    potential: Float[np.ndarray, " time"]
    """Pessimistic progress: what the reward is the difference of."""
    success: Float[np.ndarray, " time"]
    """Probability that a clip which shows this much, and keeps it up, is a success."""


def agree(
    opinions: Opinions, pessimism: float, calibration: Float[np.ndarray, "2"] = UNCALIBRATED
) -> Verdict:
    """What the members say together.

    Args:
        opinions: Of each member.
        pessimism: Deviations by which the potential lies below the mean progress.
        calibration: Slope and offset that turn the logit of one member's evidence into that of the
            probability of success; the ensemble's is the mean of its members'.
    """
    progress, uncertainty = opinions.value.mean(0), spread(opinions.value)
    evidence = np.minimum(opinions.value, opinions.done)
    return Verdict(
        progress=progress,
        uncertainty=uncertainty,
        done=opinions.done.mean(0),
        potential=np.clip(progress - pessimism * uncertainty, 0, 1),
        success=expit(calibration[0] * _logit(evidence) + calibration[1]).mean(0),
    )


def spread(values: Float[np.ndarray, "member time"]) -> Float[np.ndarray, " time"]:
    """Standard deviation among members, without bias for a small number of them."""
    members = len(values)
    if members < 2:
        return np.zeros(values.shape[1])
    correction = np.sqrt((members - 1) / 2) * np.exp(
        math.lgamma((members - 1) / 2) - math.lgamma(members / 2)
    )
    return np.asarray(correction * values.std(0, ddof=1))


def evidence(opinions: Opinions) -> Float[np.ndarray, " member"]:
    """How sure each member is that the clip succeeded, in its best `CONSECUTIVE` frames in a row.

    Both progress and completion must say so: it is the lesser of the two.
    """
    agreed = np.minimum(opinions.value, opinions.done)
    return np.array([_sustained(own).max() for own in agreed])


def final_done(opinions: Opinions) -> Float[np.ndarray, " member"]:
    """Each member's probability that the task is complete at the end of the clip."""
    return opinions.done[:, -1]


def platt(
    successes: Float[np.ndarray, " n"], failures: Float[np.ndarray, " m"], *, ridge: float = 0.5
) -> Float32[np.ndarray, "2"]:
    """Slope and offset of the logits under which stated probabilities are true frequencies.

    Platt scaling, by maximum likelihood with a ridge towards leaving the logits as they are: a
    dozen episodes must not turn them round.
    """
    if not len(successes) or not len(failures):
        return UNCALIBRATED
    stated = _logit(np.concatenate([successes, failures]))
    sign = np.concatenate([np.ones(len(successes)), -np.ones(len(failures))])

    def cost(scaling: np.ndarray) -> float:
        doubt = np.logaddexp(0.0, -sign * (scaling[0] * stated + scaling[1])).sum()
        return float(doubt + ridge * ((scaling[0] - 1) ** 2 + scaling[1] ** 2))

    found = minimize(cost, np.array([1.0, 0.0]), bounds=[(0.2, 5.0), (-5.0, 5.0)])
    return np.asarray(found.x, np.float32)


def _logit(stated: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.asarray(logit(np.clip(stated, 1e-4, 1 - 1e-4)))


def _sustained(agreement: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Least agreement of each frame and those before it, `CONSECUTIVE` in all."""
    padded = np.concatenate([np.zeros(CONSECUTIVE - 1), agreement])
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONSECUTIVE)
    return np.asarray(windows.min(1))


def scores_of(verdict: Verdict, *, discount: float, bonus: float) -> Scores:
    """Reward in potential form, and the frame at which the task counts as complete, if any.

    The reward for arriving at frame t is ``discount`` x potential(t) - potential(t - 1), so that
    doing and undoing earns nothing; ``bonus`` is paid once, at ``done_index``.
    """
    complete = np.flatnonzero(_sustained(verdict.success) >= ACCEPT)
    done_index = int(complete[0]) if len(complete) else len(verdict.progress)
    reward = np.zeros_like(verdict.potential)
    reward[1:] = discount * verdict.potential[1:] - verdict.potential[:-1]
    reward[done_index : done_index + 1] += bonus
    return Scores(
        reward=_float32(reward),
        progress=_float32(verdict.progress),
        done=_float32(verdict.done),
        uncertainty=_float32(verdict.uncertainty),
        success=len(complete) > 0,
        done_index=done_index,
    )


def _float32(values: Float[np.ndarray, " time"]) -> Float32[np.ndarray, " time"]:
    return np.asarray(values, np.float32)
