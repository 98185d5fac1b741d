from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.controls import Constant, ElapsedTime
from embodied.reward_models.learned_mixture import LearnedMixture, learn_weights
from embodied.reward_models.wrapper import Wrapper
from embodied.testing.rewards import assert_same, check_reward_model, take
from embodied.testing.square import SquareRule, failures, successes

GOOD, BAD = successes(12, 0), failures(12, 1)
TERMS = {
    "rule": SquareRule,
    "adversary": lambda: SquareRule(backwards=True),
    "noise": lambda: SquareRule(flicker=2.0),
    "clock": ElapsedTime,
}


class Faint(Wrapper):
    """Pays 2^-30 of what another reward does, which rounds nothing."""

    def combine(self, clip, said):
        return replace(said[0], reward=said[0].reward * np.float32(2**-30))

    def study(self, lesson):
        return self.fit_parts(lesson)


def fitted(*names):
    mixture = LearnedMixture({name: TERMS[name]() for name in names})
    return mixture, mixture.fit(GOOD, BAD, distractor_instructions=[], seed=0)


def test_it_keeps_the_contract_of_a_reward_model():
    check_reward_model(lambda: fitted("rule", "clock")[0], successes(1, 5)[0])


def test_the_weight_of_an_adversarial_reward_is_driven_to_zero():
    mixture, metrics = fitted("rule", "adversary")
    assert metrics["weight_adversary"] < 0.01
    assert metrics["improved_success"] > 0.9
    for found, expected in zip(mixture.score(GOOD), SquareRule().score(GOOD), strict=True):
        np.testing.assert_allclose(found.progress, expected.progress, atol=0.02)
        assert found.success == expected.success


def test_with_equal_weights_the_adversary_would_undo_the_rule():
    said = [model.score(GOOD) for model in (SquareRule(), SquareRule(backwards=True))]
    moved = [sum(s.progress for s in pair) for pair in zip(*said, strict=True)]
    np.testing.assert_allclose(np.concatenate(moved), 1, atol=1e-4)


def test_noise_and_a_clock_weigh_less_than_what_sees_the_task():
    _, metrics = fitted("noise", "rule", "clock")
    assert metrics["weight_rule"] > max(metrics["weight_noise"], metrics["weight_clock"])


def test_a_term_that_returns_the_same_for_every_clip_is_not_paid():
    good, bad = ([take(clip, slice(-12, None)) for clip in clips] for clips in (GOOD, BAD))
    mixture = LearnedMixture({name: TERMS[name]() for name in ("rule", "clock")})
    metrics = mixture.fit(good, bad, distractor_instructions=[], seed=0)
    assert (metrics["weight_rule"], metrics["weight_clock"]) == (1, 0)
    paid, rule, clock = (
        np.concatenate([scores.reward for scores in model.score([*good, *bad])])
        for model in (mixture, *mixture.models)
    )
    assert np.abs(clock).max() > 0.05
    factor = paid.std() / rule.std()
    assert factor < 100
    np.testing.assert_allclose(paid, factor * rule, atol=1e-5 * factor)


def test_what_a_term_weighs_does_not_depend_on_its_unit():
    mixture = LearnedMixture({"rule": SquareRule(), "faint": Faint([SquareRule()])})
    metrics = mixture.fit(GOOD, BAD, distractor_instructions=[], seed=0)
    assert metrics["weight_rule"] == pytest.approx(metrics["weight_faint"])


def test_terms_that_all_return_the_same_cannot_be_weighed():
    clips = [take(clip, slice(12)) for clip in GOOD]
    mixture = LearnedMixture({"clock": ElapsedTime(), "constant": Constant()})
    with pytest.raises(BadInput, match="clock, constant returns the same"):
        mixture.fit(clips[:6], clips[6:], distractor_instructions=[], seed=0)


def test_outcomes_that_are_mixed_up_give_the_rule_no_advantage():
    clips = [clip for pair in zip(GOOD, BAD, strict=True) for clip in pair]
    mixture = LearnedMixture({name: TERMS[name]() for name in ("rule", "adversary")})
    metrics = mixture.fit(clips[:12], clips[12:], distractor_instructions=[], seed=0)
    assert metrics["improved_success"] < 0.9


def test_the_objective_rises_and_its_gradient_is_the_covariance_of_the_improved_policy():
    rng = np.random.default_rng(0)
    returns, good = rng.normal(size=(3, 20)), np.arange(20) < 8
    weight, success = learn_weights(returns, good, 0.5)
    assert weight.sum() == pytest.approx(1)

    def improved(w):
        prior = torch.from_numpy(np.where(good, 0.5 / 8, 0.5 / 12)).log()
        policy = (prior + (w @ torch.from_numpy(returns)) / 0.5).softmax(0)
        return (policy * torch.from_numpy(good)).sum(), policy

    for other in np.random.default_rng(1).dirichlet(np.ones(3), 50):
        assert success >= float(improved(torch.from_numpy(other))[0]) - 1e-6
    w = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
    value, policy = improved(w)
    value.backward()
    p = policy.detach().numpy()
    covariance = returns @ (p * good) - (returns @ p) * (p @ good)
    np.testing.assert_allclose(w.grad.numpy(), covariance / 0.5, rtol=1e-6)


def test_it_comes_back_from_disk_the_same(tmp_path):
    mixture, _ = fitted("rule", "clock")
    mixture.save(tmp_path / "reward.pt")
    copy = LearnedMixture({"rule": SquareRule(), "clock": ElapsedTime()})
    copy.load(tmp_path / "reward.pt")
    for found, expected in zip(copy.score(GOOD), mixture.score(GOOD), strict=True):
        assert_same(found, expected, "differs after loading")


def test_what_cannot_work_is_refused():
    with pytest.raises(BadConfig, match="two terms"):
        LearnedMixture({"rule": SquareRule()})
    mixture = LearnedMixture({"rule": SquareRule(), "adversary": SquareRule(backwards=True)})
    with pytest.raises(BadConfig, match="no weights"):
        mixture.score(GOOD)
    with pytest.raises(BadInput, match="two failures"):
        mixture.fit(GOOD, BAD[:1], distractor_instructions=[], seed=0)
