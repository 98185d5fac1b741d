"""Rewards made of other rewards by one formula each; nothing is learned here but a scale.

See `docs/rewards/combinators.md`. Those that learn are `BaggedEnsemble`, `LearnedMixture` and
`NeighbourFusion`, each in its own file.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
from jaxtyping import Float

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import RewardModel, Scores
from embodied.reward_models.calibration import potential_reward, scores_from
from embodied.reward_models.progress_augment import moved_and_relit
from embodied.reward_models.wrapper import Lesson, Wrapper
from embodied.types import Clip


@final
class PotentialForm(Wrapper):
    """Pays the difference of discounted potentials: doing and undoing earns nothing.

    Args:
        model: Its progress is the potential.
        pessimism: Deviations of the progress that the potential lies below it.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.
    """

    def __init__(
        self,
        model: RewardModel,
        *,
        pessimism: float = 1.0,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__([model])
        self.pessimism, self.discount, self.bonus = pessimism, discount, bonus

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """The model's scores, with another reward."""
        potential = np.clip(said[0].progress - self.pessimism * said[0].uncertainty, 0, 1)
        paid = potential_reward(
            potential, said[0].done_index, discount=self.discount, bonus=self.bonus
        )
        return replace(said[0], reward=paid)

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the model."""
        return self.fit_parts(lesson)


@final
class EpisodeCap(Wrapper):
    """What a clip earns in all is capped: progress that is made again and again pays only once.

    Args:
        model: Its positive rewards are counted.
        cap: Most that the positive rewards of a clip add up to; penalties are never cut.

    Raises:
        BadConfig: for a cap that lets nothing through.
    """

    def __init__(self, model: RewardModel, cap: float = 2.0) -> None:
        super().__init__([model])
        if cap <= 0:
            raise BadConfig(f"the cap is a positive sum of rewards, not {cap}.")
        self.cap = cap

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """The model's scores, their reward cut where the cap is reached."""
        reward = said[0].reward
        earned = np.minimum(np.cumsum(np.maximum(reward, 0.0), dtype=np.float64), self.cap)
        paid = np.diff(earned, prepend=0.0) + np.minimum(reward, 0.0)
        return replace(said[0], reward=np.asarray(paid, np.float32))

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the model."""
        return self.fit_parts(lesson)


@final
class SuccessGate(Wrapper):
    """A second, independent reward must agree before a clip counts as complete.

    Args:
        model: Gives the progress.
        judge: Must accept, too.
        discount: Per frame, as the learner's.
        bonus: Paid once, when both have accepted.
    """

    def __init__(
        self, model: RewardModel, judge: RewardModel, *, discount: float = 0.99, bonus: float = 1.0
    ) -> None:
        super().__init__([model, judge])
        self.discount, self.bonus = discount, bonus

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """The model's progress; completion where the later of the two sees it."""
        model, judge = said
        done_index = max(model.done_index, judge.done_index)
        potential = np.clip(model.progress - model.uncertainty, 0, 1)
        return replace(
            model,
            reward=potential_reward(
                potential, done_index, discount=self.discount, bonus=self.bonus
            ),
            done=np.minimum(model.done, judge.done),
            success=model.success and judge.success,
            done_index=done_index,
        )

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train both."""
        return self.fit_parts(lesson)


@final
class RunningScale(Wrapper):
    """Rewards of root mean square 1 on the clips of the trainings so far.

    Sources of different scale can then be mixed: wrap each of them.

    Args:
        model: One source.
        memory_share: What earlier trainings weigh against the newest.

    Raises:
        BadConfig: for a share outside [0, 1).
    """

    def __init__(self, model: RewardModel, memory_share: float = 0.9) -> None:
        super().__init__([model])
        if not 0 <= memory_share < 1:
            raise BadConfig(f"earlier trainings weigh a share in [0, 1), not {memory_share}.")
        self.memory_share = memory_share

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """The model's scores, their reward divided by the scale.

        Raises:
            BadConfig: before the first training.
        """
        if "mean_square" not in self.memory:
            raise BadConfig("the running scale has seen no reward; call fit or load first.")
        scale = max(float(np.sqrt(self.memory["mean_square"])), 1e-6)
        return replace(said[0], reward=np.asarray(said[0].reward / scale, np.float32))

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the model, and see how large its rewards are; returns ``reward_scale``, too."""
        metrics = self.fit_parts(lesson)
        seen = self.models[0].score([*lesson.successes, *lesson.failures])
        square = float(np.mean(np.square(np.concatenate([scores.reward[1:] for scores in seen]))))
        before = self.memory.get("mean_square", square)
        mixed = self.memory_share * before + (1 - self.memory_share) * square
        self.memory = {"mean_square": mixed}
        return metrics | {"reward_scale": float(np.sqrt(mixed))}


@final
class AugmentationWeight(Wrapper):
    """Rewards weigh e^-U (Ctrl-U, arXiv 2410.11236): U is what another camera pose would change.

    The clip is seen twice more, under two camera poses and lights. U is the distance between the
    two progresses, in units of ``scale``. The weighted reward is no difference of potentials.

    Args:
        model: Must be able to encode frames: features alone cannot be augmented.
        scale: Distance of the progresses at which a reward weighs 1 / e.
        seed: Of the two views, which are the same for every clip.

    Raises:
        BadConfig: for a scale of nothing.
    """

    def __init__(self, model: RewardModel, *, scale: float = 0.2, seed: int = 0) -> None:
        super().__init__([model])
        if scale <= 0:
            raise BadConfig(f"the scale is a positive distance of progresses, not {scale}.")
        self.scale, self.seed = scale, seed

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """The model's scores of the clip as it is; the more the views differ, the less it pays."""
        first, second = self.models[0].score([self._view(clip, 0), self._view(clip, 1)])
        distance = np.abs(first.progress - second.progress)
        return replace(
            said[0],
            reward=said[0].reward * np.exp(-distance / self.scale),
            uncertainty=np.hypot(said[0].uncertainty, distance / np.sqrt(np.float32(2))),
        )

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the model."""
        return self.fit_parts(lesson)

    def _view(self, clip: Clip, number: int) -> Clip:
        if any(camera not in clip.frames for camera in self.cameras):
            raise BadInput("a clip without frames cannot be seen under another camera pose.")
        frames = {
            camera: moved_and_relit(clip.frames[camera], np.random.default_rng([self.seed, number]))
            for camera in self.cameras
        }
        return replace(clip, frames=frames, features={})


@final
class Hybrid(Wrapper):
    """Learned and rule terms together, each as far as it is to be trusted.

    Term i counts in frame t with c_i e^(-sigma_it / tolerance): its own confidence, less where it
    is unsure itself. A rule without an ensemble is never unsure.

    Args:
        terms: Rewards by name.
        confidence: Of each term, at least 0.
        tolerance: Standard deviation of the progress at which a term counts 1 / e.
        pessimism: Deviations of the mixed progress that the potential lies below it.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        BadConfig: if terms and confidences do not belong together.
    """

    def __init__(
        self,
        terms: dict[str, RewardModel],
        confidence: dict[str, float],
        *,
        tolerance: float = 0.2,
        pessimism: float = 1.0,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__(list(terms.values()))
        if terms.keys() != confidence.keys() or min(confidence.values()) < 0:
            raise BadConfig(
                f"each of {sorted(terms)} needs a confidence of 0 or more, not {confidence}."
            )
        self.confidence = np.array([confidence[name] for name in terms], np.float64)
        if not self.confidence.any():
            raise BadConfig("one of the terms needs a confidence above 0.")
        self.tolerance, self.pessimism = tolerance, pessimism
        self.discount, self.bonus = discount, bonus

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """Weighted means; what the terms disagree about is uncertainty."""
        progress, doubt, done = (
            np.stack([getattr(scores, name) for scores in said]).astype(np.float64)
            for name in ("progress", "uncertainty", "done")
        )
        weight = self._weights(doubt)
        mixed, complete = (weight * progress).sum(0), (weight * done).sum(0)
        variance = (weight * (np.square(doubt) + np.square(progress - mixed))).sum(0)
        deviation = np.sqrt(variance)
        return scores_from(
            progress=np.clip(mixed, 0, 1),
            done=np.clip(complete, 0, 1),
            uncertainty=deviation,
            potential=np.clip(mixed - self.pessimism * deviation, 0, 1),
            success=complete,
            discount=self.discount,
            bonus=self.bonus,
        )

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the terms that can be trained."""
        return self.fit_parts(lesson)

    def _weights(self, doubt: Float[np.ndarray, "term time"]) -> Float[np.ndarray, "term time"]:
        trust = self.confidence[:, None] * np.exp(-doubt / self.tolerance) + 1e-12
        return np.asarray(trust / trust.sum(0))
