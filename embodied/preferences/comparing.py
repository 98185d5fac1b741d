"""Labels as learning needs them: pairs of clips, targets, and who was asked why.

What a label is worth is decided here once: a tie and "both bad" are even, a ranking is all of its
pairs, and what was taken back, skipped or could not be told says nothing of the clips.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Int

from embodied.preferences.answers import Answer
from embodied.preferences.labels import standing
from embodied.preferences.records import RANKED, UNDONE

TESTED = "uniform"
"""The acquisition whose answers are an unbiased test: chance alone decided what was asked."""


@final
@dataclass(frozen=True, kw_only=True)
class Compared:
    """Who preferred which of two clips, and why they were asked; in the order of the labels."""

    first: Int[np.ndarray, " pair"]
    """Ids of clips; places in a table after `among`."""
    second: Int[np.ndarray, " pair"]
    target: Float[np.ndarray, " pair"]
    """Probability that the first clip is the better one: 1, 0, or 0.5 for a tie."""
    rater: Int[np.ndarray, " pair"]
    """Numbers of `raters`."""
    label: Int[np.ndarray, " pair"]
    """Id of the label; all pairs of a ranking have the same one."""
    acquisition: tuple[str, ...]
    """Of each pair's query."""
    raters: tuple[str, ...]
    """Names, in the order in which they first answered."""
    negatives: Int[np.ndarray, " clip"]
    """Clips that somebody called bad whatever they are compared with, each once, ascending."""

    def __len__(self) -> int:
        return len(self.target)

    @property
    def held_out(self) -> Bool[np.ndarray, " pair"]:
        """Answers that test a model: those to uniform queries."""
        return np.array([why == TESTED for why in self.acquisition], bool)

    @property
    def learnt(self) -> Bool[np.ndarray, " pair"]:
        """Answers to learn from: the others, but for any about a pair of clips that is held out.

        A repeat, another person's answer or a ranking may be about the very clips of a test.
        """
        pairs = [frozenset(pair) for pair in zip(self.first, self.second, strict=True)]
        tests = {pair for pair, test in zip(pairs, self.held_out, strict=True) if test}
        return np.array([pair not in tests for pair in pairs], bool)

    def take(self, pick: Bool[np.ndarray, " pair"]) -> "Compared":
        """Some of the answers; raters keep their numbers, and negatives stay."""
        return replace(
            self,
            first=self.first[pick],
            second=self.second[pick],
            target=self.target[pick],
            rater=self.rater[pick],
            label=self.label[pick],
            acquisition=tuple(np.array(self.acquisition, object)[pick]),
        )

    def among(self, clips: Sequence[int]) -> "Compared":
        """Answers about these clips alone, which are named by their places in this list."""
        place = {clip: number for number, clip in enumerate(clips)}
        known = [a in place and b in place for a, b in zip(self.first, self.second, strict=True)]
        kept = self.take(np.array(known, bool))
        return replace(
            kept,
            first=_whole([place[clip] for clip in kept.first]),
            second=_whole([place[clip] for clip in kept.second]),
            negatives=_whole(sorted(place[clip] for clip in self.negatives if clip in place)),
        )

    def numbers(self) -> dict[str, np.ndarray]:
        """What `embodied.reward_models.comparisons.Comparisons.from_numbers` takes."""
        return {name: getattr(self, name) for name in ("first", "second", "target", "rater")}


def compared(labels: Sequence[Mapping[str, Any]]) -> Compared:
    """What the labels of a store say of pairs of clips.

    Args:
        labels: As `PreferenceStore.labels` gives them, superseded ones and undos included.
    """
    rows = [row for label in standing(labels) for row in _rows(label)]
    raters = tuple(dict.fromkeys(label["rater"] for label, *_ in rows))
    return Compared(
        first=_whole([first for _, first, _, _ in rows]),
        second=_whole([second for _, _, second, _ in rows]),
        target=np.array([target for *_, target in rows], float),
        rater=_whole([raters.index(label["rater"]) for label, *_ in rows]),
        label=_whole([label["id"] for label, *_ in rows]),
        acquisition=tuple(str(label["acquisition"]) for label, *_ in rows),
        raters=raters,
        negatives=_whole(sorted(_negatives(standing(labels)))),
    )


def by_attribute(labels: Sequence[Mapping[str, Any]], attribute: str) -> list[Mapping[str, Any]]:
    """The labels as if pairs had been compared by an attribute alone.

    What was said of an attribute stands by itself: who cannot tell which clip is better may see
    which is faster.
    """
    return [
        label
        if label["choice"] == UNDONE
        else {**label, "choice": label["attributes"].get(attribute, Answer.SKIP)}
        for label in labels
        if label["mode"] == "pair"
    ]


def _rows(
    label: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], int, int, float]]:
    """The label, first and second clip, and the target, of each pair that it speaks of."""
    choice, clips = label["choice"], label["clip_ids"]
    if choice == RANKED:
        best_first = [clips[place] for place in label["ranking"]]
        for better, worse in combinations(best_first, 2):
            yield label, better, worse, 1.0
    elif choice in {*Answer} and (target := Answer(choice).target) is not None:
        yield label, clips[0], clips[1], target


def _negatives(labels: Iterable[Mapping[str, Any]]) -> set[int]:
    bad = (label["clip_ids"] for label in labels if label["choice"] == Answer.BOTH_BAD)
    return {clip for clips in bad for clip in clips}


def _whole(values: Sequence[int]) -> Int[np.ndarray, " value"]:
    return np.array(values, np.int64)
