"""Edits of pictures: light, blur, camera shifts, a distractor, compression.

They drop a clip's features, which have to be computed anew.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image

from embodied.types import Clip

FIELD_OF_VIEW = 45.0
"""Vertical field of view that camera shifts assume, in degrees (Meta-World's cameras)."""
ORBIT, BLOB = 0.75, 0.22
"""Where the distractor's centre is, and its radius, in units of half the picture."""
SKIN = (224, 172, 125)
SHIFTS = ("yaw", "pitch", "roll", "zoom")

ImageEdit = Callable[
    [UInt8[np.ndarray, "time height width 3"], int], UInt8[np.ndarray, "time height width 3"]
]
"""Takes the frames of one camera and the number of the clip, which may vary the edit."""


def edit_images(clip: Clip, edit: ImageEdit, number: int) -> Clip:
    """The clip as other pictures, without features."""
    edited = {camera: edit(frames, number) for camera, frames in clip.frames.items()}
    return replace(clip, frames=edited, features={})


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """A named edit of pictures."""

    name: str
    title: str
    edit: ImageEdit
    frames: int
    """At most so many evenly spaced frames of each clip: all have to be encoded."""


MANY, FEWER = 40, 16
"""Frames per clip; fewer for what only informs."""


def image_perturbations() -> Sequence[Perturbation]:
    """Light and angle, of which one has a gate, then edits that only inform."""
    gated: Sequence[tuple[str, str, ImageEdit]] = (
        ("brighter", "brightness +40 %", lambda f, _: brighten(f, 1.4)),
        ("darker", "brightness -40 %", lambda f, _: brighten(f, 0.6)),
        ("blur", "blur", lambda f, _: blur(f)),
        ("camera_5", "camera shift 5°", lambda f, i: shift(f, 5.0, i)),
        ("camera_10", "camera shift 10°", lambda f, i: shift(f, 10.0, i)),
    )
    informing: Sequence[tuple[str, str, ImageEdit]] = (
        ("camera_20", "camera shift 20°", lambda f, i: shift(f, 20.0, i)),
        ("sideways_2", "picture 2 % sideways", lambda f, i: slide(f, 0.02, i)),
        ("sideways_5", "picture 5 % sideways", lambda f, i: slide(f, 0.05, i)),
        ("sideways_10", "picture 10 % sideways", lambda f, i: slide(f, 0.10, i)),
        ("distractor", "a hand-like blob at the edge", distract),
        ("jpeg_30", "JPEG of quality 30", lambda f, _: compress(f, 30)),
    )
    return [
        Perturbation(name=name, title=title, edit=edit, frames=frames)
        for edits, frames in ((gated, MANY), (informing, FEWER))
        for name, title, edit in edits
    ]


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


def slide(
    frames: UInt8[np.ndarray, "time height width 3"], share: float, number: int
) -> UInt8[np.ndarray, "time height width 3"]:
    """Moved sideways by a share of the width, to the left for every other clip.

    A camera that moves by centimetres cannot be had from a picture: near things would move more
    than far ones. The border is repeated.
    """
    width = frames.shape[2]
    pixels = max(1, round(share * width)) * (1 if number % 2 == 0 else -1)
    return frames[:, :, np.clip(np.arange(width) - pixels, 0, width - 1)]


def distract(
    frames: UInt8[np.ndarray, "time height width 3"], number: int
) -> UInt8[np.ndarray, "time height width 3"]:
    """An opaque blob of skin's colour goes half around the picture, never through its middle.

    Where it begins, and which way round it goes, follow from ``number``.
    """
    time, height, width = frames.shape[:3]
    turn = np.pi * np.linspace(0, 1, time) * (1 if number % 2 == 0 else -1)
    angle = turn + np.pi / 2 * number
    row, column = np.meshgrid(_centres(height), _centres(width), indexing="ij")
    shown = frames.copy()
    for frame, at in zip(shown, angle, strict=True):
        away = (row - ORBIT * np.sin(at)) ** 2 + (column - ORBIT * np.cos(at)) ** 2
        frame[away <= BLOB**2] = SKIN
    return shown


def compress(
    frames: UInt8[np.ndarray, "time height width 3"], quality: int
) -> UInt8[np.ndarray, "time height width 3"]:
    """Written as JPEG and read again."""
    return np.stack([_as_jpeg(frame, quality) for frame in frames])


def _as_jpeg(
    frame: UInt8[np.ndarray, "height width 3"], quality: int
) -> UInt8[np.ndarray, "height width 3"]:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, format="jpeg", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


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
