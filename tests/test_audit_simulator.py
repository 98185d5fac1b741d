"""EPIC and DARD from the simulator's own reward: over logged steps, and for an audit alone."""

import json
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest

from embodied.audit import run_audit
from embodied.audit_page import render_page
from embodied.audit_simulator import DISCOUNT, UNRELATED, Simulated, judge_by_simulator
from embodied.dataset import EpisodeStore
from embodied.demonstrations import Assignment, demonstrate
from embodied.errors import BadInput
from embodied.reward_models.base import nothing
from embodied.reward_models.controls import ElapsedTime
from embodied.testing.doubles import CountingEnv
from embodied.testing.episodes import random_episode
from embodied.testing.rewards import HueEncoder
from embodied.types import Clip, LabelledEpisode

PLACES, STEPS = 6, 60


def walks(count, rng):
    """Which of six places each frame of some clips shows: they go on, wait, or turn back."""
    steps = rng.choice([-1, 0, 1], p=[0.2, 0.3, 0.5], size=(count, STEPS))
    return np.clip(np.cumsum(np.hstack([np.zeros((count, 1), int), steps]), axis=1), 0, PLACES - 1)


def clip_at(places):
    maps = np.eye(PLACES, dtype=np.float16)[places][:, :, None, None]
    return Clip(frames={}, features={"front": maps}, instruction="go on")


def paying(rewards):
    """Scores that pay this for each step."""
    paid = np.concatenate([[0.0], rewards]).astype(np.float32)
    return replace(nothing(len(paid)), reward=paid)


def judged(own, simulator, seed=0):
    """How far a reward is from another, each a function of the places before and after a step."""
    rng = np.random.default_rng(seed)
    sides = walks(8, rng), walks(8, rng)

    def ask(reward):
        return [[reward(w[:-1], w[1:]) for w in side] for side in sides]

    said, paid = ask(own), ask(simulator)
    scores = tuple([paying(each) for each in side] for side in said)
    ticks = tuple([paying(np.ones(STEPS)) for _ in side] for side in sides)
    clips = tuple([clip_at(w) for w in side] for side in sides)
    return judge_by_simulator(
        clips, scores, ticks, Simulated(successes=paid[0], failures=paid[1]), seed=seed
    )


def dense(before, after):
    return after**2 / 10.0


@pytest.mark.parametrize("seed", range(3))
def test_scale_offset_and_potential_shaping_leave_no_distance_and_the_opposite_is_at_one(seed):
    potential = np.random.default_rng(seed + 10).normal(size=PLACES)

    def shaped(before, after):
        gain = DISCOUNT * potential[after] - potential[before]
        return 3.0 * dense(before, after) + 0.5 + gain

    found = judged(shaped, dense, seed)
    assert found.cells == PLACES
    assert (found.episodes, found.steps) == (16, 16 * STEPS)
    for distance in (found.epic, found.dard):
        assert distance.own.mean == pytest.approx(0, abs=1e-3)
        assert distance.own.high < 1e-2
        assert distance.own.n == 16
    opposite = judged(lambda b, a: -shaped(b, a), dense, seed)
    assert opposite.epic.own.mean == pytest.approx(1, abs=1e-3)
    assert opposite.dard.own.mean == pytest.approx(1, abs=1e-3)


def test_a_clock_and_a_pure_potential_are_unrelated_to_a_dense_reward():
    found = judged(lambda before, after: DISCOUNT * after - before, dense)
    for distance in (found.epic, found.dard):
        assert distance.clock == pytest.approx(UNRELATED, abs=1e-6)
        assert distance.own.mean == pytest.approx(UNRELATED, abs=1e-6)


def test_a_reward_that_likes_half_of_what_the_simulator_likes_lies_between():
    found = judged(lambda before, after: np.where(after >= 3, dense(before, after), 1.5), dense)
    for distance in (found.epic, found.dard):
        assert 0.02 < distance.own.low <= distance.own.mean <= distance.own.high < UNRELATED


@pytest.mark.parametrize("missing", ["all", "constant", "all but one"])
def test_without_the_simulators_reward_nothing_is_said(missing):
    rng = np.random.default_rng(0)
    sides = walks(3, rng), walks(3, rng)
    scores = tuple([paying(np.ones(STEPS)) for _ in side] for side in sides)
    paid = [[None] * 3, [None] * 3]
    if missing == "constant":
        paid = [[np.zeros(STEPS)] * 3, [np.zeros(STEPS)] * 3]
    if missing == "all but one":
        paid[0][1] = rng.normal(size=STEPS)
    clips = tuple([clip_at(w) for w in side] for side in sides)
    found = judge_by_simulator(
        clips, scores, scores, Simulated(successes=paid[0], failures=paid[1]), seed=0
    )
    assert found is None


def test_episodes_that_nobody_wrote_the_reward_of_are_left_out():
    rng = np.random.default_rng(0)
    sides = walks(4, rng), walks(3, rng)
    paid = [[dense(w[:-1], w[1:]) for w in side] for side in sides]
    scores = tuple([paying(each) for each in side] for side in paid)
    scores[0][2], paid[0][2] = paying(rng.normal(size=STEPS)), None
    paid[1] = [None] * 3
    clips = tuple([clip_at(w) for w in side] for side in sides)
    found = judge_by_simulator(
        clips, scores, scores, Simulated(successes=paid[0], failures=paid[1]), seed=0
    )
    assert (found.episodes, found.epic.own.n) == (3, 3)
    assert found.epic.own.mean == pytest.approx(0, abs=1e-3)


def test_it_is_stored_beside_the_rows_and_neither_a_reward_nor_a_learner_is_given_it(tmp_path):
    store, rng = EpisodeStore(tmp_path, 20.0), np.random.default_rng(0)
    paid = rng.normal(size=5).astype(np.float32)
    episode = replace(
        random_episode(rng, 5, episode_id="demo/0", with_features=False), simulator_reward=paid
    )
    store.append(episode)
    store.append(random_episode(rng, 5, episode_id="demo/1", with_features=False))
    assert np.array_equal(EpisodeStore(tmp_path).read(0).simulator_reward, paid)
    assert store.read(1).simulator_reward is None
    with pytest.raises(BadInput, match="already stored"):
        store.append(replace(episode, simulator_reward=-paid))
    assert np.array_equal(store.read(0).simulator_reward, paid)
    described = (tmp_path / "meta/info.json").read_text()
    assert "simulator" not in described
    for given in (LabelledEpisode, Clip):
        assert "simulator_reward" not in {field.name for field in fields(given)}


class PayingEnv(CountingEnv):
    """Pays for being near the goal, as simulators do."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, info["privileged"]["position"], terminated, truncated, info


def test_an_audit_of_recorded_episodes_shows_both_distances_and_none_without(tmp_path):
    env, store = PayingEnv(), EpisodeStore(tmp_path / "held_out", 20.0)
    for number in range(4):
        for purpose, failure in (("held-out", None), ("held-out-failure", "stops short")):
            wanted = Assignment(purpose=purpose, number=number, failure=failure)
            episode = demonstrate(env, wanted, run_seed=0, noise=0.2, chunk=4)
            store.append(episode)
    encoder = HueEncoder(image_size=32, grid=8)

    def audited(folder):
        held_out = [store.read(index) for index in range(len(store))]
        folder.mkdir()
        result = run_audit(
            ElapsedTime(("front",), typical_length=12), encoder, held_out, folder,
            other_instructions=["count down"], seed=0,
        )  # fmt: skip
        page = (folder / "reward_card.html").read_text()
        beside = render_page({"clock": result}, {"clock": "reward_card.html"})
        assert beside.count("from the simulator") == page.count("from the simulator")
        return page, json.loads((folder / "reward_card.json").read_text())["simulator"]

    page, found = audited(tmp_path / "with")
    steps = sum(store.summary(index).steps for index in range(len(store)))
    assert (found["episodes"], found["steps"]) == (8, steps)
    for name in ("epic", "dard"):
        assert 0 <= found[name]["low"] <= found[name]["mean"] <= found[name]["high"] <= 1
    assert "EPIC distance from the simulator&#x27;s reward" in page
    assert "DARD from the simulator&#x27;s reward" in page
    shutil.rmtree(tmp_path / "held_out/simulator")
    page, found = audited(tmp_path / "without")
    assert found is None
    assert "from the simulator" not in page
