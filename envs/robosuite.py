"""robosuite: one arm on a table, behind a Gymnasium interface of our own.

robosuite's ``GymWrapper`` ignores the seed, reports the time limit as a termination and hides
success. Here objects are reset in place (``hard_reset=False``), robosuite draws from the seeded
generator, and pictures come from `embodied.envs.rendering`.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

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
from embodied.envs.catalogue import ROBOSUITE, check_task
from embodied.envs.rendering import FreeView, ModelView, Quality, Renderer, View
from embodied.envs.robosuite_control import ControlStep
from embodied.envs.robosuite_experts import EXPERTS, Scene
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.types import IMAGES, STATE

Controller = Literal["OSC_POSE", "OSC_POSITION"]
ROBOTS = ("IIWA", "Jaco", "Kinova3", "Panda", "Sawyer", "UR5e")

VIEWS: dict[str, View] = {
    "front": FreeView(lookat=(0.0, 0.0, 0.88), distance=0.65, azimuth=150.0, elevation=-28.0),
    "agentview": ModelView(name="agentview"),
    "frontview": ModelView(name="frontview"),
    "birdview": ModelView(name="birdview"),
    "wrist": ModelView(name="robot0_eye_in_hand"),
}
_FRONT_OF_TASK = {
    "Door": FreeView(lookat=(-0.15, -0.25, 1.1), distance=1.2, azimuth=120.0, elevation=-20.0),
    "PickPlace": FreeView(lookat=(0.1, 0.02, 0.9), distance=1.15, azimuth=180.0, elevation=-45.0),
    "NutAssembly": FreeView(lookat=(0.05, 0.0, 0.9), distance=0.85, azimuth=150.0, elevation=-35.0),
}


EPISODE_S = {"Lift": 4.0, "Stack": 7.5, "Door": 7.5, "PickPlace": 10.0, "NutAssembly": 15.0}
"""Seconds until truncation, about twice as long as the expert takes."""
OTHER_EPISODE_S = 10.0
STARTUP = (
    "No private macro file found!",
    "It is recommended to use a private macro file",
    "To setup, run: python ",
    "Could not import robosuite_models.",
    "Could not load the mink-based whole-body IK.",
)
"""How the lines begin that robosuite logs whenever it is imported."""


class Robosuite(TaskEnv):
    """One robosuite task with one arm.

    ``observation.state`` is the position of the gripper (x, y, z in metres, world frame), its
    orientation as a quaternion (x, y, z, w; the sign is chosen so that x >= 0) and the positions of
    the gripper's joints. An action is the motion of the gripper, in [-1, 1]: x, y, z (1 is 5 cm),
    with ``OSC_POSE`` also a rotation vector (1 is 0.5 rad), and last the fingers (1 closes). The
    reward is robosuite's own, shaped.

    Sizes and colours of objects belong to the instance and are always the same; the seed of `reset`
    draws where they lie, and the arm's first pose.

    Args:
        task: A single-arm task of robosuite, such as ``Lift``.
        robot: Name of the arm.
        controller: ``OSC_POSE`` (7 numbers) or ``OSC_POSITION`` (4 numbers, fixed orientation).
        cameras: Any of ``front``, ``agentview``, ``frontview``, ``birdview``, ``wrist``.
        image_size: Height and width of a picture in pixels.
        control_hz: Control steps per second.
        max_episode_steps: Control steps until truncation; by default what `EPISODE_S` says.
        quality: ``fast``, or ``stock`` for robosuite's own look.
        terminate_on_success: Whether success ends the episode.

    Raises:
        UnknownName: for an unknown task, robot, controller, camera or quality.
        BadConfig: for an impossible rate or size.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        task: str = "Lift",
        robot: str = "Panda",
        *,
        controller: Controller = "OSC_POSE",
        cameras: Sequence[str] = ("front",),
        image_size: int = 96,
        control_hz: float = 20.0,
        max_episode_steps: int | None = None,
        quality: Quality = "fast",
        terminate_on_success: bool = False,
    ) -> None:
        check_task("robosuite", task)
        for kind, name, known in (
            ("robot", robot, ROBOTS),
            ("controller", controller, get_args(Controller)),
        ):
            if name not in known:
                raise UnknownName(kind, name, known)
        if not 1.0 <= control_hz <= 500.0:
            raise BadConfig(f"control_hz is {control_hz}; choose between 1 and 500.")
        self.suite, self.task, self.instruction = "robosuite", task, ROBOSUITE[task]
        self.fps = control_hz
        limit_s = _of_task(EPISODE_S, task, OTHER_EPISODE_S)
        self.max_episode_steps = max_episode_steps or round(limit_s * control_hz)
        self.cameras = checked_cameras(cameras, VIEWS)
        self.render_mode = "rgb_array"
        self._terminate_on_success = terminate_on_success
        self._sim = _simulation(task, robot, controller, control_hz)
        self._renderer = Renderer(
            self._sim.sim.model._model,
            {name: _view(name, task) for name in self.cameras},
            image_size=image_size,
            quality=quality,
        )
        self._renderer.options.geomgroup[0] = 0  # collision shapes
        self._state_space = gym.spaces.Box(-4.0, 4.0, self._proprioception().shape, np.float32)
        self.observation_space = camera_space(self.cameras, image_size, self._state_space)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self._sim.action_dim,), np.float32)
        self._control: ControlStep | None = None
        self._steps, self._success = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Place objects and arm anew; the same seed places them the same way."""
        super().reset(seed=seed)
        drawn = np.random.default_rng(int(self.np_random.integers(2**31)))
        # the samplers of robosuite hold this very generator
        self._sim.rng.bit_generator.state = drawn.bit_generator.state
        self._sim.reset()
        self._control = ControlStep(self._sim)
        self._success, self._steps = False, 0
        return self.observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold one action for one control step.

        Raises:
            BadInput: for an action of the wrong shape or with NaN, or before the first `reset`.
        """
        command = checked_action(action, self.action_space)
        reward = started(self._control, "step")(command.astype(np.float64))
        self._success = bool(self._sim._check_success())
        self._steps += 1
        terminated = self._terminate_on_success and self._success
        truncated = self._steps >= self.max_episode_steps
        return self.observe(), reward, terminated, truncated, self._info()

    def observe(self) -> Observation:
        """The present observation, rendered anew."""
        data = self._sim.sim.data._data
        observation = {
            f"{IMAGES}{name}": self._renderer.render(data, name) for name in self.cameras
        }
        space = self._state_space
        observation[STATE] = np.clip(self._proprioception(), space.low, space.high)
        return observation

    def render(self) -> Any:
        """The picture of the first camera."""
        return self._renderer.render(self._sim.sim.data._data, self.cameras[0])

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """What a scripted expert would do now; it sees the objects.

        Raises:
            BadInput: if the task has no expert.
        """
        if self.task not in EXPERTS:
            raise BadInput(
                f"there is no scripted expert for {self.task}; "
                f"there is one for {', '.join(sorted(EXPERTS))}."
            )
        started(self._control, "expert_action")
        return EXPERTS[self.task](Scene(self._sim))

    def privileged(self) -> dict[str, Any]:
        """Position (metres) and quaternion (w, x, y, z) of each object, in one array a piece.

        Where it has hinges, as a door has, their angles in radians follow.
        """
        data = self._sim.sim.data
        poses = {}
        for thing in self._sim.model.mujoco_objects:
            body = self._sim.sim.model.body_name2id(thing.root_body)
            places = [data.get_joint_qpos(joint) for joint in thing.joints]
            angles = [place for place in places if np.size(place) == 1]  # free joints have seven
            poses[thing.name] = np.hstack([data.body_xpos[body], data.body_xquat[body], *angles])
        return poses

    def close(self) -> None:
        """Give the renderer back; calling it again does nothing."""
        self._renderer.close()

    def _info(self) -> dict[str, Any]:
        return {"success": self._success, "privileged": self.privileged()}

    def _proprioception(self) -> Float32[np.ndarray, " state"]:
        scene = Scene(self._sim)
        quaternion = scene.gripper_quaternion
        if quaternion[0] < 0:
            quaternion = -quaternion
        fingers = self._sim.sim.data.qpos[
            self._sim.robots[0]._ref_gripper_joint_pos_indexes["right"]
        ]
        state: np.ndarray = np.concatenate([scene.gripper, quaternion, fingers]).astype(np.float32)
        return state


def _of_task[T](table: Mapping[str, T], task: str, default: T) -> T:
    """The entry whose name a task's name begins with."""
    return next((entry for start, entry in table.items() if task.startswith(start)), default)


def _view(name: str, task: str) -> View:
    return _of_task(_FRONT_OF_TASK, task, VIEWS[name]) if name == "front" else VIEWS[name]


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Keeps back what robosuite says when it is imported and nobody here can use.

    That is: that it has no file of private settings, that robots of another package and the
    controller of a humanoid are not there, and that a string in its source has a stray backslash.
    """
    log = logging.getLogger("robosuite_logs")  # robosuite sets its level itself

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(STARTUP)

    log.addFilter(other)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid escape sequence", SyntaxWarning)
        try:
            yield
        finally:
            log.removeFilter(other)


def _simulation(task: str, robot: str, controller: Controller, control_hz: float) -> Any:
    with _quiet_start():
        import robosuite
        from robosuite.controllers import (
            load_composite_controller_config,
            load_part_controller_config,
        )
        from robosuite.controllers.composite.composite_controller_factory import (
            refactor_composite_controller_config,
        )

    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    if controller == "OSC_POSE":
        config = load_composite_controller_config(controller="BASIC", robot=robot)
    else:
        part = load_part_controller_config(default_controller=controller)
        config = refactor_composite_controller_config(part, robot, ["right"])
    sim = robosuite.make(
        task,
        robots=robot,
        controller_configs=config,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        reward_shaping=True,
        hard_reset=False,
        ignore_done=True,
        control_freq=control_hz,
        seed=0,
    )
    return sim
