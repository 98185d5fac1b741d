"""Every drawn chunk is a piece of one episode, with its true successor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.corrections import helpful_steps
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.replay import POOLS, Replay
from embodied.testing.episodes import (
    ever_further,
    labelled_episodes,
    random_labelled_episode,
    random_labels,
)
from embodied.types import Batch, LabelledEpisode

EVEN = {"demo": 1.0, "online": 1.0, "human": 1.0}


def numbered(episode: LabelledEpisode, number: int) -> LabelledEpisode:
    """States that name their episode and their step, actions that name their step."""
    steps = len(episode)
    state = np.stack([np.full(steps + 1, number), np.arange(steps + 1)], axis=1)
    action = np.arange(steps)[:, None] + np.array([[0.0, 0.5]])
    return replace(
        episode,
        episode_id=str(number),
        state=state.astype(np.float32),
        action=action.astype(np.float32),
    )


@given(
    episodes=st.lists(labelled_episodes(), min_size=1, max_size=4),
    chunk=st.integers(1, 6),
    aligned=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=20, deadline=None)
def test_every_chunk_is_a_piece_of_one_episode_with_its_true_successor(
    episodes: list[LabelledEpisode], chunk: int, aligned: bool, seed: int
) -> None:
    held = [numbered(episode, number) for number, episode in enumerate(episodes)]
    replay = Replay(1000, aligned=aligned)
    for episode in held:
        replay.add(episode)
    batch = replay.sample(32, chunk, torch.Generator().manual_seed(seed), EVEN)
    for i in range(32):
        number, start = (int(x) for x in batch.state[i])
        check_chunk(batch, i, held[number], start, chunk)
        assert not aligned or held[number].chunk_index[start] == 0


def check_chunk(batch: Batch, i: int, e: LabelledEpisode, start: int, chunk: int) -> None:
    """Against the definition, written down independently: walk from ``start`` step by step."""
    t, reached_end = start, False
    for k in range(chunk):
        assert bool(batch.valid[i, k]) == (not reached_end)
        if reached_end:
            assert batch.action[i, k].tolist() == [0, 0]
            assert batch.reward[i, k] == 0
            assert not batch.corrected[i, k]
            continue
        np.testing.assert_array_equal(batch.action[i, k], e.action[t])
        np.testing.assert_array_equal(batch.noise[i, k], e.policy_noise[t])
        assert batch.reward[i, k] == e.labels.reward[t]
        assert bool(batch.corrected[i, k]) == bool(helpful_steps(e)[t])
        t += 1
        reached_end = t in (len(e), e.labels.done_index)
    assert batch.next_state[i].tolist() == [int(e.episode_id), t]
    np.testing.assert_array_equal(batch.features["front"][i], e.features["front"][start])
    np.testing.assert_array_equal(batch.next_features["front"][i], e.features["front"][t])
    no_future = t == e.labels.done_index or (t == len(e) and e.terminated)
    assert batch.bootstrap[i] == (0 if no_future else 1)
    assert bool(batch.success[i]) == e.labels.success
    assert bool(batch.demo[i]) == (e.source == "demo")


@given(
    weights=st.tuples(*[st.floats(0.05, 1)] * 3),
    batch_size=st.integers(1, 64),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=20, deadline=None)
def test_shares_are_exact_to_one_chunk(
    weights: tuple[float, float, float], batch_size: int, seed: int
) -> None:
    replay = mixed_replay()
    mix = dict(zip(POOLS, weights, strict=True))
    batch = replay.sample(batch_size, 1, torch.Generator().manual_seed(seed), mix)
    expected = batch_size * mix["demo"] / sum(weights)
    assert abs(int(batch.demo.sum()) - expected) < 1 + 1e-9
    assert len(batch.action) == batch_size
    human = batch.corrected[:, 0] & ~batch.demo
    assert int(human.sum()) >= np.floor(batch_size * mix["human"] / sum(weights))


def test_even_small_shares_come_up_on_average() -> None:
    replay, generator = mixed_replay(), torch.Generator().manual_seed(0)
    mix = {"demo": 0.1, "online": 0.9}
    drawn = [int(replay.sample(2, 1, generator, mix).demo.sum()) for _ in range(400)]
    assert abs(np.mean(drawn) - 0.2) < 0.05


def test_a_pool_without_data_gives_its_share_to_the_others() -> None:
    replay = Replay(100)
    rng = np.random.default_rng(0)
    replay.add(random_labelled_episode(rng, source="demo"))
    generator = torch.Generator().manual_seed(0)
    assert replay.sample(16, 1, generator, EVEN).demo.all()
    replay.add(random_labelled_episode(rng))
    assert int(replay.sample(16, 1, generator, EVEN).demo.sum()) == 8
    with pytest.raises(BadInput, match="nothing to draw"):
        replay.sample(16, 1, generator, {"human": 1.0})


def test_by_default_every_step_is_as_likely_as_any_other() -> None:
    replay = Replay(1000)
    rng = np.random.default_rng(0)
    replay.add(random_labelled_episode(rng, 10, source="demo"))
    replay.add(random_labelled_episode(rng, 30))
    batch = replay.sample(2000, 1, torch.Generator().manual_seed(0))
    assert abs(int(batch.demo.sum()) - 500) <= 1


@given(lengths=st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=30))
@settings(max_examples=20, deadline=None)
def test_the_oldest_roll_outs_are_dropped_and_demonstrations_never(
    lengths: list[tuple[int, bool]],
) -> None:
    replay, rng = Replay(40), np.random.default_rng(0)
    online: list[tuple[str, int]] = []
    demos: list[str] = []
    for number, (steps, demo) in enumerate(lengths):
        source = "demo" if demo else "online"
        dropped = replay.add(
            random_labelled_episode(rng, steps, episode_id=str(number), source=source)
        )
        (demos if demo else online).append(str(number) if demo else (str(number), steps))
        while sum(n for _, n in online) > 40:
            assert dropped.pop(0) == online.pop(0)[0]
        assert dropped == []
        assert set(replay.episode_ids()) == {*demos, *(name for name, _ in online)}


def test_newer_labels_are_used_and_older_ones_refused() -> None:
    replay, rng = Replay(100), np.random.default_rng(0)
    replay.add(random_labelled_episode(rng, 6, episode_id="a", reward_version=2))
    assert replay.replace_labels("a", random_labels(rng, 6, reward_version=3, done_index=1))
    batch = replay.sample(20, 4, torch.Generator().manual_seed(0), {"online": 1.0})
    assert batch.valid[:, 0].all()
    assert not batch.valid[:, 1:].any()
    assert (batch.bootstrap == 0).all()
    assert batch.success.all()
    with pytest.raises(BadInput, match="version 2 is older"):
        replay.replace_labels("a", random_labels(rng, 6, reward_version=2))
    with pytest.raises(BadInput, match="cover 5 steps, not 6"):
        replay.replace_labels("a", random_labels(rng, 5, reward_version=4))
    assert not replay.replace_labels("dropped", random_labels(rng, 6))


def test_validation_episodes_are_refused() -> None:
    replay, rng = Replay(100), np.random.default_rng(0)
    with pytest.raises(BadInput, match="kept aside for validation"):
        replay.add(random_labelled_episode(rng, source="validation"))


def test_what_cannot_be_held_or_drawn_is_refused() -> None:
    replay, rng = Replay(10), np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(BadConfig, match="positive"):
        Replay(0)
    with pytest.raises(BadInput, match="nothing to draw"):
        replay.sample(1, 1, generator)
    replay.add(random_labelled_episode(rng, 5, episode_id="a"))
    with pytest.raises(BadInput, match="already"):
        replay.add(random_labelled_episode(rng, 5, episode_id="a"))
    with pytest.raises(BadInput, match="holds 10"):
        replay.add(random_labelled_episode(rng, 11))
    with pytest.raises(UnknownName, match="demo"):
        replay.sample(1, 1, generator, {"demos": 1.0})
    with pytest.raises(BadConfig, match="negative"):
        replay.sample(1, 1, generator, {"demo": -1.0, "online": 2.0})
    episode = random_labelled_episode(rng, 5)
    broken = replace(episode.labels, reward=np.full(5, np.nan, np.float32))
    with pytest.raises(BadInput, match="reward of NaN"):
        replay.add(episode.relabel(broken))


def test_images_stand_in_for_features_that_are_not_there() -> None:
    replay, rng = Replay(100), np.random.default_rng(0)
    episode = random_labelled_episode(rng, 1, keep_images=True)
    replay.add(replace(episode, features={}))
    batch = replay.sample(1, 1, torch.Generator().manual_seed(0))
    expected = episode.images["front"].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(batch.features["front"][0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(batch.next_features["front"][0], expected[1], rtol=1e-6)


@pytest.mark.parametrize("keep_images", [True, False])
def test_memory_is_that_of_the_raw_arrays_even_if_they_come_as_views(keep_images: bool) -> None:
    replay, rng = Replay(10_000), np.random.default_rng(0)
    raw = 0
    for _ in range(20):
        episode = random_labelled_episode(rng, 30, keep_images=keep_images)
        pixels, maps = episode.images, episode.features
        raw += sum(x.nbytes for x in [*pixels.values(), *maps.values()])
        raw += sum(getattr(episode, n).nbytes for n in PER_STEP)
        raw += sum(getattr(episode.labels, n).nbytes for n in PER_LABEL)
        views = {c: np.concatenate([f, f])[: len(f)] for c, f in maps.items()}
        replay.add(replace(episode, features=views))
    held = list(replay._episodes.values())
    assert all(maps.base is None for e in held for maps in e.features.values())
    assert all(maps.dtype == np.float16 for e in held for maps in e.features.values())
    assert all(frames.dtype == np.uint8 for e in held for frames in e.images.values())
    assert replay.nbytes <= 1.05 * raw


PER_STEP = (
    "state", "action", "policy_action", "policy_noise", "actor", "intervention_id",
    "policy_version", "chunk_index",
)  # fmt: skip
PER_LABEL = ("reward", "progress", "done", "uncertainty")


def mixed_replay() -> Replay:
    replay, rng = Replay(1000), np.random.default_rng(0)
    replay.add(random_labelled_episode(rng, 20, source="demo"))
    helped = random_labelled_episode(rng, 50, interventions=((5, 9), (20, 22)))
    replay.add(ever_further(helped))
    return replay
