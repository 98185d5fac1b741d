"""From pairwise deltas to a bounded value, and from values to a verdict.

VLAC (arXiv 2509.15937): a forward delta c moves the value v to v + c (1 - v), because c is the
share of what remains. Its bounded variant ``mix_f`` undoes a forward step exactly where more than
half is done, and shrinks the value in proportion below, so that v never leaves [0, 1]. VLAC's
(100 - v) never falls below 1 in it; here only the part that a backward step scales does not, so
that a step of almost 0 changes almost nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from embodied.reward_models.base import Scores
from embodied.reward_models.calibration import UNCALIBRATED, safe_logit, scores_from, sustained

FLOOR = 0.1
"""Least value after a backward step from above one half."""
REMAINS = 0.01
"""Least remaining share that a backward step assumes: at v = 1 nothing remains to be scaled."""


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
    left = 1 - value - np.maximum(1 - value, REMAINS) * delta / np.maximum(1 + delta, REMAINS)
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
            probability of success; the ensemble's is the median of its members', so that one who
            doubts does not overrule the others, nor does one who is easily convinced.
    """
    progress, uncertainty = opinions.value.mean(0), spread(opinions.value)
    evidence = np.minimum(opinions.value, opinions.done)
    return Verdict(
        progress=progress,
        uncertainty=uncertainty,
        done=opinions.done.mean(0),
        potential=np.clip(progress - pessimism * uncertainty, 0, 1),
        success=np.median(expit(calibration[0] * safe_logit(evidence) + calibration[1]), 0),
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
    return np.array([sustained(own).max() for own in agreed])


def final_done(opinions: Opinions) -> Float[np.ndarray, " member"]:
    """Each member's probability that the task is complete at the end of the clip."""
    return opinions.done[:, -1]


def scores_of(verdict: Verdict, *, discount: float, bonus: float) -> Scores:
    """Reward in potential form, and the frame at which the task counts as complete, if any."""
    return scores_from(
        progress=verdict.progress,
        done=verdict.done,
        uncertainty=verdict.uncertainty,
        potential=verdict.potential,
        success=verdict.success,
        discount=discount,
        bonus=bonus,
    )
