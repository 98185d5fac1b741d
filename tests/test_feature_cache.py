"""A cache may lose anything at any time, but never say anything wrong."""

import logging
import multiprocessing
import os
import pickle
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.config import compose, load_config, save_config
from embodied.encoders import Pixels
from embodied.errors import BadInput
from embodied.feature_cache import CachedEncoder, FeatureCache
from embodied.job import build_cached_encoder
from embodied.testing.rewards import HueEncoder

MEGABYTE = 2**20


def pictures(count: int, seed: int = 0, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def cached(folder: Path, megabytes: float = 4.0, grid: int = 8) -> CachedEncoder:
    cache = FeatureCache(folder / "f.sqlite", int(megabytes * MEGABYTE))
    return CachedEncoder(HueEncoder(32, grid), cache)


@given(st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=6))
def test_it_says_what_the_encoder_says_and_encodes_each_frame_once(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[int]]
) -> None:
    encoder, frames = cached(tmp_path_factory.mktemp("cache")), pictures(10)
    for chosen in calls:
        expected = HueEncoder().encode(frames[chosen])
        found = encoder.encode(frames[chosen])
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, expected)
        found += 1  # the caller's own: what is kept does not change
    assert encoder.encoded == len({number for chosen in calls for number in chosen})


def test_another_encoder_finds_nothing_and_another_process_finds_all(tmp_path: Path) -> None:
    frames = pictures(5)
    first = cached(tmp_path)
    first.encode(frames)
    other = CachedEncoder(HueEncoder(32, 4), first.cache)
    np.testing.assert_array_equal(other.encode(frames), HueEncoder(32, 4).encode(frames))
    assert other.found == 0
    sent = pickle.loads(pickle.dumps(cached(tmp_path).cache))
    again = CachedEncoder(HueEncoder(), sent)
    again.encode(frames)
    assert (again.found, again.encoded) == (5, 0)


def test_frames_that_the_encoder_does_not_take_are_refused_and_none_are_none(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadInput, match="not 32 pixels"):
        cached(tmp_path).encode(pictures(2, size=16))
    assert cached(tmp_path).encode(pictures(0)).shape == (0, 3, 8, 8)


def test_it_stays_as_small_as_it_must_and_going_round_and_round_still_finds_a_share(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = pictures(600, size=32)
    encoder = CachedEncoder(Pixels(32), FeatureCache(tmp_path / "f.sqlite", 2 * MEGABYTE))
    for _ in range(4):  # 600 frames of 6 KiB are twice what fits
        for start in range(0, 600, 50):
            part = frames[start : start + 50]
            np.testing.assert_array_equal(encoder.encode(part), Pixels(32).encode(part))
            assert (tmp_path / "f.sqlite").stat().st_size <= 2 * MEGABYTE
    assert encoder.found > 0.15 * 3 * 600
    assert len(encoder.cache) > 150
    assert not caplog.records, "it keeps on keeping"


def test_a_damaged_entry_is_encoded_again(tmp_path: Path) -> None:
    frames, encoder = pictures(6), cached(tmp_path)
    expected = encoder.encode(frames)
    with sqlite3.connect(tmp_path / "f.sqlite") as file:
        file.execute("UPDATE features SET value = zeroblob(384) WHERE rowid = 2")
        file.execute("UPDATE features SET value = x'00', checksum = 3523407757 WHERE rowid = 4")
    np.testing.assert_array_equal(encoder.encode(frames), expected)
    assert encoder.encoded == 6 + 2
    np.testing.assert_array_equal(encoder.encode(frames), expected)
    assert encoder.encoded == 6 + 2


@pytest.mark.parametrize("damage", ["no database", "holes", "cut"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    frames, path = pictures(80), tmp_path / "f.sqlite"
    first = CachedEncoder(Pixels(32), FeatureCache(path, 4 * MEGABYTE))
    expected = first.encode(frames)
    first.cache.close()
    content = bytearray(path.read_bytes())
    if damage == "holes":
        content[16384 : len(content) : 3] = bytes(len(content[16384 : len(content) : 3]))
    path.write_bytes(b"no database" * 999 if damage == "no database" else content)
    if damage == "cut":
        os.truncate(path, 5 * 16384)
    later = CachedEncoder(Pixels(32), FeatureCache(path, 4 * MEGABYTE))
    for _ in range(3):
        np.testing.assert_array_equal(later.encode(frames), expected)
    before = later.encoded
    np.testing.assert_array_equal(later.encode(frames), expected)
    assert later.encoded == before, "it is never mended"


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_cache_goes_on_also_where_its_index_over_many_keys_grows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, rng = FeatureCache(tmp_path / "f.sqlite", MEGABYTE), np.random.default_rng(0)
    for _ in range(60):
        some = {rng.bytes(32): rng.bytes(30) for _ in range(int(rng.integers(1, 500)))}
        cache.write(some)
    assert not caplog.records
    assert (tmp_path / "f.sqlite").stat().st_size <= MEGABYTE
    cache.write({b"large": bytes(2 * MEGABYTE)})  # alone too large: the others stay
    assert len(cache) > 2000
    assert not caplog.records


def test_a_full_disk_means_one_warning_and_right_features(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = CachedEncoder(Pixels(32), FeatureCache(tmp_path / "f.sqlite", 64 * MEGABYTE))
    kept = encoder.encode(pictures(3, seed=9))
    with caplog.at_level(logging.WARNING), no_file_above(MEGABYTE):
        for seed in range(6):
            frames = pictures(200, seed)
            np.testing.assert_array_equal(encoder.encode(frames), Pixels(32).encode(frames))
    assert len(caplog.records) == 1
    assert "no longer kept" in caplog.text
    np.testing.assert_array_equal(encoder.encode(pictures(3, seed=9)), kept)


def test_a_folder_that_cannot_be_made_means_one_warning_and_no_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    encoder = cached(tmp_path / "file")
    for _ in range(3):
        np.testing.assert_array_equal(encoder.encode(pictures(4)), HueEncoder().encode(pictures(4)))
    assert len(caplog.records) == 1
    assert encoder.encoded == 12


def write_for_ever(folder: Path, seed: int, begun: Event) -> None:
    # in a whole run of the tests this may be a real-time process: SVT-AV1, with which LeRobot
    # writes videos by default, gives the thread that calls it SCHED_FIFO 99 if it is root's; two of
    # these would never let their parent have a core again
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    encoder = CachedEncoder(Pixels(32), FeatureCache(folder / "f.sqlite", 2 * MEGABYTE))
    while True:
        encoder.encode(pictures(20, seed))
        begun.set()
        seed += 2


def test_writers_killed_with_9_leave_what_can_be_read(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for round_ in range(3):
        begun = [context.Event() for _ in range(2)]
        writers = [
            context.Process(target=write_for_ever, args=(tmp_path, 1000 * round_ + parity, event))
            for parity, event in enumerate(begun)
        ]
        for writer in writers:
            writer.start()
        assert all(event.wait(120.0) for event in begun), "a busy machine gets the time it needs"
        time.sleep(0.2)
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        encoder = CachedEncoder(Pixels(32), FeatureCache(tmp_path / "f.sqlite", 2 * MEGABYTE))
        frames = pictures(20, 1000 * round_)
        np.testing.assert_array_equal(encoder.encode(frames), Pixels(32).encode(frames))
        assert len(encoder.cache) > 20, "nothing of what was written is left"
        check = sqlite3.connect(tmp_path / "f.sqlite").execute("PRAGMA integrity_check")
        assert check.fetchone() == ("ok",)
        encoder.cache.close()


def test_the_configuration_places_it_bounds_it_and_switches_it_off(tmp_path: Path) -> None:
    on = build_cached_encoder(compose([f"runs_dir={tmp_path}", "feature_cache.max_mb=7"]))
    assert isinstance(on, CachedEncoder)
    assert on.cache.path == tmp_path / ".cache/features.sqlite"
    assert on.cache.max_bytes == 7 * MEGABYTE
    moved = build_cached_encoder(compose([f"feature_cache.folder={tmp_path}"]))
    assert isinstance(moved, CachedEncoder)
    assert moved.cache.path.parent == tmp_path
    for off in (["feature_cache.max_mb=0"], ["encoder=pixels"]):
        assert not isinstance(build_cached_encoder(compose(off)), CachedEncoder)
    assert os.listdir(tmp_path) == [], "it is made by its first use"


def test_a_run_of_an_earlier_version_gets_the_default(tmp_path: Path) -> None:
    config = compose()
    path = save_config(config, tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    start = lines.index("feature_cache:\n")
    path.write_text("".join(lines[:start] + lines[start + 3 :]))
    assert load_config(tmp_path) == config
