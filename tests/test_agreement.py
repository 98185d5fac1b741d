"""Whether raters agree, and whether one of them favours a side."""

from collections.abc import Sequence

import numpy as np
import pytest

from embodied.preferences.agreement import alpha_interval, krippendorff_alpha, side_bias


def test_alpha_is_one_for_agreement_and_the_published_number_for_the_published_table() -> None:
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1.0
    assert np.isnan(krippendorff_alpha([["a"], ["a", "a"]]))
    # Krippendorff 2011, Computing Krippendorff's alpha-reliability, section C
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[str(row[i]) for row in table if row[i] is not None] for i in range(12)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def answers_of(units: Sequence[Sequence[str]]) -> list[dict[str, object]]:
    """Labels of so many queries; each says what its raters answered."""
    return [
        {"query_id": query, "rater_id": rater, "choice": choice}
        for query, unit in enumerate(units)
        for rater, choice in enumerate(unit)
    ]


LEFT, RIGHT, APART = ["left", "left"], ["right", "right"], ["left", "right"]


@pytest.mark.parametrize(
    ("units", "by_hand"),
    # 1 - share of pairs that differ / share of all pairs of values that differ
    [
        ([LEFT] * 2 + [RIGHT] + [APART], 1 - (1 / 4) / (2 * 5 * 3 / (8 * 7))),
        ([LEFT] * 3 + [RIGHT] * 4 + [APART], 1 - (1 / 8) / (2 * 7 * 9 / (16 * 15))),
        ([LEFT] * 20 + [RIGHT] * 2, 1.0),
    ],
)
def test_alpha_of_few_or_one_sided_answers_has_an_interval(
    units: list[list[str]], by_hand: float
) -> None:
    found = alpha_interval(answers_of(units))
    assert found is not None
    assert found.mean == pytest.approx(by_hand)
    assert found.n == len(units)
    assert -1.0 <= found.low < found.mean <= found.high <= 1.0
    assert found.low < 0.5  # nobody would trust so few


def test_alpha_says_so_where_answers_are_too_few_or_all_the_same() -> None:
    assert alpha_interval([]) is None
    same, single = alpha_interval(answers_of([LEFT] * 5)), alpha_interval(answers_of([APART]))
    assert same is not None
    assert np.isnan([same.mean, same.low, same.high]).all()
    assert single is not None
    assert single.mean == pytest.approx(0.0)
    assert np.isnan(single.low)


def test_alpha_is_within_its_interval_about_as_often_as_it_says() -> None:
    """Two raters see what is better in four of five queries, and guess otherwise: alpha is 0.64."""
    rng, inside = np.random.default_rng(0), 0
    for seed in range(100):
        better, guesses = rng.integers(2, size=(40, 1)), rng.integers(2, size=(40, 2))
        said = np.where(rng.random((40, 2)) < 0.8, better, guesses)
        found = alpha_interval(
            answers_of([[*map(str, pair)] for pair in np.array(APART)[said]]), seed=seed
        )
        assert found is not None
        inside += found.low <= 0.64 <= found.high
    assert inside >= 88  # of 95 that are expected; fewer come once in a thousand


def test_a_rater_who_looks_is_not_called_biased() -> None:
    rng = np.random.default_rng(0)
    labels = [{"choice": "left", "swapped": bool(rng.integers(2))} for _ in range(60)]
    assert not side_bias(labels)["biased"]
