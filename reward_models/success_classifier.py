"""The reward that most people use: a classifier of success on the current frame.

Goal classifiers as rewards: VICE (Fu et al., arXiv 1805.11686), RAQ (Singh et al., 1904.07854). A
small head on frozen features tells the last frames of successes from early frames and from
failures. See `docs/rewards/success_classifier.md`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from embodied.reward_models.frame_head import FrameHead, Standardiser
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.progress_lessons import times
from embodied.reward_models.readout import Signal
from embodied.reward_models.signal_reward import Course, Reader, SignalReward
from embodied.types import FrameEncoder

EARLY, LATE = 0.8, 0.95
"""Share of a success before which it is not complete, and after which it is."""
BATCH = 64
NOISE = 0.1
"""Deviation of the noise on standardised features."""


@final
class SuccessClassifier(SignalReward):
    """Progress is the probability that the current frame is one of a completed task.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies in training.
        cameras: Cameras that are looked at.
        augmentations: Copies of each training clip under another camera pose and light.
        linger: Frames that successes to learn from go on after the task is complete.
        discount: Per frame, as the learner's; the reward is a difference of discounted potentials.
        bonus: Paid once, when the clip counts as complete.
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        cameras: Sequence[str] = ("front",),
        *,
        augmentations: int = 2,
        linger: int = 10,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__(
            encoder,
            cameras,
            Classifier(encoder.shape[0], len(cameras)),
            augmentations=augmentations,
            discount=discount,
            bonus=bonus,
            settings={},
        )
        self.linger = linger

    def learn(self, course: Course) -> tuple[Reader, dict[str, float]]:
        """Train a classifier; its ``loss`` is the mean over the last tenth of the updates."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(course.seed)
            classifier = Classifier(self.encoder.shape[0], len(self.cameras))
            classifier.standardise.adapt(
                [copies[0] for copies in (*course.successes, *course.failures)]
            )
            examples = _examples(classifier.standardise, course, self.linger)
            loss = _train(classifier.head, examples, course.steps, course.report)
        return classifier, {"loss": loss}


class Classifier(Reader):
    """Probability that a frame is one of a completed task."""

    def __init__(self, channels: int, cameras: int) -> None:
        super().__init__()
        self.standardise = Standardiser(channels, cameras)
        self.head = FrameHead(channels, cameras, 1)

    def read(self, maps: Maps) -> Signal:
        """The probability of each frame; balanced classes, so without a prior."""
        with torch.inference_mode():
            return np.asarray(_logits(self.head, self.standardise(maps)).sigmoid(), np.float64)


@dataclass(frozen=True, kw_only=True)
class _Examples:
    maps: Sequence[Float[Tensor, "frame row column channel"]]
    complete: Int[Tensor, " complete"]
    """Frames of a completed task."""
    incomplete: Sequence[Int[Tensor, " _"]]
    """Early frames of successes; and frames of failures, if there are any."""


def _examples(standardise: Standardiser, course: Course, linger: int) -> _Examples:
    strands = [
        (standardise(maps), times(len(maps[0]), linger) if success else None)
        for clips, success in ((course.successes, True), (course.failures, False))
        for copies in clips
        for maps in copies
    ]
    label = np.concatenate([_labels(time, len(maps[0])) for maps, time in strands])
    kinds = [torch.from_numpy(np.flatnonzero(label == kind)) for kind in _KINDS]
    return _Examples(
        maps=[torch.cat(camera) for camera in zip(*(maps for maps, _ in strands), strict=True)],
        complete=kinds[0],
        incomplete=[kind for kind in kinds[1:] if len(kind)],
    )


_KINDS = ("complete", "early", "failed")


def _labels(time: Float[np.ndarray, " time"] | None, length: int) -> np.ndarray:
    if time is None:
        return np.full(length, "failed")
    return np.where(time > LATE, "complete", np.where(time < EARLY, "early", "neither"))


def _train(
    head: FrameHead,
    examples: _Examples,
    steps: int,
    report: Callable[[float], None],
    learning_rate: float = 3e-3,
) -> float:
    """Half of each batch is complete; the other half is shared by what is not."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    shares = [BATCH // 2 // len(examples.incomplete)] * len(examples.incomplete)
    truth = torch.cat([torch.ones(BATCH // 2), torch.zeros(sum(shares))])
    head.train()
    losses = []
    for step in range(steps):
        drawn = [
            kind[torch.randint(len(kind), (count,))]
            for kind, count in zip(
                (examples.complete, *examples.incomplete), (BATCH // 2, *shares), strict=True
            )
        ]
        maps = [camera[torch.cat(drawn)] for camera in examples.maps]
        noisy = [camera + NOISE * torch.randn_like(camera) for camera in maps]
        loss = nn.functional.binary_cross_entropy_with_logits(_logits(head, noisy), truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        report((step + 1) / steps)
    head.eval()
    return float(np.mean(losses[-max(steps // 10, 1) :]))


def _logits(
    head: FrameHead, maps: Sequence[Float[Tensor, "frame row column channel"]]
) -> Float[Tensor, " frame"]:
    logits: Tensor = rearrange(head(maps), "frame 1 -> frame")
    return logits
