import numpy as np
import pytest

from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.base import TrainableReward
from embodied.reward_models.controls import Constant, ElapsedTime
from embodied.testing.rewards import check_reward_model
from embodied.types import Clip


def clip_of(length):
    frames = np.random.default_rng(length).integers(0, 256, (length, 8, 8, 3), dtype=np.uint8)
    return Clip(frames={"front": frames}, features={}, instruction="open the drawer")


def clock(*lengths):
    reward = ElapsedTime()
    reward.fit([clip_of(n) for n in lengths], [], distractor_instructions=[], seed=0)
    return reward


@pytest.mark.parametrize("length", [6, 10, 14])
def test_the_clock_keeps_the_contract(length):
    check_reward_model(lambda: clock(10), clip_of(length))


def test_the_constant_keeps_the_contract():
    check_reward_model(Constant, clip_of(6), potential=True)


def test_a_clock_that_is_paid_for_doing_and_undoing_breaks_the_contract():
    with pytest.raises(AssertionError, match="doing and undoing"):
        check_reward_model(lambda: clock(40), clip_of(12), potential=True)


def test_the_clock_takes_the_median_length_and_looks_at_nothing():
    reward = clock(8, 10, 30)
    short, exact = reward.score([clip_of(9), clip_of(10)])
    assert not short.success
    assert exact.success
    assert exact.done_index == 9
    np.testing.assert_allclose(exact.progress, np.linspace(0, 1, 10), atol=1e-6)


def test_the_clock_pays_its_bonus_once():
    (scores,) = clock(5).score([clip_of(30)])
    assert scores.reward.argmax() == 4
    assert (scores.reward > 0.9).sum() == 1


def test_the_clock_comes_back_from_disk(tmp_path):
    reward, copy = clock(7), ElapsedTime()
    reward.save(tmp_path / "clock.json")
    copy.load(tmp_path / "clock.json")
    assert isinstance(copy, TrainableReward)
    assert (copy.typical_length, copy.version) == (7, 1)


def test_a_broken_clock_file_is_refused(tmp_path):
    (tmp_path / "clock.json").write_text("{")
    with pytest.raises(CorruptFile, match=r"clock\.json"):
        ElapsedTime().load(tmp_path / "clock.json")


def test_a_clock_that_knows_the_length_needs_no_success():
    (scores,) = ElapsedTime(typical_length=10, discount=1.0, bonus=0.0).score([clip_of(14)])
    np.testing.assert_allclose(scores.reward.sum(), 1.0, atol=1e-6)
    assert np.array_equal(scores.done, scores.progress)
    assert scores.done_index == 9


def test_a_clock_that_was_never_set_says_so():
    with pytest.raises(BadConfig, match="call fit or load"):
        ElapsedTime().score([clip_of(4)])
    with pytest.raises(BadInput, match="one success"):
        clock()


def test_a_constant_outside_of_its_range_is_refused():
    with pytest.raises(BadConfig, match="share in"):
        Constant(1.5)
