import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.reward_models.calibration import CONSECUTIVE, FALSE_ACCEPT_COST
from embodied.reward_models.progress_fit import bootstrap
from embodied.reward_models.progress_value import (
    Opinions,
    agree,
    evidence,
    mix_f,
    scores_of,
    spread,
)

shares = st.floats(0, 1)
signed = st.floats(-1, 1)


def value_after(start, deltas):
    value = np.array([start])
    for delta in deltas:
        value = mix_f(value, np.array([delta]))
    return float(value[0])


@given(start=shares, deltas=st.lists(signed, max_size=50))
def test_the_value_never_leaves_its_range(start, deltas):
    assert 0 <= value_after(start, deltas) <= 1


@given(value=st.floats(0, 0.98))
def test_no_progress_changes_nothing(value):
    assert value_after(value, [0.0]) == value


@given(value=st.floats(0.5, 0.98), delta=st.floats(0, 0.95))
def test_a_forward_step_from_above_one_half_is_undone_exactly(value, delta):
    remaining = (1 - value) * (1 - delta)
    if remaining < 0.01:
        return
    assert value_after(value, [delta, -delta]) == pytest.approx(max(value, 0.1), abs=1e-9)


@given(value=shares, first=signed, second=signed)
def test_more_progress_never_gives_less_value_on_one_side_of_zero(value, first, second):
    low, high = sorted([first, second])
    if low < 0 <= high:
        return
    assert value_after(value, [low]) <= value_after(value, [high]) + 1e-12


@given(length=st.integers(2, 40))
def test_labels_of_an_even_clip_integrate_to_its_time(length):
    last = length - 1
    deltas = [1 / (last - i) for i in range(last)]
    for i in range(length):
        assert value_after(0.0, deltas[:i]) == pytest.approx(i / last, abs=1e-9)


def opinions(progress, done, spread=0.0):
    lift = np.array([[spread], [-spread]])
    value = np.clip(np.asarray(progress, float) + lift, 0, 1)
    return Opinions(value=value, done=np.clip(np.asarray(done, float) + lift, 0, 1))


def verdict(progress, done, spread=0.0):
    return agree(opinions(progress, done, spread), 1.0)


def test_success_needs_progress_and_completion_together_and_for_long_enough():
    n = CONSECUTIVE
    both = evidence(opinions([0.1] + [0.9] * n, [0.0] + [0.9] * n))
    np.testing.assert_allclose(both, 0.9)
    np.testing.assert_allclose(evidence(opinions([0.1] + [0.9] * n, [0.0] * (n + 1))), 0)
    np.testing.assert_allclose(evidence(opinions([0.1] * (n + 1), [0.9] * (n + 1))), 0.1)
    blink = [0.1] * 5 + [0.9] * (n - 1) + [0.1] * 5
    np.testing.assert_allclose(evidence(opinions(blink, blink)), 0.1)


@pytest.mark.parametrize("members", [2, 3, 5])
def test_the_spread_of_few_members_is_on_average_that_of_many(members):
    drawn = np.random.default_rng(members).normal(0.0, 0.3, (members, 40_000))
    assert spread(drawn).mean() == pytest.approx(0.3, rel=0.02)


def test_disagreement_lowers_what_is_believed():
    calm, torn = verdict([0.5] * 4, [0.5] * 4), verdict([0.5] * 4, [0.5] * 4, spread=0.2)
    np.testing.assert_allclose(calm.progress, torn.progress)
    deviation = np.sqrt(0.2**2 * 2) * np.sqrt(np.pi / 2)  # of two members, without bias
    np.testing.assert_allclose(torn.uncertainty, deviation)
    np.testing.assert_allclose(torn.potential, 0.5 - deviation)
    assert (torn.potential < calm.potential).all()


@given(values=st.lists(shares, min_size=2, max_size=30), discount=st.floats(0.5, 1))
def test_discounted_rewards_add_up_to_the_difference_of_the_potentials(values, discount):
    scores = scores_of(verdict(values, [0.0] * len(values)), discount=discount, bonus=1.0)
    weights = discount ** np.arange(len(values) - 1)
    total = float((weights * scores.reward[1:]).sum())
    expected = discount ** (len(values) - 1) * values[-1] - values[0]
    assert total == pytest.approx(expected, abs=1e-4)


def test_the_bonus_is_paid_once_where_the_task_first_counts_as_complete():
    held = [0.0, 0.5, 0.9, 0.9, 0.9, 0.9, 0.2, 0.9, 0.9]
    scores = scores_of(verdict(held, held), discount=1.0, bonus=7.0)
    assert scores.success
    assert scores.done_index == 2 + CONSECUTIVE - 1
    assert list(np.flatnonzero(scores.reward > 5)) == [scores.done_index]


@given(slope=st.floats(0.2, 5), offset=st.floats(-5, 5))
def test_a_clip_counts_as_a_success_where_accepting_it_costs_less(slope, offset):
    shares_of_evidence = np.linspace(0.02, 0.98, 25)
    probability = 1 / (1 + np.exp(-(slope * np.log(1 / (1 / shares_of_evidence - 1)) + offset)))
    for held, chance in zip(shares_of_evidence, probability, strict=True):
        both = opinions([held] * 3, [held] * 3)
        found = scores_of(agree(both, 1.0, np.array([slope, offset])), discount=1.0, bonus=1.0)
        cost_of_accepting, cost_of_rejecting = FALSE_ACCEPT_COST * (1 - chance), chance
        if abs(cost_of_accepting - cost_of_rejecting) > 1e-6:
            assert found.success == (cost_of_accepting < cost_of_rejecting)


@given(count=st.integers(2, 40), members=st.integers(2, 7), seed=st.integers(0, 99))
def test_each_episode_is_hidden_from_one_member_and_seen_by_all_others(count, members, seed):
    bags = bootstrap(count, members, np.random.default_rng(seed))
    assert ((bags == 0).sum(0) == 1).all()
    assert np.ptp((bags == 0).sum(1)) <= 1
