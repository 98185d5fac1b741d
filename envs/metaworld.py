"""Meta-World v3: fifty table-top tasks of one Sawyer arm, each with a scripted expert.

Physics runs at 80 Hz; an action is repeated until the next control step. The position of the object
and of the goal are drawn anew at every reset, from the seed alone.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import mujoco
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
from embodied.envs.catalogue import METAWORLD, check_task
from embodied.envs.rendering import FreeView, ModelView, Quality, Renderer, View
from embodied.errors import BadConfig
from embodied.types import IMAGES, STATE

PHYSICS_HZ = 80.0
EPISODE_S = 6.25
"""Meta-World's own limit, 500 physics steps."""
TOO_HIGH = r"Constant\(s\) may be too high\. Environments clip response"

VIEWS: dict[str, View] = {
    "front": FreeView(lookat=(0.0, 0.65, 0.12), distance=1.1, azimuth=140.0, elevation=-28.0),
    "side": FreeView(lookat=(0.0, 0.65, 0.12), distance=1.1, azimuth=40.0, elevation=-28.0),
    "wrist": ModelView(name="gripperPOV"),
    "corner2": ModelView(name="corner2", upside_down=True),
}


class MetaWorld(TaskEnv):
    """One Meta-World v3 task.

    ``observation.state`` is the position of the hand (x, y, z in metres) and the opening of the
    gripper in [0, 1]. An action is the motion of the hand (x, y, z; 1 is 1 cm per physics step)
    and the effort that closes the gripper, all in [-1, 1]. The reward is Meta-World's own, summed
    over the repeated physics steps.

    Args:
        task: One of the fifty names, such as ``drawer-open-v3``.
        cameras: Any of ``front``, ``side``, ``wrist``, ``corner2``.
        image_size: Height and width of a picture in pixels.
        control_hz: Control steps per second; must divide 80.
        max_episode_steps: Control steps until truncation; by default 6.25 s of them.
        quality: ``fast``, or ``stock`` for Meta-World's own look.
        terminate_on_success: Whether success ends the episode.

    Raises:
        UnknownName: for an unknown task, camera or quality.
        BadConfig: for a control rate that does not divide 80, or an impossible size.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        task: str = "drawer-open-v3",
        *,
        cameras: Sequence[str] = ("front",),
        image_size: int = 96,
        control_hz: float = 20.0,
        max_episode_steps: int | None = None,
        quality: Quality = "fast",
        terminate_on_success: bool = False,
    ) -> None:
        check_task("metaworld", task)
        repeat = round(PHYSICS_HZ / control_hz) if control_hz > 0 else 0
        if repeat < 1 or repeat * control_hz != PHYSICS_HZ:
            raise BadConfig(f"control_hz is {control_hz}; it must divide {PHYSICS_HZ:.0f}.")
        self.suite, self.task, self.instruction = "metaworld", task, METAWORLD[task]
        self.fps = control_hz
        self.cameras = checked_cameras(cameras, VIEWS)
        self.max_episode_steps = max_episode_steps or round(EPISODE_S * control_hz)
        self.render_mode = "rgb_array"
        self._repeat = repeat
        self._terminate_on_success = terminate_on_success
        self._sim, self._expert = _simulation(task)
        self._ahead = mujoco.MjData(self._sim.model)
        self._renderer = Renderer(
            self._sim.model,
            {name: VIEWS[name] for name in self.cameras},
            image_size=image_size,
            quality=quality,
        )
        low, high = self._sim._HAND_SPACE.low, self._sim._HAND_SPACE.high
        self._state_space = gym.spaces.Box(
            np.append(low, 0.0).astype(np.float32), np.append(high, 1.0).astype(np.float32)
        )
        self.observation_space = camera_space(self.cameras, image_size, self._state_space)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self._full: np.ndarray | None = None
        self._success = False
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Place object and goal anew; the same seed places them the same way."""
        super().reset(seed=seed)
        sim = self._sim
        sim.seed(int(self.np_random.integers(2**31)))
        mujoco.mj_resetData(sim.model, sim.data)
        sim.reset()
        # Meta-World places the object last, and shows it there only after the next step
        mujoco.mj_forward(sim.model, sim.data)
        sim._prev_obs = sim._get_curr_obs_combined_no_goal()
        self._full = sim._get_obs()
        self._success, self._steps = False, 0
        return self.observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold one action for one control step.

        Raises:
            BadInput: for an action of the wrong shape or with NaN, or before the first `reset`.
        """
        command = checked_action(action, self.action_space)
        self._full = started(self._full, "step")
        reward = 0.0
        for _ in range(self._repeat):
            self._full, gained, _, _, outcome = self._sim.step(command)
            reward += float(gained)
        self._success = bool(outcome["success"])
        self._steps += 1
        terminated = self._terminate_on_success and self._success
        truncated = self._steps >= self.max_episode_steps
        return self.observe(), reward, terminated, truncated, self._info()

    def observe(self) -> Observation:
        """The present observation, rendered anew."""
        observation = {
            f"{IMAGES}{name}": self._renderer.render(self._sim.data, name) for name in self.cameras
        }
        proprioception = self._sim._get_curr_obs_combined_no_goal()[:4].astype(np.float32)
        space = self._state_space
        observation[STATE] = np.clip(proprioception, space.low, space.high)
        return observation

    def render(self) -> Any:
        """The picture of the first camera."""
        return self._renderer.render(self._sim.data, self.cameras[0])

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """What Meta-World's scripted policy would do now; it sees the object and the goal.

        The scripts are tuned to act at 80 Hz, and some overshoot when an action is held for longer.
        So the script plays the control step ahead on a copy of the state; its mean is the action.
        """
        full = started(self._full, "expert_action")
        sim, data, previous = self._sim, self._sim.data, self._sim._prev_obs
        mujoco.mj_copyData(self._ahead, sim.model, data)
        sim.data = self._ahead
        actions: list[np.ndarray] = []
        while True:
            actions.append(np.clip(self._expert.get_action(full), -1.0, 1.0))
            if len(actions) == self._repeat:
                break
            sim.set_xyz_action(actions[-1][:3])
            sim.do_simulation([actions[-1][3], -actions[-1][3]], sim.frame_skip)
            mujoco.mj_forward(sim.model, sim.data)
            full = sim._get_obs()
        sim.data, sim._prev_obs = data, previous
        mean: np.ndarray = np.mean(actions, axis=0).astype(np.float32)
        return mean

    def privileged(self) -> dict[str, Any]:
        """``object`` and ``goal`` positions in metres."""
        return {
            "object": np.array(self._sim._get_pos_objects(), dtype=np.float64).ravel(),
            "goal": np.array(self._sim._target_pos, dtype=np.float64).ravel(),
        }

    def close(self) -> None:
        """Give the renderer back; calling it again does nothing."""
        self._renderer.close()

    def _info(self) -> dict[str, Any]:
        return {"success": self._success, "privileged": self.privileged()}


def _simulation(task: str) -> tuple[Any, Any]:
    """Meta-World's environment, drawing its placements from its own generator, and its expert.

    Some experts ask for more than the arm can do, and warn of it at every run; the action is cut to
    the action space here, as Meta-World cuts it.
    """
    warnings.filterwarnings("ignore", TOO_HIGH, module=r"metaworld\.policies\.policy")
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    from metaworld.policies import ENV_POLICY_MAP

    sim = ALL_V3_ENVIRONMENTS[task]()
    sim._partially_observable = False  # the expert needs the goal
    del sim.sawyer_observation_space  # cached for the other choice
    sim._freeze_rand_vec = False
    sim.seeded_rand_vec = True
    sim._set_task_called = True
    sim.max_path_length = 10**9  # our own limit counts
    return sim, ENV_POLICY_MAP[task]()
