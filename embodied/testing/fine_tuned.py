"""RLHF and RAPL as their papers have them: the network below the reward learns with it."""

from collections.abc import Sequence
from typing import Self, final

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from embodied.encoders import pretrained_trunk
from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.progress_ensemble import Maps

STRIDE = 8
"""Of the maps that a fine-tuned network begins with."""
FROZEN = 5
"""Modules of the pre-trained network that stay: those below maps of that stride."""
RATE = 1e-4
"""Highest learning rate of what was trained before."""


@final
class FineTuned(nn.Module):
    """The upper stages of the pre-trained network and a head on its maps; both learn.

    The stages hold nine tenths of the weights of the network as `EfficientNetLite` cuts it.

    Args:
        features: Of clips, as the pre-trained network makes them, to standardise by.
        head: On standardised maps.
    """

    def __init__(self, features: Sequence[Maps], head: nn.Module) -> None:
        super().__init__()
        self.stages = upper_stages()
        self.standardise = Standardiser(features[0][0].shape[1], 1)
        self.standardise.adapt(features)
        self.head = head

    def train(self, mode: bool = True) -> Self:
        """All but the batch norms' statistics, which stay."""
        super().train(mode)
        self.stages.eval()
        return self

    def forward(
        self, maps: Sequence[Float[Tensor, "frame row column channel"]]
    ) -> Float[Tensor, "frame output"]:
        """One vector per frame, from maps of stride 8 as they are."""
        (lower,) = maps
        upper = self.stages(rearrange(lower, "f r c k -> f k r c"))
        (mean,), (scale,) = self.standardise.mean, self.standardise.scale
        vectors: Tensor = self.head([(rearrange(upper, "f k r c -> f r c k") - mean) / scale])
        return vectors


def upper_stages() -> nn.Sequential:
    """What makes maps of stride 16 of maps of stride 8, as it was pre-trained."""
    return nn.Sequential(*list(pretrained_trunk())[FROZEN:])


@torch.inference_mode()
def upper_maps(lower: Sequence[Float[np.ndarray, "time channel row column"]]) -> list[np.ndarray]:
    """What the pre-trained network makes of the maps of stride 8 of each clip."""
    stages = upper_stages()
    return [stages(torch.from_numpy(maps).float()).half().numpy() for maps in lower]
