"""Questions about two ways on from one state: take-overs, and branches of an episode.

The clips of such a pair begin with the same frame, so that what is learned from the answer is about
what came after (2402.10184, preferences in a tree). Where a person took over, the answer is taken
for known: a correction is better than what it replaced. It is kept as the answer of a scripted
rater of the name `TAKE_OVER`, never as a person's, so that whoever learns may leave it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import final

import numpy as np

from embodied.branching import Origin, origin_of
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.preferences.answers import Answer
from embodied.preferences.clipping import clip_at
from embodied.preferences.labels import LabelBook
from embodied.preferences.mix import BRANCH, TAKE_OVER
from embodied.preferences.records import NewClip, NewQuery
from embodied.preferences.store import PreferenceStore
from embodied.types import Actor, Episode


@dataclass(frozen=True, kw_only=True)
class TakeOver:
    """A person's steps, one after the other, in one episode."""

    intervention: int
    """Its number within the episode."""
    start: int
    """First step of the person."""
    stop: int
    """The step after the last."""


def take_overs(episode: Episode, shortest: int = 2) -> list[TakeOver]:
    """Where a person took over from the policy, in order.

    Args:
        episode: Any; a demonstration, in which nothing was replaced, has none.
        shortest: Steps below which a take-over says nothing.
    """
    found = []
    for number in np.unique(episode.intervention_id[episode.actor == Actor.HUMAN]):
        steps = np.flatnonzero(episode.intervention_id == number)
        if number >= 0 and len(steps) >= shortest and episode.source == "online":
            found.append(
                TakeOver(intervention=int(number), start=int(steps[0]), stop=int(steps[-1]) + 1)
            )
    return found


@final
class Branches:
    """Puts such pairs into a preference database.

    Args:
        dataset: Holds the episodes of both clips.
        store: Takes the questions.
        book: Takes the answers that are known.
        seed: Of the sides on which the clips of an answered pair count as shown.
    """

    def __init__(
        self, dataset: EpisodeStore, store: PreferenceStore, book: LabelBook, seed: int
    ) -> None:
        self.dataset, self._store, self._book = dataset, store, book
        self._rng = np.random.default_rng(seed)

    def add_take_over(self, parent: int, taken: TakeOver, other: int, start: int) -> int:
        """A correction beside what it replaced, and the answer.

        Args:
            parent: Index of the episode with the take-over.
            taken: The take-over; its steps are the first clip.
            other: Index of an episode in which the policy went on alone.
            start: The frame of it that is the one at the take-over, or like it.

        Returns:
            The query's id; it has been answered.
        """
        length = min(taken.stop - taken.start, self.dataset.summary(other).steps - start)
        better = clip_at(self.dataset, parent, taken.start, taken.start + length + 1)
        worse = clip_at(self.dataset, other, start, start + length + 1)
        origin = origin_of(worse.episode_id)
        same = origin == Origin(parent=better.episode_id, step=taken.start) and start == origin.step
        if same:
            ids = self._family(start, better, [worse])
        else:
            ids = self._store.add_clips([better, worse])
        reason = "A person took over here: the correction, and " + (
            "what the policy does from the same state."
            if same
            else "what the policy did alone in the most similar state."
        )
        (query,) = self._store.add_queries(
            [
                NewQuery(
                    clip_ids=ids, acquisition=TAKE_OVER, created_by=TAKE_OVER, reason=reason,
                )
            ]
        )  # fmt: skip
        _, session = self._store.sign_in(TAKE_OVER, "scripted")
        self._book.answer_at_once(
            session, query, Answer.LEFT, mirrored=bool(self._rng.random() < 0.5),
            note="The first clip is the correction.",
        )  # fmt: skip
        return query

    def add_branches(self, parent: int, step: int, branches: Sequence[int]) -> list[int]:
        """Every pair of an episode and its branches, from where they part: to be asked.

        Args:
            parent: Index of the episode.
            step: At which they part.
            branches: Indices of its branches.

        Returns:
            The queries' ids.

        Raises:
            BadInput: without a branch.
        """
        if not branches:
            raise BadInput(f"episode {parent} has no branches at step {step}; nothing to compare.")
        steps = [self.dataset.summary(index).steps - step for index in (parent, *branches)]
        clips = [
            clip_at(self.dataset, index, step, step + min(steps) + 1)
            for index in (parent, *branches)
        ]
        ids = self._family(step, clips[0], clips[1:])
        return self._store.add_queries(
            NewQuery(
                clip_ids=pair, acquisition=BRANCH, created_by=BRANCH,
                reason="Two ways on from the same state: only what follows differs.",
            )
            for pair in combinations(ids, 2)
        )  # fmt: skip

    def _family(self, step: int, parent: NewClip, children: Sequence[NewClip]) -> list[int]:
        (first,) = self._store.add_clips([parent])
        related = [replace(clip, parent_clip_id=first, branch_step=step) for clip in children]
        return [first, *self._store.add_clips(related)]
