"""Whole clips as short vectors, without learning: what heads on clip embeddings are tried on."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.testing.ways import CAMERA
from embodied.types import Clip


def embed_clips(
    known: Sequence[Clip], clips: Sequence[Clip], size: int = 24
) -> Float[Tensor, "clip size"]:
    """The mean feature map of each clip by the principal components of the known clips' maps.

    Args:
        known: Clips that the components, and their deviations, are taken from.
        clips: To be embedded; components in which the known clips deviate by 1.
        size: Components, at most one fewer than there are known clips.
    """
    maps, seen = (
        np.stack([np.asarray(clip.features[CAMERA], np.float64).mean(0).ravel() for clip in each])
        for each in (known, clips)
    )
    _, deviation, component = np.linalg.svd(maps - maps.mean(0), full_matrices=False)
    size = min(size, len(known) - 1)
    scale = deviation[:size] / np.sqrt(len(known))
    return torch.from_numpy((seen - maps.mean(0)) @ component[:size].T / scale).float()
