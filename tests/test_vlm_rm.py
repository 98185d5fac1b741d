"""A lamp turns red is the task; the towers see the mean colour, and read names of colours."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.epic import pearson_distance
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.base import Chooses
from embodied.reward_models.towers import Towers
from embodied.reward_models.vlm_rm import TextImageReward, place, regularised
from embodied.statistics import auroc
from embodied.testing.rewards import assert_same, check_reward_model
from embodied.types import Clip

RED = "turn the lamp red"
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
ALPHAS = st.floats(0, 1)
SEEDS = st.integers(0, 2**32 - 1)


class ColourTowers:
    """The mean colour, and a constant, at length 1; a text is the colours that it names."""

    fingerprint = "colours"

    def __init__(self):
        self.frames_seen = 0

    def look(self, clip, camera):
        if camera not in clip.frames:
            raise BadInput("no pictures")
        self.frames_seen += len(clip)
        colours = clip.frames[camera].astype(np.float32).mean((1, 2)) / 255
        return self._unit(colours)

    def read(self, text):
        named = [colour for name, colour in COLOURS.items() if name in text]
        return self._unit(np.array([np.sum([(0, 0, 0), *named], axis=0)], np.float32))[0]

    def _unit(self, colours):
        whole = np.concatenate([colours, np.full((len(colours), 1), 0.5, np.float32)], 1)
        return whole / np.linalg.norm(whole, axis=1, keepdims=True)


def clip_of(red, rng):
    """Redness per frame, in a room whose other colours wander."""
    colours = np.empty((len(red), 3))
    colours[:, 0] = 40 + 180 * np.asarray(red)
    colours[:, 1:] = 110 + 60 * rng.uniform(-1, 1, 2) + rng.normal(0, 25, (len(red), 2))
    frames = np.clip(colours, 0, 255).astype(np.uint8)[:, None, None]
    return Clip(
        frames={"front": np.tile(frames, (1, 8, 8, 1))}, features={}, instruction=RED
    )  # fmt: skip


def success(rng):
    return clip_of(np.append(np.linspace(0, 1, rng.integers(8, 14)), [1, 1]), rng)


def failure(rng):
    reached = np.linspace(0, rng.uniform(0.1, 0.6), 12)
    return clip_of(reached, rng)


def many(make, count, seed):
    rng = np.random.default_rng(seed)
    return [make(rng) for _ in range(count)]


def fitted(**settings):
    reward = TextImageReward(ColourTowers(), **settings)
    metrics = reward.fit(
        many(success, 16, 0), many(failure, 16, 1), distractor_instructions=[], seed=0
    )
    return reward, metrics


@pytest.fixture(scope="module")
def reward():
    return fitted()[0]


@pytest.fixture(scope="module")
def successes():
    return many(success, 12, 77)


@pytest.fixture(scope="module")
def failures():
    return many(failure, 12, 78)


def test_fitted_it_keeps_the_contract_of_a_reward_model(reward, successes):
    check_reward_model(lambda: reward, successes[0], potential=True)


def test_unfitted_it_keeps_the_contract_too(successes):
    check_reward_model(lambda: TextImageReward(ColourTowers()), successes[0])


def test_the_doubles_and_the_reward_keep_their_protocols(reward):
    assert isinstance(ColourTowers(), Towers)
    assert isinstance(reward, Chooses)


@given(SEEDS, ALPHAS)
@settings(max_examples=50, deadline=None)
def test_the_formula_agrees_with_the_projection_matrix(seed, alpha):
    """P = alpha d d^T / |d|^2 + (1 - alpha) I, r = 1 - |(s - g) P|^2 / 2, in plain loops."""
    rng = np.random.default_rng(seed)
    states, goal, baseline = rng.normal(size=(5, 7)), rng.normal(size=7), rng.normal(size=7)
    d = goal - baseline
    matrix = alpha * np.outer(d, d) / (d @ d) + (1 - alpha) * np.eye(7)
    expected = [1 - sum(x * x for x in (state - goal) @ matrix) / 2 for state in states]
    np.testing.assert_allclose(regularised(states, goal, baseline, alpha), expected, atol=1e-9)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_alpha_zero_is_the_cosine_and_alpha_one_the_place_on_the_line(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(8, 6))
    states = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    goal, baseline, states = states[0], states[1], states[2:]
    cosine = [state @ goal for state in states]
    np.testing.assert_allclose(regularised(states, goal, baseline, 0.0), cosine, atol=1e-9)
    way, length = place(states, goal, baseline), np.linalg.norm(goal - baseline)
    on_line = 1 - (length * (1 - way)) ** 2 / 2
    np.testing.assert_allclose(regularised(states, goal, baseline, 1.0), on_line, atol=1e-9)
    np.testing.assert_allclose(place(np.stack([baseline, goal]), goal, baseline), [0, 1], atol=1e-9)


@given(SEEDS, ALPHAS)
@settings(max_examples=20, deadline=None)
def test_no_state_is_better_than_the_goal_itself(seed, alpha):
    rng = np.random.default_rng(seed)
    states, goal, baseline = rng.normal(size=(9, 5)), rng.normal(size=5), rng.normal(size=5)
    assert regularised(states, goal, baseline, alpha).max() <= 1
    assert regularised(goal[None], goal, baseline, alpha)[0] == pytest.approx(1)


def test_without_outcomes_the_reward_is_the_papers_and_nothing_is_done(successes):
    towers = ColourTowers()
    raw = TextImageReward(towers, alpha=0.0, prompts=("a red lamp",))
    (scores,) = raw.score(successes[:1])
    cosine = towers.look(successes[0], "front") @ towers.read("a red lamp")
    np.testing.assert_allclose(scores.reward[1:], cosine[1:], atol=1e-6)
    assert not scores.success
    assert (scores.done == 0).all()
    assert scores.progress[-1] > scores.progress[0] + 0.2


def test_fitted_it_accepts_held_out_successes_and_refuses_failures(reward, successes, failures):
    good, bad = reward.score(successes), reward.score(failures)
    ends = [np.array([s.progress[-1] for s in group]) for group in (good, bad)]
    assert auroc(*ends) > 0.98
    assert np.mean([s.success for s in good]) > 0.8
    assert not any(s.success for s in bad)


@pytest.mark.parametrize("wrong", ["turn the lamp blue", "turn the lamp green"])
def test_another_goal_is_not_reached_where_the_lamp_turns_red(reward, successes, wrong):
    scores = reward.score([replace(clip, instruction=wrong) for clip in successes])
    right = reward.score(successes)
    assert np.mean([a.progress[-1] for a in right]) > 0.9
    assert np.mean([a.progress[-1] for a in scores]) < 0.5


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_what_wanders_across_the_line_is_projected_out(seed):
    """So that regularisation brings the reward nearer to what happens along the line."""
    rng = np.random.default_rng(seed)
    goal, baseline = rng.normal(size=(2, 8))
    line = goal - baseline
    way, noise = rng.uniform(0, 1, 40), rng.normal(size=(40, 8))
    noise -= np.outer(noise @ line / (line @ line), line)
    states = baseline + np.outer(way, line) + noise
    distances = [
        pearson_distance(regularised(states, goal, baseline, alpha), 1 - (1 - way) ** 2)
        for alpha in (0.0, 0.3, 0.6, 1.0)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == pytest.approx(0, abs=1e-6)


def test_the_setting_of_least_epic_distance_is_chosen():
    prompts = ("a lamp that is blue", "a lamp that is red")
    reward, metrics = fitted(prompts=prompts, baselines=("a lamp",))
    assert reward.setting.prompts == ("a lamp that is red",)
    assert metrics["alpha"] == reward.setting.alpha > 0
    assert metrics["epic"] < metrics["epic_cosine"]
    found = reward.signals(many(success, 12, 0))
    assert len(found) == 3 * 5
    assert reward.chosen in found


def test_with_nothing_to_choose_the_given_setting_stays():
    reward, _ = fitted(alpha=0.3, alphas=())
    assert reward.setting.alpha == 0.3
    assert list(reward.signals(many(success, 1, 0))) == [reward.chosen]


def test_each_picture_is_looked_at_once_whatever_there_is_to_choose(successes):
    reward = TextImageReward(ColourTowers())
    reward.signals(successes)
    assert reward.towers.frames_seen == sum(map(len, successes))


def test_several_prompts_are_the_mean_of_their_vectors(successes):
    towers = ColourTowers()
    reward = TextImageReward(towers, prompts=("red", "red and blue"), alphas=(), alpha=0.0)
    goal = (towers.read("red") + towers.read("red and blue")) / 2
    seen = towers.look(successes[0], "front")
    expected = 1 - ((seen - goal) ** 2).sum(1) / 2
    np.testing.assert_allclose(reward.signals(successes[:1])[reward.chosen][0], expected, atol=1e-6)


def test_it_comes_back_from_disk_the_same(reward, successes, tmp_path):
    reward.save(tmp_path / "reward.pt")
    copy = TextImageReward(ColourTowers())
    copy.load(tmp_path / "reward.pt")
    assert copy.version == 1
    assert copy.setting == reward.setting
    for found, expected in zip(copy.score(successes), reward.score(successes), strict=True):
        assert_same(found, expected, "differs after loading")


def test_a_file_of_other_towers_or_none_is_refused(reward, tmp_path):
    reward.save(tmp_path / "reward.pt")
    other = ColourTowers()
    other.fingerprint = "greys"
    with pytest.raises(BadConfig, match="trained with towers colours, not with greys"):
        TextImageReward(other).load(tmp_path / "reward.pt")
    (tmp_path / "reward.pt").write_bytes(b"nonsense")
    with pytest.raises(CorruptFile, match=r"reward\.pt"):
        TextImageReward(ColourTowers()).load(tmp_path / "reward.pt")


def test_what_cannot_work_is_refused():
    with pytest.raises(BadConfig, match="camera, a prompt and a baseline"):
        TextImageReward(ColourTowers(), baselines=())
    with pytest.raises(BadConfig, match=r"share in \[0, 1\], not 1\.5"):
        TextImageReward(ColourTowers(), alpha=1.5)
    same = TextImageReward(ColourTowers(), baselines=("red",))
    with pytest.raises(BadInput, match="read the same"):
        same.score(many(success, 1, 0))
    with pytest.raises(BadInput, match="one success or more"):
        same.fit([], many(failure, 1, 0), distractor_instructions=[], seed=0)


@pytest.mark.parametrize(("good", "bad"), [(1, 0), (2, 1), (5, 3)])
def test_a_few_clips_are_enough_to_fit(good, bad):
    reward = TextImageReward(ColourTowers())
    told = []
    metrics = reward.fit(
        many(success, good, 0),
        many(failure, bad, 1),
        distractor_instructions=[],
        seed=0,
        progress_callback=told.append,
    )
    assert all(np.isfinite(value) for value in metrics.values())
    assert told == sorted(told)
    assert told[-1] == 1
