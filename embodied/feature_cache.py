"""Features of frames that were encoded before, on disk, for all runs and processes of a machine.

An entry is named by what its value depends on: the frame's bytes, and the encoder with its version.
So it is never out of date, and whoever meets the same frame again finds it. The cache may be
deleted at any time, and nothing that happens to it stops the work: a damaged entry is encoded
again, a full disk means that nothing more is kept.
"""

import hashlib
import logging
import os
import random
import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float16, UInt8

from embodied.types import FrameEncoder

logger = logging.getLogger(__name__)

PAGE_BYTES = 16384
"""Of the file: two feature maps of the default encoder fit one page."""
SPLIT_BYTES = 16 * PAGE_BYTES
"""Left free for the index over the keys: as many of its pages may be split by one call."""
JOURNAL_BYTES = 4 * 2**20
ASKED_AT_ONCE = 500
"""Entries per query; SQLite takes 32766 at most."""
WAIT_S = 5.0
"""For another process that is writing; an entry that would take longer is not kept."""
LET_IN = 1 / 8
"""Chance of what is written to a full cache to be kept, in the place of something else."""
ENDINGS = ("", "-wal", "-shm")
"""Of the files that SQLite makes."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS features
    (key BLOB PRIMARY KEY NOT NULL, checksum INTEGER NOT NULL, value BLOB NOT NULL)
"""


@final
class FeatureCache:
    """Bytes by key in one SQLite file, no larger than it may be.

    A full cache keeps one in eight of what is written, in the place of others that are drawn at
    random. Whoever reads all episodes again and again, as relabelling does, then still finds most
    of the share that fits; if everything were kept, most entries would be gone before their turn
    came, and if the oldest went first, all of them.

    A process that is killed leaves the file as it was before its last call, or after.

    Args:
        path: Of the file, on a disk of this machine; made, with its folder, by the first call.
        max_bytes: Largest size of the file. A journal of some megabytes stands beside it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self.max_bytes = path, max_bytes
        self._open: dict[tuple[int, int], sqlite3.Connection] = {}
        self._given_up = False

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Values of those keys that are there and undamaged."""
        found: dict[bytes, bytes] = {}
        if self._given_up and not self._open:
            return found
        try:
            for start in range(0, len(keys), ASKED_AT_ONCE):
                found |= self._read_some(keys[start : start + ASKED_AT_ONCE])
        except (OSError, sqlite3.Error) as error:
            self._handle(error)
        return found

    def write(self, values: Mapping[bytes, bytes]) -> None:
        """Keep these values, if there is room or by chance; others may have to go."""
        if self._given_up or not values:
            return
        rows = [(key, zlib.crc32(value), value) for key, value in values.items()]
        try:
            connection = self._connection()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                if self._make_room(connection, values):
                    connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
        except (OSError, sqlite3.Error) as error:
            self._handle(error)

    def __len__(self) -> int:
        """Entries held."""
        (count,) = self._connection().execute("SELECT count(*) FROM features").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        for (process, _), connection in self._open.items():
            if process == os.getpid():  # another process' connection is not ours to touch
                connection.close()
        self._open.clear()

    def _read_some(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, checksum, value FROM features WHERE key IN ({marks})"
        rows = self._connection().execute(query, keys)
        return {key: value for key, checksum, value in rows if zlib.crc32(value) == checksum}

    def _make_room(self, connection: sqlite3.Connection, values: Mapping[bytes, bytes]) -> bool:
        """Whether the values may be written: they fit, or are let in and others went for them.

        Others go from a random place on, those that were written together: they share pages, and
        only a page that nothing is left on can be used again.
        """
        needed = sum(map(_stored_bytes, values.values())) + SPLIT_BYTES
        room = self.max_bytes - needed
        if room < 2 * PAGE_BYTES:
            return False  # they alone are too many
        if _used_bytes(connection) > room and random.random() > LET_IN:
            return False
        while _used_bytes(connection) > room:
            ends = "SELECT min(rowid), max(rowid) FROM features"
            first, last = connection.execute(ends).fetchone()
            if first is None:
                break
            chosen = "SELECT rowid FROM features WHERE rowid >= ? ORDER BY rowid LIMIT ?"
            place = random.randint(first, last), max(len(values), 32)
            connection.execute(f"DELETE FROM features WHERE rowid IN ({chosen})", place)
        return True

    def _connection(self) -> sqlite3.Connection:
        """One for each thread of each process: SQLite's do not survive a fork."""
        owner = os.getpid(), threading.get_ident()
        if owner not in self._open:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, WAIT_S, check_same_thread=False)
            connection.isolation_level = None
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {JOURNAL_BYTES // PAGE_BYTES}")
            connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
            connection.execute(f"PRAGMA max_page_count = {max(4, self.max_bytes // PAGE_BYTES)}")
            connection.execute(SCHEMA)
            self._open[owner] = connection
        return self._open[owner]

    def _handle(self, error: Exception) -> None:
        """Begin anew where the file is damaged, wait for nobody, and otherwise keep no more."""
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) and not self._given_up:
            logger.warning("%s is damaged and is made anew: %s.", self.path, error)
            self.close()
            for ending in ENDINGS:
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            return
        if not self._given_up:
            self._given_up = True
            logger.warning(
                "features are no longer kept in %s (%s); frames are encoded each time instead.",
                self.path, error,
            )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process without its connections."""
        return type(self), (self.path, self.max_bytes)


@final
class CachedEncoder:
    """An encoder that asks a cache first, and encodes what is not there, each frame once.

    Args:
        encoder: Makes the same features of a frame, whatever other frames it is encoded with.
        cache: May be shared with other encoders.
    """

    def __init__(self, encoder: FrameEncoder, cache: FeatureCache) -> None:
        self.encoder, self.cache = encoder, cache
        self.found = 0
        """Frames whose features were in the cache."""
        self.encoded = 0
        """Frames that had to be encoded."""

    @property
    def fingerprint(self) -> str:
        """The encoder's own: the features are the same."""
        return self.encoder.fingerprint

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns of one frame's features."""
        return self.encoder.shape

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float16[np.ndarray, "batch channel row column"]:
        """Features of frames, from the cache or from the encoder.

        Raises:
            BadInput: for frames that the encoder does not take.
        """
        keys = self._keys(frames)
        size = 2 * int(np.prod(self.shape))
        known = {k: v for k, v in self.cache.read(list(set(keys))).items() if len(v) == size}
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        missing = sorted(place for key, place in first.items() if key not in known)
        self.found, self.encoded = self.found + len(known), self.encoded + len(missing)
        if missing or not keys:
            fresh = np.asarray(self.encoder.encode(frames[missing]), np.float16)
            made = {keys[p]: value.tobytes() for p, value in zip(missing, fresh, strict=True)}
            self.cache.write(made)
            known |= made
        features = np.empty((len(keys), *self.shape), np.float16)
        for place, key in enumerate(keys):
            features[place] = np.frombuffer(known[key], np.dtype((np.float16, self.shape)))[0]
        return features

    def _keys(self, frames: UInt8[np.ndarray, "batch height width 3"]) -> list[bytes]:
        kind = f"{self.fingerprint} torch {torch.__version__} {frames.dtype} {frames.shape[1:]}"
        start = hashlib.sha256(kind.encode())
        keys = []
        for frame in frames:
            digest = start.copy()
            digest.update(np.ascontiguousarray(frame))
            keys.append(digest.digest())
        return keys


def _stored_bytes(value: bytes) -> int:
    """What an entry takes at most: its share of a page that whole entries rarely fill."""
    fit = (PAGE_BYTES - 64) // (len(value) + 64)
    return PAGE_BYTES // fit if fit else len(value) + PAGE_BYTES


def _used_bytes(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free) * PAGE_BYTES
