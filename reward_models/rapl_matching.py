"""Feature matching: clips beside the preferred clips, in an embedding of their frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from embodied.errors import BadConfig, UnknownName
from embodied.reward_models.frame_head import FrameHead, Standardiser, seeded
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.transport import Matching, cosine_costs, frame_costs, plan_of

SIZE = 32
"""Dimensions of the embedding, as XIRL's."""
EMBEDDINGS = ("aligned", "imagenet")


@dataclass(frozen=True, kw_only=True)
class Match:
    """A clip beside the preferred clip that it is nearest to."""

    reference: int
    """Number of the preferred clip."""
    cost: Float[Tensor, "time other"]
    plan: Float[Tensor, "time other"]
    frame_cost: Float[np.ndarray, " time"]
    """What each frame contributes to the distance."""
    distance: float

    def nearness(self) -> Float[np.ndarray, " time"]:
        """How near each frame is to the end of the reference, less what the whole clip costs."""
        return np.asarray(-self.cost[:, -1].numpy() - self.distance)


class Matcher(nn.Module):
    """Embeds frames, remembers preferred clips, and matches others with them.

    Args:
        channels: Channels of the feature maps.
        cameras: Number of cameras.
        embedding: ``aligned``, a small head, or ``imagenet``: all cells of the features themselves.
        matching: How frames are matched.

    Raises:
        UnknownName: for another embedding.
    """

    def __init__(self, channels: int, cameras: int, embedding: str, matching: Matching) -> None:
        super().__init__()
        if embedding not in EMBEDDINGS:
            raise UnknownName("embedding", embedding, EMBEDDINGS)
        self.embedding, self.matching = embedding, matching
        self.standardise = Standardiser(channels, cameras)
        self.head = FrameHead(channels, cameras, SIZE) if embedding == "aligned" else Cells()
        self.references: list[Tensor] = []
        """Embedded frames of preferred clips."""
        self.eval()

    def remember(self, clips: Sequence[Maps]) -> None:
        """Take these as the preferred clips."""
        self.references = [self.embed(maps) for maps in clips]

    @torch.no_grad()
    def embed(self, maps: Maps) -> Float[Tensor, "time dim"]:
        """The vector of each frame."""
        vectors: Tensor = self.head(self.standardise(maps))
        return vectors

    @torch.no_grad()
    def match(self, maps: Maps) -> Match:
        """The preferred clip that a clip is nearest to, and the plan between the two.

        Raises:
            BadConfig: if there is none yet.
        """
        if not self.references:
            raise BadConfig("the RAPL reward is untrained; call fit, align or load first.")
        embedded = self.embed(maps).double()
        costs = cosine_costs(
            [embedded] * len(self.references), [known.double() for known in self.references]
        )
        plan = plan_of(costs, self.matching)
        by_frame = frame_costs(costs, plan)
        best = int(by_frame.sum(1).argmin())
        length = int(costs.other_length[best])
        return Match(
            reference=best,
            cost=costs.cost[best, :, :length],
            plan=plan[best, :, :length],
            frame_cost=by_frame[best].numpy(),
            distance=float(by_frame[best].sum()),
        )

    def get_extra_state(self) -> dict[str, Any]:
        """The preferred clips."""
        return {"references": self.references}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_extra_state` gave."""
        self.references = list(state["references"])


def new_matcher(
    channels: int, cameras: int, embedding: str, matching: Matching, seed: int
) -> Matcher:
    """An untrained matcher, as its seed decides."""
    return seeded(lambda: Matcher(channels, cameras, embedding, matching), seed)


class Cells(nn.Module):
    """No embedding: all cells of the standardised maps, one after the other."""

    def forward(
        self, maps: Sequence[Float[Tensor, "frame row column channel"]]
    ) -> Float[Tensor, "frame dim"]:
        """One vector per frame."""
        return torch.cat([rearrange(m, "f row col c -> f (row col c)") for m in maps], 1)
