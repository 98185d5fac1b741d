"""Frozen features of clips, for rewards that put something small on top of them."""

from collections.abc import Sequence

import numpy as np

from embodied.errors import BadInput
from embodied.reward_models.base import check_clip
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.progress_lessons import augment_clip, encode_clip
from embodied.types import Clip, FrameEncoder


def maps_of(clip: Clip, cameras: Sequence[str], encoder: FrameEncoder) -> Maps:
    """Features per camera; frames are encoded only where features are missing.

    Raises:
        BadInput: for a clip that cannot be scored, or features of another shape.
    """
    check_clip(clip, cameras)
    maps = encode_clip(clip, cameras, encoder)
    for camera, found in zip(cameras, maps, strict=True):
        if found.shape[1:] != encoder.shape:
            raise BadInput(
                f"features of camera '{camera}' have shape {found.shape[1:]} per frame; the "
                f"encoder {encoder.fingerprint} makes {encoder.shape}."
            )
    return maps


def variants_of(
    clip: Clip, cameras: Sequence[str], encoder: FrameEncoder, copies: int, rng: np.random.Generator
) -> list[Maps]:
    """Features of the clip, and of copies under other camera poses and lights.

    Raises:
        BadInput: for a clip that cannot be scored, or features of another shape.
    """
    own = maps_of(clip, cameras, encoder)
    return [own, *augment_clip(clip, cameras, encoder, copies, rng)]
