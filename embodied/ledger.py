"""The driver's books: which episode comes next, and what the run has spent so far."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embodied.errors import BadConfig, RunPaused
from embodied.hardware.base import Account
from embodied.messages import NOBODY, Note, Request
from embodied.monitor import Monitor
from embodied.seed_ranges import episode_seed
from embodied.types import Source


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What happens at which episode. Validation episodes count against the budget of episodes.

    Args:
        episodes: Online episodes of the whole run, validation included.
        validate_every: Episodes to learn from between two validations.
        validation_episodes: Episodes per validation; 0 switches validation off. The run's last
            episodes are always a validation.
        checkpoint_every: Episodes between two checkpoints.
        snapshot_every: Episodes between two snapshots, each with a checkpoint; 0 for none.
        updates_per_slice: Updates between two looks at what else is to be done.
        failures_in_a_row: So many dropped episodes in a row end the run.
        exploration: Least and greatest boldness of online episodes, each in [0, 1]; every one
            draws its own.
    """

    episodes: int
    validate_every: int = 20
    validation_episodes: int = 5
    checkpoint_every: int = 10
    snapshot_every: int = 0
    updates_per_slice: int = 20
    failures_in_a_row: int = 3
    exploration: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("episodes", "validate_every", "checkpoint_every", "updates_per_slice"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be at least 1.")
        low, high = self.exploration
        if not 0 <= low <= high <= 1:
            raise BadConfig(
                f"exploration is [{low}, {high}]; it must be two numbers from 0 to 1, the lower "
                "one first."
            )
        if not 0 <= self.validation_episodes <= self.episodes:
            raise BadConfig(
                f"validation_episodes is {self.validation_episodes}; it must lie between 0 and the "
                f"budget of {self.episodes} episodes."
            )

    def saves(self, number: int) -> bool:
        """Whether a checkpoint is due after so many episodes."""
        turns = [turn for turn in (self.checkpoint_every, self.snapshot_every) if turn > 0]
        return any(number % turn == 0 for turn in turns)

    def validates(self, number: int) -> bool:
        """Whether episode ``number`` is a validation episode."""
        last = self.episodes - self.validation_episodes
        if number >= last or self.validation_episodes == 0:
            return number >= last and self.validation_episodes > 0
        return self._turn(number) >= self.validate_every and self._whole(number, last)

    def opens_validation(self, number: int) -> bool:
        """Whether a validation begins with this episode."""
        return self.validates(number) and (number == 0 or not self.validates(number - 1))

    def closes_validation(self, number: int) -> bool:
        """Whether a validation is complete with this episode."""
        return self.validates(number) and (
            number == self.episodes - 1 or not self.validates(number + 1)
        )

    def _turn(self, number: int) -> int:
        return number % (self.validate_every + self.validation_episodes)

    def _whole(self, number: int, last: int) -> bool:
        """Whether this validation ends before the final one begins; else only that one is held."""
        begin = number - self._turn(number) + self.validate_every
        return begin + self.validation_episodes < last


class Ledger:
    """Counts of the run so far; what a checkpoint keeps of the driver.

    Args:
        schedule: What happens when.
        run_seed: Seeds every episode.
        monitor: Sees every note.
    """

    def __init__(self, schedule: Schedule, run_seed: int, monitor: Monitor | None = None) -> None:
        self.schedule, self._run_seed = schedule, run_seed
        self.monitor = monitor or Monitor()
        self.number = 0
        """Episodes that are finished: labelled and, unless they validate, learnt from."""
        self.steps = 0
        self.human_steps = 0
        self.interventions = 0
        self.operator_seconds = 0.0
        self.dropped = 0
        self.failures = 0
        """Dropped in a row, until now."""
        self.restarts = 0
        self.repeated_updates = 0
        """Made again because a learner died after its last checkpoint."""
        self.candidate = -1
        """Version under validation, -1 for none."""
        self.opened = -1
        """Number of the first episode of the validation that is under way, or of the last one."""
        self.verdicts: list[bool] = []

    @property
    def complete(self) -> bool:
        """Whether the budget is spent."""
        return self.number >= self.schedule.episodes

    def request(self, number: int, actors: int = 1, ahead: Sequence[Account] = ()) -> Request:
        """Which episode has this number.

        Each of several actors may spend its share of what the budget has left: together they never
        overspend it.

        Args:
            number: Of the episode.
            actors: How many roll out episodes at once.
            ahead: Accounts of episodes that were rolled out and are not finished.
        """
        source: Source = "validation" if self.schedule.validates(number) else "online"
        steps = self.steps + sum(account.steps for account in ahead)
        human_steps = self.human_steps + sum(account.human_steps for account in ahead)
        return Request(
            number=number,
            seed=episode_seed(source, self._run_seed, number),
            source=source,
            explore=self._boldness(number) if source == "online" else 0.0,
            account=Account(steps=steps // actors, human_steps=-(-human_steps // actors)),
        )

    def _boldness(self, number: int) -> float:
        """Drawn uniformly for each episode; asking again for the same number gives the same."""
        low, high = self.schedule.exploration
        chance = np.random.default_rng([self._run_seed, number]).random()
        return float(low + chance * (high - low))

    def finish(self, note: Note) -> list[dict[str, Any]]:
        """An episode is done with; returns the rows of metrics about it."""
        self.number += 1
        self.steps += note.steps
        self.human_steps += note.human_steps
        self.failures = 0
        self.interventions += note.interventions
        self.operator_seconds += note.operator_seconds
        if note.source == "validation" and note.reward_version != NOBODY:
            self.verdicts.append(note.learned_success)
        seen = self.monitor.take(note)
        row = {"episode": self.number - 1, **note.row()}
        return [row] if seen is None else [row, seen]

    def check_on(self) -> None:
        """Whether the run may go on.

        Raises:
            RunPaused: if the monitor stopped it.
        """
        if self.monitor.stops:
            raise RunPaused(self.monitor.why())

    def drop(self, number: int) -> bool:
        """An episode failed; false if too many did in a row for the run to go on."""
        self.number += 1
        self.dropped += 1
        self.failures += 1
        if self.schedule.validates(number):
            self.verdicts.append(False)
        return self.failures < self.schedule.failures_in_a_row

    def state_dict(self) -> dict[str, Any]:
        """All counts."""
        skipped = ("schedule", "_run_seed", "monitor")
        state = {name: value for name, value in vars(self).items() if name not in skipped}
        return {
            **state,
            "verdicts": list(self.verdicts),
            "schedule": asdict(self.schedule),
            "monitor": self.monitor.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`; the schedule stays the one of the configuration."""
        for name, value in state.items():
            if name == "monitor":
                self.monitor.load_state_dict(value)
            elif name != "schedule":
                setattr(self, name, list(value) if name == "verdicts" else value)
