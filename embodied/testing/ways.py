"""Attempts of a task with a way, as clips with features and a simulated person's liking.

The ways themselves are in `embodied.envs.ways`; this encodes what their demonstrators, or a policy,
do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from embodied.envs import ways_metaworld
from embodied.envs.base import Observation, TaskEnv
from embodied.envs.ways import AFTER, Trace, Way, attempt, trace_of
from embodied.errors import BadInput
from embodied.types import IMAGES, Clip, FrameEncoder

__all__ = ["AFTER", "CAMERA", "WAYS", "Attempt", "Way", "attempt_of", "record"]

CAMERA = "front"
FRAMES_PER_S = 10.0
"""Kept of a clip, at most."""
WAYS = ways_metaworld.WAYS


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt, and how well it is liked."""

    clip: Clip
    liking: float
    state: Float32[np.ndarray, "time state"]
    """Proprioception at each of the clip's frames."""
    action: Float32[np.ndarray, "step action"]
    """Of every control step."""
    every: int
    """Control steps from one frame of the clip to the next."""
    success: bool


def record(way: Way, seeds: Sequence[int], encoder: FrameEncoder, **keywords: Any) -> list[Attempt]:
    """Attempts of a task, with features; those that fail are left out.

    Args:
        way: The task.
        seeds: One for each attempt.
        encoder: Of the frames of the camera ``front``.
        keywords: Of the environment, such as another arm.

    Raises:
        BadInput: if all of them fail.
    """
    env = way.make(cameras=(CAMERA,), **keywords)
    attempts = []
    try:
        for seed in seeds:
            tried = attempt(way, env, seed)
            if tried.success:
                frames = tried.frames[CAMERA]
                attempts.append(
                    _encoded(env, way, frames, tried.trace, tried.actions, True, encoder)
                )
    finally:
        env.close()
    if not attempts:
        raise BadInput(f"no attempt of {way.name} succeeded; there is nothing to prefer.")
    return attempts


def attempt_of(
    env: TaskEnv,
    way: Way,
    seen: Sequence[tuple[Observation, dict[str, Any]]],
    done: Sequence[Float32[np.ndarray, " action"]],
    encoder: FrameEncoder,
) -> Attempt:
    """An attempt from what was observed, the start included, and the actions in between."""
    told = [info for _, info in seen]
    trace = trace_of(env, [observation for observation, _ in seen], told)
    frames = np.stack([observation[IMAGES + CAMERA] for observation, _ in seen])
    actions = np.stack(done).astype(np.float32)
    success = any(info["success"] for info in told)
    return _encoded(env, way, frames, trace, actions, success, encoder)


def _encoded(
    env: TaskEnv,
    way: Way,
    frames: UInt8[np.ndarray, "moment height width 3"],
    trace: Trace,
    actions: Float32[np.ndarray, "step action"],
    success: bool,
    encoder: FrameEncoder,
) -> Attempt:
    every = max(1, round(env.fps / FRAMES_PER_S))
    kept = frames[::every].copy()
    features = {CAMERA: encoder.encode(kept)}
    return Attempt(
        clip=Clip(frames={CAMERA: kept}, features=features, instruction=env.instruction),
        liking=way.rate(trace),
        state=trace.state[::every],
        action=actions,
        every=every,
        success=success,
    )
