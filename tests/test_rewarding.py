"""The reward worker: labels are kept, but not those that no reward has given."""

import logging

import numpy as np
import pytest

from embodied import fine_tuning
from embodied.config import compose
from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, RewardUnavailable
from embodied.preflight import check_operator
from embodied.reward_models.base import RewardModel, nothing
from embodied.reward_models.combinators import EpisodeCap
from embodied.reward_models.controls import Constant
from embodied.reward_models.served import ServedReward
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


class Exacting(RewardModel):
    """Gives no answer at all where one of the clips is of a certain length."""

    causal, cameras = True, ("front",)

    def __init__(self, refused, *, asked_alone=False):
        super().__init__()
        self.refused, self.asked_alone, self.asked = refused, asked_alone, []

    def score(self, clips):
        self.asked.append([len(clip) for clip in clips])
        if self.refused in self.asked[-1]:
            raise RewardUnavailable("too long to think about.")
        return [nothing(len(clip)) for clip in clips]


def of_lengths(folder, *lengths):
    store, rng = EpisodeStore(folder, 20.0), np.random.default_rng(0)
    episodes = [
        random_episode(rng, steps, episode_id=f"online-{steps:06d}", with_features=False)
        for steps in lengths
    ]
    for episode in episodes:
        store.append(episode)
    return store, episodes


def test_episodes_delivered_together_get_what_each_gets_alone_from_one_call(tmp_path):
    store, episodes = of_lengths(tmp_path / "together", 5, 7, 6)
    model = Exacting(refused=99)
    worker = RewardWorker(model=model, encoder=HueEncoder(), store=store)
    worker.deliver(episodes[1])
    model.asked.clear()
    notes, *labelled = worker.deliver_together(episodes[2], episodes[1].episode_id, episodes[0])
    assert model.asked == [[7, 6]], "the one that was labelled before is not asked about again"
    other, same = of_lengths(tmp_path / "alone", 5, 7, 6)
    alone = RewardWorker(model=model, encoder=HueEncoder(), store=other)
    for note, own, episode in zip(notes, labelled, (same[2], same[1], same[0]), strict=True):
        expected_note, expected = alone.deliver(episode)
        assert (note, own.episode_id, len(own)) == (expected_note, episode.episode_id, len(episode))
        assert np.array_equal(own.labels.reward, expected.labels.reward)
        assert store.read_labels(episode.episode_id, 1) is not None


def test_an_episode_without_an_answer_takes_it_from_no_other(tmp_path, caplog):
    store, episodes = of_lengths(tmp_path, 5, 7, 6)
    worker = RewardWorker(model=Exacting(refused=8), encoder=HueEncoder(), store=store)
    with caplog.at_level(logging.WARNING):
        notes, *labelled = worker.deliver_together(*episodes)
    assert [note.reward_version for note in notes] == [1, 0, 1]
    assert [own.labels.reward_version for own in labelled] == [1, 0, 1]
    assert [store.read_labels(e.episode_id) is None for e in episodes] == [False, True, False]
    assert caplog.text.count("gets abstaining labels") == 1


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_reward_that_may_not_answer_several_in_time_is_asked_one_by_one(tmp_path, wrapped):
    store, episodes = of_lengths(tmp_path, 5, 7)
    inner = Exacting(refused=99, asked_alone=True)
    model = EpisodeCap(inner) if wrapped else inner
    RewardWorker(model=model, encoder=HueEncoder(), store=store).deliver_together(*episodes)
    assert inner.asked == [[6], [8]]
    assert ServedReward("http://127.0.0.1:1").asked_alone


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
