"""Labels as parquet, one row per label ever given, and as columns that LeRobot users expect."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from embodied.dataset_layout import parquet_bytes
from embodied.durable import write_atomically
from embodied.preferences.answers import TARGETS, Answer
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


def frame_rows(store: PreferenceStore, clips: Mapping[int, Clip]) -> list[dict[str, Any]]:
    """Columns per episode and frame: the mean progress that raters marked, and good or bad spans.

    Keys are LeRobot's ``episode_index`` and ``frame_index``, so that a join with the dataset's rows
    is all that is needed.

    Args:
        store: Whose labels count.
        clips: Of one dataset, by id: another one's episodes and frames have the same numbers.
    """
    marks: dict[tuple[int, int], list[float]] = {}
    spans: dict[tuple[int, int], list[float]] = {}
    for label in standing(store.labels()):
        if not clips.keys() >= {*label["clip_ids"]}:
            continue
        shown = [clips[i] for i in label["clip_ids"]]
        for frame, progress in label["progress"] or ():
            if frame < shown[0].stop - shown[0].start:  # a mark beyond the clip is of no frame
                key = shown[0].episode, shown[0].start + int(frame)
                marks.setdefault(key, []).append(float(progress))
        for interval in label["intervals"]:
            clip = shown[interval["side"]]
            last = min(clip.start + interval["stop"], clip.stop)
            for frame in range(clip.start + interval["start"], last):
                spans.setdefault((clip.episode, frame), []).append(1.0 if interval["good"] else 0.0)
    return [
        {
            "episode_index": episode, "frame_index": frame,
            "preference.progress": _mean(marks.get((episode, frame))),
            "preference.good": _mean(spans.get((episode, frame))),
        }
        for episode, frame in sorted({*marks, *spans})
    ]  # fmt: skip


def frames_parquet_of(store: PreferenceStore, clips: Mapping[int, Clip]) -> bytes:
    """`frame_rows` as parquet."""
    kinds = pa.schema(
        [
            ("episode_index", pa.int64()), ("frame_index", pa.int64()),
            ("preference.progress", pa.float64()), ("preference.good", pa.float64()),
        ]
    )  # fmt: skip
    return parquet_bytes(pa.Table.from_pylist(frame_rows(store, clips), schema=kinds))


def write_exports(store: PreferenceStore, clips: Mapping[int, Clip], folder: Path) -> None:
    """``labels.parquet``, the whole log, and ``frames.parquet``, of these clips, in a folder."""
    write_atomically(folder / "labels.parquet", parquet_of(store))
    write_atomically(folder / "frames.parquet", frames_parquet_of(store, clips))


def _mean(values: list[float] | None) -> float | None:
    return None if not values else sum(values) / len(values)
