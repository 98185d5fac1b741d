"""Folders that are there whole or not at all, whoever dies while writing."""

import os
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from embodied import durable
from embodied.durable import PARTIAL, folder_written_atomically, previous_folder
from embodied.errors import OutOfSpace

FORK = get_context("fork")
FILES = 20


def fill(folder: Path, version: int) -> None:
    (folder / "deep").mkdir()
    for number in range(FILES):
        (folder / "deep" / f"{number}.txt").write_text(str(version))


def write(folder: Path, version: int) -> None:
    with folder_written_atomically(folder, replaces=True) as partial:
        fill(partial, version)


def write_for_ever(folder: Path) -> None:
    version = 0
    while True:
        version += 1
        write(folder, version)


def versions(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("deep/*"))]


def is_whole(folder: Path) -> bool:
    found = versions(folder)
    return len(found) == FILES and len(set(found)) == 1 and found[0] != ""


def test_kill_9_leaves_the_old_folder_or_the_new_one_and_the_next_writer_cleans_up(tmp_path):
    folder = tmp_path / "policy"
    write(folder, 0)
    for pause in np.random.default_rng(os.getpid()).uniform(0.02, 0.2, 8):
        process = FORK.Process(target=write_for_ever, args=(folder,))
        process.start()
        time.sleep(pause)
        process.kill()
        process.join()
        assert is_whole(folder)
    (tmp_path / f".policy.99999999{PARTIAL}").mkdir()  # above every number of a process
    (tmp_path / f".policy.x.7{PARTIAL}").mkdir()
    write(folder, -1)
    assert set(versions(folder)) == {"-1"}
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"policy", f".policy.x.7{PARTIAL}"}, "what belongs to another folder is not ours"


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(durable, "_exchanged", lambda first, second: False)
    write(tmp_path / "policy", 1)
    previous_folder(tmp_path / "policy").mkdir()
    write(tmp_path / "policy", 2)
    assert set(versions(tmp_path / "policy")) == {"2"}
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_everything_is_on_the_disk_before_the_folder_appears(tmp_path, monkeypatch):
    folder, synced = tmp_path / "new" / "policy", []

    def sync(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append((path, folder.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write(folder, 1)
    before = [path for path, appeared in synced if not appeared]
    after = [path for path, appeared in synced if appeared]
    inside = [path for path in before if path.parent.name == "deep"]
    assert len({path.name for path in inside}) == FILES
    assert {path.name for path in before} >= {"deep", f".policy.{os.getpid()}{PARTIAL}"}
    assert after == [tmp_path / "new", tmp_path]


def test_what_goes_wrong_leaves_everything_as_it_was(tmp_path):
    folder = tmp_path / "policy"
    write(folder, 1)
    full = OSError(durable.FULL[0], "full")
    for error, told in ((KeyError("nothing"), KeyError), (full, OutOfSpace)):
        with pytest.raises(told), folder_written_atomically(folder, replaces=True):
            raise error
    assert set(versions(folder)) == {"1"}
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_a_folder_that_must_not_exist_is_not_overwritten(tmp_path):
    folder = tmp_path / "policy"
    write(folder, 1)
    with pytest.raises(OSError, match="not empty"), folder_written_atomically(folder) as partial:
        fill(partial, 2)
    assert set(versions(folder)) == {"1"}


def test_what_another_living_writer_has_half_written_is_left_to_it(tmp_path):
    living = FORK.Process(target=time.sleep, args=(60,))
    dead = FORK.Process(target=int)
    for process in (living, dead):
        process.start()
    dead.join()
    halves = [tmp_path / f".policy.{each.pid}{PARTIAL}" for each in (living, dead)]
    for half in halves:
        half.mkdir()
    write(tmp_path / "policy", 1)
    assert [half.exists() for half in halves] == [True, False]
    living.kill()
    living.join()
