from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.combinators import (
    AugmentationWeight,
    EpisodeCap,
    Hybrid,
    PotentialForm,
    RunningScale,
    SuccessGate,
)
from embodied.reward_models.controls import Constant, ElapsedTime
from embodied.testing.rewards import assert_same, check_reward_model, there_and_back
from embodied.testing.square import SquareRule, clip_at, failures, successes

GOOD, BAD = successes(6, 0), failures(6, 1)
REWARDS = Path(__file__).parents[1] / "conf" / "reward"


def fitted(wrapper):
    wrapper.fit(GOOD, BAD, distractor_instructions=[], seed=0)
    return wrapper


MAKERS = {
    "potential": lambda: fitted(PotentialForm(SquareRule(doubt=0.1))),
    "cap": lambda: fitted(EpisodeCap(SquareRule(), 0.7)),
    "gate": lambda: fitted(SuccessGate(SquareRule(), SquareRule(doubt=0.1))),
    "scale": lambda: fitted(RunningScale(SquareRule())),
    "augmentation": lambda: fitted(AugmentationWeight(SquareRule())),
    "hybrid": lambda: fitted(
        Hybrid({"rule": SquareRule(doubt=0.1), "clock": ElapsedTime()}, {"rule": 1.0, "clock": 0.2})
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_it_keeps_the_contract_of_a_reward_model(name):
    check_reward_model(MAKERS[name], successes(1, 5)[0], potential=name in ("potential", "gate"))


def test_each_can_be_had_from_a_command():
    offered = "".join(path.read_text() for path in REWARDS.glob("*.yaml"))
    classes = [type(make()).__name__ for make in MAKERS.values()]
    assert [name for name in classes if f"combinators.{name}\n" not in offered] == []


@pytest.mark.parametrize("name", MAKERS)
def test_it_comes_back_from_disk_the_same(name, tmp_path):
    MAKERS[name]().save(tmp_path / "reward.pt")
    copy = MAKERS[name]()
    copy.memory = {}
    copy.load(tmp_path / "reward.pt")
    for found, expected in zip(copy.score(GOOD), MAKERS[name]().score(GOOD), strict=True):
        assert_same(found, expected, "differs after loading")


def test_potential_form_pays_what_was_reached_and_nothing_for_a_cycle():
    (there,) = PotentialForm(SquareRule(), discount=1.0, bonus=0.0).score(GOOD[:1])
    assert there.reward.sum() == pytest.approx(there.progress[-1] - there.progress[0], abs=1e-5)
    cycle = there_and_back(GOOD[0], 5)
    (back,) = PotentialForm(SquareRule(), discount=1.0, bonus=0.0).score([cycle])
    assert back.reward.sum() == pytest.approx(0, abs=0.02)


def test_pessimism_lowers_the_potential_and_leaves_the_progress():
    sure, unsure = (
        PotentialForm(SquareRule(doubt=doubt), discount=1.0, bonus=0.0).score(GOOD[:1])[0]
        for doubt in (0.0, 0.3)
    )
    np.testing.assert_array_equal(sure.progress, unsure.progress)
    assert unsure.reward.sum() == pytest.approx(sure.reward.sum() - 0.3, abs=0.05)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=12), st.floats(0.1, 2.0), st.integers(0, 99))
def test_no_clip_earns_more_than_the_cap_and_every_penalty_is_paid(places, cap, seed):
    clip = clip_at(places, np.random.default_rng(seed))
    (free,), (capped,) = SquareRule().score([clip]), EpisodeCap(SquareRule(), cap).score([clip])
    assert np.maximum(capped.reward, 0).sum() <= cap + 1e-5
    np.testing.assert_allclose(np.minimum(capped.reward, 0), np.minimum(free.reward, 0), atol=1e-6)
    assert (capped.reward <= free.reward + 1e-6).all()
    if np.maximum(free.reward, 0).sum() <= cap:
        np.testing.assert_allclose(capped.reward, free.reward, atol=1e-5)


def test_going_to_and_fro_earns_more_than_arriving_unless_it_is_capped():
    swing = clip_at([0.1, 0.9] * 10, np.random.default_rng(0))

    def gained(model):
        return np.maximum(model.score([swing])[0].reward, 0).sum()

    assert gained(SquareRule()) > 5
    assert gained(EpisodeCap(SquareRule(), 2.0)) == pytest.approx(2)


def test_the_gate_opens_only_where_both_accept():
    gate = SuccessGate(SquareRule(), Constant(1.0))
    assert SquareRule().score(GOOD[:1])[0].success
    (shut,) = gate.score(GOOD[:1])
    assert not shut.success
    assert shut.reward.max() < 0.9, "no bonus"
    assert not shut.done.any()
    (open_,) = SuccessGate(SquareRule(), SquareRule()).score(GOOD[:1])
    assert open_.success
    assert open_.reward.max() > 0.9


def test_the_gate_waits_for_the_later_of_the_two():
    clock = ElapsedTime()
    clock.fit(successes(1, 3), [], distractor_instructions=[], seed=0)
    long = clip_at([*np.linspace(0, 1, 6), *[1.0] * 30], np.random.default_rng(0))
    (scores,) = SuccessGate(SquareRule(), clock).score([long])
    assert scores.done_index == clock.score([long])[0].done_index
    assert scores.done_index > SquareRule().score([long])[0].done_index


def test_scaled_rewards_have_the_same_size_whatever_their_source():
    sizes = []
    for model in (SquareRule(), EpisodeCap(SquareRule(), 0.01)):
        said = fitted(RunningScale(model)).score([*GOOD, *BAD])
        rewards = np.concatenate([scores.reward[1:] for scores in said])
        sizes.append(np.sqrt(np.mean(np.square(rewards))))
    np.testing.assert_allclose(sizes, 1, rtol=1e-4)


def test_the_scale_remembers_earlier_trainings():
    forgets, remembers = RunningScale(SquareRule(), 0.0), RunningScale(SquareRule(), 0.9)
    for wrapper in (forgets, remembers):
        fitted(wrapper).fit(BAD[:1], BAD, distractor_instructions=[], seed=0)
    assert remembers.memory["mean_square"] > forgets.memory["mean_square"]
    with pytest.raises(BadConfig, match="seen no reward"):
        RunningScale(SquareRule()).score(GOOD)


def test_a_reward_that_another_camera_pose_changes_weighs_less():
    plain = SquareRule().score(GOOD[:1])[0].reward
    (weighted,) = AugmentationWeight(SquareRule()).score(GOOD[:1])
    assert (np.abs(weighted.reward) <= np.abs(plain) + 1e-6).all()
    assert np.abs(weighted.reward).sum() < 0.9 * np.abs(plain).sum()
    assert weighted.uncertainty.max() > 0.01
    (steady,) = AugmentationWeight(Constant()).score(GOOD[:1])
    np.testing.assert_array_equal(steady.reward, Constant().score(GOOD[:1])[0].reward)
    assert not steady.uncertainty.any()


def test_features_alone_cannot_be_seen_under_another_pose():
    clip = replace(GOOD[0], frames={}, features={"front": np.zeros((5, 3, 8, 8), np.float16)})
    with pytest.raises(BadInput, match="without frames"):
        AugmentationWeight(Constant()).score([clip])


def test_a_hybrid_of_equal_confidence_is_the_mean_and_its_doubt_the_disagreement():
    terms = {"rule": SquareRule(), "constant": Constant(0.5)}
    (mixed,) = Hybrid(terms, {"rule": 1.0, "constant": 1.0}).score(GOOD[:1])
    rule = SquareRule().score(GOOD[:1])[0].progress
    np.testing.assert_allclose(mixed.progress, (rule + 0.5) / 2, atol=1e-6)
    np.testing.assert_allclose(mixed.uncertainty, np.abs(rule - 0.5) / 2, atol=1e-6)


def test_a_term_that_is_unsure_of_itself_counts_less():
    def error(doubt):
        terms = {"rule": SquareRule(), "adversary": SquareRule(backwards=True, doubt=doubt)}
        (mixed,) = Hybrid(terms, {"rule": 1.0, "adversary": 1.0}).score(GOOD[:1])
        return np.abs(mixed.progress - SquareRule().score(GOOD[:1])[0].progress).mean()

    assert error(0.0) > 5 * error(0.5)


def test_a_term_without_confidence_does_not_count():
    terms = {"rule": SquareRule(), "adversary": SquareRule(backwards=True)}
    (mixed,) = Hybrid(terms, {"rule": 1.0, "adversary": 0.0}).score(GOOD[:1])
    assert_same(mixed, SquareRule().score(GOOD[:1])[0], "is moved by it")


def test_settings_that_make_no_sense_are_refused():
    rule = SquareRule()
    with pytest.raises(BadConfig, match="cap"):
        EpisodeCap(rule, 0.0)
    with pytest.raises(BadConfig, match="share"):
        RunningScale(rule, 1.0)
    with pytest.raises(BadConfig, match="scale"):
        AugmentationWeight(rule, scale=0.0)
    with pytest.raises(BadConfig, match=r"each of \['rule'\]"):
        Hybrid({"rule": rule}, {"clock": 1.0})
    with pytest.raises(BadConfig, match="above 0"):
        Hybrid({"rule": rule}, {"rule": 0.0})
