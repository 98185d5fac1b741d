"""Attempts of a task with a way, as clips with features and a simulated person's liking.

The ways themselves are in `embodied.envs.ways`; this encodes what their demonstrators do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embodied.envs import ways_metaworld
from embodied.envs.ways import Way, attempt
from embodied.errors import BadInput
from embodied.types import Clip, FrameEncoder

CAMERA = "front"
FRAMES_PER_S = 10.0
"""Kept of a clip, at most."""
WAYS = ways_metaworld.WAYS


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt that succeeded, and how well it is liked."""

    clip: Clip
    liking: float


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
    keep = max(1, round(env.fps / FRAMES_PER_S))
    attempts = []
    try:
        for seed in seeds:
            found = attempt(way, env, seed)
            if found.success:
                features = encoder.encode(found.frames[CAMERA][::keep])
                clip = Clip(
                    frames={}, features={CAMERA: features}, instruction=env.instruction
                )  # fmt: skip
                attempts.append(Attempt(clip=clip, liking=way.rate(found.trace)))
    finally:
        env.close()
    if not attempts:
        raise BadInput(f"no attempt of {way.name} succeeded; there is nothing to prefer.")
    return attempts
