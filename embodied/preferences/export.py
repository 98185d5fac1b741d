"""Labels as parquet, one row per label ever given, and as columns that LeRobot users expect."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from embodied.dataset_layout import parquet_bytes
from embodied.durable import write_atomically
from embodied.preferences.answers import TARGETS, Answer
from embodied.preferences.comparing import compared
from embodied.preferences.labels import standing
from embodied.preferences.records import Clip
from embodied.preferences.store import PreferenceStore

FIELDS = pa.schema(
    [
        ("label_id", pa.int64()), ("uuid", pa.string()), ("query_id", pa.int64()),
        ("mode", pa.string()), ("rater", pa.string()), ("rater_kind", pa.string()),
        ("session_id", pa.int64()), ("choice", pa.string()), ("target", pa.float64()),
        ("both_negative", pa.bool_()), ("stands", pa.bool_()), ("supersedes", pa.int64()),
        ("strength", pa.string()), ("attributes", pa.string()), ("intervals", pa.string()),
        ("ranking", pa.list_(pa.int64())), ("progress", pa.list_(pa.list_(pa.float64()))),
        ("note", pa.string()), ("swapped", pa.bool_()), ("response_ms", pa.float64()),
        ("replays", pa.int64()), ("app_version", pa.string()), ("utc_s", pa.float64()),
        ("acquisition", pa.string()), ("reason", pa.string()), ("score", pa.float64()),
        ("reward_version", pa.int64()), ("gold", pa.string()), ("repeat_of", pa.int64()),
        ("clip_ids", pa.list_(pa.int64())), ("dataset", pa.string()),
        ("revision", pa.list_(pa.string())),
        ("episode_index", pa.list_(pa.int64())), ("episode_id", pa.list_(pa.string())),
        ("start_frame", pa.list_(pa.int64())), ("stop_frame", pa.list_(pa.int64())),
        ("start_s", pa.list_(pa.float64())), ("stop_s", pa.list_(pa.float64())),
        ("cameras", pa.list_(pa.string())), ("instruction", pa.string()),
        ("parent_clip_id", pa.list_(pa.int64())), ("branch_step", pa.list_(pa.int64())),
    ]
)  # fmt: skip
"""Columns of the export. ``target`` is the probability that the first clip is the better one."""


PROGRESS, GOOD = "preference.progress", "preference.good"
WON, BOTH_BAD = "preference.won", "preference.both_bad"
FRAME_COLUMNS = (PROGRESS, GOOD, WON, BOTH_BAD)
"""Progress from marks, 0 to 1; the share of spans that were called good; what comparisons of clips
with this frame say of its clip, from 0 (worse) to 1 (better); the share of them in which both were
bad."""


def export_rows(store: PreferenceStore) -> list[dict[str, Any]]:
    """One row per label, undone ones and undos included; ``stands`` says which count."""
    labels = store.labels()
    stands = {label["id"] for label in standing(labels)}
    clips = {clip.id: clip for clip in store.clips()}
    return [_row(label, [clips[i] for i in label["clip_ids"]], stands) for label in labels]


def _row(label: dict[str, Any], clips: list[Any], stands: set[int]) -> dict[str, Any]:
    answer = Answer(label["choice"]) if label["choice"] in {*Answer} else None
    return {
        **{name: label[name] for name in FIELDS.names if name in label},
        "label_id": label["id"],
        "target": None if answer is None else TARGETS[answer],
        "both_negative": answer is not None and answer.both_negative,
        "stands": label["id"] in stands,
        "attributes": json.dumps(label["attributes"], sort_keys=True),
        "intervals": json.dumps(label["intervals"], sort_keys=True),
        "dataset": clips[0].dataset,
        "revision": [clip.revision for clip in clips],
        "episode_index": [clip.episode for clip in clips],
        "episode_id": [clip.episode_id for clip in clips],
        "start_frame": [clip.start for clip in clips],
        "stop_frame": [clip.stop for clip in clips],
        "start_s": [clip.start / clip.fps for clip in clips],
        "stop_s": [clip.stop / clip.fps for clip in clips],
        "cameras": list(clips[0].cameras),
        "instruction": clips[0].instruction,
        "parent_clip_id": [clip.parent_clip_id for clip in clips],
        "branch_step": [clip.branch_step for clip in clips],
    }


def parquet_of(store: PreferenceStore) -> bytes:
    """The whole log; the same database gives the same bytes."""
    return parquet_bytes(pa.Table.from_pylist(export_rows(store), schema=FIELDS))


def frame_columns(
    labels: Sequence[Mapping[str, Any]],
    clips: Mapping[int, Clip],
    frames: Mapping[int, int],
    kinds: Sequence[str] | None = None,
) -> dict[int, dict[str, Float[np.ndarray, " frame"]]]:
    """What people said of each frame of each episode, by `FRAME_COLUMNS`.

    Progress goes straight from one mark of a person to that person's next, and nowhere else; where
    several marked, it is the mean. Whatever nobody spoke of is NaN.

    Args:
        labels: As `PreferenceStore.labels` gives them.
        clips: Of one dataset, by id: another one's episodes and frames have the same numbers.
        frames: Of each episode, at least as many as its clips reach.
        kinds: Of the raters whose answers count; None for all.
    """
    told = {e: {name: _Means(count) for name in FRAME_COLUMNS} for e, count in frames.items()}
    counted = [
        label
        for label in standing(labels)
        if clips.keys() >= {*label["clip_ids"]} and (kinds is None or label["rater_kind"] in kinds)
    ]
    for label in counted:
        shown = [clips[i] for i in label["clip_ids"]]
        if label["progress"]:
            _draw(told[shown[0].episode][PROGRESS], shown[0], label["progress"])
        for interval in label["intervals"]:
            clip = shown[interval["side"]]
            start, stop = (clip.start + interval[name] for name in ("start", "stop"))
            told[clip.episode][GOOD].add(start, min(stop, clip.stop), float(interval["good"]))
    bad = {label["id"] for label in counted if label["choice"] == Answer.BOTH_BAD}
    answers = compared(counted)
    for place, label_id in enumerate(answers.label.tolist()):
        first, second = clips[answers.first[place]], clips[answers.second[place]]
        for clip, won in ((first, answers.target[place]), (second, 1.0 - answers.target[place])):
            told[clip.episode][WON].add(clip.start, clip.stop, won)
            told[clip.episode][BOTH_BAD].add(clip.start, clip.stop, float(label_id in bad))
    return {
        episode: {name: means.values() for name, means in columns.items()}
        for episode, columns in told.items()
    }


def frame_rows(
    store: PreferenceStore, clips: Mapping[int, Clip], kinds: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """`frame_columns` as rows, of the frames that somebody spoke of.

    Keys are LeRobot's ``episode_index`` and ``frame_index``, so that a join with the dataset's rows
    is all that is needed.
    """
    frames: dict[int, int] = {}
    for clip in clips.values():
        frames[clip.episode] = max(clip.stop, frames.get(clip.episode, 0))
    found = frame_columns(store.labels(), clips, frames, kinds)
    rows = []
    for episode, columns in sorted(found.items()):
        values = np.stack([*columns.values()], axis=1)
        for frame in np.flatnonzero(np.isfinite(values).any(axis=1)).tolist():
            said = [None if np.isnan(value) else value for value in values[frame].tolist()]
            row = {"episode_index": episode, "frame_index": frame}
            rows.append({**row, **dict(zip(columns, said, strict=True))})
    return rows


def frames_parquet_of(
    store: PreferenceStore, clips: Mapping[int, Clip], kinds: Sequence[str] | None = None
) -> bytes:
    """`frame_rows` as parquet."""
    types = [(name, pa.int64()) for name in ("episode_index", "frame_index")]
    schema = pa.schema(types + [(name, pa.float64()) for name in FRAME_COLUMNS])
    return parquet_bytes(pa.Table.from_pylist(frame_rows(store, clips, kinds), schema=schema))


def write_exports(
    store: PreferenceStore,
    clips: Mapping[int, Clip],
    folder: Path,
    kinds: Sequence[str] | None = None,
) -> None:
    """``labels.parquet``, the whole log, and ``frames.parquet``, of these clips, in a folder."""
    write_atomically(folder / "labels.parquet", parquet_of(store))
    write_atomically(folder / "frames.parquet", frames_parquet_of(store, clips, kinds))


@final
class _Means:
    """The mean of what was said of each frame of an episode."""

    def __init__(self, frames: int) -> None:
        self._sum, self._count = np.zeros(frames), np.zeros(frames)

    def add(self, start: int, stop: int, said: Float[np.ndarray, " frame"] | float) -> None:
        self._sum[start:stop] += said
        self._count[start:stop] += 1

    def values(self) -> Float[np.ndarray, " frame"]:
        spoken = self._count > 0
        means = np.full(len(spoken), np.nan)
        means[spoken] = self._sum[spoken] / self._count[spoken]
        return means


def _draw(means: _Means, clip: Clip, marks: Sequence[Sequence[float]]) -> None:
    """Add one person's line through the marks; one beyond the clip's end is of no frame."""
    inside = sorted((int(at), progress) for at, progress in marks if at < clip.stop - clip.start)
    if inside:
        at, progress = np.array(inside).T
        first, last = int(at[0]), int(at[-1])
        line = np.interp(np.arange(first, last + 1), at, progress)
        means.add(clip.start + first, clip.start + last + 1, line)
