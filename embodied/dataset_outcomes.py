"""Which episodes of a LeRobotDataset succeeded, as far as the dataset says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embodied.dataset import EpisodeStore
from embodied.dataset_layout import read_column_types, read_parquet
from embodied.errors import BadInput

KEYS = ("success", "next.success", "is_success", "is_episode_successful")
"""Columns that say it, in the order in which they are looked for."""
EPISODES, ROWS = "meta/episodes/*/*.parquet", "data/*/*.parquet"
OWN = "embodied/success"
"""Column of this project's datasets: true, false or unknown, in words."""


def read_outcomes(store: EpisodeStore, success_key: str = "") -> dict[int, bool | None]:
    """Success of each episode, by index; None where the dataset does not say.

    A column of the episodes' metadata counts as it is; a column of the rows counts as a success of
    the episode if it is true in any of its rows. A dataset that was merged may have the column in
    some of its files only; of the episodes in the others nothing is known.

    Args:
        store: The dataset.
        success_key: The column; if empty, our own label counts, then the first of `KEYS`.

    Raises:
        BadInput: if there is no such column, or its values are neither true nor false.
    """
    of_episodes = _columns(store.root, EPISODES)
    if not success_key and OWN in of_episodes:
        return {index: store.summary(index).success for index in range(len(store))}
    of_rows = _columns(store.root, ROWS)
    wanted = (success_key,) if success_key else KEYS
    for key in wanted:
        for pattern, columns in ((EPISODES, of_episodes), (ROWS, of_rows)):
            if key in columns:
                found = _read(store.root, pattern, key)
                return {index: found.get(index) for index in range(len(store))}
    raise BadInput(_unknown(store.root, success_key, {**of_episodes, **of_rows}))


def _columns(root: Path, pattern: str) -> Mapping[str, pa.DataType]:
    """Columns that any of the files has; the first that has one says of what type it is."""
    found: dict[str, pa.DataType] = {}
    for path in sorted(root.glob(pattern)):
        found = {**read_column_types(path, "the dataset"), **found}
    return found


def _read(root: Path, pattern: str, key: str) -> dict[int, bool]:
    found: dict[int, bool] = {}
    for path in sorted(root.glob(pattern)):
        if key not in read_column_types(path, "the dataset"):
            continue
        table = read_parquet(path, "the dataset", columns=("episode_index", key))
        episodes = table.column("episode_index").to_pylist()
        for episode, value in zip(episodes, table.column(key).to_pylist(), strict=True):
            said = _truth(value, key, episode)
            if said is not None:
                found[episode] = found.get(episode, False) or said
    return found


def _truth(value: Any, key: str, episode: int) -> bool | None:
    """A value of a boolean column, which may be a number, or a list of one."""
    single = value[0] if isinstance(value, list) and len(value) == 1 else value
    if single is None:
        return None
    if isinstance(single, str) or np.ndim(single) > 0 or single not in (0, 1):
        raise BadInput(
            f"column '{key}' is {value!r} in episode {episode}; success is true or false."
        )
    return bool(single)


def _unknown(root: Path, success_key: str, columns: Mapping[str, pa.DataType]) -> str:
    boolean = sorted(name for name, kind in columns.items() if _could_be(name, kind))
    listed = f" Columns of true and false: {', '.join(boolean)}." if boolean else ""
    if success_key:
        return f"{root} has no column '{success_key}'.{listed}"
    return (
        f"{root} does not say which episodes succeeded: it has no column "
        f"{', '.join(KEYS[:-1])} or {KEYS[-1]}. Name one of its episodes or rows with "
        f"success_key=NAME.{listed}"
    )


def _could_be(name: str, kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_boolean(kind)) and not name.startswith("stats/")
