"""Roll-outs by number, which of them may be compared, and what the answers say of them.

Only roll-outs of one start are compared: others would be compared by how lucky their start was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool

from embodied.dataset import EpisodeStore
from embodied.errors import BadInput, UnknownName
from embodied.preferences.comparing import Compared, compared
from embodied.preferences.records import Clip
from embodied.reward_models.base import decided

type Pair = tuple[int, int]
"""Numbers of two roll-outs; the better one first, where one is."""


@dataclass(frozen=True, kw_only=True)
class Rolled:
    """The run's roll-outs, numbered in the order of their names."""

    names: Sequence[str]
    start: Sequence[int]
    """Seed of each one's start."""
    succeeded: Sequence[bool]
    """False where it is known that the task was not done."""

    def pairs(self) -> list[Pair]:
        """All pairs of one start, by their numbers.

        Raises:
            BadInput: if no two share their start.
        """
        found = [
            (first, second)
            for first, second in combinations(range(len(self.names)), 2)
            if self.start[first] == self.start[second]
        ]
        if not found:
            raise BadInput(
                f"no two of the {len(self.names)} roll-outs began in the same state, so that none "
                "can be compared; align.each must be 2 or more, and the roll-outs be complete."
            )
        return found

    def ranked(self, reward: Sequence[float] | np.ndarray) -> list[Pair]:
        """All pairs of one start, the one with the higher reward first."""
        return [(i, j) if reward[i] > reward[j] else (j, i) for i, j in self.pairs()]

    def imitable(self, bad: Sequence[int]) -> Bool[np.ndarray, " rollout"]:
        """Whether each may be imitated: it did the task, and was not called bad.

        If none did the task, they differ in what they were called alone.

        Args:
            bad: Numbers of those that were called bad.

        Raises:
            BadInput: if none is left.
        """
        found = np.array(self.succeeded, bool)
        found |= not found.any()
        found[list(bad)] = False
        if not found.any():
            raise BadInput(
                f"{len(bad)} of {len(self.names)} roll-outs were called bad, and no other did the "
                "task: there is nothing to imitate. Align a run whose policy does better."
            )
        return found

    def clips(self, clips: Mapping[int, Clip]) -> list[int]:
        """The clip of the whole of each roll-out, by its number: the longest one."""
        ascending = sorted(clips.items(), key=lambda item: item[1].stop - item[1].start)
        of = {clip.episode_id: number for number, clip in ascending}
        return [of[name] for name in self.names]


def rolled_of(store: EpisodeStore) -> Rolled:
    """The roll-outs of a dataset."""
    told = sorted(map(store.summary, range(len(store))), key=lambda each: each.episode_id)
    return Rolled(
        names=[each.episode_id for each in told],
        start=[each.seed for each in told],
        succeeded=[each.success is not False for each in told],
    )


def answers_of(
    labels: Sequence[Mapping[str, Any]],
    clips: Sequence[int],
    rolled: Rolled,
    kinds: Sequence[str] | None = None,
) -> Compared:
    """What the labels of a preference database say of roll-outs of one start, by their numbers.

    Args:
        labels: As `PreferenceStore.labels` gives them.
        clips: The clip of each roll-out.
        rolled: The roll-outs.
        kinds: Of the raters whose answers count; None for all.
    """
    found = compared(labels, kinds).among(clips)
    start = np.array(rolled.start)
    return found.take(start[found.first] == start[found.second])


def called_bad(
    labels: Sequence[Mapping[str, Any]],
    clips: Sequence[int],
    kinds: Sequence[str] | None = None,
    name: str | None = None,
) -> list[int]:
    """Numbers of the roll-outs that were called bad, whatever they were compared with ("both bad").

    Args:
        labels: As `PreferenceStore.labels` gives them.
        clips: The clip of each roll-out.
        kinds: Of the raters whose word counts; None for all.
        name: Of the person whose word counts; None for anybody's.
    """
    own = [row for row in labels if name is None or row["rater"].casefold() == name.casefold()]
    found: list[int] = compared(own, kinds).among(clips).negatives.tolist()
    return found


def answers_by(answers: Compared, name: str | None) -> Compared:
    """The answers of one person; of everybody if none is named.

    Raises:
        UnknownName: if nobody of that name answered.
    """
    return answers if name is None else answers.take(answers.rater == rater_of(answers, name))


def rater_of(answers: Compared, name: str) -> int:
    """The number of the person of that name, whose capitals do not matter, as on the page.

    Raises:
        UnknownName: if nobody of that name answered.
    """
    if not has_answered(answers, name):
        raise UnknownName("rater who answered", name, answers.raters)
    return [rater.casefold() for rater in answers.raters].index(name.casefold())


def has_answered(answers: Compared, name: str) -> bool:
    """Whether a person of that name did."""
    return name.casefold() in {rater.casefold() for rater in answers.raters}


def preferred(answers: Compared) -> list[Pair]:
    """The better and the worse roll-out of each answer that prefers one.

    Raises:
        BadInput: if none does.
    """
    found = decided(answers.first, answers.second, answers.target)
    if not found:
        said = (
            f"all {len(answers)} answers call the clips equal, or both bad"
            if len(answers)
            else "no answer stands: all are skips, or were taken back"
        )
        raise BadInput(
            f"{said}, so that there is nothing to learn. Ask in a new run: `embodied align RUN`."
        )
    return found


def right(reward: Sequence[float] | np.ndarray, pairs: Sequence[Pair]) -> list[bool]:
    """Whether a reward prefers the better roll-out of each pair."""
    return [bool(reward[better] > reward[worse]) for better, worse in pairs]
