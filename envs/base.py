"""What every simulated task offers beyond the Gymnasium API."""

import abc
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float32

Observation = dict[str, np.ndarray]


class TaskEnv(gym.Env[Observation, np.ndarray], abc.ABC):
    """A task with cameras, an instruction and, where there is one, a scripted expert.

    Observations are flat dictionaries: ``observation.images.<camera>`` (uint8, height x width x 3)
    and ``observation.state`` (float32, proprioception only). ``info`` of `reset` and `step` holds
    ``success`` (bool, at this step) and ``privileged`` (object poses and the like, for teachers and
    metrics). The same seed gives the same episode. The task's own success does not end an episode
    unless ``terminate_on_success`` was asked for: a learner could read success from the ending.
    """

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
