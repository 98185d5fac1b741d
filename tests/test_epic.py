"""EPIC and DARD: what must not change the distance does not, and the opposite is far away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.epic import (
    canonical,
    dard_distance,
    epic_distance,
    goal_distance,
    goal_distance_interval,
    pearson_distance,
)
from embodied.errors import BadInput

SEEDS = st.integers(0, 2**32 - 1)
DISCOUNTS = st.floats(0, 1)
STATES = st.integers(3, 12)


def random_reach(states, rng):
    reach = rng.random((states, states)) * (rng.random((states, states)) < 0.6) + 0.01
    return reach / reach.sum(1, keepdims=True)


def distances(states, rng, discount):
    """EPIC, and DARD under some dynamics."""
    reach = random_reach(states, rng)
    return (
        lambda first, second: epic_distance(first, second, discount=discount),
        lambda first, second: dard_distance(first, second, reach, discount=discount),
    )


@given(STATES, SEEDS, DISCOUNTS, st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_potential_shaping_scale_and_offset_change_nothing(states, seed, discount, scale, offset):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, states, states))
    potential = rng.normal(size=states)
    shaped = scale * first + offset + discount * potential - potential[:, None]
    for distance in distances(states, rng, discount):
        assert distance(shaped, second) == pytest.approx(distance(first, second), abs=1e-6)
        assert distance(first, shaped) == pytest.approx(0, abs=1e-6)


@given(STATES, SEEDS, DISCOUNTS)
@settings(max_examples=40, deadline=None)
def test_it_is_a_distance_in_which_the_opposite_is_at_one(states, seed, discount):
    rng = np.random.default_rng(seed)
    first, second, third = rng.normal(size=(3, states, states))
    for distance in distances(states, rng, discount):
        assert distance(first, first) == pytest.approx(0, abs=1e-6)
        assert distance(first, -first) == pytest.approx(1)
        assert distance(first, second) == pytest.approx(distance(second, first))
        assert distance(first, third) <= distance(first, second) + distance(second, third) + 1e-9


def test_the_canonical_form_is_the_definition_written_out():
    rng = np.random.default_rng(0)
    reward, reach, discount = rng.normal(size=(4, 4)), random_reach(4, rng), 0.9
    expected = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            after = sum(reach[j, k] * reward[j, k] for k in range(4))
            before = sum(reach[i, k] * reward[i, k] for k in range(4))
            pairs = ((k, m) for k in range(4) for m in range(4))
            between = sum(reach[i, k] * reach[j, m] * reward[k, m] for k, m in pairs)
            expected[i, j] = reward[i, j] + discount * after - before - discount * between
    np.testing.assert_allclose(canonical(reward, reach, discount=discount), expected)


def test_dard_ignores_what_the_dynamics_cannot_do_and_epic_does_not():
    """Two rewards that differ only in a jump that is never made."""
    states = 6
    reach = np.zeros((states, states))
    for state in range(states):
        reach[state, max(state - 1, 0)] += 0.5
        reach[state, min(state + 1, states - 1)] += 0.5
    possible = sum(np.linalg.matrix_power(reach, power) for power in range(4)) > 0
    first = np.arange(states, dtype=float) + np.zeros((states, states))
    second = np.where(possible, first, -20.0)
    assert dard_distance(first, second, reach, discount=0.9) == pytest.approx(0, abs=1e-6)
    assert epic_distance(first, second, discount=0.9) > 0.3


@given(STATES, SEEDS, DISCOUNTS)
@settings(max_examples=20, deadline=None)
def test_for_rewards_of_states_epic_is_the_pearson_distance(states, seed, discount):
    first, second = np.random.default_rng(seed).normal(size=(2, states))
    everywhere = np.zeros((states, states))
    found = epic_distance(everywhere + first, everywhere + second, discount=discount)
    assert found == pytest.approx(pearson_distance(first, second), abs=1e-6)


def test_a_constant_is_neither_near_nor_far():
    rng = np.random.default_rng(0)
    constant, other = np.full(9, 3.0), rng.normal(size=9)
    assert pearson_distance(constant, other) == pytest.approx(np.sqrt(0.5))
    assert pearson_distance(constant, constant) == pytest.approx(np.sqrt(0.5))


def test_weights_count_as_repetitions():
    first, second = np.random.default_rng(0).normal(size=(2, 5))
    weights = np.array([1, 3, 0, 2, 1])
    repeated = pearson_distance(np.repeat(first, weights), np.repeat(second, weights))
    assert pearson_distance(first, second, weights.astype(float)) == pytest.approx(repeated)


def test_the_distance_from_the_goal_ranks_a_reward_a_clock_and_the_opposite():
    rng = np.random.default_rng(0)
    rising = [np.linspace(0, 1, 12) + rng.normal(0, 0.02, 12) for _ in range(6)]
    flat = [rng.normal(0, 0.02, 12) for _ in range(6)]
    clock = [np.linspace(0, 1, 12)] * 6
    good = goal_distance(rising, flat)
    assert good < 0.1 < goal_distance(clock, clock) < goal_distance(flat, rising)
    interval = goal_distance_interval(rising, flat, seed=0)
    assert interval.low <= interval.mean == good <= interval.high
    assert interval.n == 12
    assert goal_distance_interval(rising, [], seed=0).mean < 0.1


def test_what_cannot_be_compared_is_refused():
    square = np.zeros((3, 3))
    with pytest.raises(BadInput, match=r"\(2, 2\), \(3, 3\)"):
        epic_distance(np.zeros((2, 2)), square, discount=0.9)
    with pytest.raises(BadInput, match="2 states or more"):
        epic_distance(np.zeros((1, 1)), np.zeros((1, 1)), discount=0.9)
    with pytest.raises(BadInput, match="sum to 1"):
        dard_distance(square, square, np.ones((3, 3)), discount=0.9)
    with pytest.raises(BadInput, match="needs a success"):
        goal_distance([], [np.zeros(3)])
