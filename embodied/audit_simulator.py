"""How far a reward is from the simulator's own, over held-out episodes that have that: EPIC, DARD.

Both distances ask what a reward pays for steps that no episode made. Only logged steps are known,
so states are pooled into a few cells of what the encoder sees. Between two cells a reward pays the
mean of the logged steps from the one to the other; where there is none, what the best sum of a part
for the cell that is left and a part for the cell that is entered says. Potential shaping is such a
sum, so a potential of the cells changes neither distance.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2

from embodied.epic import Transitions, dard_distance, epic_distance
from embodied.reward_models.base import Scores
from embodied.statistics import Interval, cluster_bootstrap
from embodied.types import Clip, Episode

CELLS = 12
DISCOUNT = 0.99
"""Of the shaping that does not count."""
DIMENSIONS = 32
"""Of the random projection that cells are found in."""
UNRELATED = float(np.sqrt(0.5))

Paid = Float[np.ndarray, " _"] | None
"""What the simulator paid for each step of a clip; None where nobody wrote it down."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What the simulator paid in each held-out clip."""

    successes: Sequence[Paid]
    failures: Sequence[Paid]


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Between a reward and the simulator's, and between a clock and the simulator's."""

    title: str
    meaning: str
    own: Interval
    clock: float


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """How far a reward is from the simulator's own."""

    epic: Distance
    dard: Distance
    episodes: int
    steps: int
    """Logged ones, of all those episodes."""
    cells: int

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        found = {
            name: {**each.own.to_dict(), "elapsed_time": each.clock}
            for name, each in (("epic", self.epic), ("dard", self.dard))
        }
        return {**found, "episodes": self.episodes, "steps": self.steps, "cells": self.cells}


Steps = Float[np.ndarray, "3 cell cell"]
"""Of one episode, from each cell to each other: how many, what they earned, what was paid."""


def simulated(episodes: Sequence[Episode]) -> Simulated:
    """What the simulator paid, successes and failures apart; unknown outcomes are left out."""
    sides = [[e.simulator_reward for e in episodes if e.success is side] for side in (True, False)]
    return Simulated(successes=sides[0], failures=sides[1])


def judge_by_simulator(
    clips: tuple[Sequence[Clip], Sequence[Clip]],
    said: tuple[Sequence[Scores], Sequence[Scores]],
    clock: tuple[Sequence[Scores], Sequence[Scores]],
    paid: Simulated,
    *,
    seed: int,
) -> Simulator | None:
    """Distances between what a reward and what the simulator pays for the same steps.

    Args:
        clips: Successes and failures, with features.
        said: What the reward says of them.
        clock: What elapsed time says of them.
        paid: What the simulator paid.
        seed: Of the cells and of the bootstrap.

    Returns:
        None where fewer than two episodes have the simulator's reward, or it is always the same, as
        that of a robot is.
    """
    sides = (paid.successes, paid.failures)
    usable = [[i for i, each in enumerate(side) if _is_usable(each)] for side in sides]
    known = [each for side in sides for each in side if each is not None and _is_usable(each)]
    if len(known) < 2 or np.ptp(np.concatenate(known)) == 0:
        return None
    picked = [[clips[s][i] for i in usable[s]] for s in range(2)]
    cells = _cells([clip for side in picked for clip in side], np.random.default_rng(seed))
    both = []
    for scores in (said, clock):
        place, groups = iter(cells), []
        for s in range(2):
            pairs = [(scores[s][i], sides[s][i]) for i in usable[s]]
            groups.append([_steps(next(place), own, theirs) for own, theirs in pairs])
        both.append([group for group in groups if group])
    return Simulator(
        epic=_distance(
            "EPIC distance from the simulator's reward",
            "shaping and scale apart, over steps between any two places; 0.71 is unrelated, 1 the "
            "opposite",
            _epic, both, seed,
        ),
        dard=_distance(
            "DARD from the simulator's reward",
            "the same over steps that were made",
            _dard, both, seed,
        ),
        episodes=len(known),
        steps=sum(map(len, known)),
        cells=int(max(cell.max() for cell in cells)) + 1,
    )  # fmt: skip


def _is_usable(paid: Paid) -> bool:
    return paid is not None and bool(np.isfinite(paid).all())


def _distance(
    title: str,
    meaning: str,
    statistic: Callable[..., float],
    both: Sequence[Sequence[Sequence[Steps]]],
    seed: int,
) -> Distance:
    own, clock = both
    interval = cluster_bootstrap(statistic, *own, seed=seed)
    return Distance(title=title, meaning=meaning, own=interval, clock=statistic(*clock))


def _cells(clips: Sequence[Clip], rng: np.random.Generator) -> list[Int[np.ndarray, " _"]]:
    """Which cell each frame of each clip lies in: k-means over a projection of its features."""
    flat = [_flat(clip) for clip in clips]
    size = flat[0].shape[1]
    onto = rng.standard_normal((size, min(size, DIMENSIONS))).astype(np.float32)
    points = np.concatenate([maps @ onto for maps in flat]).astype(float)
    most = min(CELLS, len(np.unique(points, axis=0)))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of an empty cell
        _, cell = kmeans2(points, most, minit="++", rng=rng)
    _, cell = np.unique(cell, return_inverse=True)
    return np.split(cell, np.cumsum([len(maps) for maps in flat])[:-1])


def _flat(clip: Clip) -> Float[np.ndarray, "_ value"]:
    maps = [rearrange(clip.features[camera], "t c h w -> t (c h w)") for camera in clip.features]
    flat: Float[np.ndarray, "_ value"] = np.concatenate(maps, axis=1).astype(np.float32)
    return flat


def _steps(cell: Int[np.ndarray, " _"], own: Scores, paid: Paid) -> Steps:
    assert paid is not None, "those without were left out"
    pair = CELLS * cell[:-1] + cell[1:]
    sums = [
        np.bincount(pair, values.astype(float), CELLS**2)
        for values in (np.ones(len(paid)), own.reward[1:], paid)
    ]
    return rearrange(np.stack(sums), "sum (left entered) -> sum left entered", left=CELLS)


def _epic(*groups: Sequence[Steps]) -> float:
    """Coverage: two places are drawn apart from each other, each as often as it was visited."""
    count, own, simulator = _pooled(groups)
    visits = count.sum(0) + count.sum(1)
    if len(count) < 2:
        return UNRELATED
    return epic_distance(own, simulator, discount=DISCOUNT, coverage=visits / visits.sum())


def _dard(*groups: Sequence[Steps]) -> float:
    """Coverage: the steps that were made, each as often as it was made."""
    count, own, simulator = _pooled(groups)
    if len(count) < 2:
        return UNRELATED
    left = count.sum(1)
    stays = np.diag((left == 0).astype(float))  # a place that no step has left
    reach = count / np.maximum(left, 1)[:, None] + stays
    return dard_distance(
        own, simulator, reach, discount=DISCOUNT, coverage=left / left.sum()
    )  # fmt: skip


def _pooled(groups: Sequence[Sequence[Steps]]) -> tuple[Transitions, Transitions, Transitions]:
    """Counts, and both rewards between any two cells that were visited."""
    count, *totals = np.sum([each for group in groups for each in group], axis=0)
    seen = np.flatnonzero(count.sum(0) + count.sum(1))
    inside = np.ix_(seen, seen)
    own, simulator = _everywhere(count[inside], [total[inside] for total in totals])
    return count[inside], own, simulator


def _everywhere(count: Transitions, totals: Sequence[Transitions]) -> list[Transitions]:
    """Means of logged steps, and a fitted sum of two parts between the other cells."""
    size = len(count)
    left, entered = np.nonzero(count)
    one = np.eye(size)
    weight = np.sqrt(count[left, entered])
    design = np.hstack([one[left], one[entered]]) * weight[:, None]
    means = [total / np.maximum(count, 1) for total in totals]
    targets = np.stack([mean[left, entered] * weight for mean in means], axis=1)
    parts, *_ = np.linalg.lstsq(design, targets, rcond=None)
    return [
        np.where(count > 0, mean, fitted[:size, None] + fitted[size:])
        for mean, fitted in zip(means, parts.T, strict=True)
    ]
