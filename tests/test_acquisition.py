"""What is asked: doubtful and diverse pairs, with an unbiased share and controls."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import BadInput, UnknownName
from embodied.preferences.acquisition import (
    Pool,
    choose,
    disagreement,
    k_centre,
    mutual_information,
)
from embodied.preferences.mix import Mix


def pool_of(pairs: int, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    return Pool(
        features=rng.normal(size=(2 * pairs, 3)),
        pairs=np.arange(2 * pairs).reshape(pairs, 2),
        probability=rng.random((3, pairs)),
    )


def test_what_is_even_is_hard_but_not_unknown() -> None:
    probability = np.array([[0.5, 0.0, 0.9], [0.5, 1.0, 0.9]])
    np.testing.assert_allclose(disagreement(probability), [0.0, 0.5, 0.0], atol=1e-9)
    np.testing.assert_allclose(mutual_information(probability), [0.0, 1.0, 0.0], atol=1e-9)


def test_information_prefers_members_that_are_sure_and_contradict() -> None:
    noisy, contradicting = [[0.4, 0.0], [0.6, 0.0]], [[0.1, 0.0], [0.9, 0.0]]
    told = [mutual_information(np.array(p))[0] for p in (noisy, contradicting)]
    assert 0 < told[0] < told[1] / 5


def test_k_centre_takes_one_of_each_cluster() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(5), [40, 5, 5, 5, 5])
    features = 10.0 * np.eye(5)[cluster] + 0.1 * rng.normal(size=(60, 5))
    assert {int(cluster[i]) for i in k_centre(features, 5)} == set(range(5))


@pytest.mark.parametrize(("kind", "score"), [("disagreement", 0.4), ("information", 0.531)])
def test_doubtful_pairs_that_differ_are_asked(kind: str, score: float) -> None:
    features = np.zeros((80, 2))
    features[2:4], features[4:6] = 1.0, -1.0
    probability = np.full((2, 40), 0.5)
    probability[0, :22], probability[1, :22] = 0.1, 0.9  # 20 of them at the same place
    pool = Pool(features=features, pairs=np.arange(80).reshape(40, 2), probability=probability)
    asked = choose(pool, 3, np.random.default_rng(0), {kind: 1.0})
    assert {(2, 3), (4, 5)} < {each.pair for each in asked}
    assert all(each.score == pytest.approx(score, abs=1e-3) for each in asked)


def test_a_batch_has_its_shares_and_says_why() -> None:
    asked = choose(pool_of(200), 30, np.random.default_rng(0), Mix().sought)
    assert Counter(each.acquisition for each in asked) == {"disagreement": 20, "information": 10}
    assert all(each.reason for each in asked)


def test_the_shares_are_those_of_the_design_and_their_sum_is_one() -> None:
    shares = Mix().shares
    assert [*shares.values()] == [0.4, 0.2, 0.2, 0.1, 0.1]
    assert sum(shares.values()) == pytest.approx(1.0)
    with pytest.raises(BadInput, match="not all 0"):
        Mix(disagreement=0.0, information=0.0, uniform=0.0, repeat=0.0, gold=0.0)


@given(count=st.integers(1, 30), pairs=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_no_pair_is_asked_twice_and_none_is_missing(count: int, pairs: int) -> None:
    shares = {"disagreement": 2.0, "information": 1.0, "uniform": 1.0}
    asked = choose(pool_of(pairs), count, np.random.default_rng(1), shares)
    new = [each.pair for each in asked]
    assert len(set(new)) == len(new) == min(count, pairs)


def test_the_uniform_share_is_blind_to_what_the_model_thinks() -> None:
    """Of 20 pairs, of which the model doubts 5, chance asks a quarter of the time for one."""
    probability = np.full((2, 20), 0.5)
    probability[:, :5] = [[0.0] * 5, [1.0] * 5]
    pool = Pool(
        features=np.arange(40.0).reshape(40, 1),
        pairs=np.arange(40).reshape(20, 2),
        probability=probability,
    )
    hits = 0
    for seed in range(400):
        asked = choose(pool, 5, np.random.default_rng(seed), {"disagreement": 4.0, "uniform": 1.0})
        hits += sum(each.acquisition == "uniform" and each.pair[0] < 10 for each in asked)
    assert 70 < hits < 130


def test_what_cannot_be_chosen_from_is_refused() -> None:
    with pytest.raises(UnknownName, match="disagreement"):
        choose(pool_of(3), 2, np.random.default_rng(0), {"disagrement": 1.0})
    with pytest.raises(BadInput, match="not all 0"):
        choose(pool_of(3), 2, np.random.default_rng(0), {"uniform": 0.0})
    with pytest.raises(BadInput, match="1 members'"):
        Pool(features=np.zeros((2, 1)), pairs=np.array([[0, 1]]), probability=np.zeros((1, 1)))
    with pytest.raises(BadInput, match="beyond the 2"):
        Pool(features=np.zeros((2, 1)), pairs=np.array([[0, 2]]), probability=np.zeros((2, 1)))
