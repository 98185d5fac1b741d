"""Distances between rewards that no potential shaping and no scaling changes: EPIC and DARD.

EPIC (Gleave et al., ICLR 2021) shapes each reward canonically, so that whatever potential was added
cancels, and takes the Pearson distance. Its canonical form looks at transitions between any two
states; DARD (Wulfe et al., ICLR 2022) only at those that the dynamics allow. Our rewards do not see
actions: a reward is the matrix of what it pays for going from each state of a sample to each other.
A sample of states stands for the coverage distribution, and its means for the expectations.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from embodied.errors import BadInput
from embodied.statistics import Interval, cluster_bootstrap

Transitions = Float[np.ndarray, "_ _"]
"""One number for each pair of states: row from, column to."""
FEWEST = 2
ROUNDING = 1e-6
"""Of float32, in which rewards are paid."""


Shares = Float[np.ndarray, " _"]
"""How much each state of the sample counts; they sum to 1."""


def epic_distance(
    first: Transitions, second: Transitions, *, discount: float, coverage: Shares | None = None
) -> float:
    """EPIC distance of two rewards on a sample of states, in [0, 1].

    Args:
        first: A reward.
        second: Another.
        discount: Of the shaping.
        coverage: How much each state counts; all alike if not given.

    Raises:
        BadInput: unless both are square, of the same two states or more.
    """
    shares = _shares(first, coverage)
    everywhere = np.tile(shares, (len(first), 1))
    _check_square(first, second, everywhere)
    shaped = [_shaped(reward, everywhere, discount) for reward in (first, second)]
    return pearson_distance(shaped[0].ravel(), shaped[1].ravel(), np.outer(shares, shares).ravel())


def dard_distance(
    first: Transitions,
    second: Transitions,
    reach: Transitions,
    *,
    discount: float,
    coverage: Shares | None = None,
) -> float:
    """DARD of two rewards, compared where the dynamics lead, in [0, 1].

    Args:
        first: A reward.
        second: Another.
        reach: In row i, the probability of each state after state i, over the actions that are
            sampled. More than one successor is needed: of a single one, canonical shaping leaves 0.
        discount: Of the shaping.
        coverage: How much the steps from each state count; those from all alike if not given.

    Raises:
        BadInput: unless all are square and of the same states, and the rows of ``reach`` sum to 1.
    """
    _check_square(first, second, reach)
    if (reach < 0).any() or not np.allclose(reach.sum(1), 1):
        raise BadInput("reach holds probabilities; each row must sum to 1.")
    shaped = [_shaped(reward, reach, discount) for reward in (first, second)]
    weights = _shares(first, coverage)[:, None] * reach
    return pearson_distance(shaped[0].ravel(), shaped[1].ravel(), weights.ravel())


def _shaped(reward: Transitions, reach: Transitions, discount: float) -> Transitions:
    """The canonical form; what rounding leaves of a mere potential is nothing."""
    left = canonical(reward, reach, discount=discount)
    return left if np.abs(left).max() > ROUNDING * np.abs(reward).max() else np.zeros_like(left)


def _shares(reward: Transitions, coverage: Shares | None) -> Shares:
    return np.full(len(reward), 1 / max(len(reward), 1)) if coverage is None else coverage


def canonical(reward: Transitions, reach: Transitions, *, discount: float) -> Transitions:
    """C(R)(s, s') = R(s, s') + E[discount R(s', S'') - R(s, S') - discount R(S', S'')].

    S' and S'' are drawn from the rows of ``reach`` that belong to s and s'. With a reach that is
    the same everywhere this is EPIC's canonical form, otherwise DARD's.
    """
    onwards = (reach * reward).sum(1)
    between = reach @ reward @ reach.T
    return np.asarray(reward + discount * onwards - onwards[:, None] - discount * between)


def pearson_distance(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"] | None = None,
) -> float:
    """sqrt((1 - correlation) / 2): 0 for the same up to scale and offset, 1 for the opposite.

    A constant correlates with nothing: its distance is sqrt(1/2), to another constant as well.
    """
    share = np.full(len(first), 1 / len(first)) if weights is None else weights / weights.sum()
    ours, theirs = (values - share @ values for values in (first, second))
    scale = np.sqrt((share @ ours**2) * (share @ theirs**2))
    size = max(np.abs(first).max() * np.abs(second).max(), np.finfo(float).tiny)
    correlation = 0.0 if scale <= 1e-12 * size else float(share @ (ours * theirs) / scale)
    return float(np.sqrt((1 - np.clip(correlation, -1, 1)) / 2))


def goal_distance(
    successes: Sequence[Float[np.ndarray, " _"]], failures: Sequence[Float[np.ndarray, " _"]] = ()
) -> float:
    """EPIC distance of a reward for reaching states from "1 where the task is done, else 0".

    The labelled frames are the first and the last of each clip: of all of them only the last frames
    of successes show the task done. For a reward R(s, s') = r(s') canonical shaping only takes the
    mean off, so EPIC is the Pearson distance of r from the labels (VLM-RM, section 4).

    Args:
        successes: One number per frame of each success.
        failures: The same of failures.

    Raises:
        BadInput: without a success.
    """
    if not successes:
        raise BadInput("a distance from the labels needs a success.")
    begins = [signal[0] for signal in (*successes, *failures)]
    done, not_done = [s[-1] for s in successes], [s[-1] for s in failures]
    labels = np.zeros(len(begins) + len(done) + len(not_done))
    labels[: len(done)] = 1.0
    return pearson_distance(np.array([*done, *not_done, *begins], float), labels)


def goal_distance_interval(
    successes: Sequence[Float[np.ndarray, " _"]],
    failures: Sequence[Float[np.ndarray, " _"]],
    *,
    seed: int,
) -> Interval:
    """`goal_distance` with its interval over clips."""
    groups = (successes, failures) if failures else (successes,)
    return cluster_bootstrap(goal_distance, *groups, seed=seed)


def _check_square(*matrices: Transitions) -> None:
    shapes = {matrix.shape for matrix in matrices}
    size = len(matrices[0])
    if shapes != {(size, size)} or size < FEWEST:
        raise BadInput(
            f"rewards are compared as square matrices over the same {FEWEST} states or more, not "
            f"{', '.join(map(str, sorted(shapes)))}."
        )
