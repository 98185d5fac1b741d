"""Plans of rewards that match a clip with references (`Matches`), judged by how diagonal they are.

A plan that follows time lies along its diagonal: early frames are matched with early ones. Uniform
mass would say that any frame may stand for any other, and then the reward has no sense of order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from embodied.reward_models.base import Matches, Plan, RewardModel
from embodied.statistics import Interval, mean_interval
from embodied.types import Clip

BAND = 0.1
"""Frames lie on the diagonal if the shares of their clips differ by no more than this."""


@dataclass(frozen=True, kw_only=True)
class Laid:
    """A clip of one outcome beside its reference."""

    clip: int
    """Its number among the held-out clips of that outcome."""
    plan: Plan
    diagonal: float
    """Share of the mass that lies within `BAND` of the diagonal."""
    uniform: float
    """The same if all frames were matched with all alike."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the plan itself."""
        return {
            "clip": self.clip,
            "reference": self.plan.reference,
            "diagonal": self.diagonal,
            "uniform": self.uniform,
        }

    @property
    def told(self) -> str:
        """Both, in words."""
        return (
            f"{self.diagonal:.0%} of the mass on the diagonal; uniform mass would have "
            f"{self.uniform:.0%}"
        )


@dataclass(frozen=True, kw_only=True)
class Plans:
    """Of all held-out clips, and one of each outcome to be shown: the median by its diagonal."""

    success: Laid
    failure: Laid
    diagonal: Mapping[str, Interval]
    """``successes``, ``failures`` and, for successes, ``uniform``: means over clips."""

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types, without the plans themselves."""
        return {
            "diagonal": {name: value.to_dict() for name, value in self.diagonal.items()},
            "success": self.success.to_dict(),
            "failure": self.failure.to_dict(),
        }


def judge_plans(
    model: RewardModel, successes: Sequence[Clip], failures: Sequence[Clip], *, seed: int
) -> Plans | None:
    """Plans of a reward that has some; of a reward made of others, those of the first that has."""
    matcher = next((part for part in model.modules() if isinstance(part, Matches)), None)
    if matcher is None:
        return None
    good, bad = (_laid(matcher.plans(clips)) for clips in (successes, failures))
    values = {
        "successes": [laid.diagonal for laid in good],
        "failures": [laid.diagonal for laid in bad],
        "uniform": [laid.uniform for laid in good],
    }
    return Plans(
        success=_median(good),
        failure=_median(bad),
        diagonal={name: mean_interval(each, seed=seed) for name, each in values.items()},
    )


def on_diagonal(times: int, others: int, band: float = BAND) -> Bool[np.ndarray, "time other"]:
    """Which two frames lie at about the same share of their clips."""
    ours, theirs = ((np.arange(length) + 0.5) / length for length in (times, others))
    return np.abs(ours[:, None] - theirs[None]) <= band + 1e-9


def diagonal_mass(mass: Float[np.ndarray, "time other"]) -> float:
    """Share of a plan's mass that lies on the diagonal."""
    return float(mass[on_diagonal(*mass.shape)].sum() / mass.sum())


def _laid(plans: Sequence[Plan]) -> list[Laid]:
    return [
        Laid(
            clip=number,
            plan=plan,
            diagonal=diagonal_mass(plan.mass),
            uniform=diagonal_mass(np.ones_like(plan.mass)),
        )
        for number, plan in enumerate(plans)
    ]


def _median(laid: Sequence[Laid]) -> Laid:
    return sorted(laid, key=lambda each: each.diagonal)[(len(laid) - 1) // 2]
