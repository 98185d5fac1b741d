"""Which clips may be compared: those of one instruction and, if it is wanted, of one start."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Int

from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.preferences.records import Clip

Groups = Sequence[Sequence[int]]
"""Ids of clips that may be compared with each other; each clip is in one group."""


def groups_of(dataset: EpisodeStore, clips: Iterable[Clip], *, same_start: bool) -> Groups:
    """Clips that may be compared.

    Args:
        dataset: Of the clips.
        clips: All of it.
        same_start: Demand that a pair's episodes have one seed, and its clips one first frame.

    Raises:
        BadInput: if no two clips may be compared.
    """
    found: dict[tuple[object, ...], list[int]] = {}
    for clip in clips:
        seed = dataset.summary(clip.episode).seed if same_start else 0
        if seed >= 0:  # another program's dataset does not say where an episode starts
            key = (clip.instruction, seed, clip.start if same_start else 0)
            found.setdefault(key, []).append(clip.id)
    groups = [sorted(group) for group in found.values()]
    if not any(len(group) > 1 for group in groups):
        what = "the same instruction"
        if same_start:
            what += ", seed and first frame, as preferences.same_start=true demands"
        raise BadInput(f"no two clips of {dataset.root} have {what}.")
    return groups


def draw(groups: Groups, sides: int, rng: np.random.Generator) -> list[int] | None:
    """So many clips of one group, all choices equally likely; None if no group has so many."""
    ways = np.array([comb(len(group), sides) for group in groups], float)
    if not ways.sum():
        return None
    group = groups[rng.choice(len(groups), p=ways / ways.sum())]
    return [int(clip) for clip in rng.choice(group, sides, replace=False)]


def candidates(
    groups: Groups, asked: set[frozenset[int]], most: int, rng: np.random.Generator
) -> Int[np.ndarray, "pair 2"]:
    """Pairs that may be asked and were not; a random part of them if there are more than ``most``.

    Drawn, the part may be smaller, since what comes twice or was asked is left out.
    """
    total = sum(comb(len(group), 2) for group in groups)
    if total <= most:
        every = (pair for group in groups for pair in combinations(group, 2))
    else:
        drawn = (draw(groups, 2, rng) for _ in range(most))
        every = (sorted(pair) for pair in drawn if pair is not None)  # type: ignore[misc]
    kept = dict.fromkeys(tuple(pair) for pair in every if frozenset(pair) not in asked)
    return np.array(list(kept), np.int64).reshape(-1, 2)


def group_numbers(groups: Groups) -> Mapping[int, int]:
    """The group of each clip."""
    return {clip: number for number, group in enumerate(groups) for clip in group}
