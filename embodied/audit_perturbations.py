"""Edits of time: a clip reversed, undone, held, set back, slowed down, with frames lost.

They choose frames by index, so frames and features stay together and nothing is encoded again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from embodied.types import Clip


def take(clip: Clip, index: Int[np.ndarray, " chosen"]) -> Clip:
    """The clip made of the frames at ``index``, which may repeat and run backwards."""
    return replace(
        clip,
        frames={camera: frames[index] for camera, frames in clip.frames.items()},
        features={camera: maps[index] for camera, maps in clip.features.items()},
    )


def reverse(clip: Clip) -> Clip:
    """Played backwards."""
    return take(clip, np.arange(len(clip))[::-1])


def undo(clip: Clip) -> Clip:
    """The clip followed by its reverse: what was done is undone. One frame less than twice."""
    there = np.arange(len(clip))
    return take(clip, np.concatenate([there, there[-2::-1]]))


def tent(length: int) -> Float[np.ndarray, " time"]:
    """The true order of an undone clip of ``length`` frames: up and down again."""
    clock = np.arange(length, dtype=float)
    return np.asarray(np.minimum(clock, length - 1 - clock))


def freeze(clip: Clip, position: float) -> Clip:
    """One frame, at a position in [0, 1], held for as long as the clip."""
    return take(clip, np.full(len(clip), round(position * (len(clip) - 1))))


def drop_frames(clip: Clip, share: float, rng: np.random.Generator) -> Clip:
    """A camera that loses frames: the last one received is shown again."""
    lost = rng.random(len(clip)) < share
    lost[0] = False
    return take(clip, np.maximum.accumulate(np.where(lost, 0, np.arange(len(clip)))))


def change_speed(clip: Clip, factor: float) -> Clip:
    """The same motion in ``1 / factor`` of the frames; the first and the last frame are kept."""
    frames = max(2, round(len(clip) / factor))
    return take(clip, np.linspace(0, len(clip) - 1, frames).round().astype(int))


def set_back(length: int) -> Int[np.ndarray, " chosen"]:
    """Forward to 60 %, back to 30 %, then on to the end: what was done is partly undone."""
    high, low = round(0.6 * (length - 1)), round(0.3 * (length - 1))
    back = np.arange(high - 1, low - 1, -1)
    return np.concatenate([np.arange(high + 1), back, np.arange(low + 1, length)])


def hesitate(length: int) -> Int[np.ndarray, " chosen"]:
    """The middle frame held for half as long as the clip."""
    middle = (length - 1) // 2
    held = np.full(max(1, length // 2), middle)
    return np.concatenate([np.arange(middle), held, np.arange(middle, length)])


def try_again(length: int) -> Int[np.ndarray, " chosen"]:
    """The stretch from 40 % to 70 % shown twice, with a cut between."""
    first, last = round(0.4 * (length - 1)), round(0.7 * (length - 1))
    return np.concatenate([np.arange(last + 1), np.arange(first, length)])


@dataclass(frozen=True, kw_only=True)
class Detour:
    """A named way through a clip that does not lead straight to its end."""

    name: str
    title: str
    path: Callable[[int], Int[np.ndarray, " chosen"]]
    """The frames of a clip of that length, by number: how far each really is."""


DETOURS = (
    Detour(name="set_back", title="set back from 60 % to 30 %, then on", path=set_back),
    Detour(name="hesitation", title="a pause in the middle", path=hesitate),
    Detour(name="retry", title="40 % to 70 % done twice", path=try_again),
)


def swap_cameras(clip: Clip, cameras: Sequence[str]) -> Clip:
    """Each of these cameras shows what the next one sees."""
    next_of = dict(zip(cameras, [*cameras[1:], *cameras[:1]], strict=True))
    return replace(
        clip,
        frames={c: clip.frames[next_of.get(c, c)] for c in clip.frames},
        features={c: clip.features[next_of.get(c, c)] for c in clip.features},
    )


def thin(clip: Clip, frames: int) -> Clip:
    """At most so many frames, evenly spaced."""
    return take(clip, np.linspace(0, len(clip) - 1, min(frames, len(clip))).round().astype(int))
