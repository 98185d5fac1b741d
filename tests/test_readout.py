import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import BadInput
from embodied.reward_models.readout import Readout


def signals(rng, low, high, count=12):
    return [np.linspace(low, high, 20) + rng.normal(0, 0.02, 20) for _ in range(count)]


def fitted(scale=1.0, offset=0.0):
    rng = np.random.default_rng(0)
    readout = Readout()
    good, bad = signals(rng, 0, 1), signals(rng, 0, 0.6)
    metrics = readout.fit([scale * g + offset for g in good], [scale * b + offset for b in bad])
    return readout, metrics


def test_it_accepts_what_ends_like_a_success_and_nothing_that_stops_short():
    readout, metrics = fitted()
    rng = np.random.default_rng(1)
    assert all(readout.scores(signal).success for signal in signals(rng, 0, 1))
    assert not any(readout.scores(signal).success for signal in signals(rng, 0, 0.6))
    assert metrics["readout_false_accepts"] == metrics["readout_false_rejects"] == 0


def test_near_successes_that_come_as_far_as_a_typical_end_are_told_from_successes():
    """Progress is 1 in both: what successes show beyond the end decides."""
    readout = Readout()
    rng = np.random.default_rng(0)

    def peaks_at(height):
        path = [*np.linspace(0, height, 15), *np.linspace(height, 1, 5)]
        return np.array(path) + rng.normal(0, 0.02, 20)

    metrics = readout.fit([peaks_at(1.4) for _ in range(12)], [peaks_at(1.1) for _ in range(12)])
    assert metrics["readout_false_accepts"] == metrics["readout_false_rejects"] == 0
    near, success = readout.scores(peaks_at(1.1)), readout.scores(peaks_at(1.4))
    assert near.progress.max() == success.progress.max() == 1
    assert success.success
    assert not near.success


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_more_is_always_more_evidence_and_in_between_it_is_the_logit(first, second):
    signal = np.sort([first, second])
    low, high = Readout().evidence(signal)
    assert low <= high
    assert low < high or signal[1] - signal[0] < 1e-9
    np.testing.assert_allclose(
        Readout().evidence(np.array([0.1, 0.5, 0.9])), [-np.log(9), 0, np.log(9)]
    )


@given(scale=st.floats(0.01, 100), offset=st.floats(-100, 100))
def test_the_unit_of_the_signal_means_nothing(scale, offset):
    plain, scaled = fitted()[0], fitted(scale, offset)[0]
    signal = np.linspace(0, 1, 15)
    first, second = plain.scores(signal), scaled.scores(scale * signal + offset)
    np.testing.assert_allclose(first.progress, second.progress, atol=1e-3)
    np.testing.assert_allclose(first.reward[1:-2], second.reward[1:-2], atol=5e-3)


def test_a_signal_that_successes_do_not_raise_makes_no_progress():
    readout = Readout()
    readout.fit([np.linspace(1, 0, 10)] * 12, [np.zeros(10)])
    scores = readout.scores(np.linspace(0, 5, 10))
    assert not scores.success
    assert (scores.progress == 0).all()


def test_doubt_lowers_the_reward_but_not_the_progress():
    readout, _ = fitted()
    signal = np.linspace(0, 1, 10)
    sure, doubtful = readout.scores(signal), readout.scores(signal, np.full(10, 0.2))
    np.testing.assert_array_equal(sure.progress, doubtful.progress)
    assert doubtful.reward.sum() < sure.reward.sum()


def test_signals_that_teach_nothing_are_refused():
    with pytest.raises(BadInput, match="needs a success"):
        Readout().fit([], [np.zeros(4)])
    with pytest.raises(BadInput, match="numbers"):
        Readout().fit([np.array([0.0, np.nan])], [])
