"""Rewards that must fail: what a learned reward is worth shows only beside them.

`ElapsedTime` looks at nothing; on successes its rank correlation with time is perfect, so every
audit prints its numbers beside those of the reward. `Constant` says the same of everything, and
`ColourOnly` sees no more than the mean colour. The other controls are settings of `ProgressReward`:
shuffled time labels, and a wrong instruction.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, Float32
from torch import nn

from embodied.durable import write_atomically
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.base import Scores, TrainableReward, check_clip
from embodied.reward_models.frozen_reward import FrozenReward
from embodied.reward_models.readout import Readout, Signal
from embodied.reward_models.stored_reward import StoredReward
from embodied.types import Clip


@final
class ElapsedTime(TrainableReward):
    """A clock: progress is the share of a typical success's frames that have passed.

    The task counts as complete at its end; the probability of that grows alike.

    Args:
        cameras: Cameras that a clip must have, as of the reward that it stands beside.
        typical_length: Frames of a success, where that is known; 0 leaves it to `fit`.
        discount: Per frame, of the potential.
        bonus: Paid once, when the typical length is reached.
    """

    causal = True

    def __init__(
        self,
        cameras: Sequence[str] = ("front",),
        *,
        typical_length: int = 0,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__()
        self.cameras = tuple(cameras)
        self.discount, self.bonus = discount, bonus
        self.version = int(typical_length > 0)
        self.typical_length = typical_length

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores that depend on the clips' lengths alone.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: before the first success was seen.
        """
        if self.version == 0:
            raise BadConfig("the clock has seen no success; call fit or load first.")
        for clip in clips:
            check_clip(clip, self.cameras)
        return [self._score(len(clip)) for clip in clips]

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Take the median length of the successes.

        Raises:
            BadInput: without a success.
        """
        if not successes:
            raise BadInput("a clock needs one success or more to know how long the task takes.")
        self.typical_length = round(float(np.median([len(clip) for clip in successes])))
        self.version += 1
        if progress_callback is not None:
            progress_callback(1.0)
        return {"typical_length": float(self.typical_length)}

    def save(self, path: Path) -> None:
        """Write the typical length."""
        known = {"typical_length": self.typical_length, "version": self.version}
        write_atomically(path, json.dumps(known).encode())

    def load(self, path: Path) -> None:
        """Read it back.

        Raises:
            CorruptFile: if the file cannot be read.
        """
        try:
            known = json.loads(path.read_bytes())
            self.typical_length, self.version = known["typical_length"], known["version"]
        except (OSError, ValueError, KeyError) as error:
            raise CorruptFile(f"{path} is no readable clock: {error}") from error

    def _score(self, length: int) -> Scores:
        progress = np.minimum(np.arange(length) / max(self.typical_length - 1, 1), 1.0)
        done_index = min(self.typical_length - 1, length)
        reward = np.zeros(length)
        reward[1:] = self.discount * progress[1:] - progress[:-1]
        reward[done_index : done_index + 1] += self.bonus
        return Scores(
            reward=reward.astype(np.float32),
            progress=progress.astype(np.float32),
            done=progress.astype(np.float32),
            uncertainty=np.zeros(length, np.float32),
            success=done_index < length,
            done_index=done_index,
        )


@final
class Constant(StoredReward):
    """Says the same of every frame, and never that anything is done; there is nothing to learn.

    Args:
        progress: What it says, in [0, 1].
        cameras: Cameras that a clip must have.
    """

    causal = True

    def __init__(self, progress: float = 0.5, cameras: Sequence[str] = ("front",)) -> None:
        super().__init__()
        if not 0 <= progress <= 1:
            raise BadConfig(f"progress is a share in [0, 1], not {progress}.")
        self.progress, self.cameras = progress, tuple(cameras)

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """No reward for anything.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
        """
        for clip in clips:
            check_clip(clip, self.cameras)
        return [self._score(len(clip)) for clip in clips]

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Learn nothing."""
        self.version += 1
        if progress_callback is not None:
            progress_callback(1.0)
        return {}

    def identity(self) -> dict[str, Any]:
        """What it says, and the cameras."""
        return {"progress": self.progress, "cameras": list(self.cameras)}

    def _score(self, length: int) -> Scores:
        nothing: Float32[np.ndarray, " time"] = np.zeros(length, np.float32)
        return Scores(
            reward=nothing,
            progress=np.full(length, self.progress, np.float32),
            done=nothing,
            uncertainty=nothing,
            success=False,
            done_index=length,
        )


@final
class ColourOnly(FrozenReward[Signal]):
    """Sees the mean colour of each camera's picture: near those that successes end with is good.

    What this tells apart needs no idea of what is where. It reads no instruction either.

    Args:
        cameras: Cameras whose frames are looked at.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        BadConfig: without a camera.
    """

    causal = True

    def __init__(
        self, cameras: Sequence[str] = ("front",), *, discount: float = 0.99, bonus: float = 1.0
    ) -> None:
        super().__init__()
        if not cameras:
            raise BadConfig("a reward of colours needs a camera to look through.")
        self.cameras = tuple(cameras)
        self.readout = Readout(discount=discount, bonus=bonus)
        self.goal = nn.Buffer(torch.zeros(3 * len(cameras)))
        """Mean colour of the successes' last frames, camera by camera."""

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores that depend on mean colours alone.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: before the first success was seen.
        """
        if self.version == 0:
            raise BadConfig("the reward of colours has seen no success; call fit or load first.")
        return [self.readout.scores(self.ask(clip)) for clip in clips]

    def ask(self, clip: Clip) -> Signal:
        """Minus the distance of each frame's colour to the goal's.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
        """
        return np.asarray(-np.linalg.norm(self._colours(clip) - self.goal.numpy(), axis=1))

    def show(self, successes: Sequence[Clip]) -> Sequence[Clip]:
        """Take the mean of the colours that successes end with."""
        if successes:
            last = np.mean([self._colours(clip)[-1] for clip in successes], 0)
            self.goal.copy_(torch.from_numpy(last))
        return successes

    def calibrate(
        self,
        successes: Sequence[Float[np.ndarray, " _"]],
        failures: Sequence[Float[np.ndarray, " _"]],
    ) -> dict[str, float]:
        """Fit the readout; returns what `Readout.fit` does."""
        return self.readout.fit(successes, failures)

    def identity(self) -> dict[str, Any]:
        """The cameras."""
        return {"cameras": list(self.cameras)}

    def _colours(self, clip: Clip) -> Float[np.ndarray, "time colour"]:
        check_clip(clip, self.cameras)
        for camera in self.cameras:
            if camera not in clip.frames:
                raise BadInput(f"colours are those of frames, of which camera '{camera}' has none.")
        shades = [
            reduce(clip.frames[camera] / 255.0, "time row col rgb -> time rgb", "mean")
            for camera in self.cameras
        ]
        return np.concatenate(shades, 1)
