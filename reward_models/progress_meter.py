"""Progress while an episode runs, one frame at a time."""

from collections.abc import Mapping

import numpy as np
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from embodied.errors import BadInput
from embodied.reward_models.progress import ProgressReward
from embodied.reward_models.progress_ensemble import Seen


class ProgressMeter:
    """Says after each frame what `ProgressReward.score` would say of that frame.

    Args:
        reward: A trained reward.
    """

    def __init__(self, reward: ProgressReward) -> None:
        self._reward = reward
        self._first: Seen | None = None
        self._text: Tensor | None = None
        self.done = 0.0
        """Probability that the task was complete in the last frame."""
        self.uncertainty = 0.0
        """Standard deviation of the progress in the last frame among the ensemble."""

    def begin(self, instruction: str) -> None:
        """Start a new episode."""
        self._text, self._first = self._reward.goal(instruction), None

    def update(self, features: Mapping[str, Float[np.ndarray, "channel row column"]]) -> float:
        """Progress in [0, 1] after one more frame.

        Raises:
            BadInput: before `begin`, or if a camera is missing.
        """
        if self._text is None:
            raise BadInput("update was called before begin; begin an episode first.")
        missing = [camera for camera in self._reward.cameras if camera not in features]
        if missing:
            raise BadInput(f"the meter needs camera '{missing[0]}'; it got {', '.join(features)}.")
        maps = [rearrange(features[c], "c row col -> 1 c row col") for c in self._reward.cameras]
        seen = self._reward.look(maps)
        self._first = self._first or seen
        verdict = self._reward.judge(seen, self._first, self._text)
        self.done, self.uncertainty = float(verdict.done[0]), float(verdict.uncertainty[0])
        return float(verdict.progress[0])
