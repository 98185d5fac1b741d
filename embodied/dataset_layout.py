"""How an episode is laid out in a LeRobotDataset v3: paths, columns, features and statistics.

Rows are steps. The observation after the last step is no row: it is the last frame of each video,
and the state in the episode's own metadata (``embodied/final_state``), so that nothing that reads
rows ever sees an action that was not taken. LeRobot asks videos for the times of rows only.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from embodied.dataset_statistics import Columns, Statistics
from embodied.errors import CorruptFile
from embodied.types import IMAGES, STATE, Episode, Labels

FILES_PER_CHUNK = 1000
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
DIGEST = "embodied/digest/"
"""Column of ``meta/episodes``, with a camera's name behind it: the digest of its video."""


@dataclass(frozen=True, kw_only=True)
class EpisodeSummary:
    """What is known of a stored episode without decoding it."""

    episode_id: str
    task: str
    instruction: str
    source: str
    seed: int
    steps: int
    terminated: bool
    truncated: bool
    success: bool | None
    success_source: str
    encoder: str


def data_path(index: int) -> str:
    """Rows of episode ``index``."""
    return f"data/{_numbered(index)}.parquet"


def video_path(key: str, index: int) -> str:
    """Frames of the feature ``key`` in episode ``index``."""
    return f"videos/{key}/{_numbered(index)}.mp4"


def episode_path(index: int) -> str:
    """Metadata of episode ``index``: its existence commits the episode."""
    return f"meta/episodes/{_numbered(index)}.parquet"


def step_columns(episode: Episode, labels: Labels | None) -> Columns:
    """Per-step columns of an episode, without the numbers that LeRobot counts through."""
    last = np.arange(len(episode)) == len(episode) - 1
    ended = last & (episode.terminated or episode.truncated)
    vectors = {
        STATE: episode.state[:-1],
        "action": episode.action,
        "policy_action": episode.policy_action,
        "human_action": episode.human_action,
        "policy_noise": episode.policy_noise,
    }
    return {name: v for name, v in vectors.items() if v.shape[1] > 0} | {
        "actor": episode.actor,
        "intervention": episode.intervention_id >= 0,
        "intervention_id": episode.intervention_id.astype(np.int64),
        "policy_version": episode.policy_version.astype(np.int64),
        "chunk_index": episode.chunk_index.astype(np.int64),
        "elapsed_s": episode.timestamp[:-1].astype(np.float64),
        "next.reward": np.zeros(len(episode), np.float32) if labels is None else labels.reward,
        "next.done": ended,
        "next.success": last & (episode.success is True),
    }


def numbering(index: int, first_row: int, task: int, steps: int, fps: float) -> Columns:
    """The columns that every LeRobotDataset has."""
    frame = np.arange(steps)
    return {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(steps, index),
        "index": frame + first_row,
        "task_index": np.full(steps, task),
    }


def features_of(episode: Episode, columns: Columns, codec: str, pixels: str) -> dict[str, Any]:
    """The ``features`` entry of ``meta/info.json``."""
    features: dict[str, Any] = {}
    for camera, frames in episode.images.items():
        height, width = frames.shape[1:3]
        features[IMAGES + camera] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height, "video.width": width, "video.channels": 3,
                "video.fps": episode.fps, "video.codec": codec, "video.pix_fmt": pixels,
                "has_audio": False, "is_depth_map": False,
            },
        }  # fmt: skip
    for name, values in columns.items():
        shape = list(values.shape[1:]) or [1]
        names = [f"{name.split('.')[-1]}_{i}" for i in range(shape[0])] if values.ndim > 1 else None
        features[name] = {"dtype": values.dtype.name, "shape": shape, "names": names}
    return features


def dataset_info(
    rows: Sequence[Mapping[str, Any]], features: dict[str, Any], fps: float
) -> dict[str, Any]:
    """``meta/info.json``, given the rows of all committed episodes."""
    numbered = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    return {
        "codebase_version": "v3.0",
        "fps": int(fps) if fps.is_integer() else fps,
        "features": features,
        "total_episodes": len(rows),
        "total_frames": rows[-1]["dataset_to_index"] if rows else 0,
        "total_tasks": len({row["tasks"][0] for row in rows}),
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": f"data/{numbered}.parquet",
        "video_path": f"videos/{{video_key}}/{numbered}.mp4",
        "robot_type": None,
        "splits": {"train": f"0:{len(rows)}"},
    }


def summary_of(episode: Episode) -> EpisodeSummary:
    """The part of the metadata that is known before the episode has a place."""
    return EpisodeSummary(
        episode_id=episode.episode_id,
        task=episode.task,
        instruction=episode.instruction,
        source=episode.source,
        seed=episode.seed,
        steps=len(episode),
        terminated=episode.terminated,
        truncated=episode.truncated,
        success=episode.success,
        success_source=episode.success_source,
        encoder=episode.encoder,
    )


def episode_row(
    episode: Episode,
    index: int,
    first_row: int,
    statistics: Statistics,
    videos: Mapping[str, bytes],
) -> dict[str, Any]:
    """One row of ``meta/episodes``: LeRobot's columns, ours, and the statistics.

    The videos' digests are in it, because a damaged video may well be decoded, to other pictures.
    """
    chunk, file = divmod(index, FILES_PER_CHUNK)
    row: dict[str, Any] = {
        "episode_index": index,
        "tasks": [episode.instruction],
        "length": len(episode),
        "data/chunk_index": chunk,
        "data/file_index": file,
        "dataset_from_index": first_row,
        "dataset_to_index": first_row + len(episode),
        "meta/episodes/chunk_index": chunk,
        "meta/episodes/file_index": file,
    }
    for camera in episode.images:
        video = f"videos/{IMAGES}{camera}"
        row[f"{video}/chunk_index"] = chunk
        row[f"{video}/file_index"] = file
        row[f"{video}/from_timestamp"] = 0.0
        row[f"{video}/to_timestamp"] = len(episode) / episode.fps
        row[DIGEST + camera] = digest_of(videos[camera])
    row |= {f"embodied/{name}": value for name, value in asdict(summary_of(episode)).items()}
    row["embodied/success"] = {True: "true", False: "false", None: "unknown"}[episode.success]
    row["embodied/final_state"] = episode.state[-1].tolist()
    row["embodied/final_elapsed_s"] = float(episode.timestamp[-1])
    for key, values in statistics.items():
        row |= {f"stats/{key}/{name}": value for name, value in values.items()}
    return row


def digest_of(content: bytes) -> str:
    """Tells whether a file is still what was written."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def summary_from_row(row: Mapping[str, Any], dataset: str, *, own: bool) -> EpisodeSummary:
    """Read `episode_row` back; what a dataset of other origin lacks becomes unknown.

    Only our own layout (``own``) keeps the observation after the last step. Elsewhere the last
    row's action leads to nothing that was recorded, and the episode is one step shorter.
    """
    steps = row["length"] if own else row["length"] - 1
    prefix = "embodied/"
    if f"{prefix}episode_id" in row:
        names = EpisodeSummary.__dataclass_fields__
        values = {name: row[prefix + name] for name in names}
        values["success"] = {"true": True, "false": False, "unknown": None}[values["success"]]
        return EpisodeSummary(**values | {"steps": steps})
    return EpisodeSummary(
        episode_id=f"{dataset}-{row['episode_index']:06d}",
        task="",
        instruction=row["tasks"][0] if row["tasks"] else "",
        source="demo",
        seed=-1,
        steps=steps,
        terminated=False,
        truncated=True,
        success=None,
        success_source="unknown",
        encoder="",
    )


def to_table(columns: Columns) -> pa.Table:
    """Arrow columns: scalars, or lists of a fixed length for vectors of more than one number."""
    arrays = {}
    for name, values in columns.items():
        flat = pa.array(values.reshape(-1))
        width = values.shape[1] if values.ndim > 1 else 1
        arrays[name] = flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table(arrays)


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="snappy", write_page_checksum=True)
    return buffer.getvalue()


def read_parquet(
    path: Path, owner: str, *, columns: Sequence[str] | None = None, statistics: bool = True
) -> pa.Table:
    """A parquet file: those columns, or all with or without the columns of statistics.

    Raises:
        CorruptFile: naming the file and what it belongs to.
    """
    with _opened(path, owner) as file:
        names = file.schema_arrow.names if columns is None else columns
        return file.read([n for n in names if statistics or not n.startswith("stats/")])


def read_column_types(path: Path, owner: str) -> dict[str, pa.DataType]:
    """Names and types of a parquet file's columns, without its rows.

    Raises:
        CorruptFile: naming the file and what it belongs to.
    """
    with _opened(path, owner) as file:
        return dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))


@contextmanager
def _opened(path: Path, owner: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise CorruptFile(f"{path} of {owner} cannot be read: {reason}.") from error


def array_of(table: pa.Table, name: str) -> Shaped[np.ndarray, "time ..."]:
    """A column as an array: one axis for scalars, two for lists."""
    column = table.column(name).combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        flat = np.array(column.flatten().to_numpy(zero_copy_only=False))
        return flat.reshape(len(column), -1)
    return np.array(column.to_numpy(zero_copy_only=False))


def _numbered(index: int) -> str:
    return "chunk-{:03d}/file-{:03d}".format(*divmod(index, FILES_PER_CHUNK))
