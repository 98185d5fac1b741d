"""Episodes on disk: a LeRobotDataset v3 in which every episode is committed by itself.

One parquet file of rows, one video per camera and one parquet file of metadata per episode. Each is
written to a temporary name, synced and renamed, the metadata last: that rename is the commit.
``info.json`` and ``stats.json`` are derived, and rebuilt when a writer died before them. So a kill
or a power cut at any moment loses at most the episode being written. Layout and decisions:
``docs/episodes.md``.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import UInt8

from embodied.dataset_labels import LabelFiles
from embodied.dataset_layout import (
    INFO,
    STATS,
    TASKS,
    EpisodeSummary,
    data_path,
    dataset_info,
    digest_of,
    episode_path,
    episode_row,
    features_of,
    numbering,
    parquet_bytes,
    read_parquet,
    step_columns,
    summary_from_row,
    to_table,
    video_path,
)
from embodied.dataset_reading import EpisodeFiles, read_episode, read_frames
from embodied.dataset_statistics import (
    Columns,
    Statistics,
    episode_statistics,
    merge_statistics,
    statistics_in,
)
from embodied.dataset_video import CODEC, PIXEL_FORMAT, encode_frames
from embodied.durable import locked, remove_partial_files, require_free_space, write_atomically
from embodied.errors import BadInput, CorruptFile, OutOfSpace, UnknownName, remedy
from embodied.types import IMAGES, Episode, Labels

LOCK = ".embodied.lock"
"""Locked while somebody writes."""

DESCRIPTION = "meta/embodied.json"
"""Features and frame rate, written once; marks a dataset as ours to append to."""


class EpisodeStore:
    """Reads any LeRobotDataset v3; appends to those it created, from any number of processes.

    Args:
        root: Directory of the dataset; created if it is missing.
        fps: Frames per second of the episodes; may be left out for a dataset that has episodes.
        video_crf: H.264 quality of new videos. 0 is lossless (3 KB per 96x96 rendered frame); about
            16 suits real cameras, whose noise is expensive to keep.
        reserve_bytes: Space that must stay free on the disk.
        lock_timeout_s: Longest wait for another writer.

    Raises:
        BadInput: ``fps`` is missing, or contradicts the dataset.
        CorruptFile: The metadata cannot be read.
    """

    def __init__(
        self,
        root: Path,
        fps: float | None = None,
        *,
        video_crf: int = 0,
        reserve_bytes: int = 64 * 2**20,
        lock_timeout_s: float = 30.0,
    ) -> None:
        self.root = root
        self.labels = LabelFiles(root / "labels")
        self._crf = video_crf
        self._reserve = reserve_bytes
        self._lock_timeout_s = lock_timeout_s
        self._rows: list[dict[str, Any]] = []
        self._index: dict[str, int] = {}
        self._own = (root / DESCRIPTION).exists() or not (root / INFO).exists()
        described = self._described()
        if described is None and fps is None:
            raise BadInput(f"{root} holds no episodes yet: say at how many fps they are recorded.")
        self._fps = float(described["fps"]) if described is not None else cast(float, fps)
        if fps is not None and fps != self._fps:
            raise BadInput(f"{root} is recorded at {self._fps} fps, not {fps} fps.")
        if self._own:
            root.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._remove_uncommitted()
                self._bring_up_to_date()
        self._refresh()

    @property
    def fps(self) -> float:
        """Frames per second of every episode."""
        return self._fps

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; empty before the first episode."""
        described = self._described()
        features = described["features"] if described is not None else {}
        return tuple(n.removeprefix(IMAGES) for n in features if n.startswith(IMAGES))

    def __len__(self) -> int:
        self._refresh()
        return len(self._rows)

    def episode_ids(self) -> list[str]:
        """Ids of all committed episodes, in the order of commitment, other processes' included."""
        self._refresh()
        return list(self._index)

    def index_of(self, episode_id: str) -> int:
        """Position of an episode.

        Raises:
            UnknownName: No such episode is committed.
        """
        self._refresh()
        if episode_id not in self._index:
            raise UnknownName("episode", episode_id, self._index)
        return self._index[episode_id]

    def summary(self, index: int) -> EpisodeSummary:
        """What is known of an episode without decoding it."""
        return summary_from_row(self._row(index), self.root.name, own=self._own)

    def read(self, index: int, cameras: Sequence[str] | None = None) -> Episode:
        """An episode with decoded frames and without features.

        Args:
            index: Position in the order of commitment.
            cameras: Which to decode; all by default.

        Raises:
            BadInput: No such index, or a camera that the dataset does not have.
            CorruptFile: naming the file that cannot be read and its episode.
        """
        with self._remedy():
            episode = read_episode(self._files(index), self.cameras if cameras is None else cameras)
            path = self._simulator_path(episode.episode_id)
            if not self._own or not path.exists():
                return episode
            paid = read_parquet(path, f"episode {episode.episode_id}").column("reward")
        return replace(episode, simulator_reward=paid.to_numpy().astype(np.float32))

    def read_frames(
        self, index: int, cameras: Sequence[str], start: int, stop: int
    ) -> dict[str, UInt8[np.ndarray, "frame height width 3"]]:
        """Frames ``start`` to ``stop`` (not included) of an episode, and no others.

        Raises:
            BadInput: No such index, or a camera that the dataset does not have.
            CorruptFile: naming the file that cannot be read and its episode.
        """
        with self._remedy():
            return read_frames(self._files(index), cameras, start, stop)

    def revision(self, index: int) -> str:
        """Digest of an episode, another one if it was recorded again: videos have theirs in it.

        Of another program's dataset, which has none, only what its metadata say.
        """
        described = json.dumps(self._row(index), sort_keys=True, default=str)
        return digest_of(described.encode())

    def frame_count(self, index: int) -> int:
        """Frames of an episode, the one after the last step included where it was recorded."""
        return self.summary(index).steps + 1

    def append(self, episode: Episode, labels: Labels | None = None) -> int:
        """Commit an episode; when this returns, no crash can lose it.

        Args:
            episode: Its features are not stored. Its id must be new.
            labels: Written as by `write_labels`, and as ``next.reward``, which is 0 without.

        Returns:
            The episode's index.

        Raises:
            BadInput: The episode contradicts itself or the dataset.
            OutOfSpace: Nothing was committed and nothing is lost.
            WaitTimeout: Another writer held the lock for too long.
        """
        episode.validate()
        self._check_appendable(episode)
        videos = {c: encode_frames(f, self._fps, self._crf) for c, f in episode.images.items()}
        columns = step_columns(episode, labels)
        statistics = episode_statistics(episode, columns)
        require_free_space(self.root, sum(map(len, videos.values())) + 2**16, self._reserve)
        with self._locked():
            self._bring_up_to_date()
            if episode.episode_id in self._index:
                raise BadInput(f"episode {episode.episode_id} is already stored in {self.root}.")
            self._describe(episode, columns)
            index = len(self._rows)
            try:
                if episode.simulator_reward is not None:
                    paid = pa.table({"reward": episode.simulator_reward})
                    path = self._simulator_path(episode.episode_id)
                    write_atomically(path, parquet_bytes(paid))
                self._commit(index, episode, columns, videos, statistics)
            except OutOfSpace:
                self._remove_uncommitted()
                raise
            self._refresh()
            with suppress(OutOfSpace):  # derived files: rebuilt by whoever comes next
                self._add_statistics(statistics)
        if labels is not None:
            self.write_labels(episode.episode_id, labels)
        return index

    def write_labels(self, episode_id: str, labels: Labels) -> None:
        """Keep what a reward version says about an episode, beside what others said.

        Raises:
            BadInput: The labels do not fit the episode, or differ from stored ones of the version.
            UnknownName: No such episode.
            OutOfSpace: Nothing was written and nothing is lost.
        """
        steps = self.summary(self.index_of(episode_id)).steps
        if len(labels.reward) != steps:
            raise BadInput(
                f"labels of episode {episode_id} cover {len(labels.reward)} steps, not {steps}."
            )
        self.labels.write(episode_id, labels)

    def read_labels(self, episode_id: str, reward_version: int | None = None) -> Labels | None:
        """Labels of an episode by one reward version, the newest by default; None without any."""
        with self._remedy():
            return self.labels.read(episode_id, reward_version)

    def _simulator_path(self, episode_id: str) -> Path:
        """Beside the rows, which others learn from."""
        return self.root / "simulator" / f"{quote(episode_id, safe='')}.parquet"

    def _commit(
        self,
        index: int,
        episode: Episode,
        columns: Columns,
        videos: dict[str, bytes],
        statistics: Statistics,
    ) -> None:
        """Write the files of an episode, the metadata last: its rename is the commit."""
        first_row = self._frames()
        task = self._task_index(episode.instruction)
        numbers = numbering(index, first_row, task, len(episode), self._fps)
        rows = to_table({**columns, **numbers})
        self._write(data_path(index), parquet_bytes(rows))
        for camera, video in videos.items():
            self._write(video_path(IMAGES + camera, index), video)
        row = episode_row(episode, index, first_row, statistics, videos)
        self._write(episode_path(index), parquet_bytes(pa.Table.from_pylist([row])))

    def _check_appendable(self, episode: Episode) -> None:
        if not self._own:
            raise BadInput(f"{self.root} was not made by this project: it can only be read.")
        if episode.fps != self._fps:
            raise BadInput(
                f"episode {episode.episode_id} has {episode.fps} fps, {self.root} {self._fps} fps."
            )

    def _describe(self, episode: Episode, columns: Columns) -> None:
        """Write down the features of the first episode; check that all others have them."""
        numbers = numbering(0, 0, 0, 1, self._fps)
        features = features_of(episode, {**columns, **numbers}, CODEC, PIXEL_FORMAT)
        described = self._described()
        if described is None:
            description = {"features": features, "fps": self._fps}
            self._write(DESCRIPTION, json.dumps(description, indent=2).encode())
            return
        known = {name: f["shape"] for name, f in described["features"].items()}
        found = {name: f["shape"] for name, f in features.items()}
        if known != found:
            differing = sorted(n for n in known | found if known.get(n) != found.get(n))
            raise BadInput(
                f"episode {episode.episode_id} does not fit {self.root}: "
                + "; ".join(f"{n} is {found.get(n)}, expected {known.get(n)}" for n in differing)
                + "."
            )

    def _remove_uncommitted(self) -> None:
        """Delete half-written files, and those of the one episode that was not committed."""
        self._refresh()
        index = len(self._rows)
        for path in (data_path(index), *(video_path(IMAGES + c, index) for c in self.cameras)):
            (self.root / path).unlink(missing_ok=True)
        for directory in ("meta", "data", "videos"):
            remove_partial_files(self.root / directory)

    def _bring_up_to_date(self) -> None:
        """Make the derived files again if a writer died before it wrote them; the lock is held."""
        self._refresh()
        if not self._rows or self._stored_totals() == (len(self._rows), self._frames()):
            return
        statistics: Statistics = {}
        for index in range(len(self._rows)):
            path = self.root / episode_path(index)
            row = read_parquet(path, f"episode {index}").to_pylist()[0]
            statistics = merge_statistics(statistics, statistics_in(row))
        self._write_derived(statistics)

    def _stored_totals(self) -> tuple[int, int] | None:
        """Episodes and frames that the derived files cover; None if they cannot be read."""
        try:
            info = json.loads((self.root / INFO).read_text())
            statistics = json.loads((self.root / STATS).read_text())
            return info["total_episodes"], statistics["actor"]["count"][0]
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def _frames(self) -> int:
        return self._rows[-1]["dataset_to_index"] if self._rows else 0

    def _add_statistics(self, new: Statistics) -> None:
        first = len(self._rows) == 1
        old: Statistics = {} if first else json.loads((self.root / STATS).read_text())
        self._write_derived(merge_statistics(old, new))

    def _write_derived(self, statistics: Statistics) -> None:
        for path, value in ((STATS, statistics), (INFO, self._described())):
            data = json.dumps(value, indent=2).encode()
            write_atomically(self.root / path, data, synced=False)

    def _task_index(self, instruction: str) -> int:
        """Number of the instruction in ``tasks.parquet``, where it is added if new."""
        path = self.root / TASKS
        tasks: list[str] = []
        if path.exists():
            tasks = read_parquet(path, "the dataset").column("task").to_pylist()
        if instruction not in tasks:
            tasks.append(instruction)
            frame = pd.DataFrame({"task_index": range(len(tasks))}, pd.Index(tasks, name="task"))
            table = pa.Table.from_pandas(frame)
            self._write(TASKS, parquet_bytes(table))
        return tasks.index(instruction)

    def _row(self, index: int) -> dict[str, Any]:
        self._refresh()
        if not 0 <= index < len(self._rows):
            raise BadInput(f"{self.root} has episodes 0 to {len(self._rows) - 1}, not {index}.")
        return self._rows[index]

    def _files(self, index: int) -> EpisodeFiles:
        row, described = self._row(index), self._described()
        assert described is not None  # there is an episode
        return EpisodeFiles(root=self.root, info=described, row=row, own=self._own)

    def _refresh(self) -> None:
        """Read the metadata of episodes committed since the last look."""
        if self._own:
            while (path := self.root / episode_path(len(self._rows))).exists():
                self._remember(path)
        elif not self._rows:
            for path in sorted((self.root / "meta/episodes").glob("*/*.parquet")):
                self._remember(path)

    def _remember(self, path: Path) -> None:
        with self._remedy():
            table = read_parquet(path, "the dataset", statistics=False)
        for row in table.to_pylist():
            self._rows.append(row)
            summary = summary_from_row(row, self.root.name, own=self._own)
            self._index[summary.episode_id] = len(self._rows) - 1

    def _described(self) -> dict[str, Any] | None:
        """``meta/info.json``: our own is derived from the description and the rows.

        None if there is neither.
        """
        path = self.root / (DESCRIPTION if self._own else INFO)
        if not path.exists():
            return None
        try:
            stored = cast(dict[str, Any], json.loads(path.read_text()))
        except ValueError as error:
            with self._remedy():
                raise CorruptFile(f"{path} is not JSON: {error}.") from error
        return dataset_info(self._rows, **stored) if self._own else stored

    def _remedy(self) -> AbstractContextManager[None]:
        return remedy(
            "Restore it from a copy; or, in a run, delete "
            f"{self.root}, and `embodied resume` records again what it needs."
        )

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.root / LOCK, self._lock_timeout_s)

    def _write(self, path: str, data: bytes) -> None:
        write_atomically(self.root / path, data)
