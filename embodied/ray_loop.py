"""The loop on Ray: actors collect the next episodes while the learner learns from the last.

Each worker is the class that `InlineLoop` drives, in a process of its own. The driver waits for
whichever call finishes next, with a timeout that names what it waited for. At most ``lead``
episodes are on their way between actor and learner, and actors pause while the learner is behind.
Episodes that wait for the reward worker, because it is busy, are labelled together.

A worker that dies is started again, and its call repeated. An episode that was already durable is
read back instead of being rolled out again. A learner starts from its last checkpoint and is given
the durable episodes that came after it, in order; the updates it had made since are made again, and
counted.
"""

from collections.abc import Callable, Sequence
from itertools import batched
from pathlib import Path
from typing import Any, final

from embodied.actor import PolicyFailed
from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, EmbodiedError
from embodied.hardware.base import Account
from embodied.ledger import Ledger, Schedule
from embodied.loop import (
    UNJUDGED,
    Observer,
    Outcome,
    Workers,
    dropped_row,
    given_up,
    judgement_row,
    stop_at_interrupt,
)
from embodied.messages import Note, Published, Report
from embodied.monitor import Monitor
from embodied.ray_processes import Cluster, Process, ProcessDied
from embodied.rewarding import LABELLED_AT_ONCE
from embodied.selection import Judgement
from embodied.tape import EpisodeDiscarded


@final
class RayLoop:
    """Actors, a reward worker and a learner in processes of their own.

    Args:
        workers: What to run.
        schedule: What happens when.
        store: Where the actors put their episodes; on a cluster, on a disk that all of it sees.
        checkpoint_path: As for `InlineLoop`.
        observe: Takes rows of metrics.
        run_seed: Seeds every episode.
        monitor: May pause the run.
        actors: How many roll out episodes at once.
        lead: Most episodes that are dispatched and not yet settled.
        address: Of a running Ray cluster; null starts one in this machine, on its loopback
            interface.
        object_store_mb: Shared memory for episodes on their way.
        timeout_s: Longest wait for any one thing.
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
        actors: int = 1,
        lead: int = 2,
        address: str | None = None,
        object_store_mb: int = 200,
        timeout_s: float = 300.0,
    ) -> None:
        if actors < 1 or lead < actors:
            raise BadConfig(
                f"actors is {actors} and lead is {lead}; there must be at least 1 actor, and lead "
                "at least as many as actors."
            )
        self._schedule, self._store, self._path = schedule, store, checkpoint_path
        self._observe, self._lead = observe, lead
        self._cluster = Cluster(address, object_store_mb, timeout_s)
        self._ledger = Ledger(schedule, run_seed, monitor)
        self._actors = [Process(name=f"actor {i}", factory=workers.actor) for i in range(actors)]
        self._rewarder = Process(name="reward worker", factory=workers.rewarder)
        self._learner = Process(name="learner", factory=workers.learner)
        self._next = 0
        self._spent: dict[int, Account] = {}
        self._unlabelled: dict[int, Any] = {}
        """Episodes that wait for the reward worker, by number: references to them, or names."""
        self._delivered: dict[int, tuple[Note, Any] | EmbodiedError] = {}
        self._pinned: Published | None = None
        self._newest = Published(version=-1, weights={})
        self._report: Report | None = None
        self._updates = 0
        self._news = True

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by worker, for tests and for whoever looks at a stuck run."""
        everybody = (*self._actors, self._rewarder, self._learner)
        return {process.name: process.pid for process in everybody}

    def run(self) -> Outcome:
        """Spend the budget of episodes.

        Raises:
            PolicyFailed: if too many episodes in a row were dropped.
            WaitTimeout: naming what did not happen in time.
            WorkerLost: if a worker dies again and again.
            KeyboardInterrupt: after a checkpoint, if Ctrl-C was pressed.
            RunPaused: after a checkpoint, if the monitor says so.
        """
        with self._cluster:
            self._open()  # nothing is lost if Ctrl-C ends this at once
            with stop_at_interrupt() as stopped:
                while not self._ledger.complete:
                    self._ledger.check_on()
                    self._feed()
                    died = self._cluster.step()
                    if died is not None:
                        self._revive(died)
                    self._settle()
                    if stopped() or self._ledger.monitor.stops:
                        self._save()
                    if stopped():
                        raise KeyboardInterrupt
            self._hear_out()
            self._save()
            best = self._ask(self._learner, "result")
        return Outcome(best=best, ledger=self._ledger, updates=self._updates)

    def _hear_out(self) -> None:
        """Wait for the report of the updates that the learner is still making."""
        while self._learner in self._cluster.busy:
            died = self._cluster.step()
            if died is not None:
                self._revive(died)

    def _open(self) -> None:
        """Start all processes; from the last checkpoint, if there is one."""
        self._cluster.start(self._learner, self._rewarder, *self._actors)
        if self._path.exists():
            self._ledger.load_state_dict(self._ask(self._learner, "load", self._path))
            self._relabel()
        else:
            self._save()
        self._next = self._ledger.number
        if self._ledger.candidate >= 0:
            self._pinned = self._ask(self._learner, "candidate", self._ledger.candidate)
        self._take(self._ask(self._learner, "update", 0))
        self._publish(self._ask(self._learner, "published"))

    def _relabel(self) -> None:
        """Have the reward look again at what an earlier version of it labelled."""
        if self._ledger.complete:
            return
        versions = self._ask(self._learner, "reward_versions")
        outdated = self._ask(self._rewarder, "outdated", versions)
        if outdated.episode_ids:
            self._observe(outdated.row())
        for names in batched(outdated.episode_ids, LABELLED_AT_ONCE):
            newer = self._ask(self._rewarder, "relabel", names)
            self._ask(self._learner, "relabel", newer)

    def _feed(self) -> None:
        """Give work to everybody who has none."""
        busy = self._cluster.busy
        for actor in self._actors:
            if actor not in busy and self._may_dispatch():
                self._next += 1
                self._dispatch(actor, self._next - 1)
        if self._rewarder not in busy and self._unlabelled:
            self._have_labelled(sorted(self._unlabelled)[:LABELLED_AT_ONCE])
        if self._learner not in busy and self._news:
            self._news = False
            self._cluster.submit(
                self._learner,
                "update",
                self._schedule.updates_per_slice,
                done=self._take,
                waited_for="the learner's updates",
            )

    def _may_dispatch(self) -> bool:
        if self._next >= self._schedule.episodes or self._report is None:
            return False
        waiting = self._next - self._ledger.number
        wanted = self._report.may_insert or waiting == 0
        opens = self._schedule.opens_validation(self._next)
        judging = opens and self._ledger.candidate >= 0 and self._ledger.opened != self._next
        return waiting < self._lead and wanted and not judging

    def _dispatch(self, actor: Process, number: int) -> None:
        if self._schedule.opens_validation(number) and self._ledger.candidate < 0:
            self._nominate(number)
        request = self._ledger.request(number, len(self._actors), list(self._spent.values()))
        if request.episode_id in self._store.episode_ids():
            self._unlabelled[number] = request.episode_id
            return
        self._cluster.submit(
            actor,
            "collect",
            request,
            self._pinned if request.source == "validation" else None,
            done=lambda account, episode: self._collected(account, episode, number),
            failed=lambda error: self._dropped(error, request.episode_id, number),
            waited_for=f"episode {request.episode_id} from {actor.name}",
            results=2,
            numbers=(number,),
        )

    def _collected(self, account: Account, episode: Any, number: int) -> None:
        self._spent[number] = account
        self._unlabelled[number] = episode

    def _dropped(self, error: EmbodiedError, episode_id: str, number: int) -> None:
        if not isinstance(error, PolicyFailed | EpisodeDiscarded):
            raise error
        self._observe(dropped_row(episode_id, error))
        self._delivered[number] = error

    def _have_labelled(self, numbers: Sequence[int]) -> None:
        """Have episodes labelled together, of whichever actors they are."""

        def delivered(notes: Sequence[Note], *labelled: Any) -> None:
            self._delivered |= dict(zip(numbers, zip(notes, labelled, strict=True), strict=True))

        self._cluster.submit(
            self._rewarder,
            "deliver_together",
            *(self._unlabelled.pop(number) for number in numbers),
            done=delivered,
            waited_for=f"the labels of episode {', '.join(map(str, numbers))}",
            results=1 + len(numbers),
            numbers=numbers,
        )

    def _settle(self) -> None:
        """Give delivered episodes to the learner, in the order of their numbers."""
        while (number := self._ledger.number) in self._delivered:
            delivered = self._delivered.pop(number)
            self._spent.pop(number, None)
            if isinstance(delivered, EmbodiedError):
                if not self._ledger.drop(number):
                    raise given_up(delivered, self._ledger.failures, self._path)
            else:
                self._ingest(*delivered)
            if self._schedule.closes_validation(number):
                self._judge()
            if self._schedule.saves(self._ledger.number):
                self._save()

    def _ingest(self, note: Note, labelled: Any) -> None:
        for row in self._ledger.finish(note):
            self._observe(row)
        if note.source != "validation":
            self._ask(self._learner, "ingest", labelled)
            self._news = True

    def _take(self, report: Report) -> None:
        """Pass on what the learner has done."""
        self._report, self._updates = report, report.updates
        self._news = self._news or not report.idle
        for row in report.metrics:
            self._observe(row)
        if report.published is not None:
            self._publish(report.published)

    def _publish(self, published: Published) -> None:
        if published.version > self._newest.version:
            self._newest = published
            for actor in self._actors:
                self._cluster.post(actor, published)

    def _nominate(self, number: int) -> None:
        """A checkpoint follows: whoever dies while the candidate is judged still knows it."""

        def nominate() -> None:
            self._pinned = self._ask(self._learner, "nominate")
            self._ledger.candidate, self._ledger.opened = self._pinned.version, number
            self._publish(self._pinned)

        self._durably(nominate)

    def _judge(self) -> None:
        candidate, verdicts = self._ledger.candidate, self._ledger.verdicts

        def judge() -> Judgement:
            judgement: Judgement = UNJUDGED
            if verdicts:
                judgement, published = self._ask(self._learner, "judge", candidate, verdicts)
                self._publish(published)
            self._ledger.candidate, self._ledger.verdicts = -1, []
            return judgement

        self._observe(judgement_row(candidate, verdicts, self._durably(judge)))

    def _durably[T](self, act: Callable[[], T]) -> T:
        """Do something and save it; once more if the learner died between the two, and forgot."""
        while True:
            restarts = self._ledger.restarts
            result = act()
            self._save()
            if self._ledger.restarts == restarts:
                return result

    def _save(self) -> None:
        self._ask(self._learner, "save", self._path, self._ledger.state_dict())

    def _ask(self, process: Process, method: str, *arguments: Any) -> Any:
        """Call and wait, as often as the process dies over it."""
        while True:
            try:
                return self._cluster.ask(process, method, *arguments)
            except ProcessDied:
                self._revive(process)

    def _revive(self, process: Process) -> None:
        """Start a process again, and give it what it was doing."""
        lost = self._cluster.forget(process)
        self._ledger.restarts += 1
        self._observe({"restarted": process.name})
        self._cluster.count_death(process)
        self._cluster.start(process)
        if process is self._learner:
            self._catch_up()
        for number in (number for call in lost for number in call.numbers):
            if process is self._rewarder:
                self._unlabelled[number] = self._ledger.request(number).episode_id
            else:
                self._cluster.post(process, self._newest)
                self._dispatch(process, number)

    def _catch_up(self) -> None:
        """Bring a new learner to where the last one was: checkpoint, then episodes, in order."""
        state = self._ask(self._learner, "load", self._path, self._newest.version)
        self._relabel()
        stored = set(self._store.episode_ids())
        for number in range(state["number"], self._ledger.number):
            name = self._ledger.request(number).episode_id
            if name in stored and not self._schedule.validates(number):
                _, labelled = self._ask(self._rewarder, "deliver", name)
                self._ask(self._learner, "ingest", labelled)
        made = self._updates
        self._take(self._ask(self._learner, "update", 0))
        self._ledger.repeated_updates += made - self._updates
        self._news = True
        self._publish(self._ask(self._learner, "published"))
