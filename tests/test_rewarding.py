"""The reward worker: labels are kept, but not those that no reward has given."""

import logging

import numpy as np
import pytest

from embodied import fine_tuning
from embodied.config import compose
from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, RewardUnavailable
from embodied.preflight import check_operator
from embodied.reward_models.controls import Constant
from embodied.rewarding import RELABELLED_AT_ONCE, RewardWorker
from embodied.testing.episodes import random_episode
from embodied.testing.judges import MortalReward
from embodied.testing.rewards import HueEncoder


def stored(folder, count):
    store, rng = EpisodeStore(folder, 20.0), np.random.default_rng(0)
    for number in range(count):
        name = f"online-{number:06d}"
        store.append(random_episode(rng, 5, episode_id=name, with_features=False))
    return store


def test_a_judge_that_cannot_be_asked_abstains_and_is_asked_again_later(tmp_path, caplog):
    store, dead = stored(tmp_path / "episodes", 2), tmp_path / "dead"
    dead.touch()
    first, second = store.episode_ids()
    RewardWorker(model=Constant(), encoder=HueEncoder(), store=store).deliver(first)
    worker = RewardWorker(model=MortalReward(dead), encoder=HueEncoder(), store=store)
    note, _ = worker.deliver(first)
    assert note.reward_version == 1, "what was said before the judge died is delivered"
    with caplog.at_level(logging.WARNING):
        note, labelled = worker.deliver(second)
    assert "online-000001 gets abstaining labels: the judge is dead." in caplog.text
    assert (note.reward_version, note.learned_success, note.learned_return) == (0, False, 0.0)
    assert (labelled.labels.uncertainty == 1).all()
    assert store.read_labels(second) is None
    with pytest.raises(RewardUnavailable):
        worker.label([store.read(1)])
    alive = RewardWorker(model=Constant(), encoder=HueEncoder(), store=store)
    assert alive.deliver(second)[0].reward_version == 1


def test_a_judge_that_cannot_be_asked_about_the_demonstrations_is_an_error(tmp_path, monkeypatch):
    store, dead = stored(tmp_path / "demos", 1), tmp_path / "dead"
    dead.touch()
    worker = RewardWorker(model=MortalReward(dead), encoder=HueEncoder(), store=store)
    monkeypatch.setattr(fine_tuning, "build_rewarder", lambda *_: worker)
    with pytest.raises(RewardUnavailable):
        fine_tuning._label_demonstrations(compose(), tmp_path)


def test_a_newer_version_relabels_a_few_at_a_time_and_only_what_it_has_not_labelled(tmp_path):
    store = stored(tmp_path, RELABELLED_AT_ONCE + 4)
    names, encoder = store.episode_ids(), HueEncoder()
    worker = RewardWorker(model=Constant(), encoder=encoder, store=store, version=2)
    worker.relabel(names[:3])
    encoded = encoder.frames_encoded
    labels = worker.relabel(names)
    assert list(labels) == names
    assert encoder.frames_encoded - encoded == (len(names) - 3) * 6
    assert {label.reward_version for label in labels.values()} == {2}


def test_an_operator_that_needs_progress_at_each_step_is_refused_beside_a_served_reward():
    with pytest.raises(BadConfig, match="judges whole episodes"):
        check_operator(compose(["reward=served", "operator=scripted"]))
    check_operator(compose(["reward=served", "operator=none"]))
