"""Labels for LeRobot: columns of a LeRobotDataset, and the progress file that RA-BC reads.

Neither touches the dataset that was labelled. A row of a LeRobotDataset is a step: it gets the
progress of its observation, and the reward for the step from there.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from embodied.dataset_layout import INFO, STATS, parquet_bytes, read_parquet
from embodied.dataset_statistics import column_statistics
from embodied.durable import folder_written_atomically, write_atomically
from embodied.errors import BadInput, CorruptFile
from embodied.types import Labels

COLUMNS = ("reward", "progress", "done", "uncertainty")
"""Of `Labels`; in the dataset each is called ``learned.<name>``."""
PREFIX = "learned."
SPARSE = "progress_sparse"
PLACE = ("index", "episode_index", "frame_index")
NOT_COPIED = ("data", "labels", "simulator", ".embodied.lock", "meta/embodied.json", STATS, INFO)
"""Written anew, or only of use to who appends or audits: LeRobot's readers do not know it."""

Columns = Mapping[str, Float[np.ndarray, " frame"]]
"""Of one episode, by name; a value for each ``frame_index``, and beyond it if there are more."""


def learned(labels: Labels) -> dict[str, Float[np.ndarray, " frame"]]:
    """Columns of what a reward says; 0 is paid after the last observation: no step begins there."""
    values = {name: getattr(labels, name) for name in COLUMNS}
    values["reward"] = np.append(values["reward"], np.float32(0))
    return {PREFIX + name: column for name, column in values.items()}


def write_progress(
    root: Path, progress: Mapping[int, Float[np.ndarray, " frame"]], path: Path, made_by: str
) -> None:
    """Write what LeRobot's RA-BC weighting reads: one row per step, with its progress.

    Args:
        root: The LeRobotDataset that was labelled.
        progress: By episode index; NaN where it is not known, which LeRobot weighs by its
            ``fallback_weight``, as it does a frame whose chunk ends where it is not known.
        path: Of the parquet file.
        made_by: Name of the reward, or who else it is from; kept in the file's metadata.

    Raises:
        BadInput: if an episode has no progress, or it does not fit.
        CorruptFile: if the dataset's rows cannot be read.
    """
    tables = [read_parquet(file, "the dataset", columns=PLACE) for file in _data_files(root)]
    place = pa.concat_tables([_plain(table) for table in tables]).sort_by("index")
    columns = {episode: {SPARSE: values} for episode, values in progress.items()}
    table = place.append_column(SPARSE, pa.array(_values(place, columns)[SPARSE]))
    table = table.replace_schema_metadata({"reward_model_path": made_by})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, parquet_bytes(table))


def write_columns(root: Path, columns: Mapping[int, Columns], target: Path) -> None:
    """Write a copy of a dataset whose rows have more columns; those of the same name are replaced.

    Videos are linked where the disk can, not copied. The copy is complete or not there.

    Args:
        root: The LeRobotDataset that was labelled.
        columns: By episode index; the same names for all.
        target: Folder of the copy.

    Raises:
        BadInput: if the folder exists, an episode has no labels, or its labels do not fit.
        CorruptFile: if the dataset's rows or metadata cannot be read.
    """
    if target.exists():
        raise BadInput(f"{target} exists; choose another output, or delete it.")
    with folder_written_atomically(target) as partial:
        shutil.copytree(
            root,
            partial,
            copy_function=_link,
            ignore=lambda folder, names: {
                n for n in names if (Path(folder) / n).relative_to(root).as_posix() in NOT_COPIED
            },
            dirs_exist_ok=True,
        )
        written = [_add_columns(root, file, columns, partial) for file in _data_files(root)]
        joined = {name: np.concatenate([part[name] for part in written]) for name in written[0]}
        _describe(root, partial, joined)


def _add_columns(
    root: Path, file: Path, columns: Mapping[int, Columns], partial: Path
) -> dict[str, Float[np.ndarray, " row"]]:
    """Write one file of rows with the new columns; returns these."""
    table = read_parquet(file, "the dataset")
    values = _values(table, columns)
    for name, column in values.items():
        if name in table.column_names:
            table = table.drop_columns(name)
        table = table.append_column(name, pa.array(column))
    path = partial / file.relative_to(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, parquet_bytes(_plain(table)))
    return values


def _values(
    table: pa.Table, columns: Mapping[int, Columns]
) -> dict[str, Float[np.ndarray, " row"]]:
    """What the columns say of each row."""
    episodes = table.column("episode_index").to_numpy()
    frames = table.column("frame_index").to_numpy()
    names = dict.fromkeys(name for each in columns.values() for name in each)
    found = {name: np.zeros(len(table), np.float32) for name in names}
    for episode in np.unique(episodes).tolist():
        if episode not in columns:
            raise BadInput(f"episode {episode} of the dataset was not scored.")
        own = episodes == episode
        for name, column in found.items():
            column[own] = _of_rows(columns[episode][name], frames[own], episode)
    return found


def _of_rows(
    values: Float[np.ndarray, " frame"], frames: np.ndarray, episode: int
) -> Float[np.ndarray, " row"]:
    if frames.max() >= len(values):
        raise BadInput(
            f"episode {episode} has {frames.max() + 1} rows, its labels cover {len(values)}."
        )
    return np.asarray(values[frames])


def _describe(root: Path, partial: Path, columns: Mapping[str, Float[np.ndarray, " row"]]) -> None:
    """Add the columns to ``info.json`` and ``stats.json``."""
    info, statistics = _read_json(root / INFO), _read_json(root / STATS)
    for name, values in columns.items():
        info["features"][name] = {"dtype": "float32", "shape": [1], "names": None}
        statistics[name] = column_statistics(values)
    for path, content in ((INFO, info), (STATS, statistics)):
        write_atomically(partial / path, json.dumps(content, indent=2).encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from error


def _data_files(root: Path) -> list[Path]:
    files = sorted((root / "data").glob("*/*.parquet"))
    if not files:
        raise BadInput(f"{root} holds no rows; is it a LeRobotDataset v3?")
    return files


def _plain(table: pa.Table) -> pa.Table:
    """Without what the file says of its own columns: that would leave out the new ones."""
    return table.replace_schema_metadata(None)


def _link(source: str, target: str) -> None:
    """A second name of a video, which nobody changes in place; a copy of everything else."""
    if source.endswith(".mp4"):
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copy2(source, target)
