"""A clip as a browser shows it to the frame: every picture of it, one after the other, in one file.

Two `<video>` elements drift apart by frames, and stepping one of them takes a seek. Pictures that
the page draws itself are in step by construction, need no codec, and step at once. A film is

    b"EFLM", the header's length (4 bytes, little-endian), the header (JSON), the pictures (JPEG)

and the header names the frame rate, the cameras with the width and height of each, and each
picture's offset and length from the end of the header. All cameras are in one picture, one below
the other; the page puts them where they become largest. Colours are not halved (4:4:4): small
coloured objects are what raters look at.
"""

import hashlib
import io
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from embodied.dataset import EpisodeStore
from embodied.durable import write_atomically
from embodied.errors import BadInput, OutOfSpace
from embodied.preferences.records import Clip

MAGIC = b"EFLM"
QUALITY = 88
MAX_WIDTH = 640
FORMAT = 2
"""Part of each cached film's name: films of another format are made anew."""
LOCKS = 32


@final
class Films:
    """Films of clips, cut when they are first asked for and kept on disk up to a size.

    Args:
        store: The dataset.
        folder: Of the cache; may be deleted at any time.
        max_bytes: Most that the cache takes; the films asked for longest ago go first.
    """

    def __init__(self, store: EpisodeStore, folder: Path, max_bytes: int) -> None:
        self.store, self.folder, self.max_bytes = store, folder, max_bytes
        self._locks = [threading.Lock() for _ in range(LOCKS)]
        self._reading, self._sweeping = threading.Lock(), threading.Lock()

    def path(self, clip: Clip) -> Path | bytes:
        """The film's file, or the film itself if the disk has no space for it.

        Raises:
            BadInput: if the dataset has no such camera.
            CorruptFile: if its frames cannot be decoded.
        """
        path = self.folder / f"{_name(clip)}.film"
        with self._locks[hash(path.name) % LOCKS]:
            if path.exists():
                os.utime(path)
                return path
            with self._reading:
                images = self.store.read_frames(clip.episode, clip.cameras, clip.start, clip.stop)
            film = film_of(images, clip.fps)
            try:
                write_atomically(path, film, synced=False)
            except OutOfSpace:
                return film
        self._sweep()
        return path

    def _sweep(self) -> None:
        """Delete the oldest films of a cache that is too large."""
        with self._sweeping:
            found = [(p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.film")]
            total = sum(size for _, size, _ in found)
            for _, size, path in sorted(found)[:-4]:
                if total <= self.max_bytes:
                    break
                path.unlink(missing_ok=True)
                total -= size


def film_of(images: Mapping[str, UInt8[np.ndarray, "frame height width 3"]], fps: float) -> bytes:
    """Pack the frames of all cameras.

    Raises:
        BadInput: without a camera.
    """
    if not images:
        raise BadInput("a film needs a camera; the dataset has no videos.")
    cameras = [_fitted(frames) for frames in images.values()]
    pictures = [_jpeg(_stacked([frames[i] for frames in cameras])) for i in range(len(cameras[0]))]
    sizes = [[frames.shape[2], frames.shape[1]] for frames in cameras]
    ends = np.cumsum([len(picture) for picture in pictures])
    places = [[int(end) - len(p), len(p)] for end, p in zip(ends, pictures, strict=True)]
    header = json.dumps(
        {"fps": fps, "cameras": [*images], "sizes": sizes, "pictures": places}
    ).encode()
    return b"".join([MAGIC, len(header).to_bytes(4, "little"), header, *pictures])


def _fitted(
    frames: UInt8[np.ndarray, "frame height width 3"],
) -> UInt8[np.ndarray, "frame row column 3"]:
    """No wider than a page shows."""
    height, width = frames.shape[1:3]
    if width <= MAX_WIDTH:
        return frames
    size = (MAX_WIDTH, round(height * MAX_WIDTH / width))
    return np.stack([np.asarray(Image.fromarray(f).resize(size)) for f in frames])


def _stacked(
    pictures: list[UInt8[np.ndarray, "_ _ 3"]],
) -> UInt8[np.ndarray, "height width 3"]:
    """One below the other, the narrower ones with a black margin."""
    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0))) for p in pictures]
    return np.concatenate(padded)


def _jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "jpeg", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _name(clip: Clip) -> str:
    parts = [FORMAT, clip.dataset, clip.revision, clip.episode, [*clip.cameras]]
    kind = json.dumps([*parts, clip.start, clip.stop, clip.fps])
    return hashlib.blake2b(kind.encode(), digest_size=16).hexdigest()
