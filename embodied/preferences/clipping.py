"""A dataset's episodes as clips that people can compare: short, and of equal length."""

from collections.abc import Iterator

from embodied.branching import origin_of
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.preferences.records import NewClip


def clips_of(store: EpisodeStore, clip_s: float) -> list[NewClip]:
    """Clips of all episodes, one after the other; an episode's last clip ends with it.

    Args:
        store: The dataset.
        clip_s: Seconds of a clip; a shorter episode is one clip.

    Raises:
        BadInput: for a dataset without episodes, without videos, or without two clips.
    """
    if len(store) == 0:
        raise BadInput(f"{store.root} holds no episodes.")
    if not store.cameras:
        raise BadInput(f"{store.root} has no videos or images: there is nothing to compare.")
    clips = [clip for index in range(len(store)) for clip in _of_episode(store, index, clip_s)]
    if len(clips) < 2:
        raise BadInput(f"{store.root} gives {len(clips)} clip; a comparison needs two.")
    return clips


def clip_at(store: EpisodeStore, index: int, start: int, stop: int) -> NewClip:
    """Some frames of an episode.

    Args:
        store: The dataset.
        index: Of the episode.
        start: First frame.
        stop: The frame after the last.
    """
    summary = store.summary(index)
    return NewClip(
        dataset=store.root.resolve().name,
        revision=store.revision(index),
        episode=index,
        episode_id=summary.episode_id,
        cameras=store.cameras,
        start=start,
        stop=stop,
        fps=store.fps,
        instruction=summary.instruction,
        success=summary.success,
    )


def is_of(store: EpisodeStore, clip: NewClip) -> bool:
    """Whether the dataset has the clip, of the episode that people saw: names may be alike."""
    return (
        clip.dataset == store.root.resolve().name
        and clip.episode < len(store)
        and clip.revision == store.revision(clip.episode)
    )


def _of_episode(store: EpisodeStore, index: int, clip_s: float) -> Iterator[NewClip]:
    frames, length = store.frame_count(index), max(2, round(clip_s * store.fps))
    origin = origin_of(store.summary(index).episode_id)
    shared = 0 if origin is None else origin.step  # what comes before is the parent's
    for start in _starts(frames - shared, length):
        first = shared + start
        yield clip_at(store, index, first, min(first + length, frames))


def _starts(frames: int, length: int) -> list[int]:
    """Each clip after the one before; the last may overlap with it, so that it is no shorter."""
    if frames <= length:
        return [0]
    starts = list(range(0, frames - length + 1, length))
    return starts if starts[-1] + length == frames else [*starts, frames - length]
