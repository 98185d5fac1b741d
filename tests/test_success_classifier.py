import numpy as np
import pytest

from embodied.reward_models.success_classifier import SuccessClassifier
from embodied.testing.rewards import HueEncoder
from embodied.testing.square import clip_at, failures, successes


@pytest.fixture(scope="module")
def reward():
    classifier = SuccessClassifier(HueEncoder(), augmentations=0, linger=2)
    classifier.fit(
        successes(8, 0, row=12), failures(8, 1, row=12), distractor_instructions=[], seed=0,
        steps=40,
    )  # fmt: skip
    return classifier


def test_it_is_a_cliff_and_no_slope(reward):
    still = [
        clip_at([place] * 4, np.random.default_rng(3), row=12) for place in (0.0, 0.3, 0.6, 1.0)
    ]
    start, third, beyond, end = (scores.progress[-1] for scores in reward.score(still))
    assert max(start, third, beyond) < 0.2, "no reward before the end: what this baseline lacks"
    assert end > 0.8


def test_frames_after_completion_count_as_complete():
    clips = successes(8, 0, row=12), failures(8, 1, row=12)

    def complete_frames(linger):
        classifier = SuccessClassifier(HueEncoder(), augmentations=0, linger=linger)
        classifier.fit(*clips, distractor_instructions=[], seed=0, steps=40)
        return np.mean([(s.done > 0.5).sum() for s in classifier.score(successes(5, 9, row=12))])

    assert complete_frames(3) >= complete_frames(0)
