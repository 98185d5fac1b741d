"""A toy task for rewards: a red square is pushed to the right edge of a noisy grey picture."""

from collections.abc import Sequence
from typing import final

import numpy as np

from embodied.reward_models.base import RewardModel, Scores, check_clip
from embodied.reward_models.calibration import scores_from
from embodied.types import Clip

PUSH = "push the square to the right"
SIZE, SQUARE = 32, 8
"""Pixels."""
LINGER = 3
"""Frames that a success goes on after the square has arrived."""


def clip_at(
    positions: Sequence[float], rng: np.random.Generator, *, row: int | None = None
) -> Clip:
    """The square at columns in [0, 1].

    Args:
        positions: One per frame.
        rng: Of the noise.
        row: Of the square, in pixels; drawn for the whole clip by default.
    """
    frames = rng.integers(60, 90, (len(positions), SIZE, SIZE, 3), dtype=np.uint8)
    top = int(rng.integers(0, SIZE - SQUARE)) if row is None else row
    for frame, position in zip(frames, positions, strict=True):
        column = round((SIZE - SQUARE) * float(np.clip(position, 0, 1)))
        frame[top : top + SQUARE, column : column + SQUARE] = (230, 40, 40)
    return Clip(frames={"front": frames}, features={}, instruction=PUSH)


def success(rng: np.random.Generator, *, row: int | None = None) -> Clip:
    """The square arrives, and stays for `LINGER` frames."""
    way = np.linspace(0, 1, rng.integers(12, 22))
    return clip_at([*way, *[1.0] * LINGER], rng, row=row)


def failure(rng: np.random.Generator, *, row: int | None = None) -> Clip:
    """The square stops between a fifth and three quarters of the way, and trembles."""
    reached = np.linspace(0, rng.uniform(0.2, 0.75), rng.integers(8, 14))
    return clip_at([*reached, *(reached[-1] + rng.normal(0, 0.02, 12))], rng, row=row)


def successes(count: int, seed: int, *, row: int | None = None) -> list[Clip]:
    """So many successes."""
    rng = np.random.default_rng(seed)
    return [success(rng, row=row) for _ in range(count)]


def failures(count: int, seed: int, *, row: int | None = None) -> list[Clip]:
    """So many failures."""
    rng = np.random.default_rng(seed)
    return [failure(rng, row=row) for _ in range(count)]


@final
class SquareRule(RewardModel):
    """A rule: progress is the column of the square, or another that it is told to be wrong by.

    Args:
        backwards: An adversary: progress is how far the square is from the right edge.
        doubt: The uncertainty that it states.
        flicker: Deviation of noise on the progress, the same for the same frame.
    """

    causal = True
    cameras = ("front",)

    def __init__(
        self, *, backwards: bool = False, doubt: float = 0.0, flicker: float = 0.0
    ) -> None:
        super().__init__()
        self.backwards, self.doubt, self.flicker = backwards, doubt, flicker

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores that follow from the reddest column of each frame."""
        for clip in clips:
            check_clip(clip, self.cameras)
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Scores:
        place = np.array([self._place(frame) for frame in clip.frames["front"]])
        progress = np.clip(1 - place if self.backwards else place, 0, 1)
        done = (progress > 0.97).astype(np.float64)
        return scores_from(
            progress=progress,
            done=done,
            uncertainty=np.full(len(progress), self.doubt),
            potential=progress,
            success=done,
            discount=0.99,
            bonus=1.0,
        )

    def _place(self, frame: np.ndarray) -> float:
        red = (frame[..., 0].astype(int) - frame[..., 1] > 60).sum(0)
        size = frame.shape[1]
        column = float((red * np.arange(size)).sum() / max(red.sum(), 1))
        half = (SQUARE - 1) * size / SIZE / 2
        noise = np.random.default_rng(int(frame.sum())).normal(0, 1) * self.flicker
        return float((column - half) / (size - 1 - 2 * half) + noise)
