"""Labels beside a dataset: one small file per reward version and episode, never rewritten."""

from dataclasses import asdict, fields
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from embodied.dataset_layout import parquet_bytes, read_parquet
from embodied.durable import write_atomically
from embodied.errors import BadInput
from embodied.types import Labels

TOLERANCE = 1e-4
"""Differences below this are those of batching, when an episode is labelled again after a crash."""


class LabelFiles:
    """What each version of the reward says about each episode.

    Args:
        root: Directory of the files; created with the first.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, episode_id: str, labels: Labels) -> None:
        """Add the labels of a version; again with the same values is no error.

        Raises:
            BadInput: This version said something else before.
            OutOfSpace: Nothing was written and nothing is lost.
        """
        path = self._path(episode_id, labels.reward_version)
        if path.exists():
            if not _agree(_read(path, episode_id), labels):
                raise BadInput(
                    f"reward version {labels.reward_version} labelled episode {episode_id} "
                    f"differently before ({path}); a changed reward needs a new version."
                )
            return
        row = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(labels).items()}
        write_atomically(path, parquet_bytes(pa.Table.from_pylist([row])))

    def read(self, episode_id: str, reward_version: int | None = None) -> Labels | None:
        """Labels by one version, the newest by default; None if there are none.

        Raises:
            CorruptFile: naming the file and the episode.
        """
        if reward_version is None:
            versions = self.versions(episode_id)
            if not versions:
                return None
            reward_version = versions[-1]
        path = self._path(episode_id, reward_version)
        return _read(path, episode_id) if path.exists() else None

    def versions(self, episode_id: str) -> list[int]:
        """Reward versions that labelled an episode, oldest first."""
        found = self.root.glob(f"version-*/{quote(episode_id, safe='')}.parquet")
        return sorted(int(path.parent.name.removeprefix("version-")) for path in found)

    def newest(self) -> int:
        """The newest reward version that labelled any episode; 0 before the first."""
        found = self.root.glob("version-*")
        return max((int(path.name.removeprefix("version-")) for path in found), default=0)

    def _path(self, episode_id: str, version: int) -> Path:
        return self.root / f"version-{version:06d}" / f"{quote(episode_id, safe='')}.parquet"


def _read(path: Path, episode_id: str) -> Labels:
    row = read_parquet(path, f"episode {episode_id}").to_pylist()[0]
    for name, value in row.items():
        if isinstance(value, list):
            row[name] = np.asarray(value, np.float32)
    return Labels(**row)


def _agree(a: Labels, b: Labels) -> bool:
    values = ((getattr(a, f.name), getattr(b, f.name)) for f in fields(Labels))
    return all(
        np.shape(x) == np.shape(y) and np.allclose(x, y, atol=TOLERANCE, equal_nan=True)
        for x, y in values
    )
