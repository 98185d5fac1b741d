import numpy as np
import pytest

from embodied.errors import BadConfig
from embodied.reward_models.neighbour_fusion import NeighbourFusion
from embodied.testing.rewards import HueEncoder, assert_same, check_reward_model
from embodied.testing.square import PUSH, SquareRule, clip_at, failures, successes
from embodied.types import Clip

GOOD, BAD = successes(10, 0, row=12), failures(6, 1, row=12)


def fitted(model=None, **settings):
    fusion = NeighbourFusion(model or SquareRule(), HueEncoder(), **settings)
    fusion.fit(GOOD, BAD, distractor_instructions=[], seed=0)
    return fusion


@pytest.fixture(scope="module")
def fusion():
    return fitted()


def strange(seed=0):
    frames = np.random.default_rng(seed).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    frames[:, :16] = 255
    return Clip(frames={"front": frames}, features={}, instruction=PUSH)


def test_it_keeps_the_contract_of_a_reward_model(fusion):
    check_reward_model(lambda: fusion, successes(1, 5, row=12)[0], potential=True)


def test_new_clips_of_the_task_are_worth_what_the_model_would_say(fusion):
    clips = successes(5, 9, row=12)
    for found, expected in zip(fusion.score(clips), SquareRule().score(clips), strict=True):
        assert np.abs(found.progress - expected.progress).mean() < 0.1
        assert found.success


def test_frames_unlike_all_known_ones_lie_outside_and_earn_nothing(fusion):
    assert np.median(fusion.outlyingness(successes(1, 9, row=12)[0])) < 1.2
    assert fusion.outlyingness(strange()).min() > 3
    (scores,) = fusion.score([strange()])
    assert scores.progress.max() < 0.05
    assert not scores.success


def test_a_model_that_is_noisy_in_each_frame_is_smoothed_by_neighbours():
    noisy = SquareRule(flicker=0.2)
    clips = successes(6, 11, row=12)
    truth = np.concatenate([s.progress for s in SquareRule().score(clips)])

    def error(model):
        return np.abs(np.concatenate([s.progress for s in model.score(clips)]) - truth).mean()

    assert error(fitted(noisy)) < 0.8 * error(noisy)


def test_a_single_neighbour_is_copied():
    (scores,) = fitted(neighbours=1).score(GOOD[:1])
    np.testing.assert_allclose(scores.progress, SquareRule().score(GOOD[:1])[0].progress, atol=1e-5)


def test_it_comes_back_from_disk_the_same(fusion, tmp_path):
    fusion.save(tmp_path / "reward.pt")
    copy = NeighbourFusion(SquareRule(), HueEncoder())
    copy.load(tmp_path / "reward.pt")
    for found, expected in zip(copy.score(GOOD), fusion.score(GOOD), strict=True):
        assert_same(found, expected, "differs after loading")


def test_a_single_known_clip_has_a_unit_of_its_own():
    fusion = NeighbourFusion(SquareRule(), HueEncoder())
    metrics = fusion.fit(GOOD[:1], [], distractor_instructions=[], seed=0)
    assert metrics["neighbour_distance"] == 1


def test_what_cannot_work_is_refused():
    with pytest.raises(BadConfig, match="one neighbour"):
        NeighbourFusion(SquareRule(), HueEncoder(), neighbours=0)
    with pytest.raises(BadConfig, match="no frame is known"):
        NeighbourFusion(SquareRule(), HueEncoder()).outlyingness(
            clip_at([0.5, 0.5], np.random.default_rng(0))
        )
