"""Tasks with a *way* of doing them: attempts that all succeed, some of them as a person would like.

Each attempt first goes to a point drawn at random, so that no two take the same way, and is then
finished by the scripted expert. How well a way is liked is measured in the simulator, where a
camera does not look: the position of the hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from embodied.envs.base import Observation, TaskEnv
from embodied.errors import BadInput
from embodied.types import IMAGES, STATE, Clip, FrameEncoder

CAMERA = "front"
PROPORTIONAL = 10.0
"""Action per metre of error on the way to the random point; Meta-World's experts have 4 to 25."""
NEAR = 0.03
"""Metres from the random point at which the expert takes over."""
DETOUR, AFTER = 25, 2
"""Control steps that the detour may take, and that go on after the task is complete."""
KEEP = 2
"""Every second frame is kept: 10 per second."""

Path = Float[np.ndarray, "time 3"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A task, and what a person likes about the way it is done."""

    name: str
    task: str
    liking: Callable[[Path, Path], float]
    """From the positions of the hand and of the object, in metres; higher is better."""
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    """Corners of the box that the random point is drawn from."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt, and how well it is liked."""

    clip: Clip
    liking: float
    state: Float32[np.ndarray, "time state"]
    """Proprioception at each of the clip's frames."""
    action: Float32[np.ndarray, "step action"]
    """Of every control step; the clip has every second observation."""
    success: bool


def _from_the_right(hand: Path, thing: Path) -> float:
    return float((hand[:, 0] - thing[:, 0]).mean())


def _clear_of_the_middle(hand: Path, thing: Path) -> float:
    return float(np.linalg.norm(hand - np.array([0.0, 0.6, 0.2]), axis=1).min())


def _low(hand: Path, thing: Path) -> float:
    return -float(hand[:, 2].mean())


WAYS: tuple[Way, ...] = (
    Way(
        name="open the drawer, approaching from the right",
        task="drawer-open-v3",
        liking=_from_the_right,
        low=(-0.25, 0.5, 0.15),
        high=(0.25, 0.65, 0.3),
    ),
    Way(
        name="press the button, keeping clear of the middle",
        task="button-press-topdown-v3",
        liking=_clear_of_the_middle,
        low=(-0.25, 0.55, 0.1),
        high=(0.25, 0.7, 0.35),
    ),
    Way(
        name="close the drawer, keeping the hand low",
        task="drawer-close-v3",
        liking=_low,
        low=(-0.2, 0.45, 0.08),
        high=(0.2, 0.6, 0.38),
    ),
)


def record(way: Way, seeds: Sequence[int], encoder: FrameEncoder) -> list[Attempt]:
    """Attempts of a task, with features; those that fail are left out.

    Raises:
        BadInput: if all of them fail.
    """
    from embodied.envs.metaworld import MetaWorld

    env = MetaWorld(way.task, cameras=(CAMERA,))
    try:
        found = [_attempt(env, way, seed, encoder) for seed in seeds]
    finally:
        env.close()
    attempts = [attempt for attempt in found if attempt is not None]
    if not attempts:
        raise BadInput(f"no attempt of {way.task} succeeded; there is nothing to prefer.")
    return attempts


def _attempt(env: TaskEnv, way: Way, seed: int, encoder: FrameEncoder) -> Attempt | None:
    rng = np.random.default_rng(seed)
    point = rng.uniform(way.low, way.high)
    observation, info = env.reset(seed=seed)
    seen, done, detour, after = [(observation, info)], [], True, 0
    for step in range(env.max_episode_steps):
        action = env.expert_action()
        off = point - observation[STATE][:3]
        detour = detour and step < DETOUR and bool(np.linalg.norm(off) > NEAR)
        if detour:
            action[:3] = np.clip(PROPORTIONAL * off, -1, 1)
        observation, _, _, _, info = env.step(action)
        seen.append((observation, info))
        done.append(action)
        after += bool(info["success"])
        if after > AFTER:
            break
    return attempt_of(env, way, seen, done, encoder) if after else None


def attempt_of(
    env: TaskEnv,
    way: Way,
    seen: Sequence[tuple[Observation, dict[str, Any]]],
    done: Sequence[Float32[np.ndarray, " action"]],
    encoder: FrameEncoder,
) -> Attempt:
    """An attempt from what was observed, the start included, and the actions in between."""
    hand = np.stack([each[STATE][:3] for each, _ in seen])
    thing = np.stack([told["privileged"]["object"][:3] for _, told in seen])
    frames = np.stack([each[IMAGES + CAMERA] for each, _ in seen[::KEEP]])
    return Attempt(
        clip=Clip(
            frames={}, features={CAMERA: encoder.encode(frames)}, instruction=env.instruction
        ),
        liking=way.liking(hand, thing),
        state=np.stack([each[STATE] for each, _ in seen[::KEEP]]),
        action=np.stack(done).astype(np.float32),
        success=any(told["success"] for _, told in seen),
    )
