import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embodied.reward_models.calibration import platt
from embodied.statistics import expected_calibration_error


def test_overconfident_probabilities_become_true_frequencies() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.95, 4000)
    happened = rng.random(4000) < true
    stated = 1 / (1 + np.exp(-3.0 * np.log(true / (1 - true))))
    slope, offset = platt(stated[happened], stated[~happened])
    repaired = 1 / (1 + np.exp(-(slope * np.log(stated / (1 - stated)) + offset)))
    error = expected_calibration_error(repaired, happened)
    assert error < 0.05 < expected_calibration_error(stated, happened)


@given(st.integers(1, 12), st.integers(1, 12))
def test_the_order_of_probabilities_is_never_turned_round(good: int, bad: int) -> None:
    rng = np.random.default_rng(good * 13 + bad)
    slope, _ = platt(rng.uniform(0, 0.3, good), rng.uniform(0.7, 1, bad))
    assert slope > 0


def test_without_failures_the_probabilities_stay_as_they_are() -> None:
    assert platt(np.array([0.9, 0.8]), np.zeros(0)).tolist() == [1.0, 0.0]
