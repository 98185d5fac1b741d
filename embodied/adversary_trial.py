"""One attempt in the simulator: what an optimiser may see of it, and what is true of it.

The two are kept apart by type: whatever chooses takes a `Proxy`, never a `Truth`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from embodied.audit_evidence import score_all, with_features
from embodied.audit_metrics import final_progress, success_probability, total_reward
from embodied.envs.base import TaskEnv
from embodied.policies.base import Policy
from embodied.reward_models.base import RewardModel, Scores
from embodied.tape import Sight
from embodied.types import Clip, FrameEncoder


@dataclass(frozen=True, kw_only=True)
class Arena:
    """What is attacked, and where; each part is built in the process that needs it."""

    env: Callable[[], TaskEnv]
    """Must not end an episode on success."""
    encoder: Callable[[], FrameEncoder]
    reward: Callable[[], RewardModel]
    """Trained."""
    policy: Callable[[FrameEncoder], Policy]


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """What the reward says of a whole attempt."""

    total: float
    """Sum of rewards: what a learner maximises, and what the attacks do."""
    probability: float
    """Of success, as the audit takes it from a clip."""
    progress: float
    """At the end, in [0, 1]."""
    accepted: bool
    """Whether it takes the attempt for a success."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the simulator says of it. Written down, and read by no optimiser."""

    success: bool
    progress: float | None
    """Share of the way from the object's first place to the goal that is gone at the end; None
    where the environment does not say where these are."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One attempt."""

    seed: int
    """Of the start."""
    action: Float32[np.ndarray, "time action"]
    """What was executed: the same from the same start is the same attempt."""
    proxy: Proxy
    truth: Truth


def proxy_of(scores: Scores) -> Proxy:
    """The part of a reward's scores that counts."""
    return Proxy(
        total=total_reward(scores),
        probability=success_probability(scores),
        progress=final_progress(scores),
        accepted=scores.success,
    )


def true_progress(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """How much of the way the object has gone, by the privileged state of start and end.

    At most 1; negative if it ends further away. None without ``object`` and ``goal`` of one shape,
    or where they coincide at the start.
    """
    if not {"object", "goal"} <= before.keys() & after.keys():
        return None
    first, last = (np.asarray(held["object"], float) for held in (before, after))
    goal = np.asarray(before["goal"], float)
    if first.shape != goal.shape or last.shape != goal.shape:
        return None
    way = float(np.linalg.norm(first - goal))
    return None if way < 1e-6 else 1 - float(np.linalg.norm(last - goal)) / way


def perform(
    env: TaskEnv, seed: int, action: Float32[np.ndarray, "time action"]
) -> tuple[Clip, Truth]:
    """Execute a sequence of actions from a start.

    Args:
        env: Goes on to the end of the sequence, whatever becomes of the task.
        seed: Of the start.
        action: Within the bounds of its space.

    Returns:
        What the cameras saw, and what is true of it.
    """
    observation, _ = env.reset(seed=seed)
    before, success = env.privileged(), False
    sight = Sight(None, env.cameras)
    sight.see(observation)
    for command in action:
        observation, _, terminated, truncated, info = env.step(command)
        sight.see(observation)
        success = success or bool(info["success"])
        if terminated or truncated:
            break
    clip = Clip(frames=sight.images(), features={}, instruction=env.instruction)
    progress = true_progress(before, env.privileged())
    return clip, Truth(success=success, progress=progress)


def again(
    trials: Sequence[Trial], env: TaskEnv, encoder: FrameEncoder, reward: RewardModel
) -> list[tuple[Clip, Scores]]:
    """Pictures and scores of attempts, executed again: the same start and actions, the same clip.

    Args:
        trials: What was tried before.
        env: As it was then.
        encoder: The reward's.
        reward: Any that looks at the environment's cameras.
    """
    clips = [perform(env, trial.seed, trial.action)[0] for trial in trials]
    encoded = with_features(clips, encoder, reward.cameras)
    return list(zip(encoded, score_all(reward, encoded), strict=True))
