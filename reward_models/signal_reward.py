"""Rewards that learn one number per frame, without a scale; a `Readout` makes progress of it.

The readout needs clips that the number was not fitted to. So the clips are cut into folds; each is
kept from one reader, the readout is fitted on what these say of it, and the reader that stays is
then trained on all clips. (Calibration by cross-fitting, as scikit-learn's `ensemble=False`.)
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import Scores
from embodied.reward_models.features import maps_of, variants_of
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.readout import Readout, Signal
from embodied.reward_models.stored_reward import StoredReward
from embodied.types import Clip, FrameEncoder

FOLDS = 4

type Copies = Sequence[Maps]
"""A clip's features, and those of its augmented copies."""


class Reader(nn.Module, abc.ABC):
    """What was learned: reads one number off each frame, more being better."""

    @abc.abstractmethod
    def read(self, maps: Maps) -> Signal:
        """The signal of one clip."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a reader is to learn from."""

    successes: Sequence[Copies]
    failures: Sequence[Copies]
    unseen: Sequence[Maps]
    """Successes that it must not learn from, to be judged by; empty for the reader that stays."""
    seed: int
    steps: int
    report: Callable[[float], None]
    """Is told the share of the work that is done."""


class SignalReward(StoredReward, abc.ABC):
    """A reward that does not read the instruction: `InstructionGate` refuses wrong ones for it.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies in training.
        cameras: Cameras that are looked at.
        reader: Untrained; its tensors have their final shapes.
        augmentations: Copies of each training clip under another camera pose and light.
        discount: Per frame, as the learner's; the reward is a difference of discounted potentials.
        bonus: Paid once, when the clip counts as complete.
        settings: What else a saved reward must have been built with.

    Raises:
        BadConfig: without a camera.
    """

    causal = True

    def __init__(
        self,
        encoder: FrameEncoder,
        cameras: Sequence[str],
        reader: Reader,
        *,
        augmentations: int,
        discount: float,
        bonus: float,
        settings: Mapping[str, Any],
    ) -> None:
        super().__init__()
        if not cameras:
            raise BadConfig(f"a {type(self).__name__} needs a camera.")
        self.encoder, self.cameras = encoder, tuple(cameras)
        self.augmentations, self.settings = augmentations, dict(settings)
        self.reader = reader
        self.readout = Readout(discount=discount, bonus=bonus)
        self.eval()

    @abc.abstractmethod
    def learn(self, course: Course) -> tuple[Reader, dict[str, float]]:
        """A new reader, and metrics of how it learned."""

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip; features that a clip lacks are computed, all others are used.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the reward is untrained.
        """
        if self.version == 0:
            raise BadConfig(f"the {type(self).__name__} is untrained; call fit or load first.")
        maps = [maps_of(clip, self.cameras, self.encoder) for clip in clips]
        return [self.readout.scores(self.reader.read(own)) for own in maps]

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Train anew on all clips, and calibrate on clips that a reader was kept from.

        Args:
            successes: Clips that end with the task complete. A single one cannot be kept out: its
                own reader then judges it, and judges it too well.
            failures: Clips that never complete it; may be empty, at the price of false accepts.
            distractor_instructions: Not used: the reward does not read.
            seed: Of the networks and the augmentation.
            steps: Updates of each reader.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            The means of the readers' metrics, and what `Readout.fit` returns.

        Raises:
            BadInput: without a success, or for an unusable clip.
        """
        if not successes:
            raise BadInput(f"a {type(self).__name__} needs one success or more.")
        rng = np.random.default_rng(seed)
        good, bad = (
            [variants_of(c, self.cameras, self.encoder, self.augmentations, rng) for c in clips]
            for clips in (successes, failures)
        )
        folds = min(FOLDS, len(good))
        plan = _Plan(folds=folds, seed=seed, steps=steps, report=progress_callback)
        learned = [self.learn(_course(good, bad, fold, plan)) for fold in range(folds + 1)]
        readers = [reader.eval() for reader, _ in learned]
        metrics = self.readout.fit(
            *(
                [readers[number % folds].read(copies[0]) for number, copies in enumerate(clips)]
                for clips in (good, bad)
            )
        )
        self.reader = readers[-1]
        self.version += 1
        return _means([found for _, found in learned]) | metrics

    def identity(self) -> dict[str, Any]:
        """The encoder, the cameras, and what the subclass adds."""
        seen = {"encoder": self.encoder.fingerprint, "cameras": list(self.cameras)}
        return seen | self.settings


@dataclass(frozen=True, kw_only=True)
class _Plan:
    folds: int
    seed: int
    steps: int
    report: Callable[[float], None] | None


def _course(good: Sequence[Copies], bad: Sequence[Copies], fold: int, plan: _Plan) -> Course:
    """What the reader of a fold learns from; the last one, of no fold, learns from everything."""

    def unseen(number: int) -> bool:
        return plan.folds > 1 and number % plan.folds == fold

    def report(share: float) -> None:
        if plan.report is not None:
            plan.report((fold + share) / (plan.folds + 1))

    return Course(
        successes=[copies for number, copies in enumerate(good) if not unseen(number)],
        failures=[copies for number, copies in enumerate(bad) if not unseen(number)],
        unseen=[copies[0] for number, copies in enumerate(good) if unseen(number)],
        seed=plan.seed * 1009 + fold,
        steps=plan.steps,
        report=report,
    )


def _means(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over those that have it."""
    names = dict.fromkeys(name for found in metrics for name in found)
    return {
        name: float(np.mean([found[name] for found in metrics if name in found])) for name in names
    }
