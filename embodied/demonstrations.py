"""What a person would record before training: demonstrations, and deliberate failures.

The demonstrator is the environment's expert with some noise. It goes on for half a second after the
task is done, so that the last frames show completion with a margin, and says that it is done; the
label is the demonstrator's. Failures are what a person can act out in a minute, and what a weak
policy does: it goes through the motions of another start and misses, it stops just short or
half-way, it moves at random. Without the first kind a reward learns to recognise the arm's pose at
the end instead of what became of the object (docs/rewards/progress.md). An attempt that turns out
otherwise is repeated from another start.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from jaxtyping import Float32

from embodied.envs.base import TaskEnv
from embodied.errors import BadInput
from embodied.messages import Request
from embodied.seed_ranges import Purpose, episode_seed
from embodied.tape import Plan, Sight, Tape
from embodied.types import Episode

Failure = Literal["goes through the motions", "stops short", "moves at random"]
FAILURES: tuple[Failure, ...] = (
    "goes through the motions",
    "stops short",
    "goes through the motions",
    "moves at random",
)
"""The order in which failures are recorded: half of them are what policies do most."""
ATTEMPTS = 10
"""Starts that are tried for one episode."""
LINGER = 10
"""Steps that a demonstration goes on after the task is done."""

ELSEWHERE = 5_000
"""Added to a seed, gives another start of the same range of seeds (`seed_ranges`)."""
STOPS_JUST_SHORT = (0.7, 1.0)
"""Share of the expert's steps after which it stops just short."""

Teacher = Callable[[int], Float32[np.ndarray, " action"]]
"""The demonstrator's command at a step."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One episode to record."""

    purpose: Purpose
    number: int
    failure: Failure | None = None
    """How it must fail; None for a success."""

    @property
    def episode_id(self) -> str:
        """Name of the episode."""
        return f"{self.purpose}-{self.number:06d}"


def demonstrate(
    env: TaskEnv, assignment: Assignment, *, run_seed: int, noise: float, chunk: int
) -> Episode | None:
    """Record one demonstration or failure.

    Args:
        env: Its success decides whether an attempt is what it should be, as the person would see.
        assignment: Which.
        run_seed: Of the run.
        noise: Standard deviation of the noise on the commands, in units of half the action range.
        chunk: Steps per chunk, for `Episode.chunk_index`.

    Returns:
        The episode; None for a failure that succeeded from every start.

    Raises:
        BadInput: if the expert failed from every start.
    """
    for attempt in range(ATTEMPTS):
        number = assignment.number * ATTEMPTS + attempt
        seed = episode_seed(assignment.purpose, run_seed, number)
        wanted = assignment
        if assignment.failure is not None and attempt >= ATTEMPTS // 2:
            wanted = replace(assignment, failure="stops short")
        episode = _attempt(env, wanted, seed, noise)
        if episode.success == (assignment.failure is None):
            return replace(episode, chunk_index=np.arange(len(episode), dtype=np.int64) % chunk)
    if assignment.failure is None:
        raise BadInput(f"the expert of {env.task} failed from {ATTEMPTS} starts in a row.")
    return None


def _attempt(env: TaskEnv, assignment: Assignment, seed: int, noise: float) -> Episode:
    rng = np.random.default_rng(seed)
    teacher = _teacher(env, assignment.failure, seed, rng)
    observation, _ = env.reset(seed=seed)
    request = Request(number=assignment.number, seed=seed, source="demo", explore=0.0)
    sight = Sight(None, env.cameras)
    sight.see(observation)
    tape = Tape(request, env, sight)
    space = env.action_space
    scale = noise * (space.high - space.low) / 2.0
    limit = env.max_episode_steps
    if assignment.failure is not None:
        limit = int(rng.integers(limit // 2, limit + 1))
    done_at, truncated = None, False
    while not truncated and len(tape) < limit and (done_at is None or len(tape) < done_at + LINGER):
        wanted = teacher(len(tape)) + scale * rng.standard_normal(space.shape)
        action = np.clip(wanted, space.low, space.high).astype(np.float32)
        observation, paid, _, truncated, info = env.step(action)
        sight.see(observation)
        nothing = np.full_like(action, np.nan)
        plan = Plan(actions=action[None], noises=nothing[None], version=-1)
        tape.write(action, action, plan, success=bool(info["success"]), reward=float(paid))
        if info["success"] and done_at is None:
            done_at = len(tape)
    tape.end(terminated=False, truncated=True, verdict="failure" if done_at is None else "success")
    return replace(tape.episode(""), episode_id=assignment.episode_id)


def _teacher(env: TaskEnv, failure: Failure | None, seed: int, rng: np.random.Generator) -> Teacher:
    """What the demonstrator does; leaves the environment to be reset."""
    space = env.action_space
    half = (space.high - space.low) / 2.0
    still = (space.high + space.low) / 2.0
    drift = still.copy()

    def expert(step: int) -> Float32[np.ndarray, " action"]:
        return env.expert_action()

    def moves_at_random(step: int) -> Float32[np.ndarray, " action"]:
        drift[:] = 0.9 * drift + 0.4 * half * rng.standard_normal(space.shape)
        return cast(np.ndarray, drift.copy())

    if failure is None:
        return expert
    if failure == "moves at random":
        return moves_at_random
    if failure == "goes through the motions":
        motions = _rehearse(env, seed + ELSEWHERE)
        return lambda step: motions[min(step, len(motions) - 1)]
    furthest = len(_rehearse(env, seed)) - 1
    stop_at = int(rng.uniform(*(STOPS_JUST_SHORT if rng.random() < 0.5 else (0.2, 0.7))) * furthest)
    return lambda step: env.expert_action() if step < stop_at else still


def _rehearse(env: TaskEnv, seed: int) -> list[Float32[np.ndarray, " action"]]:
    """The expert's commands from a start until the task is done."""
    env.reset(seed=seed)
    actions = []
    for _ in range(env.max_episode_steps):
        actions.append(env.expert_action())
        *_, truncated, info = env.step(actions[-1])
        if info["success"] or truncated:
            break
    return actions
