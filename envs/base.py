"""What every simulated task offers beyond the Gymnasium API."""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from jaxtyping import Float32

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.types import IMAGES, STATE

Observation = dict[str, np.ndarray]


class TaskEnv(gym.Env[Observation, np.ndarray], abc.ABC):
    """A task with cameras, an instruction and, where there is one, a scripted expert.

    Observations are flat dictionaries: ``observation.images.<camera>`` (uint8, height x width x 3)
    and ``observation.state`` (float32, proprioception only). ``info`` of `reset` and `step` holds
    ``success`` (bool, at this step) and ``privileged`` (object poses and the like, for teachers and
    metrics). The same seed gives the same episode. The task's own success does not end an episode
    unless ``terminate_on_success`` was asked for: a learner could read success from the ending.
    """

    action_space: gym.spaces.Box
    suite: str
    task: str
    instruction: str
    fps: float
    """Control steps per second of simulated time."""
    max_episode_steps: int
    """After so many steps `step` returns ``truncated``."""
    cameras: tuple[str, ...]

    @abc.abstractmethod
    def observe(self) -> Observation:
        """The present observation, rendered anew."""

    @abc.abstractmethod
    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """What the scripted expert would do now, from privileged state.

        Raises:
            BadInput: if the task has no expert.
        """

    @abc.abstractmethod
    def privileged(self) -> dict[str, Any]:
        """Object poses and the like, as in ``info["privileged"]``."""


def camera_space(
    cameras: tuple[str, ...], image_size: int, state: gym.spaces.Box
) -> gym.Space[Observation]:
    """The observation space of a task: one square picture per camera, and proprioception."""
    picture = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
    spaces: dict[str, gym.Space[Any]] = {f"{IMAGES}{camera}": picture for camera in cameras}
    return cast(gym.Space[Observation], gym.spaces.Dict({**spaces, STATE: state}))


def checked_cameras(cameras: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """The cameras as a tuple.

    Raises:
        BadConfig: if there are none, or one is named twice.
        UnknownName: if one does not exist.
    """
    names, choices = tuple(cameras), tuple(known)
    if not names or len(set(names)) != len(names):
        raise BadConfig(f"cameras are {list(names)}; name at least one, each once.")
    for name in names:
        if name not in choices:
            raise UnknownName("camera", name, choices)
    return names


def checked_action(action: np.ndarray, space: gym.spaces.Box) -> Float32[np.ndarray, " action"]:
    """The action within the bounds of its space, as float32.

    Raises:
        BadInput: if its shape is wrong, or it holds NaN or infinity.
    """
    values = np.asarray(action, dtype=np.float32)
    if values.shape != space.shape:
        raise BadInput(f"the action has shape {values.shape}; expected {space.shape}.")
    if not np.isfinite(values).all():
        raise BadInput(f"the action is {values.tolist()}; every number must be finite.")
    return np.clip(values, space.low, space.high)


def started[T](held: T | None, method: str) -> T:
    """What an environment has only after its first `reset`.

    Args:
        held: None before that.
        method: Which was called, for the error.

    Raises:
        BadInput: if there was no `reset` yet.
    """
    if held is None:
        raise BadInput(f"{method} was called before reset; reset the environment first.")
    return held
