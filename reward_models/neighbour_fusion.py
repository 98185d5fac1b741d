"""kNN reward fusion: a frame is worth what the most similar known frames are worth.

RewardFusion of Contrast Instructions (arXiv 2309.16155): R'(x) = sum_k w_k R(x_k) over the nearest
training inputs, by similarity. The distance to them says besides how far outside of everything
known a frame lies; there the reward is not trusted.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float

from embodied.errors import BadConfig
from embodied.reward_models.base import RewardModel, Scores
from embodied.reward_models.calibration import scores_from
from embodied.reward_models.features import maps_of
from embodied.reward_models.wrapper import Lesson, Wrapper
from embodied.types import Clip, FrameEncoder

PARTS = 3
"""Rows and columns of the picture that features are pooled over."""
CLOSE = 0.95
"""Share of known frames that lie nearer to those of other clips than the distance 1."""


@final
class NeighbourFusion(Wrapper):
    """Progress of the nearest training frames, less the further away they are.

    Args:
        model: Its scores of the training frames are remembered.
        encoder: Makes features of clips that come without.
        neighbours: How many known frames are asked.
        trust: Distance beyond 1 at which progress counts 1 / e; 1 is the distance within which 95 %
            of the known frames have a frame of another clip.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        BadConfig: without a neighbour, or for a trust of nothing.
    """

    def __init__(
        self,
        model: RewardModel,
        encoder: FrameEncoder,
        *,
        neighbours: int = 8,
        trust: float = 0.5,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__([model])
        if neighbours < 1 or trust <= 0:
            raise BadConfig(f"one neighbour and some trust are needed: {neighbours}, {trust}.")
        self.encoder, self.neighbours, self.trust = encoder, neighbours, trust
        self.discount, self.bonus = discount, bonus

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """What the neighbours were given; the model's own opinion counts as uncertainty."""
        distance, chosen = self._nearest(clip)
        near = np.exp(-(np.square(distance) - np.square(distance[:, :1])))
        weight = near / near.sum(1, keepdims=True)
        trusted = self._trust(distance[:, 0])
        fused = (weight * self.memory["progress"].numpy()[chosen]).sum(1)
        done = trusted * (weight * self.memory["done"].numpy()[chosen]).sum(1)
        doubt = np.hypot(said[0].uncertainty, fused - said[0].progress)
        return scores_from(
            progress=np.clip(trusted * fused, 0, 1),
            done=np.clip(done, 0, 1),
            uncertainty=doubt,
            potential=np.clip(trusted * fused, 0, 1),
            success=done,
            discount=self.discount,
            bonus=self.bonus,
        )

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the model, and remember its scores of all frames; ``neighbour_distance`` is 1's."""
        metrics = self.fit_parts(lesson)
        clips = (*lesson.successes, *lesson.failures)
        said = self.models[0].score(clips)
        vectors = [self._vectors(clip) for clip in clips]
        flat = np.concatenate(vectors)
        mean, deviation = flat.mean(0), _channel_deviation(flat, self.encoder.shape[0])
        known = [(own - mean) / deviation for own in vectors]
        unit = _distance_of_most(known)
        self.memory = {
            "mean": torch.from_numpy(mean),
            "deviation": torch.from_numpy(deviation),
            "known": torch.from_numpy(np.concatenate(known) / unit),
            "unit": unit,
            "progress": torch.from_numpy(np.concatenate([scores.progress for scores in said])),
            "done": torch.from_numpy(np.concatenate([scores.done for scores in said])),
        }
        return metrics | {"neighbour_distance": unit}

    def outlyingness(self, clip: Clip) -> Float[np.ndarray, " time"]:
        """Distance of each frame to the nearest known one; up to 1 is what known tasks show.

        Raises:
            BadConfig: before the first training.
        """
        return np.asarray(self._nearest(clip)[0][:, 0])

    def _trust(self, distance: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        return np.asarray(np.exp(-np.maximum(distance - 1.0, 0.0) / self.trust))

    def _nearest(self, clip: Clip) -> tuple[Float[np.ndarray, "time neighbour"], np.ndarray]:
        """Distances to the nearest known frames, in ascending order, and which ones these are."""
        if not self.memory:
            raise BadConfig("no frame is known; call fit or load first.")
        scaled = self._vectors(clip) - self.memory["mean"].numpy()
        scaled = scaled / self.memory["deviation"].numpy() / self.memory["unit"]
        apart = _distances(scaled, self.memory["known"].numpy())
        chosen = np.argsort(apart, axis=1, kind="stable")[:, : self.neighbours]
        return np.take_along_axis(apart, chosen, 1), chosen

    def _vectors(self, clip: Clip) -> Float[np.ndarray, "time dim"]:
        """Features of each frame, coarsely pooled."""
        pooled = [_pool(maps) for maps in maps_of(clip, self.cameras, self.encoder)]
        return np.concatenate(pooled, 1)


def _pool(maps: Float[np.ndarray, "time channel row column"]) -> Float[np.ndarray, "time dim"]:
    """Mean of each channel in a few parts of the picture."""
    rows, columns = (min(PARTS, size) for size in maps.shape[2:])
    parts = [
        reduce(part.astype(np.float32), "t c row col -> t c", "mean")
        for band in np.array_split(maps, rows, axis=2)
        for part in np.array_split(band, columns, axis=3)
    ]
    return np.concatenate(parts, 1)


def _channel_deviation(
    vectors: Float[np.ndarray, "frame dim"], channels: int
) -> Float[np.ndarray, " dim"]:
    """Of each channel over frames, the same in all parts: still parts must not count as much."""
    around = vectors - vectors.mean(0)
    each = rearrange(around, "frame (part channel) -> (frame part) channel", channel=channels)
    return np.tile(each.std(0) + 1e-3, vectors.shape[1] // channels)


def _distances(
    first: Float[np.ndarray, "first dim"], second: Float[np.ndarray, "second dim"]
) -> Float[np.ndarray, "first second"]:
    squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1)
    distances: np.ndarray = np.sqrt(np.maximum(squares - 2 * first @ second.T, 0.0))
    return distances


def _distance_of_most(clips: Sequence[Float[np.ndarray, "_ dim"]]) -> float:
    """Distance within which `CLOSE` of all frames have a frame of another clip."""
    nearest = [
        _distances(clip, np.concatenate([o for n, o in enumerate(clips) if n != number])).min(1)
        for number, clip in enumerate(clips)
        if len(clips) > 1
    ]
    return max(float(np.quantile(np.concatenate(nearest), CLOSE)) if nearest else 1.0, 1e-6)
