"""Ways of doing a task: demonstrators that succeed and differ, teachers that can tell."""

from dataclasses import replace

import numpy as np
import pytest

from embodied.envs.ways import attempt, retrace
from embodied.envs.ways_catalogue import WAYS, way_named
from embodied.errors import BadInput, UnknownName
from embodied.testing.episodes import random_episode
from embodied.testing.rewards import HueEncoder
from embodied.testing.way_rollouts import chunks_of
from embodied.testing.ways import attempt_of, record
from embodied.types import STATE

SEEDS = range(5)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_attempts_succeed_and_differ_in_how_well_they_are_liked(way):
    env = way.make(image_size=8)
    assert env.task == way.task
    tried = [attempt(way, env, seed) for seed in SEEDS]
    env.close()
    done = [each for each in tried if each.success]
    assert len(done) >= 4
    liked = [way.rate(each.trace) for each in done]
    told = [way.metric(each.trace) for each in done]
    assert np.ptp(liked) > 0.02
    assert np.ptp(told) > 0.02
    for each in done:
        moments = way.liking(each.trace)
        assert moments.shape == (len(each.actions) + 1,)
        assert moments.min() <= way.rate(each.trace) <= moments.max()
    best, worst = told[int(np.argmax(liked))], told[int(np.argmin(liked))]
    assert (best > worst) == (way.better == "higher")


@pytest.mark.parametrize(("name", "robot"), [("lift-gently", "Sawyer"), ("lift-right", "IIWA")])
def test_the_same_way_can_be_shown_by_another_arm(name, robot):
    way = way_named(name)
    env = way.make(robot=robot, image_size=8)
    tried = [attempt(way, env, seed) for seed in range(3)]
    env.close()
    assert sum(each.success for each in tried) >= 2
    assert np.ptp([way.metric(each.trace) for each in tried]) > 2.0


def test_the_same_seed_gives_the_same_attempt():
    way = way_named("drawer-open-right")
    first, second = (record(way, [3], HueEncoder(96))[0] for _ in range(2))
    assert first.liking == second.liking
    np.testing.assert_array_equal(first.clip.features["front"], second.clip.features["front"])


def test_clips_keep_ten_frames_a_second_at_most():
    (fast,) = record(way_named("drawer-open-right"), [3], HueEncoder(96))
    (slow,) = record(way_named("sweep-avoiding"), [3], HueEncoder(96))
    env = way_named("sweep-avoiding").make(image_size=8)
    steps = len(attempt(way_named("sweep-avoiding"), env, 3).actions)
    assert len(slow.clip) == steps + 1  # 8 per second, all kept
    assert len(fast.clip) >= 4


@pytest.mark.parametrize("name", ["drawer-open-right", "sweep-avoiding"])  # 20 and 8 per second
def test_what_a_policy_did_is_liked_like_what_a_demonstrator_did(name):
    way, encoder = way_named(name), HueEncoder(96)
    (shown,) = record(way, [3], encoder)
    env = way.make(cameras=("front",))
    seen = [env.reset(seed=3)]
    for action in shown.action:
        observation, _, _, _, info = env.step(action)
        seen.append((observation, info))
    env.close()
    done = attempt_of(env, way, seen, list(shown.action), encoder)
    assert done.success
    assert done.liking == shown.liking
    np.testing.assert_array_equal(done.state, shown.state)
    np.testing.assert_array_equal(done.clip.features["front"], shown.clip.features["front"])
    chunks = chunks_of([done], 4)
    assert len(chunks.action) == len(range(0, len(done.action), done.every))
    np.testing.assert_array_equal(chunks.action[1], done.action[done.every : done.every + 4])
    np.testing.assert_array_equal(chunks.state[1], seen[done.every][0][STATE])


def stored(env, tried):
    """The attempt as an episode that knows nothing but what was seen and done."""
    steps, size = tried.actions.shape
    blank = random_episode(np.random.default_rng(0), steps, action_dim=size)
    return replace(
        blank, task=env.task, seed=tried.seed, action=tried.actions, state=tried.trace.state
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sweep-avoiding", "lift-level"])
def test_a_stored_episode_tells_its_rating_when_it_is_played_again(name):
    way = way_named(name)
    env = way.make(image_size=8)
    tried = attempt(way, env, 4)
    env.reset(seed=0)
    again = retrace(env, stored(env, tried))
    np.testing.assert_array_equal(way.liking(again), way.liking(tried.trace))
    env.close()


def test_an_episode_of_another_task_or_another_body_is_refused():
    way = way_named("sweep-avoiding")
    env = way.make(image_size=8)
    episode = stored(env, attempt(way, env, 4))
    with pytest.raises(BadInput, match="is of Lift"):
        retrace(env, replace(episode, task="Lift"))
    other = way.make(image_size=8, embodiment="shortstick")
    with pytest.raises(BadInput, match="goes otherwise"):
        retrace(other, episode)


def test_an_unknown_way_is_refused_with_the_near_names():
    with pytest.raises(UnknownName, match="did you mean lift-gently"):
        way_named("lift-gentle")
