"""Training episodes as tensors: encoded, copied, standardised, laid end to end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.reward_models.progress_augment import moved_and_relit
from embodied.reward_models.progress_ensemble import Maps, standardise
from embodied.reward_models.progress_training import Strands
from embodied.types import Clip, FrameEncoder


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One episode: its features, and those of its augmented copies."""

    variants: Sequence[Maps]
    text: Float[Tensor, " text"]


def encode_clip(clip: Clip, cameras: Sequence[str], encoder: FrameEncoder) -> Maps:
    """Features per camera; frames are encoded only where features are missing."""
    return [
        clip.features[camera] if camera in clip.features else encoder.encode(clip.frames[camera])
        for camera in cameras
    ]


def augment_clip(
    clip: Clip, cameras: Sequence[str], encoder: FrameEncoder, copies: int, rng: np.random.Generator
) -> list[Maps]:
    """Features of copies under other cameras and lights; none for a clip without frames."""
    if any(camera not in clip.frames for camera in cameras):
        return []
    return [
        [encoder.encode(moved_and_relit(clip.frames[camera], rng)) for camera in cameras]
        for _ in range(copies)
    ]


def channel_statistics(
    clips: Sequence[Maps],
) -> tuple[Float[Tensor, "camera channel"], Float[Tensor, "camera channel"]]:
    """Mean and standard deviation of each channel of each camera, over frames and positions."""
    means, scales = [], []
    for camera in range(len(clips[0])):
        maps = np.concatenate([clip[camera] for clip in clips]).astype(np.float32)
        means.append(maps.mean((0, 2, 3)))
        scales.append(maps.std((0, 2, 3)) + 1e-3)
    return torch.from_numpy(np.stack(means)), torch.from_numpy(np.stack(scales))


def lay_out(
    clips: Sequence[Encoded],
    mean: Float[Tensor, "camera channel"],
    scale: Float[Tensor, "camera channel"],
    *,
    linger: int = 0,
    shuffle: np.random.Generator | None = None,
) -> Strands:
    """All variants of all clips, one tensor per camera.

    Args:
        clips: Successes, or failures.
        mean: Of each channel.
        scale: Standard deviation of each channel.
        linger: Frames that clips go on after the task is complete; their time is 1.
        shuffle: Mixes up the time labels.
    """
    strands = [(number, maps) for number, clip in enumerate(clips) for maps in clip.variants]
    orders = [times(len(clip.variants[0][0]), linger) for clip in clips]
    if shuffle is not None:
        orders = [shuffle.permutation(order) for order in orders]
    length = torch.tensor([len(maps[0]) for _, maps in strands])
    return Strands(
        maps=[
            torch.cat(
                [standardise(maps[camera], mean[camera], scale[camera]) for _, maps in strands]
            )
            for camera in range(len(mean))
        ],
        order=torch.from_numpy(np.concatenate([orders[n] for n, _ in strands]).astype(np.float32)),
        first=torch.cumsum(length, 0) - length,
        length=length,
        text=torch.stack([clips[number].text for number, _ in strands]),
        clip=torch.tensor([number for number, _ in strands]),
    )


def times(length: int, linger: int) -> Float[np.ndarray, " time"]:
    """Time of each frame: 1 from the one that completes the task on.

    Half a clip or more is work, however short it is.
    """
    complete = max(length - 1 - linger, length // 2)
    return np.minimum(np.arange(length) / complete, 1.0)
