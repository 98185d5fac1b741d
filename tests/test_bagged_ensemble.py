import numpy as np
import pytest

from embodied.errors import BadConfig
from embodied.reward_models.bagged_ensemble import BaggedEnsemble
from embodied.reward_models.controls import ElapsedTime
from embodied.reward_models.perceptual_stages import PerceptualStages
from embodied.testing.rewards import HueEncoder, assert_same, check_reward_model, take
from embodied.testing.square import failures, success, successes

GOOD, BAD = successes(8, 0, row=12), failures(8, 1, row=12)


def stages():
    return PerceptualStages(HueEncoder())


def fitted(member, clips=(GOOD, BAD), **settings):
    ensemble = BaggedEnsemble(member, **settings)
    ensemble.fit(*clips, distractor_instructions=[], seed=0)
    return ensemble


@pytest.fixture(scope="module")
def ensemble():
    return fitted(stages)


def test_it_keeps_the_contract_of_a_reward_model(ensemble):
    check_reward_model(lambda: ensemble, successes(1, 5, row=12)[0], potential=True)


def test_its_progress_is_the_mean_and_its_doubt_the_spread(ensemble):
    (scores,) = ensemble.score(GOOD[:1])
    said = np.stack([model.score(GOOD[:1])[0].progress for model in ensemble.models])
    np.testing.assert_allclose(scores.progress, said.mean(0), atol=1e-6)
    assert scores.uncertainty.max() > 0
    np.testing.assert_allclose(scores.uncertainty, 1.085 * said.std(0, ddof=1), rtol=0.01)


def test_members_learn_from_different_clips(ensemble):
    lengths = fitted(ElapsedTime, members=5, share=0.5)
    assert len({model.typical_length for model in lengths.models}) > 1
    assert len({float(model.reader.mean.sum()) for model in ensemble.models}) == 4


def test_it_accepts_successes_and_no_failures(ensemble):
    assert np.mean([s.success for s in ensemble.score(successes(8, 7, row=12))]) > 0.7
    assert not any(s.success for s in ensemble.score(failures(8, 8, row=12)))


def test_what_members_disagree_about_is_paid_less():
    clip = success(np.random.default_rng(3))
    bold, timid = (
        fitted(ElapsedTime, members=5, share=0.3, pessimism=k, bonus=0.0).score([clip])[0]
        for k in (0.0, 2.0)
    )
    np.testing.assert_array_equal(bold.progress, timid.progress)
    assert np.cumsum(timid.reward)[len(clip) // 2] < np.cumsum(bold.reward)[len(clip) // 2]


@pytest.mark.parametrize(("agreement", "accepting"), [(0.25, 1), (0.5, 2), (0.6, 3), (1.0, 4)])
def test_so_many_members_must_accept(agreement, accepting):
    clips = [take(GOOD[0], [0] * length) for length in range(10, 42, 4)], BAD
    clocks = fitted(ElapsedTime, clips, members=4, share=0.3, agreement=agreement)
    ends = sorted(model.typical_length - 1 for model in clocks.models)
    (scores,) = clocks.score([take(GOOD[0], [0] * 60)])
    assert scores.done_index == ends[accepting - 1]


def test_it_comes_back_from_disk_the_same(ensemble, tmp_path):
    ensemble.save(tmp_path / "reward.pt")
    copy = BaggedEnsemble(stages)
    copy.load(tmp_path / "reward.pt")
    for found, expected in zip(copy.score(GOOD), ensemble.score(GOOD), strict=True):
        assert_same(found, expected, "differs after loading")


def test_an_ensemble_of_one_is_refused():
    with pytest.raises(BadConfig, match="two members"):
        BaggedEnsemble(stages, members=1)
