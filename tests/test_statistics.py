import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from embodied.errors import BadInput
from embodied.statistics import (
    Interval,
    auprc,
    auroc,
    auroc_interval,
    brier,
    cluster_bootstrap,
    difference,
    expected_calibration_error,
    grouped_interval,
    grouped_share,
    harmonic_mean,
    interquartile_mean,
    interquartile_mean_interval,
    kendall_tau_a,
    mean_interval,
    newcombe,
    permutation_test,
    reliability,
    roc_curve,
    selective_risk,
    voc,
    widened,
    wilson,
)

scores = st.lists(st.integers(0, 6).map(lambda v: v / 6), min_size=2, max_size=20).map(np.array)


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_bounds_solve_the_score_equation(successes, n):
    successes = min(successes, n)
    interval = wilson(successes, n)
    z = scipy.stats.norm.ppf(0.975)
    for bound in (interval.low, interval.high):
        if 0 < bound < 1:
            error = np.sqrt(bound * (1 - bound) / n)
            assert abs(interval.mean - bound) == pytest.approx(z * error, rel=1e-6)
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1


def test_no_attempt_says_nothing_and_too_many_successes_are_refused():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    with pytest.raises(BadInput, match="3 successes of 2"):
        wilson(3, 2)


def test_a_share_of_groups_counts_each_group_once():
    spread = grouped_interval("aabcc", [1.0, 0.0, 1.0, 0.0, 0.0], seed=0)
    assert spread == mean_interval([0.5, 1.0, 0.0], seed=0)
    found = grouped_share("aabc", [1.0, 1.0, 1.0, 0.0])
    expected = wilson(2, 3)
    assert (found.mean, found.n) == (pytest.approx(2 / 3), 3)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert grouped_share("aab", [1.0, 0.0, 1.0]).mean == pytest.approx(0.75)
    assert grouped_share([], []).n == 0


@given(st.integers(0, 60), st.integers(1, 60))
def test_a_collapsed_share_is_widened_to_wilsons_interval_and_a_wide_one_is_kept(successes, n):
    expected = wilson(min(successes, n), n)
    share = expected.mean
    found = widened(Interval(mean=share, low=share, high=share, n=n), float(n))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    wide = Interval(mean=share, low=0.0, high=1.0, n=n)
    assert widened(wide, float(n)) == wide
    unknown = widened(Interval(mean=share, low=np.nan, high=np.nan, n=1), float(n))
    assert (unknown.low, unknown.high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_bootstrap_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=40)
    ours = mean_interval(list(values), seed=0)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", rng=1)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05)
    assert ours == mean_interval(list(values), seed=0)


def test_bootstrap_draws_whole_clusters():
    """Frames of one episode agree, so 400 frames of 8 episodes are worth 8 samples."""
    rng = np.random.default_rng(1)
    episodes = [np.full(50, level) for level in rng.normal(size=8)]

    def mean_of_frames(drawn):
        return float(np.concatenate(drawn).mean())

    clustered = cluster_bootstrap(mean_of_frames, episodes, seed=0)
    pooled = mean_interval(list(np.concatenate(episodes)), seed=0)
    assert clustered.high - clustered.low > 4 * (pooled.high - pooled.low)


def test_a_single_cluster_has_no_interval_and_none_is_refused():
    assert np.isnan(mean_interval([1.0], seed=0).low)
    with pytest.raises(BadInput):
        mean_interval([], seed=0)


@given(st.lists(st.integers(0, 5), min_size=3, max_size=30).map(np.array))
def test_voc_is_spearman_and_changes_sign_under_reversal(values):
    values = values.astype(float)
    if np.ptp(values) == 0:
        assert voc(values) == 0
    else:
        expected = scipy.stats.spearmanr(values, np.arange(len(values))).statistic
        assert voc(values) == pytest.approx(expected)
        assert voc(values[::-1]) == pytest.approx(-voc(values))


def test_elapsed_time_has_perfect_voc_and_no_cycle_voc():
    clock = np.arange(41.0)
    tent = np.minimum(clock, 40 - clock)
    assert voc(clock) == pytest.approx(1)
    assert voc(clock, tent) == pytest.approx(0)
    assert voc(tent, tent) == pytest.approx(1)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_harmonic_mean_is_zero_unless_both_are_positive(a, b):
    mean = harmonic_mean(a, b)
    if min(a, b) <= 0:
        assert mean == 0
    else:
        assert min(a, b) - 1e-12 <= mean <= max(a, b) + 1e-12
        assert mean == pytest.approx(2 * a / (a + b) * b)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=15).map(np.array), st.randoms())
def test_tau_a_counts_pairs_and_gives_nothing_for_ties(values, random):
    truth = np.array([random.randrange(4) for _ in values])
    pairs = [(i, j) for i in range(len(values)) for j in range(i)]
    count = sum(np.sign(values[i] - values[j]) * np.sign(truth[i] - truth[j]) for i, j in pairs)
    assert kendall_tau_a(values.astype(float), truth.astype(float)) == pytest.approx(
        count / len(pairs)
    )


@given(scores, scores)
def test_auroc_and_auprc_agree_with_scikit_learn_also_with_ties(positives, negatives):
    truth = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    values = np.concatenate([positives, negatives])
    assert auroc(positives, negatives) == pytest.approx(metrics.roc_auc_score(truth, values))
    assert auprc(positives, negatives) == pytest.approx(
        metrics.average_precision_score(truth, values)
    )


@given(scores, scores)
def test_area_under_the_drawn_roc_curve_is_the_auroc(positives, negatives):
    false, true = roc_curve(positives, negatives)
    assert np.trapezoid(true, false) == pytest.approx(auroc(positives, negatives))


def test_a_difference_of_proportions_is_as_newcombe_printed_it():
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 and 9/10 - 3/10."""
    found = difference(wilson(56, 70), wilson(48, 80))
    assert (found.mean, found.n) == (pytest.approx(0.2), 150)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    few = difference(wilson(9, 10), wilson(3, 10))
    assert (few.low, few.high) == pytest.approx((0.1705, 0.8090), abs=1e-4)


@given(st.floats(0, 1), st.integers(2, 50), st.integers(2, 50))
def test_newcombe_interval_holds_the_area_and_mirrors(area, m, n):
    low, high = newcombe(area, m, n)
    assert low <= area + 1e-3
    assert high >= area - 1e-3
    mirrored = newcombe(1 - area, m, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-3)


def test_newcombe_covers_the_true_area_of_normal_scores():
    rng = np.random.default_rng(0)
    true_area = scipy.stats.norm.cdf(1.5 / np.sqrt(2))
    draws = [auroc(rng.normal(1.5, 1, 15), rng.normal(0, 1, 15)) for _ in range(300)]
    covered = [low <= true_area <= high for low, high in (newcombe(a, 15, 15) for a in draws)]
    assert 0.91 <= np.mean(covered) <= 1.0


def test_perfect_separation_of_few_clips_is_not_certain():
    few = auroc_interval([1.0] * 4, [0.0] * 4, seed=0)
    many = auroc_interval([1.0] * 40, [0.0] * 40, seed=0)
    assert few.mean == many.mean == 1.0
    assert few.low < 0.75 < 0.9 < many.low


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50),
    st.integers(1, 20),
)
def test_calibration_error_is_bounded_and_bins_hold_every_sample(samples, bins):
    probability = np.array([p for p, _ in samples])
    truth = np.array([t for _, t in samples])
    stated, observed, count = reliability(probability, truth, bins)
    assert count.sum() == len(samples)
    assert np.average(stated, weights=count) == pytest.approx(probability.mean())
    assert np.average(observed, weights=count) == pytest.approx(truth.mean())
    error = expected_calibration_error(probability, truth, bins)
    assert abs(probability.mean() - truth.mean()) - 1e-9 <= error <= 1 + 1e-9
    assert brier(probability, truth) == pytest.approx(
        metrics.mean_squared_error(truth, probability)
    )


def test_a_calibrated_probability_has_a_small_error_and_a_boastful_one_a_large_one():
    rng = np.random.default_rng(0)
    probability = rng.uniform(0, 1, 20000)
    truth = rng.uniform(0, 1, 20000) < probability
    assert expected_calibration_error(probability, truth) < 0.02
    assert expected_calibration_error(np.sqrt(probability), truth) > 0.1


def test_permutation_test_is_exact_for_small_groups():
    assert permutation_test([4.0, 5.0, 6.0], [1.0, 2.0, 3.0], seed=0) == pytest.approx(1 / 20)
    assert permutation_test([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], seed=0) == pytest.approx(1.0)


@settings(max_examples=20)
@given(st.lists(st.floats(-10, 10), min_size=4, max_size=40))
def test_interquartile_mean_ignores_the_outer_quarters(values):
    array = np.sort(np.array(values))
    cut = len(array) // 4
    assert interquartile_mean(array) == pytest.approx(array[cut : len(array) - cut].mean())


def test_interquartile_interval_keeps_tasks_apart():
    easy, hard = [0.9, 0.95, 1.0], [0.1, 0.15, 0.2]
    interval = interquartile_mean_interval([easy, hard], seed=0)
    assert interval.low <= interval.mean <= interval.high
    assert interval.high - interval.low < 0.5


def test_selective_risk_takes_the_surest_first_and_ends_with_all():
    share, risk = selective_risk(
        np.array([0.5, 0.5, 0.4, 0.1]), np.array([False, False, False, True])
    )
    np.testing.assert_allclose(share, [0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0, 0.25])
