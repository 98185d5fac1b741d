"""X-MAGICAL: one sweeping task for four bodies, seen from above, and two tasks with a way.

Written anew on pymunk after Zakka et al., "XIRL" (arXiv 2106.03911): the task SweepToTop, its
physics, state, rewards, variants and time limits are those of the package `x-magical` 0.0.4.
Avoiding and Grouping follow RAPL (arXiv 2310.07932), section 5; what differs is listed in
`docs/environments.md`.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

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
from embodied.envs.catalogue import XMAGICAL, check_task
from embodied.envs.xmagical_experts import EXPERTS
from embodied.envs.xmagical_layouts import Variant, draw_layout
from embodied.envs.xmagical_picture import View, draw
from embodied.envs.xmagical_robots import EMBODIMENTS, SHARPEST
from embodied.envs.xmagical_world import FPS, World
from embodied.errors import BadConfig, UnknownName
from embodied.types import IMAGES, STATE

Reward = Literal["sparse", "dense"]
WITH_A_WAY = ("shortstick", "mediumstick")
"""Embodiments for `Avoiding` and `Grouping`, as in RAPL."""
EPISODES = {"SweepToTop": 100, "Avoiding": 150, "Grouping": 150}
"""Control steps until truncation; half as many with the long stick."""


def steps_of(task: str, embodiment: str) -> int:
    """Control steps until an episode is truncated."""
    return EPISODES[task] // 2 if embodiment == "longstick" else EPISODES[task]


class XMagical(TaskEnv):
    """Debris in a square arena, and a robot that should push it into the strip at the top.

    ``observation.state`` is the robot's own pose: x, y in [-1.1, 1.1], cosine and sine of its
    heading, and with the gripper the opening of its fingers in [0, 1]. An action is a speed (units
    per second, cut at 0.8), an angle in radians to turn by in each physics step, and with the
    gripper how far the fingers close (0.39 closes them). The angle is bounded by 1/16, at which the
    robot turns its fastest, so that a small noise is a small turn; published is 1.

    The reward is the published one: the share of debris that lies wholly in the goal, or minus its
    mean distance to the top. ``info["privileged"]`` holds the published state vector, both rewards,
    ``off_limits`` and ``spread`` (`World.privileged`).
    Success: all debris is in the goal.

    Args:
        task: ``SweepToTop``, ``Avoiding`` or ``Grouping``.
        embodiment: ``shortstick``, ``mediumstick``, ``longstick`` or ``gripper``.
        variant: What the seed draws: nothing (``demo``), ``layout``, ``shape``, ``color``,
            ``dynamics`` or ``all``.
        reward: ``sparse`` or ``dense``.
        cameras: ``front``, the whole arena; ``ego``, what lies ahead of the robot.
        image_size: Height and width of a picture in pixels.
        max_episode_steps: Control steps until truncation; by default 100, 50 with the long stick,
            and 150 in the other two tasks.
        terminate_on_success: Whether success ends the episode.

    Raises:
        UnknownName: for an unknown task, embodiment, variant, reward or camera.
        BadConfig: for an impossible size, or an embodiment that a task is not made for.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(
        self,
        task: str = "SweepToTop",
        *,
        embodiment: str = "mediumstick",
        variant: Variant = "layout",
        reward: Reward = "sparse",
        cameras: Sequence[str] = ("front",),
        image_size: int = 96,
        max_episode_steps: int | None = None,
        terminate_on_success: bool = False,
    ) -> None:
        check_task("xmagical", task)
        for kind, name, known in (
            ("embodiment", embodiment, EMBODIMENTS),
            ("variant", variant, get_args(Variant)),
            ("reward", reward, get_args(Reward)),
        ):
            if name not in known:
                raise UnknownName(kind, name, known)
        if image_size < 8:
            raise BadConfig(f"image_size is {image_size} pixels; 8 is the least.")
        if task != "SweepToTop" and embodiment not in WITH_A_WAY:
            raise BadConfig(
                f"{task} is not made for the {embodiment}, which cannot do it in another way; "
                f"choose {' or '.join(WITH_A_WAY)}."
            )
        self.suite, self.task, self.instruction = "xmagical", task, XMAGICAL[task]
        self.fps = FPS
        self.max_episode_steps = max_episode_steps or steps_of(task, embodiment)
        self.cameras = checked_cameras(cameras, get_args(View))
        self.embodiment: str = embodiment
        self.render_mode = "rgb_array"
        self._variant, self._reward, self._image_size = variant, reward, image_size
        self._terminate_on_success = terminate_on_success
        high = np.array([1.2, 1.2, 1.0, 1.0] + [1.0] * (embodiment == "gripper"), np.float32)
        low = -high
        low[4:] = 0.0
        self.observation_space = camera_space(
            self.cameras, image_size, gym.spaces.Box(low, high, dtype=np.float32)
        )
        bounds = np.array([1.0, SHARPEST] + [1.0] * (embodiment == "gripper"), np.float32)
        self.action_space = gym.spaces.Box(-bounds, bounds, dtype=np.float32)
        self.world = self._begin(np.random.default_rng(0))
        self._steps: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; the same seed begins it the same way."""
        super().reset(seed=seed)
        self.world = self._begin(self.np_random)
        self._steps = 0
        return self.observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold one action for an eighth of a second.

        Raises:
            BadInput: for an action of the wrong shape or with NaN, or before the first `reset`.
        """
        command = checked_action(action, self.action_space)
        self._steps = started(self._steps, "step")
        self.world.step(command.astype(np.float64))
        self._steps += 1
        info = self._info()
        reward = info["privileged"]["score" if self._reward == "sparse" else "dense_reward"]
        terminated = self._terminate_on_success and info["success"]
        return self.observe(), reward, terminated, self._steps >= self.max_episode_steps, info

    def observe(self) -> Observation:
        """The present observation, rendered anew."""
        observation = {f"{IMAGES}{name}": self._picture(name) for name in self.cameras}
        observation[STATE] = np.array(self.world.robot.proprioception(), dtype=np.float32)
        return observation

    def render(self) -> Any:
        """The picture of the first camera."""
        return self._picture(self.cameras[0])

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """What the scripted driver would do now: in the liked way, where the task has one."""
        started(self._steps, "expert_action")
        return EXPERTS[self.task](self.world)

    def privileged(self) -> dict[str, Any]:
        """Poses, the published state and rewards, and what the two ways are about."""
        return self.world.privileged()

    def close(self) -> None:
        """Nothing is held open; calling it again does nothing."""

    def _begin(self, rng: np.random.Generator) -> World:
        return World(self.embodiment, draw_layout(self.task, self._variant, rng))

    def _info(self) -> dict[str, Any]:
        privileged = self.privileged()
        return {"success": privileged["score"] == 1.0, "privileged": privileged}

    def _picture(self, camera: str) -> UInt8[np.ndarray, "height width 3"]:
        return draw(self.world, camera, self._image_size)
