from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.base import TrainableReward
from embodied.reward_models.controls import ColourOnly, Constant, ElapsedTime
from embodied.testing.rewards import assert_same, check_reward_model
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


def test_a_constant_has_nothing_to_learn_and_comes_back_from_disk(tmp_path):
    reward, copy = Constant(0.3), Constant(0.3)
    assert reward.fit([clip_of(4)], [], distractor_instructions=[], seed=0) == {}
    reward.save(tmp_path / "constant.pt")
    copy.load(tmp_path / "constant.pt")
    assert isinstance(copy, TrainableReward)
    assert copy.version == 1
    assert_same(copy.score([clip_of(5)])[0], Constant(0.3).score([clip_of(5)])[0], "has changed")
    with pytest.raises(BadConfig, match=r"progress 0.3, not with 0.4"):
        Constant(0.4).load(tmp_path / "constant.pt")


def colours(good, bad):
    reward = ColourOnly()
    reward.fit(good, bad, distractor_instructions=[], seed=0)
    return reward


def reddening(end, seed):
    """Noise in which more and more pixels are red, wherever they are."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(60, 90, (12, 8, 8, 3), dtype=np.uint8)
    for frame, share in zip(frames, np.linspace(0, end, 12), strict=True):
        frame[rng.random((8, 8)) < share] = (230, 40, 40)
    return Clip(frames={"front": frames}, features={}, instruction="make it red")


@pytest.fixture(scope="module")
def reds():
    good = [reddening(0.9, seed) for seed in range(8)]
    return colours(good, [reddening(0.3, seed) for seed in range(8, 16)])


def test_colours_keep_the_contract(reds):
    check_reward_model(lambda: reds, reddening(0.9, 20), potential=True)


def test_colours_tell_successes_that_have_a_colour_of_their_own(reds):
    accepted = [scores.success for scores in reds.score([reddening(0.9, n) for n in range(30, 38)])]
    refused = [scores.success for scores in reds.score([reddening(0.3, n) for n in range(40, 48)])]
    assert np.mean(accepted) > 0.5
    assert not any(refused)


def test_colours_see_neither_where_things_are_nor_what_is_asked(reds):
    clip = reddening(0.9, 21)
    mixed = clip.frames["front"].reshape(12, 64, 3)[:, np.random.default_rng(0).permutation(64)]
    other = replace(
        clip, frames={"front": mixed.reshape(12, 8, 8, 3)}, instruction="water the plants"
    )
    assert not np.array_equal(other.frames["front"], clip.frames["front"])
    assert_same(reds.score([other])[0], reds.score([clip])[0], "hangs on more than the mean colour")


def test_colours_do_not_see_a_square_that_is_pushed(reds):
    frames = np.full((9, 32, 32, 3), 75, np.uint8)
    for frame, column in zip(frames, range(0, 27, 3), strict=True):
        frame[8:16, column : column + 8] = (230, 40, 40)
    pushed = Clip(frames={"front": frames}, features={}, instruction="push the square")
    (scores,) = reds.score([pushed])
    assert np.ptp(reds.ask(pushed)) < 1e-9
    assert np.ptp(scores.progress) < 1e-6


def test_colours_come_back_from_disk_and_need_frames_and_a_success(reds, tmp_path):
    reds.save(tmp_path / "colours.pt")
    copy = ColourOnly()
    with pytest.raises(BadConfig, match="seen no success"):
        copy.score([reddening(0.9, 22)])
    copy.load(tmp_path / "colours.pt")
    clip = reddening(0.9, 22)
    assert_same(copy.score([clip])[0], reds.score([clip])[0], "differs after loading")
    with pytest.raises(BadInput, match="'front' has none"):
        copy.score([replace(clip, frames={}, features={"front": np.zeros((12, 1, 2, 2))})])
    with pytest.raises(BadInput, match="needs a success"):
        colours([], [clip])
    with pytest.raises(BadConfig, match="camera"):
        ColourOnly([])


def test_a_clock_that_was_never_set_says_so():
    with pytest.raises(BadConfig, match="call fit or load"):
        ElapsedTime().score([clip_of(4)])
    with pytest.raises(BadInput, match="one success"):
        clock()


def test_a_constant_outside_of_its_range_is_refused():
    with pytest.raises(BadConfig, match="share in"):
        Constant(1.5)
