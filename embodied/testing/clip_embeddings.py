"""Whole clips as short vectors, without learning: what heads on clip embeddings are tried on."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.preferences.embedding import extremes, in_components
from embodied.testing.ways import CAMERA
from embodied.types import Clip


def embed_clips(
    known: Sequence[Clip], clips: Sequence[Clip], size: int = 48
) -> Float[Tensor, "clip size"]:
    """Each clip's mean, least and greatest feature map by the known clips' principal components.

    The components keep their proportions: made all as large as the first, those that are noise
    drown the others (see `docs/preferences_learning.md`).

    Args:
        known: Clips that the components, and the deviation of the first one, are taken from.
        clips: To be embedded; the known clips deviate by 1 in the first component.
        size: Components, at most one fewer than there are known clips.
    """
    told, seen = (
        np.stack([extremes([np.asarray(clip.features[CAMERA])]) for clip in each])
        for each in (known, clips)
    )
    return torch.from_numpy(in_components(told, seen, size)).float()
