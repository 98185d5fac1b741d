"""Tasks with a *way* of doing them: what a person likes, told from where a camera does not look.

A `Way` says of every step how well it is liked, from positions that only the simulator knows: a
teacher for synthetic raters and for benchmarks, never something that a learner sees. Its metric
says the same of a whole attempt in a unit that a person can picture. Its demonstrator does the task
in many ways, all of which should succeed, so that they differ in nothing but how they are liked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8

from embodied.envs.base import Observation, TaskEnv
from embodied.errors import BadInput
from embodied.types import IMAGES, STATE, Episode

AFTER = 2
"""Control steps that an attempt goes on after the task is done."""

Driver = Callable[[Observation, int], Float32[np.ndarray, " action"]]
"""The action after an observation, at a step."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What happened in an attempt, as the simulator tells it."""

    fps: float
    state: Float32[np.ndarray, "moment state"]
    """Proprioception."""
    privileged: Mapping[str, np.ndarray]
    """``info["privileged"]`` of every moment, stacked by name."""

    def __len__(self) -> int:
        return len(self.state)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A task, and what a person likes about the way it is done."""

    name: str
    """Short, for commands and files."""
    task: str
    """Of the environment."""
    text: str
    """As a person would say it."""
    make: Callable[..., TaskEnv]
    """Builds the environment; takes its keywords, such as ``cameras`` and ``image_size``."""
    liking: Callable[[Trace], Float[np.ndarray, " moment"]]
    """How well each moment is liked; higher is better."""
    overall: Literal["mean", "worst"] = "mean"
    """What of its moments an attempt is judged by."""
    metric: Callable[[Trace], float]
    """The same of a whole attempt, in a unit; no reward and no label is made from it."""
    unit: str
    """Of the metric, and what it measures."""
    better: Literal["higher", "lower"]
    """Which end of the metric is liked."""
    demonstrator: Callable[[TaskEnv, np.random.Generator], Driver]
    """Draws a way of doing it; called after each `reset`."""

    def rate(self, trace: Trace) -> float:
        """How well an attempt is liked."""
        moments = self.liking(trace)
        return float(moments.mean() if self.overall == "mean" else moments.min())


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt of a demonstrator."""

    seed: int
    success: bool
    actions: Float32[np.ndarray, "time action"]
    frames: Mapping[str, UInt8[np.ndarray, "moment height width 3"]]
    """Of each camera."""
    trace: Trace


def attempt(way: Way, env: TaskEnv, seed: int) -> Attempt:
    """Let the demonstrator do the task once, in a way that the seed draws.

    Args:
        way: Which task, and whose demonstrator.
        env: What `Way.make` made.
        seed: Of the start and of the way.
    """
    observation, info = env.reset(seed=seed)
    drive = way.demonstrator(env, np.random.default_rng(seed))
    actions: list[Float32[np.ndarray, " action"]] = []
    seen, told, after = [observation], [info], 0
    while len(actions) < env.max_episode_steps and after <= AFTER:
        actions.append(drive(observation, len(actions)))
        observation, _, _, _, info = env.step(actions[-1])
        seen.append(observation)
        told.append(info)
        after += bool(info["success"])
    return Attempt(
        seed=seed, success=after > 0, actions=np.stack(actions), trace=trace_of(env, seen, told),
        frames={name: np.stack([each[IMAGES + name] for each in seen]) for name in env.cameras},
    )  # fmt: skip


def retrace(env: TaskEnv, episode: Episode) -> Trace:
    """What happened in a stored episode: its actions, played again from its seed.

    The same seed gives the same episode, so that a rater can know of a recorded episode what was
    never stored. An episode of a real robot has no such trace.

    Args:
        env: Built with the arguments that the episode was recorded with.
        episode: Of the same task.

    Raises:
        BadInput: if the episode is of another task, or goes otherwise than it was recorded.
    """
    if episode.task != env.task:
        raise BadInput(
            f"episode {episode.episode_id} is of {episode.task}, the environment of {env.task}; "
            "build the environment that it was recorded in."
        )
    observation, info = env.reset(seed=episode.seed)
    seen, told = [observation], [info]
    for action in episode.action:
        observation, _, _, _, info = env.step(action)
        seen.append(observation)
        told.append(info)
    trace = trace_of(env, seen, told)
    off = float(np.abs(trace.state - episode.state).max())
    if off > 1e-4:
        raise BadInput(
            f"episode {episode.episode_id} goes otherwise when it is played again (its state is "
            f"off by {off:.3g}); build the environment with the arguments it was recorded with."
        )
    return trace


def trace_of(
    env: TaskEnv, seen: Sequence[Observation], told: Sequence[Mapping[str, Any]]
) -> Trace:  # fmt: skip
    """What was observed, the start included, and told of it."""
    names = told[0]["privileged"]
    return Trace(
        fps=env.fps,
        state=np.stack([each[STATE] for each in seen]),
        privileged={n: np.stack([each["privileged"][n] for each in told]) for n in names},
    )
