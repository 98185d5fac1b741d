"""From the files of a LeRobotDataset v3 back to an `Episode`, whoever wrote them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image

from embodied.dataset_layout import DIGEST, array_of, digest_of, read_parquet, summary_from_row
from embodied.dataset_video import decode_frames
from embodied.errors import BadInput, CorruptFile
from embodied.types import IMAGES, STATE, Actor, Episode, Source


@dataclass(frozen=True, kw_only=True)
class EpisodeFiles:
    """Where an episode is, and what the dataset says about it."""

    root: Path
    info: Mapping[str, Any]
    """``meta/info.json``."""
    row: Mapping[str, Any]
    """The episode's row in ``meta/episodes``."""
    own: bool
    """Whether the layout is ours, which keeps the observation after the last step."""

    @property
    def name(self) -> str:
        """The episode, for errors."""
        return f"episode {self.row.get('embodied/episode_id', self.row['episode_index'])}"

    @property
    def rows(self) -> int:
        """Rows of the episode in LeRobot's sense: observations that an action follows."""
        return cast(int, self.row["length"])


def read_episode(files: EpisodeFiles, cameras: Sequence[str]) -> Episode:
    """Read and check one episode; missing columns become unknown, NaN or -1.

    A dataset of other origin is taken for human demonstrations, unless it says ``intervention``.

    Raises:
        BadInput: The dataset lacks one of ``cameras``.
        CorruptFile: naming the file and the episode.
    """
    _check_cameras(files, cameras)
    table = _table(files)
    summary = summary_from_row(files.row, files.root.name, own=files.own)
    steps, fps = summary.steps, float(files.info["fps"])
    columns = {n: array_of(table, n) for n in table.column_names if n not in _image_keys(files)}
    action = _matrix(columns, "action", files)[:steps]
    nobody = np.full_like(action, np.nan)
    own_columns = "policy_action" in columns
    actor = columns.get("actor", np.full(steps, Actor.HUMAN))
    if not own_columns and "intervention" in columns:
        actor = np.where(columns["intervention"], Actor.HUMAN, Actor.POLICY)
    whole = dict.fromkeys(("intervention_id", "policy_version"), np.full(steps, -1))
    whole = {**whole, "chunk_index": np.zeros(steps, np.int64), **columns}
    return Episode(
        episode_id=summary.episode_id,
        task=summary.task,
        instruction=summary.instruction,
        source=cast(Source, summary.source),
        seed=summary.seed,
        fps=fps,
        action=action,
        images={c: _frames(files, c, steps + 1, table) for c in cameras},
        state=_states(files, columns, steps),
        policy_action=_vectors(columns, "policy_action", action),
        human_action=_vectors(columns, "human_action", nobody if own_columns else action),
        policy_noise=_vectors(columns, "policy_noise", nobody),
        actor=actor[:steps].astype(np.uint8),
        intervention_id=whole["intervention_id"][:steps].astype(np.int64),
        policy_version=whole["policy_version"][:steps].astype(np.int64),
        chunk_index=whole["chunk_index"][:steps].astype(np.int64),
        timestamp=_timestamps(files, columns, steps, fps),
        terminated=summary.terminated,
        truncated=summary.truncated,
        success=summary.success,
        success_source=cast(Any, summary.success_source),
        features={},
        encoder="",
    )


def read_frames(
    files: EpisodeFiles, cameras: Sequence[str], start: int, stop: int
) -> dict[str, UInt8[np.ndarray, "frame height width 3"]]:
    """Frames ``start`` to ``stop`` (not included) of each camera; no others are decoded.

    Raises:
        BadInput: The dataset lacks one of ``cameras``.
        CorruptFile: naming the file and the episode.
    """
    _check_cameras(files, cameras)
    stored = any(files.info["features"][IMAGES + c]["dtype"] == "image" for c in cameras)
    table = _table(files) if stored else pa.table({})
    return {c: _frames(files, c, stop - start, table, start) for c in cameras}


def _table(files: EpisodeFiles) -> pa.Table:
    """The episode's rows, which may share their file with others'."""
    path = files.root / files.info["data_path"].format(
        chunk_index=files.row["data/chunk_index"], file_index=files.row["data/file_index"]
    )
    table = read_parquet(path, files.name)
    table = table.filter(pc.equal(table.column("episode_index"), files.row["episode_index"]))
    if len(table) != files.rows:
        raise CorruptFile(f"{path} holds {len(table)} of {files.rows} rows of {files.name}.")
    return table


def _check_cameras(files: EpisodeFiles, cameras: Sequence[str]) -> None:
    known = [n.removeprefix(IMAGES) for n in _image_keys(files)]
    for camera in cameras:
        if camera not in known:
            listed = ", ".join(known) or "none"
            raise BadInput(f"{files.root} has no camera '{camera}'; its cameras are: {listed}.")


def _image_keys(files: EpisodeFiles) -> list[str]:
    features = files.info["features"].items()
    return [name for name, feature in features if feature["dtype"] in ("video", "image")]


def _frames(
    files: EpisodeFiles, camera: str, count: int, table: pa.Table, first: int = 0
) -> UInt8[np.ndarray, "frame height width 3"]:
    key = IMAGES + camera
    if files.info["features"][key]["dtype"] == "image":
        stored = table.column(key).to_pylist()[first : first + count]
        opened = (Image.open(io.BytesIO(image["bytes"])) for image in stored)
        return np.stack([np.asarray(image.convert("RGB")) for image in opened])
    video = f"videos/{key}"
    path = files.root / files.info["video_path"].format(
        video_key=key,
        chunk_index=files.row[f"{video}/chunk_index"],
        file_index=files.row[f"{video}/file_index"],
    )
    digest = files.row.get(DIGEST + camera) if files.own else None
    if digest is not None and path.exists() and digest_of(path.read_bytes()) != digest:
        raise CorruptFile(f"{path} of {files.name} is damaged: truncated, or changed.")
    fps = float(files.info["fps"])
    start_s = files.row[f"{video}/from_timestamp"] + first / fps
    return decode_frames(path, start_s, count, fps, files.name)


def _states(
    files: EpisodeFiles, columns: Mapping[str, Shaped[np.ndarray, "row ..."]], steps: int
) -> Float32[np.ndarray, "count state"]:
    if STATE not in columns:
        return np.zeros((steps + 1, 0), np.float32)
    states = _matrix(columns, STATE, files)
    if files.own:
        final = np.asarray(files.row["embodied/final_state"], np.float32)
        states = np.concatenate([states, final[None]])
    return states


def _timestamps(
    files: EpisodeFiles,
    columns: Mapping[str, Shaped[np.ndarray, "row ..."]],
    steps: int,
    fps: float,
) -> Shaped[np.ndarray, " count"]:
    if files.own:
        return np.append(columns["elapsed_s"], files.row["embodied/final_elapsed_s"])
    return np.arange(steps + 1) / fps


def _matrix(
    columns: Mapping[str, Shaped[np.ndarray, "row ..."]], name: str, files: EpisodeFiles
) -> Float32[np.ndarray, "row width"]:
    if name not in columns:
        raise BadInput(f"{files.root} has no column '{name}'; it has {', '.join(columns)}.")
    values = columns[name]
    return values.reshape(len(values), -1).astype(np.float32)


def _vectors(
    columns: Mapping[str, Shaped[np.ndarray, "row ..."]],
    name: str,
    default: Float32[np.ndarray, "time width"],
) -> Float32[np.ndarray, "time width"]:
    if name not in columns:
        return default
    return columns[name].reshape(-1, default.shape[1])[: len(default)].astype(np.float32)
