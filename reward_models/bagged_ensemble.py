"""Mean minus k deviations of an ensemble of any reward: pessimism about what members disagree on.

Each member is trained on a random part of the clips, drawn without replacement (subagging,
Buehlmann & Yu 2002), with its own seed. The bootstrap with replacement would put copies of one clip
on both sides of a member's own hold-out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import final

import numpy as np
from jaxtyping import Float

from embodied.errors import BadConfig
from embodied.reward_models.base import Scores, TrainableReward
from embodied.reward_models.calibration import potential_reward
from embodied.reward_models.progress_value import spread
from embodied.reward_models.wrapper import Lesson, Wrapper
from embodied.types import Clip


@final
class BaggedEnsemble(Wrapper):
    """Progress is the members' mean, and the reward is the potential form of mean - k sigma.

    Args:
        member: Makes an untrained member; ``_partial_: true`` in YAML.
        members: How many.
        share: Of the successes, and of the failures, that each member is trained on.
        pessimism: The k: deviations that the potential lies below the mean progress.
        agreement: Share of the members that must accept a clip.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        BadConfig: for fewer than two members, or shares outside (0, 1].
    """

    def __init__(
        self,
        member: Callable[[], TrainableReward],
        *,
        members: int = 4,
        share: float = 0.75,
        pessimism: float = 1.0,
        agreement: float = 0.75,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        if members < 2 or not 0 < share <= 1 or not 0 < agreement <= 1:
            raise BadConfig(
                "an ensemble needs two members and shares in (0, 1], not "
                f"{members}, {share} and {agreement}."
            )
        super().__init__([member() for _ in range(members)])
        self.share, self.pessimism = share, pessimism
        self.accepting = math.ceil(agreement * members)
        self.discount, self.bonus = discount, bonus

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """Complete from the frame on in which enough members say so."""
        progress = np.stack([scores.progress for scores in said]).astype(np.float64)
        done_index = sorted(scores.done_index for scores in said)[self.accepting - 1]
        deviation = np.sqrt(np.square(spread(progress)) + _mean_variance(said))
        potential = np.clip(progress.mean(0) - self.pessimism * deviation, 0, 1)
        return Scores(
            reward=potential_reward(
                potential, done_index, discount=self.discount, bonus=self.bonus
            ),
            progress=np.asarray(progress.mean(0), np.float32),
            done=np.mean([scores.done for scores in said], axis=0),
            uncertainty=np.asarray(deviation, np.float32),
            success=done_index < len(clip),
            done_index=done_index,
        )

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train each member on its part; returns the means of their metrics."""
        rng = np.random.default_rng(lesson.seed)
        lessons = [
            replace(
                lesson,
                successes=_part(lesson.successes, self.share, rng),
                failures=_part(lesson.failures, self.share, rng),
                seed=lesson.seed * 1009 + number,
            )
            for number in range(len(self.models))
        ]
        found = self.fit_each(lessons)
        names = dict.fromkeys(name.partition("_")[2] for name in found)
        mean_of = partial(_mean_metric, found)
        return {name: mean_of(name) for name in names}


def _part(clips: Sequence[Clip], share: float, rng: np.random.Generator) -> list[Clip]:
    """A random part of the clips, in their order; at least two where there are two."""
    size = min(len(clips), max(2, round(share * len(clips))))
    return [clips[i] for i in sorted(rng.choice(len(clips), size, replace=False))]


def _mean_variance(said: Sequence[Scores]) -> Float[np.ndarray, " time"]:
    """What members are unsure of themselves."""
    squares = [np.square(scores.uncertainty, dtype=np.float64) for scores in said]
    mean: np.ndarray = np.mean(squares, axis=0)
    return mean


def _mean_metric(found: dict[str, float], name: str) -> float:
    return float(np.mean([v for key, v in found.items() if key.partition("_")[2] == name]))
