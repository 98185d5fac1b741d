"""Gymnasium's own tasks: Humanoid and Ant in MuJoCo, and three of classic control.

They have no notion of success; the table below defines one for each. The machine's own joints are
all there is to observe, so proprioception is the whole state except where the machine stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float32, UInt8

from embodied.envs.base import (
    Observation,
    TaskEnv,
    camera_space,
    checked_action,
    checked_cameras,
    started,
)
from embodied.envs.catalogue import GYMNASIUM_MUJOCO, check_task
from embodied.envs.rendering import FreeView, Quality, Renderer, View
from embodied.errors import BadConfig, BadInput
from embodied.types import IMAGES, STATE


@dataclass(frozen=True, kw_only=True)
class _Task:
    success: Callable[[Any, int], bool]
    """Of the simulation, after so many steps."""
    state: Callable[[Any], np.ndarray]
    keywords: dict[str, Any]
    steps: int
    view: View | None = None
    """Where MuJoCo's camera is; None for a task that draws itself."""


def _joints(sim: Any) -> np.ndarray:
    joints: np.ndarray = np.concatenate([sim.data.qpos[2:], sim.data.qvel])
    return joints


def _own_state(sim: Any) -> np.ndarray:
    return np.asarray(sim.state, dtype=np.float64)


def _pendulum_state(sim: Any) -> np.ndarray:
    angle, speed = sim.state
    return np.array([np.cos(angle), np.sin(angle), speed])


def _pole_is_up(sim: Any, steps: int) -> bool:
    return bool(abs(sim.state[2]) < sim.theta_threshold_radians and steps >= 200)


def _upright(sim: Any, steps: int) -> bool:
    return bool(np.cos(sim.state[0]) > 0.95 and abs(sim.state[1]) < 1.0)


_TASKS = {
    "Humanoid-v5": _Task(
        success=lambda sim, _: bool(sim.is_healthy and sim.data.qpos[0] > 2.0),
        state=_joints,
        keywords={"terminate_when_unhealthy": False},
        steps=300,
        view=FreeView(
            lookat=(0.0, 0.0, 1.0), distance=3.5, azimuth=180.0, elevation=-10.0, body="torso"
        ),
    ),
    "Ant-v5": _Task(
        success=lambda sim, _: bool(sim.is_healthy and sim.data.qpos[0] > 4.0),
        state=_joints,
        keywords={"terminate_when_unhealthy": False},
        steps=300,
        view=FreeView(
            lookat=(0.0, 0.0, 0.4), distance=4.0, azimuth=150.0, elevation=-25.0, body="torso"
        ),
    ),
    "CartPole-v1": _Task(success=_pole_is_up, state=_own_state, keywords={}, steps=200),
    "MountainCarContinuous-v0": _Task(
        success=lambda sim, _: bool(sim.state[0] >= sim.goal_position),
        state=_own_state,
        keywords={},
        steps=300,
    ),
    "Pendulum-v1": _Task(success=_upright, state=_pendulum_state, keywords={}, steps=200),
}


class GymnasiumMujoco(TaskEnv):
    """One of Gymnasium's tasks, seen by one camera, ``front``.

    ``observation.state`` holds joint positions and velocities, without the place in the world.
    Success: Humanoid walked 2 m and Ant 4 m without falling; the pole stood for 200 steps; the car
    reached the flag; the pendulum is up (cosine above 0.95) and slow (below 1 rad/s). The cart of
    CartPole takes one number in [-1, 1], whose sign is the push. Only a fallen pole ends an episode
    early. There is no scripted expert.

    Args:
        task: ``Humanoid-v5``, ``Ant-v5``, ``CartPole-v1``, ``MountainCarContinuous-v0`` or
            ``Pendulum-v1``.
        cameras: ``front``.
        image_size: Height and width of a picture in pixels.
        max_episode_steps: Control steps until truncation; 200 or 300 by default.
        quality: ``fast``, or ``stock`` for the look of Gymnasium.
        terminate_on_success: Whether success ends the episode.

    Raises:
        UnknownName: for an unknown task, camera or quality.
        BadConfig: for an impossible size.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        task: str = "Humanoid-v5",
        *,
        cameras: Sequence[str] = ("front",),
        image_size: int = 96,
        max_episode_steps: int | None = None,
        quality: Quality = "fast",
        terminate_on_success: bool = False,
    ) -> None:
        check_task("gymnasium_mujoco", task)
        if image_size < 8:
            raise BadConfig(f"image_size is {image_size} pixels; 8 is the least.")
        self._rules = _TASKS[task]
        self.suite, self.task = "gymnasium_mujoco", task
        self.instruction = GYMNASIUM_MUJOCO[task]
        self.cameras = checked_cameras(cameras, ("front",))
        self.max_episode_steps = max_episode_steps or self._rules.steps
        self.render_mode = "rgb_array"
        self._image_size = image_size
        self._terminate_on_success = terminate_on_success
        mode = None if self._rules.view else "rgb_array"
        made: Any = gym.make(task, render_mode=mode, **self._rules.keywords)
        self._sim: Any = made.unwrapped
        self.fps = float(self._sim.metadata["render_fps"])
        self._renderer = (
            Renderer(
                self._sim.model, {"front": self._rules.view}, image_size=image_size, quality=quality
            )
            if self._rules.view
            else None
        )
        self._sim.reset(seed=0)
        size = len(self._rules.state(self._sim))
        self.observation_space = camera_space(
            self.cameras, image_size, gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        )
        self._pushes = isinstance(self._sim.action_space, gym.spaces.Discrete)
        self.action_space = self._sim.action_space
        if self._pushes:
            self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._steps: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start anew; the same seed starts the same way."""
        super().reset(seed=seed)
        self._sim.reset(seed=int(self.np_random.integers(2**31)))
        self._steps = 0
        return self.observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action.

        Raises:
            BadInput: for an action of the wrong shape or with NaN, or before the first `reset`.
        """
        command = checked_action(action, self.action_space)
        self._steps = started(self._steps, "step")
        _, reward, ended, _, _ = self._sim.step(int(command[0] > 0) if self._pushes else command)
        self._steps += 1
        info = self._info()
        fell = bool(ended) and self._pushes
        terminated = fell or (self._terminate_on_success and info["success"])
        truncated = self._steps >= self.max_episode_steps
        return self.observe(), float(reward), terminated, truncated, info

    def observe(self) -> Observation:
        """The present observation, rendered anew."""
        state = self._rules.state(self._sim).astype(np.float32)
        return {f"{IMAGES}front": self._picture(), STATE: state}

    def render(self) -> Any:
        """The picture of the camera."""
        return self._picture()

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """Refused: these tasks have no scripted expert."""
        raise BadInput(f"there is no scripted expert for {self.task}; Meta-World tasks have one.")

    def privileged(self) -> dict[str, Any]:
        """``position``: where the machine stands, in the task's own units."""
        place = self._sim.data.qpos[:2] if self._renderer else _own_state(self._sim)[:1]
        return {"position": np.array(place, dtype=np.float64)}

    def close(self) -> None:
        """Give the renderer back; calling it again does nothing."""
        if self._renderer:
            self._renderer.close()
        self._sim.close()

    def _info(self) -> dict[str, Any]:
        success = self._rules.success(self._sim, self._steps or 0)
        return {"success": success, "privileged": self.privileged()}

    def _picture(self) -> UInt8[np.ndarray, "height width 3"]:
        if self._renderer:
            return self._renderer.render(self._sim.data, "front")
        return _letterboxed(self._sim.render(), self._image_size)


def _letterboxed(
    frame: UInt8[np.ndarray, "rows columns 3"], size: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The whole frame, shrunk into a white square."""
    import cv2

    rows, columns = frame.shape[:2]
    scale = size / max(rows, columns)
    width, height = round(columns * scale), round(rows * scale)
    square = np.full((size, size, 3), 255, dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    shrunk = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    square[top : top + height, left : left + width] = shrunk
    return square
