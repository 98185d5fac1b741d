"""gym-pusht: push a T-shaped block onto its outline with a round finger, in the plane."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float32

from embodied.envs.base import (
    Observation,
    TaskEnv,
    camera_space,
    checked_action,
    checked_cameras,
    started,
)
from embodied.envs.catalogue import PUSHT, check_task
from embodied.errors import BadConfig, BadInput
from embodied.types import IMAGES, STATE


class PushT(TaskEnv):
    """The Push-T task, seen from above by one camera, ``front``.

    ``observation.state`` is the position of the finger (x, y in [0, 512]); an action is the
    position that it should go to, in the same units. The reward is the covered share of the
    outline, relative to the 95 % that count as success. There is no scripted expert.

    Args:
        task: ``PushT-v0``.
        cameras: ``front``.
        image_size: Height and width of the picture in pixels.
        max_episode_steps: Control steps until truncation.
        terminate_on_success: Whether success ends the episode.

    Raises:
        UnknownName: for an unknown task or camera.
        BadConfig: for an impossible size.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        task: str = "PushT-v0",
        *,
        cameras: Sequence[str] = ("front",),
        image_size: int = 96,
        max_episode_steps: int = 300,
        terminate_on_success: bool = False,
    ) -> None:
        check_task("pusht", task)
        if image_size < 8:
            raise BadConfig(f"image_size is {image_size} pixels; 8 is the least.")
        from gym_pusht.envs.pusht import PushTEnv

        self.suite, self.task, self.instruction = "pusht", task, PUSHT[task]
        self.fps, self.max_episode_steps = 10.0, max_episode_steps
        self.cameras = checked_cameras(cameras, ("front",))
        self.render_mode = "rgb_array"
        self._terminate_on_success = terminate_on_success
        self._sim = PushTEnv(
            obs_type="pixels_agent_pos", observation_width=image_size, observation_height=image_size
        )
        place = gym.spaces.Box(0.0, 512.0, (2,), np.float32)
        self.observation_space = camera_space(self.cameras, image_size, place)
        self.action_space = gym.spaces.Box(0.0, 512.0, (2,), np.float32)
        self._steps: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Place finger and block anew; the same seed places them the same way."""
        super().reset(seed=seed)
        seen, _ = self._sim.reset(seed=int(self.np_random.integers(2**31)))
        self._steps = 0
        return _observation(seen), {"success": False, "privileged": self.privileged()}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move towards a position for a tenth of a second.

        Raises:
            BadInput: for an action of the wrong shape or with NaN, or before the first `reset`.
        """
        command = checked_action(action, self.action_space)
        self._steps = started(self._steps, "step")
        seen, reward, _, _, outcome = self._sim.step(command.astype(np.float64))
        self._steps += 1
        success = bool(outcome["is_success"])
        info = {"success": success, "privileged": self.privileged()}
        truncated = self._steps >= self.max_episode_steps
        terminated = self._terminate_on_success and success
        return _observation(seen), float(reward), terminated, truncated, info

    def observe(self) -> Observation:
        """The present observation, rendered anew."""
        return _observation(self._sim.get_obs())

    def render(self) -> Any:
        """The picture of the camera."""
        return self._sim.get_obs()["pixels"]

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """Refused: Push-T has no scripted expert."""
        raise BadInput("there is no scripted expert for Push-T; Meta-World tasks have one.")

    def privileged(self) -> dict[str, Any]:
        """``block``: its position and angle in radians."""
        block = self._sim.block
        return {"block": np.array([*block.position, block.angle], dtype=np.float64)}

    def close(self) -> None:
        """Nothing is held open; calling it again does nothing."""
        self._sim.close()


def _observation(seen: dict[str, np.ndarray]) -> Observation:
    place = np.clip(seen["agent_pos"], 0.0, 512.0).astype(np.float32)
    return {f"{IMAGES}front": np.ascontiguousarray(seen["pixels"]), STATE: place}
