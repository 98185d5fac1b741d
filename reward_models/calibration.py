"""From evidence to a verdict: when a clip counts as a success, and what the learner is paid.

Shared by all rewards. Evidence becomes a probability by Platt scaling on clips whose outcome is
known; a clip is accepted where accepting costs less than rejecting; the reward is the difference of
discounted potentials (Ng, Harada & Russell 1999), so that doing and undoing earns nothing.
"""

import numpy as np
from jaxtyping import Float, Float32
from scipy.optimize import minimize
from scipy.special import logit

from embodied.reward_models.base import Scores

CONSECUTIVE = 2
"""Frames in a row that must agree before the task counts as complete."""
FALSE_ACCEPT_COST = 5.0
"""A falsely accepted failure poisons fine-tuning, a rejected success is only lost."""
ACCEPT = FALSE_ACCEPT_COST / (1 + FALSE_ACCEPT_COST)
"""Probability of success from which accepting costs less than rejecting."""
RIDGE = 0.5
"""Weight of the pull towards leaving logits as they are, in clips."""
UNCALIBRATED = np.array([1.0, 0.0], np.float32)
"""Slope and offset that leave logits as they are."""


def platt(
    successes: Float[np.ndarray, " n"], failures: Float[np.ndarray, " m"]
) -> Float32[np.ndarray, "2"]:
    """Slope and offset of the logits under which stated probabilities are true frequencies."""
    return scaling(safe_logit(successes), safe_logit(failures))


def scaling(
    successes: Float[np.ndarray, " n"], failures: Float[np.ndarray, " m"]
) -> Float32[np.ndarray, "2"]:
    """Slope and offset from evidence, in the units of logits, to the logit of success.

    Platt scaling, by maximum likelihood with a ridge towards leaving the logits as they are: a
    dozen episodes must not turn them round.
    """
    if not len(successes) or not len(failures):
        return UNCALIBRATED
    stated = np.concatenate([successes, failures])
    sign = np.concatenate([np.ones(len(successes)), -np.ones(len(failures))])

    def cost(tried: np.ndarray) -> float:
        doubt = np.logaddexp(0.0, -sign * (tried[0] * stated + tried[1])).sum()
        return float(doubt + RIDGE * ((tried[0] - 1) ** 2 + tried[1] ** 2))

    found = minimize(cost, np.array([1.0, 0.0]), bounds=[(0.2, 5.0), (-5.0, 5.0)])
    return np.asarray(found.x, np.float32)


def safe_logit(stated: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Logits of probabilities, those of 0 and 1 being finite."""
    return np.asarray(logit(np.clip(stated, 1e-4, 1 - 1e-4)))


def sustained(agreement: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Least agreement of each frame and those before it, `CONSECUTIVE` in all.

    Before the first frame nothing agrees, whatever the unit.
    """
    padded = np.concatenate([np.full(CONSECUTIVE - 1, -np.inf), agreement])
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONSECUTIVE)
    return np.asarray(windows.min(1))


def completion(success: Float[np.ndarray, " time"]) -> int:
    """First frame from which a clip counts as complete, its length if there is none.

    Args:
        success: Per frame, the probability that a clip which shows this much is a success.
    """
    complete = np.flatnonzero(sustained(success) >= ACCEPT)
    return int(complete[0]) if len(complete) else len(success)


def potential_reward(
    potential: Float[np.ndarray, " time"], done_index: int, *, discount: float, bonus: float
) -> Float32[np.ndarray, " time"]:
    """``discount`` x potential(t) - potential(t - 1) at frame t, and once ``bonus``."""
    reward = np.zeros(len(potential), np.float32)
    reward[1:] = discount * potential[1:] - potential[:-1]
    reward[done_index : done_index + 1] += bonus
    return reward


def scores_from(
    *,
    progress: Float[np.ndarray, " time"],
    done: Float[np.ndarray, " time"],
    uncertainty: Float[np.ndarray, " time"],
    potential: Float[np.ndarray, " time"],
    success: Float[np.ndarray, " time"],
    discount: float,
    bonus: float,
) -> Scores:
    """Scores of a clip whose completion follows from its probability of success."""
    done_index = completion(success)
    return Scores(
        reward=potential_reward(potential, done_index, discount=discount, bonus=bonus),
        progress=np.asarray(progress, np.float32),
        done=np.asarray(done, np.float32),
        uncertainty=np.asarray(uncertainty, np.float32),
        success=done_index < len(progress),
        done_index=done_index,
    )
