import numpy as np
import pytest

from embodied.testing.rewards import HueEncoder
from embodied.testing.ways import WAYS, record


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.task)
def test_attempts_all_succeed_and_differ_in_how_well_they_are_liked(way):
    attempts = record(way, range(4), HueEncoder(96))
    assert len(attempts) >= 3
    assert np.ptp([attempt.liking for attempt in attempts]) > 0.02
    assert all(len(attempt.clip) >= 4 for attempt in attempts)


def test_the_same_seeds_give_the_same_attempts():
    first, second = (record(WAYS[0], [3], HueEncoder(96))[0] for _ in range(2))
    assert first.liking == second.liking
    np.testing.assert_array_equal(first.clip.features["front"], second.clip.features["front"])
