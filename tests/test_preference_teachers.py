"""Each of B-Pref's teachers departs from the oracle in its own way, and in no other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import BadInput, UnknownName
from embodied.preferences.answers import Answer
from embodied.preferences.teachers import (
    TEACHERS,
    Teacher,
    answer_pairs,
    teacher_named,
    typical_return,
)
from embodied.statistics import wilson

PAIRS, STEPS = 4000, 10


def rewards(seed: int = 0, pairs: int = PAIRS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((pairs, STEPS)), rng.random((pairs, STEPS))


def said(teacher: Teacher, first: np.ndarray, second: np.ndarray, seed: int = 1) -> list[Answer]:
    return answer_pairs(
        teacher, first, second, typical=5.0, rng=np.random.default_rng(seed)
    )  # the mean return of `rewards`


def oracle(first: np.ndarray, second: np.ndarray) -> list[Answer]:
    better = first.sum(1) > second.sum(1)
    return [Answer.LEFT if left else Answer.RIGHT for left in better]


def is_credible(probability: float, successes: int, n: int) -> bool:
    interval = wilson(successes, n)
    return interval.low - 0.01 < probability < interval.high + 0.01


def test_the_oracle_takes_the_higher_return() -> None:
    first, second = rewards()
    assert said(TEACHERS["oracle"], first, second) == oracle(first, second)


def test_a_stochastic_teacher_is_as_sure_as_the_difference_is_large() -> None:
    first, second = np.zeros((PAIRS, STEPS)), np.zeros((PAIRS, STEPS))
    for advantage in (-2.0, 0.5, 1.0):
        first[:, 3] = advantage
        left = said(TEACHERS["stochastic"], first, second).count(Answer.LEFT)
        assert is_credible(1 / (1 + np.exp(-advantage)), left, PAIRS)


def test_mistakes_are_one_in_ten_whatever_the_difference() -> None:
    first, second = rewards()
    pairs = zip(said(TEACHERS["mistake"], first, second), oracle(first, second), strict=True)
    assert is_credible(0.1, sum(a is not b for a, b in pairs), PAIRS)


def test_what_is_too_poor_is_skipped_at_a_tenth_of_the_typical_return_not_at_a_hundredth() -> None:
    first = np.full((3, STEPS), [[0.004], [0.04], [0.06]])  # returns 0.04, 0.4, 0.6; threshold 0.5
    answers = said(TEACHERS["skip"], first, np.zeros_like(first))
    assert answers == [Answer.SKIP, Answer.SKIP, Answer.LEFT]


def test_what_is_nearly_equal_is_a_tie_even_after_a_mistake() -> None:
    first = np.full((2, STEPS), [[0.54], [0.56]])  # returns 5.4 and 5.6 against 5
    second = np.full((2, STEPS), 0.5)
    assert said(TEACHERS["equal"], first, second) == [Answer.TIE, Answer.LEFT]
    clumsy = Teacher(equal=0.1, mistake=1.0)
    assert said(clumsy, first, second) == [Answer.TIE, Answer.RIGHT]


def test_a_myopic_teacher_weighs_late_steps_more_but_calls_equal_by_the_undiscounted_sum() -> None:
    early, late = np.zeros((1, STEPS)), np.zeros((1, STEPS))
    early[0, 0], late[0, -1] = 1.0, 0.5  # discounted: 0.9^9 = 0.387 against 0.5
    assert said(TEACHERS["oracle"], early, late) == [Answer.LEFT]
    assert said(TEACHERS["myopic"], early, late) == [Answer.RIGHT]
    late[0, -1] = 1.0
    assert said(Teacher(gamma=0.9, equal=0.1), early, late) == [Answer.TIE]


def test_equal_returns_favour_no_side() -> None:
    same = np.ones((PAIRS, STEPS))
    assert is_credible(0.5, said(TEACHERS["oracle"], same, same).count(Answer.LEFT), PAIRS)


@given(st.sampled_from(sorted(TEACHERS)), st.integers(0, 99))
def test_a_seed_decides_and_swapped_sides_turn_certain_answers_round(name: str, seed: int) -> None:
    first, second = rewards(seed, pairs=30)
    teacher = teacher_named(name)
    assert said(teacher, first, second, seed) == said(teacher, first, second, seed)
    if teacher.beta is None and not teacher.mistake:
        turned = [answer.mirrored for answer in said(teacher, second, first, seed)]
        assert said(teacher, first, second, seed) == turned


def test_a_typical_return_is_of_the_last_ten_episodes_in_proportion_to_the_length() -> None:
    assert typical_return([1e9] + [40.0] * 5 + [60.0] * 5, 25, 100) == pytest.approx(12.5)


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"gamma": 0.0}, {"mistake": 1.5}, {"skip": -1.0}])
def test_a_teacher_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Teacher(**wrong)


def test_rewards_that_cannot_be_compared_are_refused() -> None:
    first, second = rewards(pairs=2)
    with pytest.raises(BadInput, match="equally long"):
        said(TEACHERS["oracle"], first, second[:, 1:])
    first[0, 0] = np.nan
    with pytest.raises(BadInput, match="finite"):
        said(TEACHERS["oracle"], first, second)
    with pytest.raises(BadInput, match="0 returns"):
        typical_return([], 10, 100)
    with pytest.raises(UnknownName, match="did you mean myopic"):
        teacher_named("myopik")


def test_six_answers_mean_five_things_to_a_loss() -> None:
    meanings = [(answer.target, answer.both_negative) for answer in Answer]
    assert meanings == [
        (1.0, False), (0.0, False), (0.5, False), (0.5, True), (None, False), (None, False),
    ]  # fmt: skip
    assert [answer.mirrored.mirrored for answer in Answer] == list(Answer)
