"""A small network on frozen feature maps: one vector per frame."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embodied.reward_models.progress_critic import Gaze
from embodied.reward_models.progress_ensemble import Maps, standardise
from embodied.reward_models.progress_lessons import channel_statistics


def seeded[M: nn.Module](make: Callable[[], M], seed: int) -> M:
    """A new network that the seed alone decides; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


class Standardiser(nn.Module):
    """Features with mean 0 and deviation 1 per channel.

    Args:
        channels: Channels of the feature maps.
        cameras: Number of cameras.
    """

    def __init__(self, channels: int, cameras: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(cameras, channels))
        self.scale = nn.Buffer(torch.ones(cameras, channels))

    def adapt(self, clips: Sequence[Maps]) -> None:
        """Take the mean and the deviation of each channel from these clips."""
        mean, scale = channel_statistics(clips)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, maps: Maps) -> list[Float[Tensor, "frame row column channel"]]:
        """Standardised maps of each camera, channels last."""
        return [
            standardise(own, mean, scale)
            for own, mean, scale in zip(maps, self.mean, self.scale, strict=True)
        ]


class FrameHead(nn.Module):
    """Where learned things are in the picture and how much there is of others; then two layers.

    Args:
        channels: Channels of the feature maps.
        cameras: Number of cameras.
        outputs: Length of a frame's vector.
        width: Width of the hidden layer; half as many things are looked for.
    """

    def __init__(self, channels: int, cameras: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.gazes = nn.ModuleList(Gaze(channels, width // 2) for _ in range(cameras))
        self.embed = nn.Sequential(
            nn.Linear(3 * (width // 2) * cameras, width),
            nn.LayerNorm(width),
            nn.SiLU(),
            nn.Dropout(0.1),
            nn.Linear(width, outputs),
        )

    def forward(
        self, maps: Sequence[Float[Tensor, "frame row column channel"]]
    ) -> Float[Tensor, "frame output"]:
        """One vector per frame, from one standardised map per camera."""
        seen = [gaze(camera) for gaze, camera in zip(self.gazes, maps, strict=True)]
        vectors: Tensor = self.embed(torch.cat(seen, 1))
        return vectors
