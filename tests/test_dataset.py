"""Episodes survive the way to disk and back, whoever dies on the way."""

import errno
import json
import os
import resource
import time
from contextlib import suppress
from dataclasses import fields, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from embodied.dataset import EpisodeStore
from embodied.dataset_layout import STATS, data_path, episode_path, video_path
from embodied.durable import locked, write_atomically
from embodied.errors import BadInput, CorruptFile, OutOfSpace, UnknownName, WaitTimeout
from embodied.testing.episodes import episodes, random_episode, random_labels
from embodied.types import Actor, Episode, Labels

FRONT = "observation.images.front"
FORK = get_context("fork")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_an_episode_comes_back_exactly_frames_included(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    store = EpisodeStore(tmp_path, 20.0)
    kept = [
        random_episode(rng, 9, ("front", "wrist"), interventions=((3, 5),), success=s)
        for s in (True, False, None)
    ]
    assert [store.append(episode) for episode in kept] == [0, 1, 2]
    for index, episode in enumerate(kept):
        assert_same(EpisodeStore(tmp_path).read(index), episode)


@given(episode=episodes(max_steps=10))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_valid_episode_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, episode: Episode
) -> None:
    store = EpisodeStore(tmp_path_factory.mktemp("dataset"), episode.fps)
    assert_same(store.read(store.append(episode)), episode)


def test_vectors_of_one_number_come_back_exactly(tmp_path: Path, rng: np.random.Generator) -> None:
    store = EpisodeStore(tmp_path, 20.0)
    episode = random_episode(rng, action_dim=1, state_dim=1)
    assert_same(store.read(store.append(episode)), episode)


def test_lerobot_opens_the_dataset_and_sees_the_same_steps(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    store = EpisodeStore(tmp_path / "data", 20.0)
    kept = [random_episode(rng, steps, ("front", "wrist"), success=True) for steps in (5, 8)]
    for episode in kept:
        store.append(episode)
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset(
        "local/test",
        root=tmp_path / "data",
        video_backend="pyav",
        delta_timestamps={FRONT: [0.0, 0.05], "action": [0.0, 0.05]},
    )
    assert dataset.num_episodes == 2
    assert len(dataset) == 13
    rows = [(episode, t) for episode in kept for t in range(len(episode))]
    for row, (episode, t) in zip(range(13), rows, strict=True):
        item = dataset[row]
        following = min(t + 1, len(episode) - 1)
        frames = np.round(item[FRONT].numpy().transpose(0, 2, 3, 1) * 255).astype(np.uint8)
        np.testing.assert_array_equal(frames, episode.images["front"][[t, following]])
        np.testing.assert_array_equal(item["action"].numpy(), episode.action[[t, following]])
        np.testing.assert_array_equal(item["observation.state"].numpy(), episode.state[t])
        assert item["task"] == episode.instruction
        assert bool(item["next.done"]) == bool(item["next.success"]) == (t == len(episode) - 1)
    pixels = np.concatenate([episode.images["front"] for episode in kept]) / 255
    np.testing.assert_allclose(
        dataset.meta.stats[FRONT]["mean"][:, 0, 0], pixels.mean((0, 1, 2)), atol=0.02
    )
    actions = np.concatenate([episode.action for episode in kept])
    np.testing.assert_allclose(dataset.meta.stats["action"]["mean"], actions.mean(0), rtol=1e-5)
    np.testing.assert_allclose(dataset.meta.stats["action"]["std"], actions.std(0), rtol=1e-5)


@pytest.mark.parametrize("kind", ["video", "image"])
def test_a_dataset_that_lerobot_recorded_can_be_read(tmp_path: Path, kind: str) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    shape = {"dtype": kind, "shape": (32, 32, 3), "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": (3,), "names": None}
    recorded = LeRobotDataset.create(
        "local/test",
        fps=10,
        root=tmp_path / "data",
        features={"observation.images.top": shape, "observation.state": vector, "action": vector},
    )
    rng = np.random.default_rng(1)
    kept = [random_episode(rng, 6, ("top",), state_dim=3, action_dim=3) for _ in range(2)]
    for episode in kept:
        for t in range(7):
            recorded.add_frame(
                {
                    "observation.images.top": episode.images["top"][t],
                    "observation.state": episode.state[t],
                    "action": episode.action[min(t, 5)],
                    "task": "pick up the cup",
                }
            )
        recorded.save_episode()
    recorded.finalize()

    store = EpisodeStore(tmp_path / "data")
    assert store.cameras == ("top",)
    for index, episode in enumerate(kept):
        read = store.read(index)
        read.validate()
        assert read.instruction == "pick up the cup"
        assert read.success is None
        assert np.isnan(read.policy_noise).all()
        assert (read.actor == Actor.HUMAN).all()
        np.testing.assert_array_equal(read.action, episode.action)
        np.testing.assert_array_equal(read.state, episode.state)
        error = read.images["top"].astype(int) - episode.images["top"]
        assert np.abs(error).mean() < (0.5 if kind == "image" else 8)
    with pytest.raises(BadInput, match="can only be read"):
        store.append(kept[0])


def test_labels_of_every_reward_version_are_kept(tmp_path: Path, rng: np.random.Generator) -> None:
    store = EpisodeStore(tmp_path, 20.0)
    episode = random_episode(rng, 5, episode_id="a/b c")
    store.append(episode)
    first, second = (random_labels(rng, 5, reward_version=v) for v in (1, 2))
    store.write_labels("a/b c", second)
    store.write_labels("a/b c", first)
    store.write_labels("a/b c", first)
    reopened = EpisodeStore(tmp_path)
    assert_same(reopened.read_labels("a/b c"), second)
    assert_same(reopened.read_labels("a/b c", 1), first)
    assert reopened.read_labels("a/b c", 7) is None
    with pytest.raises(BadInput, match="needs a new version"):
        store.write_labels("a/b c", replace(first, success=not first.success))
    with pytest.raises(BadInput, match="cover 4 steps, not 5"):
        store.write_labels("a/b c", random_labels(rng, 4))
    with pytest.raises(UnknownName):
        store.write_labels("unknown", first)


def test_several_processes_append_to_one_dataset(tmp_path: Path) -> None:
    writers = [FORK.Process(target=write, args=(tmp_path, seed, 5)) for seed in (1, 2, 3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    store = EpisodeStore(tmp_path)
    assert len(set(store.episode_ids())) == len(store) == 15
    rows = [store.read(i) for i in range(15)]
    assert {r.episode_id for r in rows} == set(store.episode_ids())
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"]) == (15, sum(map(len, rows)))


def test_kill_9_at_any_moment_loses_at_most_the_episode_being_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(os.getpid())
    for trial in range(8):
        root = tmp_path / str(trial)
        receiver, sender = FORK.Pipe(duplex=False)
        process = FORK.Process(target=write, args=(root, trial, 1000, sender))
        process.start()
        sender.close()
        acknowledged = [receiver.recv()]
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.join()
        with suppress(EOFError):
            while True:
                acknowledged.append(receiver.recv())
        store = EpisodeStore(root)
        stored = store.episode_ids()
        assert stored[: len(acknowledged)] == acknowledged
        assert len(stored) - len(acknowledged) in (0, 1)
        for index in range(len(stored)):
            store.read(index).validate()
        store.append(random_episode(rng, 5))
        assert_files_match(root, len(stored) + 1)


@pytest.mark.parametrize("last", [data_path(1), video_path(FRONT, 1), episode_path(1), STATS])
def test_a_writer_that_dies_between_two_files_is_cleaned_up_after(
    tmp_path: Path, rng: np.random.Generator, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    store = EpisodeStore(tmp_path, 20.0)
    store.append(random_episode(rng, 5))

    def die_after(path: Path, data: bytes, *, synced: bool = True) -> None:
        write_atomically(path, data, synced=synced)
        if path == tmp_path / last:
            raise Died

    monkeypatch.setattr("embodied.dataset.write_atomically", die_after)
    with pytest.raises(Died):
        store.append(random_episode(rng, 7))
    monkeypatch.undo()
    (tmp_path / "data/chunk-000/.file-001.parquet.1.partial").write_bytes(b"half")
    committed = 2 if last in (episode_path(1), STATS) else 1
    reopened = EpisodeStore(tmp_path)
    assert len(reopened) == committed
    assert_files_match(tmp_path, committed)


@pytest.mark.parametrize("path", ["meta/info.json", STATS])
@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_what_is_derived_is_made_again_when_a_power_cut_took_it(
    tmp_path: Path, rng: np.random.Generator, path: str, content: bytes | None
) -> None:
    store = EpisodeStore(tmp_path, 20.0)
    for steps in (5, 7):
        store.append(random_episode(rng, steps))
    before = json.loads((tmp_path / path).read_text())
    (tmp_path / path).unlink()
    if content is not None:
        (tmp_path / path).write_bytes(content)
    assert len(EpisodeStore(tmp_path)) == 2
    after = json.loads((tmp_path / path).read_text())
    assert after == before


def test_a_full_disk_stops_the_writer_and_loses_nothing(tmp_path: Path) -> None:
    process = FORK.Process(target=write_until_the_disk_is_full, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert EpisodeStore(tmp_path).episode_ids() == ["small", "after"]
    assert_files_match(tmp_path, 2)


def test_a_nearly_full_disk_is_refused_before_anything_is_written(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    store = EpisodeStore(tmp_path, 20.0, reserve_bytes=2**60)
    with pytest.raises(OutOfSpace, match="must stay free"):
        store.append(random_episode(rng))
    assert len(store) == 0
    assert not (tmp_path / "data").exists()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace, match="no space to write"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_truncated_video_is_named_with_its_episode(
    tmp_path: Path, rng: np.random.Generator, keep: float
) -> None:
    store = EpisodeStore(tmp_path, 20.0)
    store.append(random_episode(rng, episode_id="broken"))
    truncate(tmp_path / video_path(FRONT, 0), keep)
    with pytest.raises(CorruptFile, match=r"file-000.mp4 of episode broken"):
        store.read(0)


@pytest.mark.parametrize("path", [data_path(0), episode_path(0)])
@pytest.mark.parametrize("keep", [0.0, 0.7])
def test_a_truncated_parquet_file_is_named(
    tmp_path: Path, rng: np.random.Generator, path: str, keep: float
) -> None:
    EpisodeStore(tmp_path, 20.0).append(random_episode(rng, episode_id="broken"))
    truncate(tmp_path / path, keep)
    with pytest.raises(CorruptFile, match=r"file-000.parquet of .* cannot be read"):
        EpisodeStore(tmp_path).read(0)


def test_a_missing_camera_is_refused_with_those_there_are(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    store = EpisodeStore(tmp_path, 20.0)
    store.append(random_episode(rng, cameras=("front", "wrist")))
    with pytest.raises(BadInput, match="no camera 'top'; its cameras are: front, wrist"):
        store.read(0, ["top"])
    assert list(store.read(0, ["wrist"]).images) == ["wrist"]


def test_what_does_not_fit_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(BadInput, match="at how many fps"):
        EpisodeStore(tmp_path)
    store = EpisodeStore(tmp_path, 20.0)
    episode = random_episode(rng, episode_id="one")
    store.append(episode)
    with pytest.raises(BadInput, match="already stored"):
        store.append(episode)
    with pytest.raises(BadInput, match=r"action is .3., expected .2."):
        store.append(random_episode(rng, action_dim=3))
    with pytest.raises(BadInput, match=r"images.wrist is .* expected None"):
        store.append(random_episode(rng, cameras=("front", "wrist")))
    nan = np.full_like(episode.action, np.nan)
    with pytest.raises(BadInput, match="action holds NaN"):
        store.append(replace(episode, episode_id="nan", action=nan))
    with pytest.raises(BadInput, match="30"):
        EpisodeStore(tmp_path, 30.0)
    with pytest.raises(BadInput, match="episodes 0 to 0, not 1"):
        store.read(1)
    assert store.episode_ids() == ["one"]


def test_who_waits_for_the_lock_too_long_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, 1.0), pytest.raises(WaitTimeout, match="the lock"), locked(lock, 0.01):
        pass
    with locked(lock, 0.01):
        pass


def test_the_learned_reward_is_stored_only_when_given(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    import pyarrow.parquet as pq

    store = EpisodeStore(tmp_path, 20.0)
    episode, labels = random_episode(rng, 6), random_labels(rng, 6)
    store.append(episode, labels)
    store.append(random_episode(rng, 6, success=True))
    rewards = [
        pq.read_table(tmp_path / data_path(i)).column("next.reward").to_numpy() for i in (0, 1)
    ]
    np.testing.assert_array_equal(rewards[0], labels.reward)
    np.testing.assert_array_equal(rewards[1], 0)
    assert_same(store.read_labels(episode.episode_id), labels)


def write(root: Path, seed: int, count: int, acknowledge: Connection | None = None) -> None:
    """Append episodes, and send the id of each as soon as it is durable."""
    store = EpisodeStore(root, 20.0)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        episode = random_episode(rng, 20)
        store.append(episode)
        if acknowledge is not None:
            acknowledge.send(episode.episode_id)


def write_until_the_disk_is_full(root: Path) -> None:
    """The kernel refuses to let any file grow beyond 60 kB for a while."""
    rng = np.random.default_rng(0)
    store = EpisodeStore(root, 20.0)
    store.append(random_episode(rng, 4, episode_id="small"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    with pytest.raises(OutOfSpace, match="nothing written before is lost"):
        store.append(random_episode(rng, 1000, episode_id="large"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    store.append(random_episode(rng, 4, episode_id="after"))


def truncate(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def assert_files_match(root: Path, count: int) -> None:
    """Exactly the files of ``count`` episodes exist, and the totals agree."""
    for path in (data_path, episode_path, lambda i: video_path(FRONT, i)):
        folder = (root / path(0)).parent
        assert sorted(folder.iterdir()) == [root / path(i) for i in range(count)]
    info = json.loads((root / "meta/info.json").read_text())
    stats = json.loads((root / "meta/stats.json").read_text())
    assert info["total_episodes"] == count
    assert info["total_frames"] == stats["action"]["count"][0]


def assert_same(found: Episode | Labels | None, expected: Episode | Labels) -> None:
    """Every field is equal, NaN included; features are not stored."""
    assert type(found) is type(expected)
    for field in fields(expected):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "images":
            assert list(a) == list(b)
            for camera in b:
                np.testing.assert_array_equal(a[camera], b[camera])
        elif isinstance(b, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        elif field.name not in ("features", "encoder"):
            assert a == b, field.name
