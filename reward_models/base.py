"""What every reward model offers: scores of whole clips, with uncertainty."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32
from torch import nn

from embodied.types import Clip, Labels


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a reward model says of one clip, frame by frame."""

    reward: Float32[np.ndarray, " time"]
    """Reward for arriving at each frame from the one before; 0 at the first."""
    progress: Float32[np.ndarray, " time"]
    """Share of the task that is done, in [0, 1]."""
    done: Float32[np.ndarray, " time"]
    """Probability that the task is complete."""
    uncertainty: Float32[np.ndarray, " time"]
    """Standard deviation of the progress; 0 for a model without an ensemble."""
    success: bool
    """Whether the clip as a whole counts as a success."""
    done_index: int
    """First frame from which the task counts as complete; the clip's length if there is none."""


class RewardModel(nn.Module, abc.ABC):
    """Scores clips. Concrete models are final: change one by wrapping it."""

    causal: ClassVar[bool]
    """Whether a frame's score ignores later frames, so that it can be had mid-episode."""
    cameras: tuple[str, ...]
    """Cameras that a clip must have."""

    @abc.abstractmethod
    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip, computed as one batch; clips may differ in length."""


def labels_of(scores: Scores, reward_version: int) -> Labels:
    """Per-step labels of an episode from the scores of its observations."""
    return Labels(
        reward=scores.reward[1:],
        progress=scores.progress,
        done=scores.done,
        uncertainty=scores.uncertainty,
        success=scores.success,
        done_index=scores.done_index,
        reward_version=reward_version,
    )
