"""What the audit does to a clip: edits of time, and edits of its pictures.

Edits of time choose frames by index, so frames and features stay together and nothing is encoded
again. Edits of pictures drop the features: they have to be computed anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8

from embodied.types import Clip

FIELD_OF_VIEW = 45.0
"""Vertical field of view that camera shifts assume, in degrees (Meta-World's cameras)."""
SHIFTS = ("yaw", "pitch", "roll", "zoom")

ImageEdit = Callable[
    [UInt8[np.ndarray, "time height width 3"], int], UInt8[np.ndarray, "time height width 3"]
]
"""Takes the frames of one camera and the number of the clip, which may vary the edit."""


def take(clip: Clip, index: Int[np.ndarray, " chosen"]) -> Clip:
    """The clip made of the frames at ``index``, which may repeat and run backwards."""
    return Clip(
        frames={camera: frames[index] for camera, frames in clip.frames.items()},
        features={camera: maps[index] for camera, maps in clip.features.items()},
        instruction=clip.instruction,
    )


def reverse(clip: Clip) -> Clip:
    """Played backwards."""
    return take(clip, np.arange(len(clip))[::-1])


def undo(clip: Clip) -> Clip:
    """The clip followed by its reverse: what was done is undone. One frame less than twice."""
    there = np.arange(len(clip))
    return take(clip, np.concatenate([there, there[-2::-1]]))


def tent(length: int) -> Float[np.ndarray, " time"]:
    """The true order of an undone clip of ``length`` frames: up and down again."""
    clock = np.arange(length, dtype=float)
    return np.asarray(np.minimum(clock, length - 1 - clock))


def freeze(clip: Clip, position: float) -> Clip:
    """One frame, at a position in [0, 1], held for as long as the clip."""
    return take(clip, np.full(len(clip), round(position * (len(clip) - 1))))


def drop_frames(clip: Clip, share: float, rng: np.random.Generator) -> Clip:
    """A camera that loses frames: the last one received is shown again."""
    lost = rng.random(len(clip)) < share
    lost[0] = False
    return take(clip, np.maximum.accumulate(np.where(lost, 0, np.arange(len(clip)))))


def change_speed(clip: Clip, factor: float) -> Clip:
    """The same motion in ``1 / factor`` of the frames; the first and the last frame are kept."""
    frames = max(2, round(len(clip) / factor))
    return take(clip, np.linspace(0, len(clip) - 1, frames).round().astype(int))


def thin(clip: Clip, frames: int) -> Clip:
    """At most so many frames, evenly spaced."""
    return take(clip, np.linspace(0, len(clip) - 1, min(frames, len(clip))).round().astype(int))


def edit_images(clip: Clip, edit: ImageEdit, number: int) -> Clip:
    """The clip as other pictures, without features."""
    edited = {camera: edit(frames, number) for camera, frames in clip.frames.items()}
    return Clip(frames=edited, features={}, instruction=clip.instruction)


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """A named edit of pictures."""

    name: str
    title: str
    edit: ImageEdit


def image_perturbations() -> Sequence[Perturbation]:
    """Brightness, blur and camera shifts, in the order of the card."""
    return (
        Perturbation(name="brighter", title="brightness +40 %", edit=lambda f, _: brighten(f, 1.4)),
        Perturbation(name="darker", title="brightness -40 %", edit=lambda f, _: brighten(f, 0.6)),
        Perturbation(name="blur", title="blur", edit=lambda f, _: blur(f)),
        Perturbation(name="camera_5", title="camera shift 5°", edit=lambda f, i: shift(f, 5.0, i)),
        Perturbation(
            name="camera_10", title="camera shift 10°", edit=lambda f, i: shift(f, 10.0, i)
        ),
    )


def brighten(
    frames: UInt8[np.ndarray, "time height width 3"], factor: float
) -> UInt8[np.ndarray, "time height width 3"]:
    """Scaled, and clipped where the sensor would saturate."""
    return np.clip(frames.astype(np.float32) * factor, 0, 255).astype(np.uint8)


def blur(
    frames: UInt8[np.ndarray, "time height width 3"],
) -> UInt8[np.ndarray, "time height width 3"]:
    """Gaussian blur whose standard deviation is 1.5 % of the width."""
    sigma = 0.015 * frames.shape[2]
    blurred = scipy.ndimage.gaussian_filter(frames.astype(np.float32), (0, sigma, sigma, 0))
    return np.asarray(blurred.round(), np.uint8)


def shift(
    frames: UInt8[np.ndarray, "time height width 3"], degrees: float, number: int
) -> UInt8[np.ndarray, "time height width 3"]:
    """The view of a camera turned (yaw, pitch, roll) or zoomed by an angle.

    The kind and the sign follow from ``number``, so that eight clips see all eight shifts. A pure
    rotation is an exact homography; zooming changes the field of view by the angle. What comes
    into view at the border repeats the border.
    """
    kind = SHIFTS[number % len(SHIFTS)]
    sign = 1.0 if number // len(SHIFTS) % 2 == 0 else -1.0
    return _warp(frames, _homography(kind, sign * degrees))


def _homography(kind: str, degrees: float) -> Float[np.ndarray, "3 3"]:
    """From the shifted camera's rays to the recorded image, both in units of half its height."""
    half = np.deg2rad(FIELD_OF_VIEW / 2)
    focal = 1 / np.tan(half)
    if kind == "zoom":
        scale = np.tan(half - np.deg2rad(degrees / 2)) * focal
        return np.diag([scale, scale, 1.0])
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rotation = {
        "yaw": [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]],
        "pitch": [[1, 0, 0], [0, cos, -sin], [0, sin, cos]],
        "roll": [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]],
    }[kind]
    intrinsics = np.diag([focal, focal, 1.0])
    return np.asarray(intrinsics @ np.array(rotation) @ np.linalg.inv(intrinsics))


def _warp(
    frames: UInt8[np.ndarray, "time height width 3"], homography: Float[np.ndarray, "3 3"]
) -> UInt8[np.ndarray, "time height width 3"]:
    height, width = frames.shape[1:3]
    aspect = width / height
    y, x = np.meshgrid(_centres(height), _centres(width) * aspect, indexing="ij")
    source = np.stack([x, y, np.ones_like(x)], axis=-1) @ homography.T
    grid = source[..., :2] / source[..., 2:] / [aspect, 1.0]
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "t h w c -> t c h w")
    grids = torch.from_numpy(grid).float().expand(len(frames), -1, -1, -1)
    warped = torch.nn.functional.grid_sample(
        pixels.float(), grids, mode="bilinear", padding_mode="border", align_corners=False
    )
    return np.asarray(rearrange(warped.round().to(torch.uint8), "t c h w -> t h w c").numpy())


def _centres(count: int) -> Float[np.ndarray, " count"]:
    """Pixel centres in [-1, 1]."""
    return (2 * np.arange(count) + 1) / count - 1
