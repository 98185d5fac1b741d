"""The network of the progress reward: compares two frames, and says whether a task is complete.

Frames arrive as feature maps of a frozen encoder. Positions in the picture are read off by a
spatial soft-argmax (Finn et al. 2016), appearance by the mean of each channel.
"""

from collections.abc import Sequence

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn


class Gaze(nn.Module):
    """Where some learned things are in one camera's map, and how much of others there is.

    Args:
        channels: Channels of the map.
        points: Learned things whose position is read off, and whose mean is taken.
    """

    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.things = nn.Linear(channels, 2 * points)

    def forward(
        self, maps: Float[Tensor, "frame row column channel"]
    ) -> Float[Tensor, "frame gaze"]:
        """Expected row and column in [-1, 1] of some things, mean of the others."""
        rows, columns = maps.shape[1:3]
        found = self.things(rearrange(maps, "f row col c -> f (row col) c"))
        heat, amount = found.chunk(2, 2)
        row, column = torch.meshgrid(
            torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij"
        )
        places = rearrange(torch.stack([row, column]), "yx row col -> (row col) yx")
        position = einsum(heat.softmax(1), places, "f cell point, cell yx -> f point yx")
        mean = reduce(amount.relu(), "f cell point -> f point", "mean")
        return torch.cat([rearrange(position, "f point yx -> f (point yx)"), mean], 1)


class Critic(nn.Module):
    """One member of the ensemble: VLAC's pairwise critic and done detector on frozen features.

    The comparison is antisymmetric by construction: a frame compared with itself scores exactly 0,
    and looking from b to a scores minus what looking from a to b does.

    Args:
        channels: Channels of the feature maps.
        cameras: Number of cameras.
        text: Length of an instruction's vector.
        width: Width of the hidden layers.
    """

    def __init__(self, channels: int, cameras: int, text: int, width: int = 64) -> None:
        super().__init__()
        points = width // 2
        self.gazes = nn.ModuleList(Gaze(channels, points) for _ in range(cameras))
        self.embed = nn.Sequential(nn.Linear(3 * points * cameras, width), nn.LayerNorm(width))
        self.read = nn.Sequential(nn.Linear(text, width), nn.Tanh())
        self.start = nn.Linear(text, width)
        self.compare = nn.Sequential(
            nn.Linear(3 * width, 2 * width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(2 * width, 1)
        )
        self.finish = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(2 * width, 1)
        )

    def look(
        self, maps: Sequence[Float[Tensor, "frame row column channel"]]
    ) -> Float[Tensor, "frame width"]:
        """One vector for each frame, from one map per camera."""
        seen = [gaze(camera) for gaze, camera in zip(self.gazes, maps, strict=True)]
        vectors: Tensor = self.embed(torch.cat(seen, 1))
        return vectors

    def delta(
        self,
        before: Float[Tensor, "pair width"],
        after: Float[Tensor, "pair width"],
        text: Float[Tensor, "pair text"],
    ) -> Float[Tensor, " pair"]:
        """Signed share of the remaining progress made from one frame to the other, in [-1, 1]."""
        goal = self.read(text)
        there = self.compare(torch.cat([before, after, goal], 1))
        back = self.compare(torch.cat([after, before, goal], 1))
        return torch.tanh(rearrange(there - back, "pair 1 -> pair"))

    def value(
        self, frame: Float[Tensor, "frame width"], text: Float[Tensor, "frame text"]
    ) -> Float[Tensor, " frame"]:
        """Share of the whole task that is done: the delta from a learned, imagined first frame."""
        return self.delta(self.start(text), frame, text)

    def done(
        self, frame: Float[Tensor, "frame width"], text: Float[Tensor, "frame text"]
    ) -> Float[Tensor, " frame"]:
        """Logit that the task is complete in a frame."""
        logit = self.finish(torch.cat([frame, self.read(text)], 1))
        logits: Tensor = rearrange(logit, "frame 1 -> frame")
        return logits
