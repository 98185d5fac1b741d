"""The limiter keeps its band, and never stops everybody."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import BadConfig
from embodied.limiter import SamplesPerInsert

ratios = st.floats(0.01, 100)
slacks = st.floats(1, 50)
sizes = st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=200)


@settings(deadline=None)
@given(ratios, slacks, st.integers(0, 100), sizes)
def test_ratio_stays_in_its_band_and_someone_can_always_move(
    ratio: float, slack: float, minimum: int, turns: list[tuple[bool, int]]
) -> None:
    limiter = SamplesPerInsert(ratio=ratio, minimum=minimum, slack=slack)
    largest_insert = max((size for actor, size in turns if actor), default=0)
    largest_sample = max((size for actor, size in turns if not actor), default=0)
    for actor, size in turns:
        if actor and limiter.can_insert():
            limiter.insert(size)
        elif not actor and limiter.can_sample():
            assert limiter.inserts >= minimum
            limiter.sample(size)
        assert limiter.can_insert() or limiter.can_sample()
        assert limiter.surplus() <= ratio * slack + largest_sample + 1e-6
        assert limiter.surplus() >= -ratio * (slack + largest_insert) - 1e-6


@settings(max_examples=50, deadline=None)
@given(ratios, slacks, st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_neither_side_starves_whoever_is_greedy(
    ratio: float, slack: float, insert: int, sample: int, actor_first: bool
) -> None:
    limiter = SamplesPerInsert(ratio=ratio, minimum=0, slack=slack)
    moves = {True: 0, False: 0}
    for _ in range(150):
        actor = actor_first if limiter.can_insert() and limiter.can_sample() else None
        if actor is None:
            actor = limiter.can_insert()
        moves[actor] += 1
        limiter.insert(insert) if actor else limiter.sample(sample)
    assert limiter.samples <= ratio * (limiter.inserts + slack) + sample + 1e-6
    assert limiter.samples >= ratio * (limiter.inserts - slack - insert) - 1e-6


def test_nobody_samples_before_the_minimum() -> None:
    limiter = SamplesPerInsert(ratio=1.0, minimum=10, slack=1.0)
    limiter.insert(9)
    assert (limiter.can_insert(), limiter.can_sample()) == (True, False)
    limiter.insert(1)
    assert limiter.can_sample()


def test_a_restored_limiter_continues_where_the_old_one_was() -> None:
    limiter = SamplesPerInsert(ratio=2.0, minimum=0, slack=1.0)
    limiter.insert(3)
    limiter.sample(7)
    restored = SamplesPerInsert(ratio=2.0, minimum=0, slack=1.0)
    restored.load_state_dict(limiter.state_dict())
    assert restored == limiter


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"ratio": 0.0}, "positive"), ({"slack": 0.3}, "at least 1"), ({"minimum": -1}, "negative")],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        SamplesPerInsert(**{"ratio": 1.0, "minimum": 0, "slack": 1.0} | wrong)
