from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.perceptual_stages import (
    LEAST,
    PerceptualStages,
    contrast,
    split_by_deviation,
    split_evenly,
)
from embodied.testing.rewards import HueEncoder
from embodied.testing.square import failures, successes


def steps_at(*begins, length=24, seed=0):
    """Frames that differ little within steps, and much between them."""
    rng = np.random.default_rng(seed)
    step = np.searchsorted(begins, np.arange(length), side="right")
    return step[:, None] * rng.normal(2, 0.5, 5) + rng.normal(0, 0.1, (length, 5))


@pytest.mark.parametrize("begins", [(8, 16), (5, 9), (3, 21)])
def test_steps_are_found_where_the_scene_changes(begins):
    assert list(split_by_deviation(steps_at(*begins), 3)) == [0, *begins]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 3))
def test_no_other_split_has_less_deviation(seed, stages):
    frames = np.random.default_rng(seed).normal(size=(11, 4))

    def cost(begins):
        ends = [*begins[1:], len(frames)]
        return sum(frames[b:e].std(0).mean() for b, e in zip(begins, ends, strict=True))

    allowed = [
        [0, *cuts]
        for cuts in combinations(range(1, len(frames)), stages - 1)
        if np.diff([0, *cuts, len(frames)]).min() >= LEAST
    ]
    assert cost(list(split_by_deviation(frames, stages))) == pytest.approx(min(map(cost, allowed)))


def test_equal_times_do_not_look_at_the_frames():
    assert list(split_evenly(steps_at(5, 9), 4)) == [0, 6, 12, 18]


def test_a_demonstration_that_is_too_short_for_its_steps_is_refused():
    with pytest.raises(BadInput, match="8 frames has no 3 steps"):
        split_by_deviation(steps_at(3, length=8), 3)


def test_the_features_that_tell_a_step_from_others_are_found():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(0, 1, (50, 6)), rng.normal(0, 1, (50, 6))
    inside[:, 2] += 5
    inside[:, 4] -= 5
    assert set(np.argsort(-contrast(inside, outside))[:2]) == {2, 4}


def test_the_first_likelihood_is_the_gaussian_one():
    reward = PerceptualStages(HueEncoder(), stages=2, selected=4)
    reward.fit(successes(4, 0, row=12), failures(4, 1, row=12), distractor_instructions=[], seed=0)
    maps = [HueEncoder().encode(successes(1, 9, row=12)[0].frames["front"])]
    reader = reward.reader
    chosen = reader.cells(maps)[:, reader.chosen.numpy()[0]]
    away = (chosen - reader.mean.numpy()) / reader.deviation.numpy()
    np.testing.assert_allclose(reader.read(maps), -np.square(away).mean(1), rtol=1e-5)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(BadConfig, match="two stages"):
        PerceptualStages(HueEncoder(), stages=1)
    reward = PerceptualStages(HueEncoder(), selected=1000)
    with pytest.raises(BadInput, match="1000 features cannot be chosen from 192"):
        reward.fit(successes(2, 0), [], distractor_instructions=[], seed=0)
