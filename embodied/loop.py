"""The driver's schedule, and the loop in one process: one worker after the other, deterministic.

Same seed, same metrics, bit for bit. An episode goes through four stations: rolled out and made
durable, labelled and the label made durable, ingested by the learner, learnt from. A run that was
killed finds durable episodes beyond its last checkpoint: they pass the same stations again, without
being rolled out anew.
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from types import FrameType
from typing import Any, Final, final

from embodied.actor import ActorWorker, PolicyFailed
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput, EmbodiedError
from embodied.learner import LearnerWorker
from embodied.ledger import Ledger, Schedule
from embodied.messages import Note, Published
from embodied.monitor import Monitor
from embodied.rewarding import LABELLED_AT_ONCE, RewardWorker
from embodied.selection import Judgement
from embodied.tape import EpisodeDiscarded
from embodied.types import Episode

UNJUDGED: Final = "unjudged"
"""A version that the reward could not be asked about: neither better nor worse."""

Observer = Callable[[Mapping[str, Any]], None]
"""Takes rows of metrics."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Factories of the three kinds of worker; called where the worker will live."""

    actor: Callable[[], ActorWorker]
    rewarder: Callable[[], RewardWorker]
    learner: Callable[[], LearnerWorker]
    """The learner that the run starts with: it has ingested the demonstrations."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a loop leaves behind."""

    best: Published
    ledger: Ledger
    updates: int


@contextmanager
def stop_at_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a request to stop at the next safe moment; the second one acts.

    Yields:
        Whether Ctrl-C was pressed.
    """
    pressed: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@final
class InlineLoop:
    """All workers in this process.

    Args:
        workers: What to run.
        schedule: What happens when.
        store: Where the actor puts its episodes.
        checkpoint_path: Written every few episodes, at Ctrl-C and at the end; continued from if it
            exists.
        observe: Takes rows of metrics.
        run_seed: Seeds every episode.
        monitor: May pause the run.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        schedule: Schedule,
        store: EpisodeStore,
        checkpoint_path: Path,
        observe: Observer,
        run_seed: int,
        monitor: Monitor | None = None,
    ) -> None:
        self._workers, self._schedule = workers, schedule
        self._store, self._path, self._observe = store, checkpoint_path, observe
        self._ledger = Ledger(schedule, run_seed, monitor)
        self._updates = 0

    def run(self) -> Outcome:
        """Spend the budget of episodes.

        Raises:
            PolicyFailed: if too many episodes in a row were dropped.
            KeyboardInterrupt: after a checkpoint, if Ctrl-C was pressed.
            RunPaused: after a checkpoint, if the monitor says so.
        """
        self._learner = self._workers.learner()
        self._rewarder = self._workers.rewarder()
        self._actor = self._workers.actor()
        try:
            if self._path.exists():
                self._ledger.load_state_dict(self._learner.load(self._path))
                self._relabel()
            self._updates = self._learner.updates
            self._actor.adopt(self._learner.published())
            with stop_at_interrupt() as stopped:
                while not self._ledger.complete:
                    self._ledger.check_on()
                    self._one_episode(self._ledger.number)
                    if stopped() or self._ledger.monitor.stops:
                        self._save()
                    if stopped():
                        raise KeyboardInterrupt
            self._save()
            best = self._learner.result()
            return Outcome(best=best, ledger=self._ledger, updates=self._updates)
        finally:
            self._actor.close()

    def _relabel(self) -> None:
        """Have the reward look again at what an earlier version of it labelled."""
        if self._ledger.complete:
            return
        outdated = self._rewarder.outdated(self._learner.reward_versions())
        if outdated.episode_ids:
            self._observe(outdated.row())
        for names in batched(outdated.episode_ids, LABELLED_AT_ONCE):
            self._learner.relabel(self._rewarder.relabel(names))

    def _one_episode(self, number: int) -> None:
        ledger = self._ledger
        if self._schedule.opens_validation(number):
            ledger.candidate, ledger.opened = self._learner.nominate().version, number
        episode = self._obtain(number)
        if episode is not None:
            note, labelled = self._rewarder.deliver(episode)
            if note.source != "validation":
                self._learner.ingest(labelled)
            self._note(note)
        if self._schedule.closes_validation(number):
            self._judge()
        self._learn()
        if self._schedule.saves(ledger.number):
            self._save()

    def _obtain(self, number: int) -> Episode | None:
        """The episode of this number: from disk if a killed run left it there. None if dropped."""
        request = self._ledger.request(number)
        if request.episode_id in self._store.episode_ids():
            return self._rewarder.read(request.episode_id)
        validates = request.source == "validation"
        pinned = self._learner.candidate(self._ledger.candidate) if validates else None
        try:
            return self._actor.collect(request, pinned)
        except (PolicyFailed, EpisodeDiscarded) as error:
            self._observe(dropped_row(request.episode_id, error))
            if not self._ledger.drop(number):
                raise given_up(error, self._ledger.failures, self._path) from error
            return None

    def _note(self, note: Note) -> None:
        for row in self._ledger.finish(note):
            self._observe(row)

    def _judge(self) -> None:
        candidate, verdicts = self._ledger.candidate, self._ledger.verdicts
        judgement: Judgement = UNJUDGED
        if verdicts:
            judgement, published = self._learner.judge(candidate, verdicts)
            self._actor.adopt(published)
        self._observe(judgement_row(candidate, verdicts, judgement))
        self._ledger.candidate, self._ledger.verdicts = -1, []

    def _learn(self) -> None:
        idle = False
        while not idle:
            report = self._learner.update(self._schedule.updates_per_slice)
            for row in report.metrics:
                self._observe(row)
            if report.published is not None:
                self._actor.adopt(report.published)
            self._updates, idle = report.updates, report.idle

    def _save(self) -> None:
        self._learner.save(self._path, self._ledger.state_dict())


def given_up(error: EmbodiedError, failures: int, checkpoint_path: Path) -> EmbodiedError:
    """The error that ends a run after too many dropped episodes in a row."""
    advice = "`embodied resume` goes on."
    if isinstance(error, PolicyFailed):
        advice = (
            f"To learn again from the stored episodes, delete {checkpoint_path.parent} and "
            "`embodied resume` with that."
        )
    return type(error)(f"{failures} episodes in a row were dropped, the last one: {error} {advice}")


def dropped_row(episode_id: str, error: BadInput | EpisodeDiscarded) -> dict[str, Any]:
    """The row of metrics of an episode that was dropped."""
    return {"dropped_id": episode_id, "dropped_because": str(error)}


def judgement_row(version: int, verdicts: Sequence[bool], judgement: Judgement) -> dict[str, Any]:
    """The row of metrics of a validation."""
    return {
        "validated_version": version,
        "validation_accepted": sum(verdicts),
        "validation_episodes": len(verdicts),
        "judgement": judgement,
    }
