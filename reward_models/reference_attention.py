"""The network of the reference critic: each frame is seen in the light of a demonstration.

A demonstration is a few frames in their order, the tokens. A frame attends to them by how near it
is to each, under several learned descriptions and under the frozen features themselves. Only how
near it is enters the critic, never what it looks like: so it cannot tell which task it sees, and
says of an unknown one what it would say of a known one. See `docs/rewards/reference_critic.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from embodied.reward_models.progress_critic import Gaze

TOKENS, AFTER = 8, 2
"""Frames of a demonstration that are looked at; those of them in which the task is complete."""
TIMES = torch.cat([torch.linspace(0, 1, TOKENS - AFTER), torch.ones(AFTER)])
"""Share of the task that is done in each."""
HEADS = 4
"""Learned descriptions under which frames are compared."""
SCALES = (1, 2)
"""Cells of the frozen maps, across and down, that are averaged before they are compared."""
SHARPNESS = 20.0
"""Of the attention by cosine."""

type Standardised = Sequence[Float[Tensor, "frame row column channel"]]
"""Feature maps per camera, with mean 0 and deviation 1 per channel."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one critic sees in some frames."""

    vectors: Float[Tensor, "frame width"]
    frozen: Sequence[Float[Tensor, "frame _"]]
    """The frozen features of each camera at each of `SCALES`, flat: the same for all critics."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the frames are judged by."""

    vectors: Float[Tensor, "frame width"]
    start: Float[Tensor, "frame width"]
    """An imagined first frame, in whose place nothing is done yet."""


class InContextCritic(nn.Module):
    """One member of the ensemble: a pairwise critic and done detector that is shown how it is done.

    The comparison is antisymmetric by construction, as the progress critic's.

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
        self.sharpness = nn.Parameter(torch.full((HEADS,), 2.0))
        nearness = (HEADS + len(SCALES) * cameras) * (TOKENS + 1)
        self.relation = nn.Sequential(nn.Linear(nearness, width), nn.SiLU(), nn.LayerNorm(width))
        self.alone = nn.Linear(width, width)
        self.read = nn.Sequential(nn.Linear(text, width), nn.Tanh())
        self.read_gap = nn.Sequential(nn.Linear(text + 1, width), nn.Tanh())
        self.begin = nn.Linear(text, width)
        self.begin_shown = nn.Parameter(torch.randn(width))
        self.compare = _two_layers(3 * width, 2 * width)
        self.finish = _two_layers(2 * width, 2 * width)

    def look(self, maps: Standardised) -> Look:
        """What is seen in frames, from one map per camera."""
        seen = [gaze(camera) for gaze, camera in zip(self.gazes, maps, strict=True)]
        return Look(vectors=self.embed(torch.cat(seen, 1)), frozen=flattened(maps))

    def relate(self, frames: Look, shown: Look | None) -> Float[Tensor, "frame width"]:
        """How frames stand to a demonstration.

        Args:
            frames: As many for each demonstration, those of the first one first.
            shown: `TOKENS` frames of each demonstration; None if there is none to look at.
        """
        if shown is None:
            vectors: Tensor = self.alone(frames.vectors)
            return vectors
        score = self._nearness(frames.vectors, shown.vectors)
        cosines = [
            rearrange(cosine(own, others), "frame token -> frame 1 token")
            for own, others in zip(frames.frozen, shown.frozen, strict=True)
        ]
        near = torch.cat([score, *cosines], 1)
        sharp = torch.cat([score, *(SHARPNESS * each for each in cosines)], 1)
        aligned = einsum(sharp.softmax(2), TIMES, "frame head token, token -> frame head")
        each = rearrange(near, "frame head token -> frame (head token)")
        related: Tensor = self.relation(torch.cat([each, aligned], 1))
        return related

    def _nearness(
        self, frames: Float[Tensor, "frame width"], tokens: Float[Tensor, "shown width"]
    ) -> Float[Tensor, "frame head token"]:
        """Minus the squared distance to each token, as far as each head looks."""
        groups = len(tokens) // TOKENS
        pattern = "(group n) (head part) -> group n head part"
        own, others = (
            rearrange(vectors, pattern, group=groups, head=HEADS) for vectors in (frames, tokens)
        )
        others = rearrange(others, "group token head part -> group 1 head token part")
        apart = (rearrange(own, "group n head part -> group n head 1 part") - others).square()
        distance = reduce(apart, "group n head token part -> (group n) head token", "mean")
        return -distance * rearrange(self.sharpness.exp(), "head -> head 1")

    def goal(
        self, text: Float[Tensor, "frame text"], shown: Float[Tensor, "frame text"] | None
    ) -> Goal:
        """What frames are judged by.

        Args:
            text: Of the instruction that the frames are taken to attempt.
            shown: Of the demonstration's own instruction; None if there is none to look at.
        """
        if shown is None:
            return Goal(vectors=self.read(text), start=self.begin(text))
        gap = text - shown
        size = 4 * gap.norm(dim=1, keepdim=True)
        vectors = self.read_gap(torch.cat([gap, size], 1))
        return Goal(vectors=vectors, start=self.begin_shown.expand(len(text), -1))

    def delta(
        self, before: Float[Tensor, "pair width"], after: Float[Tensor, "pair width"], goal: Goal
    ) -> Float[Tensor, " pair"]:
        """Signed share of the remaining progress made from one frame to the other, in [-1, 1]."""
        there = self.compare(torch.cat([before, after, goal.vectors], 1))
        back = self.compare(torch.cat([after, before, goal.vectors], 1))
        return torch.tanh(rearrange(there - back, "pair 1 -> pair"))

    def value(self, frame: Float[Tensor, "frame width"], goal: Goal) -> Float[Tensor, " frame"]:
        """Share of the whole task that is done: the delta from the imagined first frame."""
        return self.delta(goal.start, frame, goal)

    def done(self, frame: Float[Tensor, "frame width"], goal: Goal) -> Float[Tensor, " frame"]:
        """Logit that the task is complete in a frame."""
        logit = self.finish(torch.cat([frame, goal.vectors], 1))
        logits: Tensor = rearrange(logit, "frame 1 -> frame")
        return logits


def _two_layers(inputs: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Dropout(0.1), nn.Linear(hidden, 1)
    )


def flattened(maps: Standardised) -> list[Float[Tensor, "frame _"]]:
    """The maps of each camera, averaged over cells at each of `SCALES`, a vector per frame."""
    first = [rearrange(camera, "f row col ch -> f ch row col") for camera in maps]
    return [
        rearrange(_pooled(camera, scale), "f ch row col -> f (ch row col)")
        for scale in SCALES
        for camera in first
    ]


def _pooled(
    maps: Float[Tensor, "frame channel row column"], scale: int
) -> Float[Tensor, "frame channel down across"]:
    down, across = (max(size // scale, 1) for size in maps.shape[2:])
    return nn.functional.adaptive_avg_pool2d(maps, (down, across))


def cosine(
    frames: Float[Tensor, "frame dim"], tokens: Float[Tensor, "shown dim"]
) -> Float[Tensor, "frame token"]:
    """Cosine of each frame with each token of its demonstration, seen from the tokens' mean."""
    groups = len(tokens) // TOKENS
    own, others = (
        rearrange(each, "(group n) dim -> group n dim", group=groups) for each in (frames, tokens)
    )
    centre = reduce(others, "group n dim -> group 1 dim", "mean")
    own, others = (nn.functional.normalize(each - centre, dim=2) for each in (own, others))
    found = einsum(own, others, "group n dim, group token dim -> group n token")
    return rearrange(found, "group n token -> (group n) token")
