"""From single answers of a generative judge to its opinion of a clip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Int

from embodied.reward_models.readout import Signal
from embodied.reward_models.vlm import Unanswered


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What the judge thinks of a clip, frame by frame."""

    aspects: Mapping[str, Signal]
    """P(yes) of each criterion; in pairwise judging 2 P(yes) - 1."""
    signal: Signal
    """Their weighted mean."""
    doubt: Signal
    """How far apart the two orders of a pair are: standard deviation of the signal."""


def opinion_of(
    answers: Sequence[float | Unanswered],
    weights: Mapping[str, float],
    *,
    hold: Int[np.ndarray, " time"],
    pairwise: bool,
) -> Opinion | Unanswered:
    """The opinion of one clip; the first missing answer instead, if one is missing.

    Args:
        answers: P(yes) by aspect, then by the frames asked about, then by the order of a pair.
        weights: Of the aspects, in the order of the answers.
        hold: Which of the frames asked about stands for each frame.
        pairwise: Whether there were two answers to each question, one for either order.
    """
    numbers: list[float] = []
    for answer in answers:
        if isinstance(answer, Unanswered):
            return answer
        numbers.append(answer)
    orders = 2 if pairwise else 1
    asked = rearrange(
        np.array(numbers), "(aspect t order) -> aspect t order", aspect=len(weights), order=orders
    )
    held = asked[:, hold]
    if pairwise:
        ahead, behind = held[..., 0], 1 - held[..., 1]
        levels, doubts = ahead + behind - 1, np.abs(ahead - behind)
    else:
        levels, doubts = held[..., 0], np.zeros(held.shape[:2])
    shares = np.array(list(weights.values()))
    shares = shares / shares.sum()
    return Opinion(
        aspects=dict(zip(weights, levels, strict=True)),
        signal=shares @ levels,
        doubt=shares @ doubts,
    )
