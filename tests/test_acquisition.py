"""What is asked: doubtful and diverse pairs, with an unbiased share and controls."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import BadInput, UnknownName
from embodied.preferences.acquisition import Pool, choose, disagreement, k_centre
from embodied.preferences.mix import Mix
from embodied.preferences.posterior import MISTAKE, PRECISION, Posterior, linear_posterior

NOBODY = np.empty(0, dtype=np.int64)


def unknown(features: np.ndarray) -> Posterior:
    """Before any answer."""
    return linear_posterior(features, NOBODY, NOBODY, np.empty(0))


def pool_of(pairs: int, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * pairs, 3))
    return Pool(
        features=features,
        pairs=np.arange(2 * pairs).reshape(pairs, 2),
        probability=rng.random((3, pairs)),
        posterior=unknown(features),
    )


def test_members_that_are_of_one_mind_do_not_disagree() -> None:
    probability = np.array([[0.5, 0.0, 0.9], [0.5, 1.0, 0.9]])
    np.testing.assert_allclose(disagreement(probability), [0.0, 0.5, 0.0], atol=1e-9)


def answered(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Clips, and answers of somebody who likes the first number of their embedding."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 3))
    first, second = rng.integers(40, size=(2, count))
    return features, first, second, (features[first, 0] > features[second, 0]).astype(float)


def test_the_posterior_is_the_prior_and_then_has_its_mode_where_answers_are_likeliest() -> None:
    features, first, second, target = answered(30)
    before = unknown(features)
    np.testing.assert_allclose(before.covariance, np.eye(3) / PRECISION)
    assert not before.mean.any()

    def surprise(weights: np.ndarray) -> float:
        ahead = (features[first] - features[second]) @ weights
        probability = (1 - MISTAKE) / (1 + np.exp(-ahead)) + MISTAKE / 2
        told = target * np.log(probability) + (1 - target) * np.log(1 - probability)
        return float(PRECISION / 2 * weights @ weights - told.sum())

    mode = linear_posterior(features, first, second, target).mean
    slope = [surprise(mode + step) - surprise(mode - step) for step in 1e-4 * np.eye(3)]
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    assert mode[0] > 3 * np.abs(mode[1:]).max()


def test_an_answer_is_foreseen_as_its_information() -> None:
    """`after` is the inverse of the information with it; `resolved` is of the same."""
    features, first, second, target = answered(30)
    now, z = linear_posterior(features, first, second, target), np.array([0.3, -0.8, 0.5])
    sure = 1 / (1 + np.exp(-now.mean @ z))
    probability = (1 - MISTAKE) * sure + MISTAKE / 2
    slope = (1 - MISTAKE) * sure * (1 - sure)
    told = slope**2 / (probability * (1 - probability)) * np.outer(z, z)
    then = now.after(z)
    np.testing.assert_allclose(then.covariance, np.linalg.inv(np.linalg.inv(now.covariance) + told))
    left = np.sqrt((z @ then.covariance @ z) / (z @ now.covariance @ z))
    assert now.resolved(z[None])[0] == pytest.approx(1 - left)


def test_what_is_known_tells_less_than_what_is_not() -> None:
    features, first, second, target = answered(200)
    known, unknown_one = np.eye(3)[:2]
    certain = linear_posterior(features, first, second, target)
    told = certain.resolved(np.stack([3 * known, 3 * unknown_one]))
    assert told[0] < told[1] / 2
    assert (certain.resolved(np.eye(3)) < unknown(features).resolved(np.eye(3))).all()


def test_the_second_question_is_not_the_first_one_again() -> None:
    features = np.array([[0.0, 0.0], [1.0, 0.0], [0.02, 0.0], [1.0, 0.01], [0.0, 0.9]])
    pairs = np.array([[0, 1], [2, 3], [0, 4]])
    pool = Pool(
        features=features,
        pairs=pairs,
        probability=np.full((2, 3), 0.5),
        posterior=unknown(features),
    )
    asked = choose(pool, 2, np.random.default_rng(0), {"information": 1.0})
    assert [each.pair for each in asked] == [(0, 1), (0, 4)]
    assert all(each.score is not None and 0 < each.score < 1 for each in asked)
    assert asked[1].score == pytest.approx(pool.posterior.resolved(np.array([[0.0, 0.9]]))[0])


def test_k_centre_takes_one_of_each_cluster() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(5), [40, 5, 5, 5, 5])
    features = 10.0 * np.eye(5)[cluster] + 0.1 * rng.normal(size=(60, 5))
    assert {int(cluster[i]) for i in k_centre(features, 5)} == set(range(5))


def test_doubtful_pairs_that_differ_are_asked() -> None:
    features = np.zeros((80, 2))
    features[2:4], features[4:6] = 1.0, -1.0
    probability = np.full((2, 40), 0.5)
    probability[0, :22], probability[1, :22] = 0.1, 0.9  # 20 of them at the same place
    pool = Pool(
        features=features,
        pairs=np.arange(80).reshape(40, 2),
        probability=probability,
        posterior=unknown(features),
    )
    asked = choose(pool, 3, np.random.default_rng(0), {"disagreement": 1.0})
    assert {(2, 3), (4, 5)} < {each.pair for each in asked}
    assert all(each.score == pytest.approx(0.4, abs=1e-3) for each in asked)


def test_a_batch_has_its_shares_and_says_why() -> None:
    asked = choose(pool_of(200), 30, np.random.default_rng(0), Mix().sought)
    assert Counter(each.acquisition for each in asked) == {"disagreement": 10, "information": 20}
    assert all(each.reason for each in asked)


def test_the_shares_are_those_of_the_page_and_their_sum_is_one() -> None:
    shares = Mix().shares
    assert [*shares.values()] == [0.2, 0.4, 0.2, 0.1, 0.1]
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
    features = np.arange(40.0).reshape(40, 1)
    pool = Pool(
        features=features,
        pairs=np.arange(40).reshape(20, 2),
        probability=probability,
        posterior=unknown(features),
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
    two, start = np.zeros((2, 1)), unknown(np.zeros((2, 1)))
    with pytest.raises(BadInput, match="1 members'"):
        Pool(features=two, pairs=np.array([[0, 1]]), probability=two[:1], posterior=start)
    with pytest.raises(BadInput, match="beyond the 2"):
        Pool(features=two, pairs=np.array([[0, 2]]), probability=two, posterior=start)
