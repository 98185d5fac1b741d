import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.reward_models.progress_value import (
    CONSECUTIVE,
    Opinions,
    agree,
    calibrate,
    evidence,
    mix_f,
    scores_of,
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


def verdict(progress, done, spread=0.0):
    lift = np.array([[spread], [-spread]])
    value = np.clip(np.asarray(progress, float) + lift, 0, 1)
    return agree(Opinions(value=value, done=np.clip(np.asarray(done, float) + lift, 0, 1)), 1.0)


def test_success_needs_progress_and_completion_together_and_for_long_enough():
    n = CONSECUTIVE
    both = evidence(verdict([0.1] + [0.9] * n, [0.0] + [0.9] * n))
    assert both == pytest.approx(0.9)
    assert evidence(verdict([0.1] + [0.9] * n, [0.0] * (n + 1))) == 0
    assert evidence(verdict([0.1] * (n + 1), [0.9] * (n + 1))) == pytest.approx(0.1)
    blink = [0.1] * 5 + [0.9] * (n - 1) + [0.1] * 5
    assert evidence(verdict(blink, blink)) == pytest.approx(0.1)


def test_disagreement_lowers_what_is_believed():
    calm, torn = verdict([0.5] * 4, [0.5] * 4), verdict([0.5] * 4, [0.5] * 4, spread=0.2)
    np.testing.assert_allclose(calm.progress, torn.progress)
    np.testing.assert_allclose(torn.potential, 0.3)
    np.testing.assert_allclose(torn.uncertainty, 0.2)
    assert evidence(torn) < evidence(calm)


@given(values=st.lists(shares, min_size=2, max_size=30), discount=st.floats(0.5, 1))
def test_discounted_rewards_add_up_to_the_difference_of_the_potentials(values, discount):
    scores = scores_of(
        verdict(values, [0.0] * len(values)), accept=0.5, discount=discount, bonus=1.0
    )
    weights = discount ** np.arange(len(values) - 1)
    total = float((weights * scores.reward[1:]).sum())
    expected = discount ** (len(values) - 1) * values[-1] - values[0]
    assert total == pytest.approx(expected, abs=1e-4)


def test_the_bonus_is_paid_once_where_the_task_first_counts_as_complete():
    held = [0.0, 0.5, 0.9, 0.9, 0.9, 0.9, 0.2, 0.9, 0.9]
    scores = scores_of(verdict(held, held), accept=0.6, discount=1.0, bonus=7.0)
    assert scores.success
    assert scores.done_index == 2 + CONSECUTIVE - 1
    assert list(np.flatnonzero(scores.reward > 5)) == [scores.done_index]


@given(
    good=st.lists(st.floats(0.7, 1), min_size=1, max_size=20),
    bad=st.lists(st.floats(0, 0.6), min_size=1, max_size=20),
)
def test_a_threshold_separates_what_can_be_separated(good, bad):
    threshold = calibrate(np.array(good), np.array(bad))
    assert max(bad) < threshold <= min(good)


def test_a_false_accept_costs_more_than_a_false_reject():
    assert calibrate(np.array([0.5] * 4 + [0.9] * 6), np.array([0.1] * 9 + [0.6])) > 0.6
