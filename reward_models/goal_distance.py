"""XIRL (Zakka et al., arXiv 2106.03911): minus the distance to the goal in a learned embedding.

The embedding aligns demonstrations in time (`cycle_consistency.py`), the goal is the mean embedding
of their last frames, and the reward is r(s) = -kappa |phi(s) - g|. XIRL trains a ResNet; here a
small head on frozen features is trained. See `docs/rewards/goal_distance.md`.
"""

import math
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from embodied.errors import BadInput, UnknownName
from embodied.reward_models.cycle_consistency import alignment, cycle_loss
from embodied.reward_models.frame_head import FrameHead, Standardiser
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.readout import Signal
from embodied.reward_models.signal_reward import Course, Reader, SignalReward
from embodied.types import FrameEncoder

SIZE = 32
"""Dimensions of the embedding."""
VIDEOS, FRAMES = 4, 20
"""Per update: videos, and frames of each."""
LEARNING_RATE = 1e-3

EMBEDDINGS = ("tcc", "imagenet")


@final
class GoalDistance(SignalReward):
    """Progress is how much of the way to the goal is behind, in the space of an embedding.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies in training.
        cameras: Cameras that are looked at.
        embedding: ``tcc`` is trained by temporal cycle-consistency on the successes; ``imagenet``
            is the frozen encoder's own features, the untrained baseline.
        augmentations: Copies of each training clip under another camera pose and light.
        discount: Per frame, as the learner's; the reward is a difference of discounted potentials.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        UnknownName: for another embedding.
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        cameras: Sequence[str] = ("front",),
        *,
        embedding: str = "tcc",
        augmentations: int = 2,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        if embedding not in EMBEDDINGS:
            raise UnknownName("embedding", embedding, EMBEDDINGS)
        super().__init__(
            encoder,
            cameras,
            _reader(encoder.shape, len(cameras), embedding),
            augmentations=augmentations if embedding == "tcc" else 0,
            discount=discount,
            bonus=bonus,
            settings={"embedding": embedding},
        )

    def learn(self, course: Course) -> tuple[Reader, dict[str, float]]:
        """Train an embedding and find the goal in it.

        Returns:
            The reader; its final ``loss``, and of successes that it did not learn from
            ``kendall_tau`` and ``cycle_consistency``.
        """
        demonstrations = [copies[0] for copies in course.successes]
        found = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(course.seed)
            reader = _reader(self.encoder.shape, len(self.cameras), self.settings["embedding"])
            reader.standardise.adapt(demonstrations)
            if isinstance(reader.embed, FrameHead):
                found["loss"] = _train(reader.standardise, reader.embed, course)
        reader.aim(demonstrations)
        course.report(1.0)
        if course.unseen:
            known = [reader.embedded(maps) for maps in demonstrations]
            found |= alignment([reader.embedded(maps) for maps in course.unseen], known)
        return reader, found


class GoalReader(Reader):
    """Minus the distance to the goal, in units of the longest way of a demonstration.

    Args:
        channels: Channels of the feature maps.
        cameras: Number of cameras.
        embed: From standardised maps to vectors.
        size: Length of a vector.
    """

    def __init__(self, channels: int, cameras: int, embed: "FrameHead | Cells", size: int) -> None:
        super().__init__()
        self.standardise, self.embed = Standardiser(channels, cameras), embed
        self.goal = nn.Buffer(torch.zeros(size))
        self.kappa = nn.Buffer(torch.tensor(1.0))

    def aim(self, demonstrations: Sequence[Maps]) -> None:
        """The goal is the mean of the last frames; kappa makes the mean longest distance 1."""
        embedded = [self.embedded(maps) for maps in demonstrations]
        goal = np.mean([frames[-1] for frames in embedded], axis=0)
        self.goal.copy_(torch.from_numpy(goal))
        longest = [np.linalg.norm(frames - goal, axis=1).max() for frames in embedded]
        self.kappa.fill_(1 / max(float(np.mean(longest)), 1e-6))

    def read(self, maps: Maps) -> Signal:
        """-kappa |phi(s) - g| of each frame."""
        way = np.linalg.norm(self.embedded(maps) - self.goal.numpy(), axis=1)
        return np.asarray(-float(self.kappa) * way, np.float64)

    def embedded(self, maps: Maps) -> Float[np.ndarray, "frame dim"]:
        """The vector of each frame."""
        with torch.inference_mode():
            return np.asarray(self.embed(self.standardise(maps)))


class Cells(nn.Module):
    """No embedding: all cells of the standardised maps, one after the other."""

    def forward(
        self, maps: Sequence[Float[Tensor, "frame row column channel"]]
    ) -> Float[Tensor, "frame dim"]:
        """One vector per frame."""
        return torch.cat([rearrange(m, "f row col c -> f (row col c)") for m in maps], 1)


def _reader(shape: tuple[int, int, int], cameras: int, embedding: str) -> GoalReader:
    if embedding == "tcc":
        return GoalReader(shape[0], cameras, FrameHead(shape[0], cameras, SIZE), SIZE)
    return GoalReader(shape[0], cameras, Cells(), cameras * math.prod(shape))


def _train(standardise: Standardiser, head: FrameHead, course: Course) -> float:
    """Cycle-consistency between videos, among them augmented copies; returns the final loss.

    Raises:
        BadInput: with a single video.
    """
    videos = [standardise(maps) for copies in course.successes for maps in copies]
    if len(videos) < 2:
        raise BadInput(
            "cycle-consistency compares videos, also where one success is kept out: it needs three "
            "successes or more, or augmentations of two."
        )
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=course.steps
    )
    head.train()
    losses = []
    for step in range(course.steps):
        drawn = [_draw(videos[int(i)]) for i in torch.randperm(len(videos))[:VIDEOS]]
        maps = [torch.cat(camera) for camera in zip(*(m for m, _ in drawn), strict=True)]
        embedded = rearrange(head(maps), "(v f) d -> v f d", v=len(drawn))
        loss = cycle_loss(embedded, torch.stack([time for _, time in drawn]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        course.report((step + 1) / course.steps)
    head.eval()
    return float(np.mean(losses[-max(course.steps // 10, 1) :]))


def _draw(video: Sequence[Tensor]) -> tuple[list[Tensor], Float[Tensor, " frame"]]:
    """Some frames of a video, in order, and their times as shares of its length."""
    length = len(video[0])
    chosen = torch.randint(length, (FRAMES,)).sort().values
    return [camera[chosen] for camera in video], chosen / length
