"""Rewards that come and go, judges that change their mind, and a run that has such a judge."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final

from embodied.errors import RewardUnavailable
from embodied.monitor import Monitor
from embodied.reward_models.base import RewardModel, Scores
from embodied.testing.doubles import CountingReward
from embodied.testing.runs import DoubleRun
from embodied.types import Clip


@final
class MortalReward(RewardModel):
    """A `CountingReward` that cannot be asked while a certain file exists.

    Args:
        dead: The file.
    """

    causal = True

    def __init__(self, dead: Path) -> None:
        super().__init__()
        self._dead, self._alive = dead, CountingReward()
        self.cameras = self._alive.cameras

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip.

        Raises:
            RewardUnavailable: while it is dead.
        """
        if clips and self._dead.exists():
            raise RewardUnavailable("the judge is dead.")
        return self._alive.score(clips)


@final
class Unhurried(RewardModel):
    """A `CountingReward` that takes its time, and writes down how many clips it is shown at once.

    Args:
        log: A file; a line for each call.
        takes_s: Seconds of a call, however many clips there are.
    """

    causal = True

    def __init__(self, log: Path, takes_s: float) -> None:
        super().__init__()
        self._log, self._takes_s, self._inner = log, takes_s, CountingReward()
        self.cameras = self._inner.cameras

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip."""
        time.sleep(self._takes_s)
        with self._log.open("a") as log:
            log.write(f"{len(clips)}\n")
        return self._inner.score(clips)


def kill_between(
    dead: Path, rows: list[Mapping[str, Any]], *, dies: int, lives: int
) -> Callable[[Mapping[str, Any]], None]:
    """An observer that keeps rows, and lets a `MortalReward` be dead between two episodes."""

    def observe(row: Mapping[str, Any]) -> None:
        rows.append(row)
        if row.get("episode") == dies:
            dead.touch()
        if row.get("episode") == lives:
            dead.unlink()

    return observe


@final
class LosesFaith(RewardModel):
    """A judge that accepts its first clips and nothing afterwards, whatever they show.

    Args:
        turns_after: How many clips it accepts.
    """

    causal = True

    def __init__(self, turns_after: int) -> None:
        super().__init__()
        self._like, self._doubt = CountingReward(accept=-1.0), CountingReward(accept=2.0)
        self.cameras, self._left = self._like.cameras, turns_after

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip."""
        self._left -= len(clips)
        return (self._like if self._left >= 0 else self._doubt).score(clips)


def suspicious(folder: Path, *, pause: bool, turns_after: int = 12) -> DoubleRun:
    """A run of 40 episodes whose monitor has every reason for an alarm.

    Args:
        folder: Of the run.
        pause: Whether the alarm stops it.
        turns_after: How many episodes the judge accepts.
    """
    plain = DoubleRun(folder=folder)
    return replace(
        plain,
        judge=partial(LosesFaith, turns_after),
        monitor=partial(Monitor, window=10, p_value=1e-3, clips=3, pause=pause, run="runs/x"),
        schedule=replace(plain.schedule, episodes=40),
    )
