"""Rewards that come and go."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from embodied.errors import RewardUnavailable
from embodied.reward_models.base import RewardModel, Scores
from embodied.testing.doubles import CountingReward
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
