"""Where a policy once went on alone from what looks like the state at a take-over.

On a real arm no state comes back; what a correction replaced can only be looked for among what was
recorded. Frames are compared as thumbnails of all cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float32

from embodied.dataset import EpisodeStore
from embodied.types import Actor, Episode

THUMBNAIL = 12
"""Rows and columns of a thumbnail."""


@dataclass(frozen=True, kw_only=True)
class Alone:
    """A roll-out in which the policy went on alone."""

    episode: int
    """Its index."""
    start: int
    """The frame that is nearest to the one that was looked for."""
    difference: float
    """Mean absolute difference of the two thumbnails, in [0, 1]."""


@final
class RollOuts:
    """Recorded roll-outs, small enough to keep all of them in memory.

    Args:
        store: The dataset.
        indices: Of the roll-outs that count; each is decoded once.
    """

    def __init__(self, store: EpisodeStore, indices: Sequence[int]) -> None:
        self._frames: dict[int, Float32[np.ndarray, "frame value"]] = {}
        self._helped: dict[int, Bool[np.ndarray, " time"]] = {}
        self._succeeded = {index: bool(store.summary(index).success) for index in indices}
        for index in indices:
            episode = store.read(index)
            self._frames[index] = _thumbnails(episode)
            self._helped[index] = episode.actor != Actor.POLICY

    def nearest(self, index: int, step: int, length: int) -> Alone | None:
        """The most similar frame from which the policy went on alone, in an episode that failed.

        One that succeeded shows what needed no correction.

        Args:
            index: Of the episode that is looked at.
            step: Its frame.
            length: Steps that the policy must have acted alone.

        Returns:
            The nearest, or None if there is no such roll-out.
        """
        target, found = self._frames[index][step], []
        for other, helped in self._helped.items():
            if other == index or self._succeeded[other] or len(helped) < length:
                continue
            by_person = np.concatenate([[0], np.cumsum(helped)])
            starts = np.flatnonzero(by_person[length:] == by_person[:-length])
            if len(starts):
                differences = np.abs(self._frames[other][starts] - target).mean(1)
                best = int(differences.argmin())
                found.append(
                    Alone(
                        episode=other, start=int(starts[best]), difference=float(differences[best])
                    )
                )
        return min(found, key=lambda each: each.difference, default=None)


def _thumbnails(episode: Episode) -> Float32[np.ndarray, "frame value"]:
    """Of all cameras, one after the other, in [0, 1]."""
    small = []
    for frames in episode.images.values():
        rows, columns = (
            np.linspace(0, size, THUMBNAIL + 1).astype(int) for size in frames.shape[1:3]
        )
        cells = np.add.reduceat(frames.astype(np.float32), rows[:-1], 1)
        cells = np.add.reduceat(cells, columns[:-1], 2)
        area = np.multiply.outer(np.diff(rows), np.diff(columns))
        small.append((cells / area[..., None] / 255).reshape(len(frames), -1))
    return np.asarray(np.concatenate(small, 1), dtype=np.float32)
