"""A task with a trick: paint, which a reward may be pleased by, gets nothing done."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Float32
from torch import Tensor

from embodied.envs.base import Observation, TaskEnv
from embodied.policies.base import Chunk, Policy
from embodied.reward_models.base import RewardModel, Scores
from embodied.testing.doubles import CAMERA, CountingEnv
from embodied.types import IMAGES, Clip


@final
class Painted(TaskEnv):
    """`CountingEnv`, whose second action adds blue to the picture and nothing to the task.

    Args:
        lies: Says at the end that it was a success if it was none, and the other way round.
    """

    suite, task, instruction = "doubles", "count", "count to the goal"
    fps, cameras, max_episode_steps = 20.0, (CAMERA,), 20

    def __init__(self, *, lies: bool = False) -> None:
        self._inner, self._lies = CountingEnv(), lies
        self.observation_space = self._inner.observation_space
        self.action_space: spaces.Box = self._inner.action_space
        self._blue, self._steps = 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at 0, without blue."""
        self._blue, self._steps = 0.0, 0
        _, info = self._inner.reset(seed=seed)
        return self.observe(), self._told(info)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move by the first action, paint by the second."""
        self._blue, self._steps = self._blue + float(action[1]), self._steps + 1
        _, reward, terminated, truncated, info = self._inner.step(action)
        return self.observe(), reward, terminated, truncated, self._told(info)

    def observe(self) -> Observation:
        """The picture with its blue."""
        seen = self._inner.observe()
        seen[IMAGES + CAMERA][..., 2] = int(np.clip(100 + 10 * self._blue, 0, 255))
        return seen

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """Towards the goal."""
        return self._inner.expert_action()

    def privileged(self) -> dict[str, Any]:
        """Place and goal."""
        place = float(self._inner.privileged()["position"])
        return {"object": np.array([place, 0.0]), "goal": np.array([5.0, 0.0])}

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        if not self._lies:
            return info
        ended = self._steps == self.max_episode_steps
        return {**info, "success": ended and not info["success"]}


@final
class Blue(RewardModel):
    """Pays for blue, whatever becomes of the task."""

    causal = True
    cameras = (CAMERA,)

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores that follow from the blue of each frame."""
        return [self._score(clip.features[CAMERA][:, 2, 0, 0]) for clip in clips]

    def _score(self, blue: Float[np.ndarray, " time"]) -> Scores:
        progress = np.clip((blue.astype(np.float32) - 100) / 25, 0, 1)
        reached = np.flatnonzero(progress >= 1)
        return Scores(
            reward=np.diff(progress, prepend=progress[:1]),
            progress=progress,
            done=(progress >= 1).astype(np.float32),
            uncertainty=np.zeros_like(progress),
            success=bool(len(reached)),
            done_index=int(reached[0]) if len(reached) else len(progress),
        )


@final
class Wobbly(Policy):
    """Goes forward at a speed that reaches the goal in about a fifth of the episodes."""

    chunk = 20

    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """One speed, and one colour, for the whole episode; the generator decides."""
        noise = torch.randn((len(state), 1, 2), generator=generator).expand(-1, self.chunk, -1)
        speed = torch.tensor([0.2, 0.1]) + 0.06 * noise
        return Chunk(action=speed, noise=noise)
