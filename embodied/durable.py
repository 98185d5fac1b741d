"""Files and folders that are there whole or not at all, and directories with one writer."""

import ctypes
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from embodied.errors import OutOfSpace, WaitTimeout

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk, a quota or a file is full."""

PARTIAL = ".partial"
"""Suffix of a file or folder that is still being written, and that nobody may read."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""From Linux's fcntl.h and fs.h."""


@contextmanager
def space_for(path: Path) -> Iterator[None]:
    """Tells in one sentence if the disk is full while the block writes to ``path``.

    Raises:
        OutOfSpace: naming the file.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OutOfSpace(
                f"no space to write {path}; nothing written before is lost. Free some space, and "
                "go on."
            ) from error
        raise


@contextmanager
def written_atomically(
    path: Path, previous: Path | None = None, *, synced: bool = True
) -> Iterator[BinaryIO]:
    """A file to write, which appears at ``path`` when the block ends well, or not at all.

    Written to a temporary name in the same directory, synced and renamed; then the directory is
    synced. So a crash or a power cut leaves the old file or the new one.

    Args:
        path: Where the file appears; its directory is created.
        previous: Where the file that it replaces is kept.
        synced: False spares the syncing, for what can be made again after a power cut.

    Raises:
        OutOfSpace: The disk (or a quota) is full. ``path`` is untouched.
    """
    with space_for(path):
        created = _make_directories(path.parent)
        partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            if previous is not None and path.exists():
                _link(path, previous)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        if synced:
            for directory in (path.parent, *created):
                _sync(directory)


def write_atomically(path: Path, data: bytes, *, synced: bool = True) -> None:
    """Put ``data`` at ``path``, whole or not at all; see `written_atomically`."""
    with written_atomically(path, synced=synced) as file:
        file.write(data)


@contextmanager
def folder_written_atomically(folder: Path, *, replaces: bool = False) -> Iterator[Path]:
    """A folder to fill, which appears at ``folder`` when the block ends well, or not at all.

    Filled under a temporary name beside it, every file and folder in it synced, and renamed; then
    the directory is synced. So a crash or a power cut at any moment leaves nothing, or the old
    folder, or the new one. What a killed writer left half-written is deleted by the next.

    Args:
        folder: Where it appears; the folders above it are created.
        replaces: Whether it takes the place of what is there; the two change places in one step
            where the system can. Elsewhere the old one is `previous_folder` for a moment.

    Raises:
        OutOfSpace: The disk (or a quota) is full. ``folder`` is untouched.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}{PARTIAL}")
    with space_for(folder):
        created = _make_directories(folder.parent)
        half = re.compile(rf"\.{re.escape(folder.name)}\.(\d+){re.escape(PARTIAL)}")
        for left in folder.parent.iterdir():
            found = half.fullmatch(left.name)
            if found and (int(found[1]) == os.getpid() or not _is_alive(int(found[1]))):
                shutil.rmtree(left, ignore_errors=True)
        try:
            partial.mkdir()
            yield partial
            for inside, _, files in os.walk(partial, topdown=False):
                for name in (*files, "."):
                    _sync(Path(inside, name))
            if replaces and folder.exists():
                _take_place(partial, folder)
            else:
                partial.rename(folder)
            for directory in (folder.parent, *created):
                _sync(directory)
            if replaces:
                shutil.rmtree(previous_folder(folder), ignore_errors=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _is_alive(process: int) -> bool:
    """Whether there is such a process; another one may have taken the number since."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def previous_folder(folder: Path) -> Path:
    """Where the old folder is for a moment, on a system that cannot exchange two."""
    return folder.with_name(folder.name + ".previous")


def require_free_space(directory: Path, needed_bytes: int, reserve_bytes: int) -> None:
    """Refuse early to write what would leave less than ``reserve_bytes`` free.

    Raises:
        OutOfSpace: naming the directory, what is free and what is needed.
    """
    stat = os.statvfs(directory)
    free = stat.f_bavail * stat.f_frsize
    if free < needed_bytes + reserve_bytes:
        raise OutOfSpace(
            f"{directory} has {free / 2**20:.1f} MiB free; writing needs "
            f"{needed_bytes / 2**20:.1f} MiB, and {reserve_bytes / 2**20:.0f} MiB must stay free. "
            "Nothing is lost: free some space."
        )


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the exclusive lock of the file ``path``, among threads and processes of one machine.

    The kernel releases it when the holder dies, however it dies.

    Raises:
        WaitTimeout: Somebody else held it for ``timeout_s`` seconds.
    """
    with space_for(path):
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, path, timeout_s)
        yield
    finally:
        os.close(descriptor)


def remove_partial_files(root: Path) -> None:
    """Delete what killed writers left half-written; the caller holds the writers' lock."""
    for partial in root.rglob(f".*{PARTIAL}"):
        partial.unlink(missing_ok=True)


def _acquire(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"the lock {path} of another writer", timeout_s) from None
            time.sleep(0.002)


def _link(path: Path, name: Path) -> None:
    """Give the file at ``path`` a second name, replacing what has that name."""
    partial = path.with_name(f".{name.name}.{os.getpid()}{PARTIAL}")
    partial.unlink(missing_ok=True)
    os.link(path, partial)
    os.replace(partial, name)


def _make_directories(directory: Path) -> list[Path]:
    """Create ``directory``; return the parents whose entries changed."""
    missing = [d for d in (directory, *directory.parents) if not d.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return [d.parent for d in missing]


def _take_place(new: Path, folder: Path) -> None:
    """Put a new folder in an old one's place; the old one is then ``new``, or aside."""
    if not _exchanged(new, folder):
        previous = previous_folder(folder)
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
        new.rename(folder)


def _exchanged(first: Path, second: Path) -> bool:
    """Whether the two could be made to change names, in one step."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if not rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
