"""Settings that a reward can choose among (`Chooses`), judged by EPIC distance on held-out clips.

The reward chose on the clips that it was fitted to; here the same distances are taken on others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embodied.epic import goal_distance_interval
from embodied.reward_models.base import Chooses, RewardModel
from embodied.statistics import Interval
from embodied.types import Clip


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How far each setting is from the outcomes, and which of them is in use."""

    chosen: str
    distances: Mapping[str, Interval]
    """EPIC distance of each setting, nearest first."""

    @property
    def note(self) -> str | None:
        """What to do if another setting is clearly nearer on these clips."""
        best, own = next(iter(self.distances)), self.distances.get(self.chosen)
        if own is None or self.distances[best].high >= own.low:
            return None
        return (
            f"On these clips another setting is nearer to the outcomes (EPIC distance "
            f"{self.distances[best].mean:.2f} instead of {own.mean:.2f}): {best}."
        )

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        distances = {name: value.to_dict() for name, value in self.distances.items()}
        return {"chosen": self.chosen, "epic": distances}


def judge_settings(
    model: RewardModel, successes: Sequence[Clip], failures: Sequence[Clip], *, seed: int
) -> Choice | None:
    """The choice of a reward that has one, on clips that it was not fitted to."""
    if not isinstance(model, Chooses):
        return None
    good, bad = model.signals(successes), model.signals(failures)
    found = {name: goal_distance_interval(good[name], bad[name], seed=seed) for name in good}
    ordered = sorted(found.items(), key=lambda item: item[1].mean)
    return Choice(chosen=model.chosen, distances=dict(ordered))
