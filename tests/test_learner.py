import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from embodied.errors import BadConfig, BadInput
from embodied.learner import LearnerWorker
from embodied.limiter import SamplesPerInsert
from embodied.policies.base import Algorithm
from embodied.replay import Replay
from embodied.selection import BestSoFar
from embodied.testing.episodes import random_labelled_episode, random_labels

RNG = np.random.default_rng


class Counter(Algorithm):
    """Weights are the number of updates; now and then a metric has no value."""

    batches_per_update = 2

    def __init__(self, broken_at=None):
        self.count, self.broken_at = 0, broken_at

    def update(self, batches):
        assert len(batches) == 2
        self.count += 1
        rare = {"rare": 3.0} if self.count == 1 else {}
        even = float("nan") if self.count == self.broken_at else float(self.count % 2 == 0)
        return {"even": even, **rare}

    def acting_policy(self):
        raise NotImplementedError("nothing is rolled out")

    def weights(self):
        return {"count": torch.tensor(float(self.count))}

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def learner(**changes):
    settings = {
        "algorithm": Counter(),
        "replay": Replay(1000),
        "limiter": SamplesPerInsert(ratio=1.0, minimum=10, slack=1.0),
        "batch_size": 4,
        "chunk": 4,
        "mix": None,
        "publish_every": 4,
        "seed": 0,
        "collapse": 0.3,
    }
    return LearnerWorker(**{**settings, **changes})


def episode(name="online-0", steps=20, source="online"):
    return random_labelled_episode(RNG(0), steps, episode_id=name, source=source)


def test_it_makes_as_many_updates_as_the_limiter_allows_and_then_asks_for_more_episodes():
    worker = learner()
    assert worker.update(50).idle
    worker.ingest(episode())
    report = worker.update(50)
    assert report.updates == 11
    assert report.idle
    assert report.may_insert
    assert worker.update(50).updates == 11


def test_it_publishes_every_few_updates_under_rising_versions():
    worker = learner()
    worker.ingest(episode(steps=30))
    seen = []
    while not (report := worker.update(3)).idle:
        if report.published is not None:
            seen.append((report.published.version, report.published.weights["count"].item()))
    assert seen[:3] == [(1, 4.0), (2, 8.0), (3, 12.0)]


def test_metrics_are_means_over_the_updates_that_had_a_value():
    worker = learner()
    worker.ingest(episode(steps=30))
    rows = worker.update(8).metrics
    assert rows[0] == {"updates": 4.0, "even": 0.5, "rare": 3.0}
    assert rows[1] == {"updates": 8.0, "even": 0.5}


def test_a_metric_that_went_wrong_shows():
    worker = learner(algorithm=Counter(broken_at=6))
    worker.ingest(episode(steps=30))
    first, second = worker.update(8).metrics
    assert first["even"] == 0.5
    assert math.isnan(second["even"])


def test_demonstrations_do_not_count_as_inserts():
    worker = learner()
    worker.ingest(episode("demo-0", 40, "demo"))
    assert worker.update(5).updates == 0


def test_a_validation_episode_is_refused():
    worker = learner()
    online = episode("validation-0")
    object.__setattr__(online, "source", "validation")
    with pytest.raises(BadInput, match="validation-0 is kept for validation"):
        worker.ingest(online)


def test_an_episode_that_comes_twice_counts_once():
    worker = learner()
    worker.ingest(episode())
    worker.ingest(episode())
    assert worker.update(50).updates == 11
    assert worker.ingested == ("online-0",)


def test_relabelling_changes_the_rewards_that_are_learnt_from():
    replay = Replay(1000)
    worker = learner(replay=replay)
    worker.ingest(episode())
    newer = random_labels(RNG(1), 20, reward_version=2)
    worker.relabel({"online-0": newer})
    assert np.array_equal(replay.episode("online-0").labels.reward, newer.reward)


def test_a_collapse_goes_back_to_the_best_version_under_a_new_number():
    algorithm = Counter()
    worker = learner(algorithm=algorithm)
    worker.ingest(episode(steps=30))
    worker.update(6)
    good = worker.nominate()
    assert worker.judge(good.version, [True] * 5)[0] == "best"
    worker.update(9)
    bad = worker.nominate()
    judgement, published = worker.judge(bad.version, [True] + [False] * 4)
    assert judgement == "rolled back"
    assert published.version > bad.version
    assert published.weights["count"].item() == 6.0
    assert algorithm.count == 6
    assert worker.result().weights["count"].item() == 6.0
    assert worker.result().version == good.version


def test_a_somewhat_worse_version_goes_on_and_is_not_the_result():
    worker = learner()
    worker.ingest(episode(steps=30))
    good = worker.nominate()
    worker.judge(good.version, [True] * 10)
    worker.update(9)
    worse = worker.nominate()
    judgement, published = worker.judge(worse.version, [True] * 7 + [False] * 3)
    assert judgement == "kept"
    assert published.version == worse.version
    assert worker.result().version == good.version


def test_without_any_validation_the_result_is_the_first_version():
    worker = learner()
    worker.ingest(episode())
    worker.update(50)
    assert worker.result().version == 0


def test_a_version_of_which_nothing_was_accepted_does_not_replace_the_first_one():
    worker = learner()
    worker.ingest(episode())
    worker.update(50)
    judgement, _ = worker.judge(worker.nominate().version, [False] * 5)
    assert judgement == "kept"
    assert worker.result().version == 0


def test_a_checkpoint_continues_exactly(tmp_path):
    worker, path = learner(), tmp_path / "c.pt"
    worker.ingest(episode(steps=30))
    worker.update(6)
    worker.nominate()
    worker.save(path, {"number": 3})
    other = learner()
    assert other.load(path) == {"number": 3}
    reports = [w.update(9) for w in (worker, other)]
    assert reports[0].metrics == reports[1].metrics
    assert reports[0].published.version == reports[1].published.version
    assert torch.equal(worker.candidate(2).weights["count"], other.candidate(2).weights["count"])


def test_a_checkpoint_that_is_older_than_what_actors_have_seen_gets_higher_versions(tmp_path):
    worker, path = learner(), tmp_path / "c.pt"
    worker.save(path, {})
    other = learner()
    other.load(path, version_above=17)
    assert other.published().version == 18


def test_publishing_every_zero_updates_is_refused():
    with pytest.raises(BadConfig, match="publish_every is 0"):
        learner(publish_every=0)


@settings(max_examples=15)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=8))
def test_the_newest_version_is_the_best_unless_it_did_clearly_worse(validations):
    best, peak = BestSoFar(collapse=0.2), (0, 0)
    for version, accepted in enumerate(validations, start=1):
        before = best.best
        judgement = best.judge(version, accepted)
        share = sum(accepted) / len(accepted)
        if not peak[1] or share >= peak[0] / peak[1]:
            peak = sum(accepted), len(accepted)
        as_few = hypergeom(len(accepted) + peak[1], sum(accepted) + peak[0], len(accepted))
        worse = as_few.cdf(sum(accepted)) < 0.2 or not any(accepted)
        assert best.best.version == (before.version if worse else version)
        assert (judgement == "best") is not worse
        assert (judgement == "rolled back") is (worse and share < peak[0] / peak[1] - 0.2)


def test_versions_that_get_a_little_worse_each_time_do_not_creep_down():
    best = BestSoFar(collapse=0.4)
    judged = [best.judge(v, [True] * n + [False] * (10 - n)) for v, n in enumerate((10, 8, 6))]
    assert judged == ["best", "best", "kept"]
    restored = BestSoFar(collapse=0.4)
    restored.load_state_dict(best.state_dict())
    assert restored.judge(9, [True] * 6 + [False] * 4) == "kept"
