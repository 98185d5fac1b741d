"""Defects measured in LeRobot 0.6.1, each shown to be absent here."""

import inspect
import json
import os
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from embodied.dataset import EpisodeStore
from embodied.replay import Replay
from embodied.testing.episodes import ever_further, random_episode, random_labelled_episode
from embodied.types import Batch

FORK = get_context("fork")


def counting_replay(**endings: bool) -> Replay:
    """Episodes of 12 steps whose state is 100 * episode + step; interventions at 2, 3, 8 and 9."""
    replay, rng = Replay(1000), np.random.default_rng(0)
    for number in range(3):
        episode = random_labelled_episode(rng, 12, interventions=((2, 4), (8, 10)), **endings)
        episode.state[:, 0] = 100 * number + np.arange(13)
        replay.add(ever_further(episode))
    return replay


def successors(batch: Batch) -> set[tuple[int, int]]:
    return set(
        zip(batch.state[:, 0].int().tolist(), batch.next_state[:, 0].int().tolist(), strict=True)
    )


def test_the_last_step_of_an_intervention_is_followed_by_its_true_successor() -> None:
    """LeRobot pairs step 3 with step 8: its buffer of interventions holds nothing in between."""
    batch = counting_replay().sample(500, 1, torch.Generator().manual_seed(0), {"human": 1.0})
    starts = [100 * number + t for number in range(3) for t in (2, 3, 8, 9)]
    assert successors(batch) == {(t, t + 1) for t in starts}
    assert batch.corrected.all()


def test_a_time_limit_bootstraps_from_its_own_final_observation() -> None:
    """LeRobot pairs the last step of a truncated episode with the first of the next one."""
    batch = counting_replay().sample(2000, 1, torch.Generator().manual_seed(0))
    assert successors(batch) == {
        (100 * n + t, 100 * n + t + 1) for n in range(3) for t in range(12)
    }
    assert (batch.bootstrap == 1).all()


def test_only_a_real_end_stops_the_bootstrap() -> None:
    batch = counting_replay(terminated=True).sample(2000, 1, torch.Generator().manual_seed(0))
    last = batch.state[:, 0] % 100 == 11
    assert (batch.bootstrap[last] == 0).all()
    assert (batch.bootstrap[~last] == 1).all()


def test_kill_9_after_five_episodes_keeps_all_five_readable(tmp_path: Path) -> None:
    """LeRobot is left with a parquet file without a footer, and loses all five."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=record_five_and_hang, args=(tmp_path, sender))
    process.start()
    assert receiver.poll(60)
    process.kill()
    process.join()
    assert json.loads((tmp_path / "meta/info.json").read_text())["total_episodes"] == 5
    store = EpisodeStore(tmp_path)
    assert [len(store.read(index)) for index in range(len(store))] == [5, 6, 7, 8, 9]


def test_sampling_has_no_thread_that_could_swallow_an_error() -> None:
    """LeRobot's prefetching thread dies silently, and its consumer waits for ever."""
    import embodied.replay

    assert "thread" not in inspect.getsource(embodied.replay).lower()


def record_five_and_hang(root: Path, ready: Connection) -> None:
    store, rng = EpisodeStore(root, 20.0), np.random.default_rng(0)
    for steps in range(5, 10):
        store.append(random_episode(rng, steps))
    ready.send(os.getpid())
    time.sleep(60)
