"""How well rewards agree with what is liked: Spearman, with intervals over held-out clips."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from embodied.statistics import Interval, cluster_bootstrap, voc

type Said = Mapping[str, Float[np.ndarray, " clip"]]
"""Of each reward, what it says of the held-out clips."""
type Truth = Mapping[str, Float[np.ndarray, " clip"]]
"""Of each task, how well its held-out clips are liked."""
type BySeed = Mapping[str, Sequence[Said]]
"""Of each task, what was said after training with each seed."""
type Group = tuple[float, ...]
"""Of one clip: the truth, and what a reward says of it with each seed."""


def agreement(truth: Truth, said: BySeed) -> list[dict[str, Any]]:
    """Mean Spearman of each reward, per task and over tasks."""
    rows = []
    for name in next(iter(said.values()))[0]:
        for task in [*said, "all"]:
            chosen = [_groups(truth, said, name, each) for each in said if task in (each, "all")]
            interval = cluster_bootstrap(_mean, *chosen, seed=0)
            rows.append({"reward": name, "task": task} | interval.to_dict())
    return rows


def lead(truth: Truth, said: BySeed, first: str, second: str) -> Interval:
    """By how much the first reward's mean Spearman over tasks is above the second's."""
    pairs = [
        [
            (*ours, *theirs)
            for ours, theirs in zip(
                *(_groups(truth, said, name, task) for name in (first, second)), strict=True
            )
        ]
        for task in said
    ]

    def difference(*tasks: Sequence[Group]) -> float:
        half = len(tasks[0][0]) // 2
        ours, theirs = ([[clip[cut] for clip in task] for task in tasks] for cut in
                        (slice(half), slice(half, None)))  # fmt: skip
        return _mean(*ours) - _mean(*theirs)

    return cluster_bootstrap(difference, *pairs, seed=0)


def _groups(truth: Truth, said: BySeed, name: str, task: str) -> list[Group]:
    each = [seed[name] for seed in said[task]]
    return [(float(t), *map(float, values)) for t, *values in zip(truth[task], *each, strict=True)]


def _mean(*tasks: Sequence[Group]) -> float:
    columns = [np.array(task).T for task in tasks]
    return float(np.mean([voc(own, true) for true, *all_ in columns for own in all_]))
