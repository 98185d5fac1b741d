"""Copies of a clip as a slightly moved camera under another light would have recorded it.

One edit holds for a whole clip: cameras get bumped between episodes, not between frames.
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

MOVE = 0.15
"""Largest shift, as a share of half the image."""
TURN = 0.18
"""Largest rotation in radians, and largest relative zoom."""
TILT = 0.25
"""Largest perspective term: how much nearer one side of the image comes."""
LIGHT = 0.25
"""Largest relative change of brightness and of contrast."""


def moved_and_relit(
    frames: UInt8[np.ndarray, "time height width 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "time height width 3"]:
    """The clip through another camera pose, brightness and contrast, drawn once for all frames."""
    images = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "t h w c -> t c h w").float()
    grid = _view(frames.shape[1], frames.shape[2], rng)
    warped = torch.nn.functional.grid_sample(
        images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False
    )
    brightness, contrast = rng.uniform(1 - LIGHT, 1 + LIGHT, 2)
    lit = (warped - 127.0) * contrast + 127.0 * brightness
    pixels = rearrange(lit.clamp(0, 255).round().byte(), "t c h w -> t h w c")
    return np.ascontiguousarray(pixels.numpy())


def _view(height: int, width: int, rng: np.random.Generator) -> Float[Tensor, "1 height width 2"]:
    """Where each pixel of the moved camera looks in the recorded image: a random homography."""
    angle, zoom = rng.uniform(-TURN, TURN), 1 + rng.uniform(-TURN, TURN)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    homography = np.eye(3)
    homography[:2, :2] = turn
    homography[:2, 2] = rng.uniform(-MOVE, MOVE, 2)
    homography[2, :2] = rng.uniform(-TILT, TILT, 2)
    y, x = np.meshgrid(_centres(height), _centres(width), indexing="ij")
    seen = np.stack([x, y, np.ones_like(x)], -1) @ homography.T
    return torch.from_numpy((seen[..., :2] / seen[..., 2:])[None].astype(np.float32))


def _centres(count: int) -> Float[np.ndarray, " count"]:
    return (2 * np.arange(count) + 1) / count - 1
