"""The ensemble of critics: what each member says of each frame of a clip."""

import abc
from collections.abc import Sequence
from typing import cast, final

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from embodied.reward_models.progress_critic import Critic
from embodied.reward_models.progress_value import Opinions, mix_f

Maps = Sequence[Float[np.ndarray, "_ channel row column"]]
"""Features of the frames of one clip, one entry per camera."""
Seen = Sequence[Float[Tensor, "_ width"]]
"""What each member sees in each frame."""


class CriticEnsemble[C: nn.Module](nn.Module, abc.ABC):
    """Critics that share nothing but the statistics of the features, and their calibration.

    Args:
        members: Number of critics.
        channels: Channels of the feature maps.
        cameras: Number of cameras.
        text: Length of an instruction's vector.
    """

    def __init__(self, members: int, *, channels: int, cameras: int, text: int) -> None:
        super().__init__()
        self.sizes = (channels, cameras, text)
        self.critics = nn.ModuleList(self.critic(*self.sizes) for _ in range(members))
        self.mean = nn.Buffer(torch.zeros(cameras, channels))
        self.scale = nn.Buffer(torch.ones(cameras, channels))
        self.calibration = nn.Buffer(torch.tensor([1.0, 0.0]))
        """Slope and offset of the done logits, fitted on episodes that a member never saw."""
        self.success = nn.Buffer(torch.tensor([1.0, 0.0]))
        """The same, from a member's evidence to the probability of success."""

    def __len__(self) -> int:
        return len(self.critics)

    @staticmethod
    @abc.abstractmethod
    def critic(channels: int, cameras: int, text: int) -> C:
        """A new member."""

    @property
    def members(self) -> list[C]:
        """The critics, in order."""
        return cast(list[C], list(self.critics))

    def standardised(self, maps: Maps) -> list[Float[Tensor, "frame row column channel"]]:
        """Features of each camera by the statistics that all members share."""
        return [
            standardise(camera, mean, scale)
            for camera, mean, scale in zip(maps, self.mean, self.scale, strict=True)
        ]

    def opinions(
        self,
        values: Sequence[Float[np.ndarray, " time"]],
        logits: Sequence[Float[Tensor, " time"]],
    ) -> Opinions:
        """What members say, from their values and their uncalibrated done logits."""
        slope, offset = self.calibration
        done = [(slope * logit + offset).sigmoid().numpy() for logit in logits]
        return Opinions(value=np.stack(values), done=np.stack(done))


@final
class Ensemble(CriticEnsemble[Critic]):
    """The progress critics."""

    @staticmethod
    def critic(channels: int, cameras: int, text: int) -> Critic:
        """A new member."""
        return Critic(channels, cameras, text)

    def look(self, maps: Maps) -> Seen:
        """What each member sees in the frames of each camera."""
        with torch.inference_mode():
            standard = self.standardised(maps)
            return [critic.look(standard) for critic in self.members]

    def judge(
        self,
        seen: Seen,
        first: Seen,
        text: Float[Tensor, " text"],
        chosen: Sequence[int] | None = None,
    ) -> Opinions:
        """What members say of frames that they have seen.

        Args:
            seen: What each member sees in the frames.
            first: The same for the first frame of the clip that they belong to.
            text: Vector of the instruction.
            chosen: Members that are asked; all of them by default.
        """
        asked = range(len(self)) if chosen is None else chosen
        with torch.inference_mode():
            said = [_opinion(self.members[m], seen[m], first[m], text) for m in asked]
            return self.opinions(*zip(*said, strict=True))


def standardise(
    maps: Float[np.ndarray, "time channel row column"],
    mean: Float[Tensor, " channel"],
    scale: Float[Tensor, " channel"],
) -> Float[Tensor, "time row column channel"]:
    """Features with mean 0 and deviation 1 per channel, as float32, channels last."""
    channels_last = np.ascontiguousarray(rearrange(maps, "t c row col -> t row col c"), np.float32)
    return (torch.from_numpy(channels_last) - mean) / scale


def _opinion(
    critic: Critic,
    seen: Float[Tensor, "time width"],
    first: Float[Tensor, "1 width"],
    text: Float[Tensor, " text"],
) -> tuple[Float[np.ndarray, " time"], Float[Tensor, " time"]]:
    """One member's value and done logit of each frame."""
    texts = repeat(text, "text -> time text", time=len(seen))
    anchor = repeat(first, "1 width -> time width", time=len(seen))
    absolute = critic.value(seen, texts).clamp(0, 1).numpy()
    start = critic.value(first, texts[:1]).clamp(0, 1).numpy()
    since = critic.delta(anchor, seen, texts).numpy()
    return two_readings(absolute, start, since), critic.done(seen, texts)


def two_readings(
    absolute: Float[np.ndarray, " time"],
    start: Float[np.ndarray, "1"],
    since: Float[np.ndarray, " time"],
) -> Float[np.ndarray, " time"]:
    """A member's value of each frame: the mean of what two comparisons say.

    Args:
        absolute: The delta from the imagined first frame.
        start: The same of the clip's own first frame.
        since: The delta from the clip's own first frame, integrated from where that one stands.
    """
    value: np.ndarray = (absolute + mix_f(np.broadcast_to(start, since.shape), since)) / 2
    return value
