import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.actor import ActorWorker, PolicyFailed
from embodied.errors import BadInput
from embodied.hardware.base import Account, Moment, Operator, Verdict
from embodied.hardware.silent import SilentOperator
from embodied.messages import Published, Request
from embodied.tape import EpisodeDiscarded
from embodied.testing.doubles import (
    CAMERA,
    CountingEncoder,
    CountingEnv,
    CountingMeter,
    CountingPolicy,
)
from embodied.types import Actor, Episode

SPEED = "speed"


class ScheduledOperator(Operator):
    """Acts in given steps, and gives a verdict after a given one."""

    def __init__(self, steps=(), *, progress=False, verdict=None, verdict_at=None, value=1.0):
        self.steps, self.needs_progress, self.value = set(steps), progress, value
        self.seen: list[Moment] = []
        self.given, self.verdict_at = verdict, verdict_at

    def begin_episode(self, account: Account) -> None:
        self.seen = []

    def decide(self, moment: Moment) -> np.ndarray | None:
        self.seen.append(moment)
        return np.full(2, self.value, np.float32) if moment.step in self.steps else None

    def verdict(self) -> Verdict | None:
        return self.given if len(self.seen) - 1 == self.verdict_at else None

    def close(self) -> None:
        pass


class MemoryStore:
    def __init__(self):
        self.episodes: list[Episode] = []

    def append(self, episode):
        self.episodes.append(episode)


def worker(operator=None, *, encoder=None, meter=None, store=None, env=None, policy=None):
    return ActorWorker(
        env=env or CountingEnv(),
        policy=policy or CountingPolicy(),
        encoder=encoder or CountingEncoder(),
        operator=operator or SilentOperator(),
        store=store,
        meter=meter,
    )


def request(number=0, *, source="online", explore=1.0):
    return Request(number=number, seed=100 + number, source=source, explore=explore)


def weights(version, speed):
    return Published(version=version, weights={SPEED: torch.tensor([speed])})


def planned_at(episode):
    return np.rint(episode.policy_action[:, 1] * 100).astype(int)


@pytest.mark.parametrize("watched", [False, True])
def test_every_frame_is_encoded_exactly_once(watched):
    encoder = CountingEncoder()
    meter = CountingMeter() if watched else None
    operator = ScheduledOperator([5, 6], progress=watched)
    episode = worker(operator, encoder=encoder, meter=meter).collect(request())
    assert encoder.frames == len(episode) + 1
    assert np.array_equal(episode.features[CAMERA][:, 0, 0, 0], np.arange(len(episode) + 1))
    if not watched:
        assert encoder.calls < len(episode) / 2


def test_the_same_request_gives_the_same_episode():
    first, second = worker().collect(request(3)), worker().collect(request(3))
    other = worker().collect(request(4))
    assert np.array_equal(first.action, second.action)
    assert np.array_equal(first.images[CAMERA], second.images[CAMERA])
    assert first.episode_id == second.episode_id
    assert not np.array_equal(first.action, other.action)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 19)))
def test_executed_policy_and_human_actions_are_all_recorded(steps):
    episode = worker(ScheduledOperator(steps)).collect(request())
    human = np.isin(np.arange(len(episode)), list(steps))
    assert np.array_equal(episode.actor == Actor.HUMAN, human)
    assert np.array_equal(np.isfinite(episode.human_action).all(axis=1), human)
    assert np.array_equal(np.isnan(episode.policy_noise).all(axis=1), human)
    assert np.isfinite(episode.policy_action).all()
    assert (episode.action[human] == 1.0).all()
    assert np.array_equal(episode.action[~human], np.clip(episode.policy_action[~human], -1, 1))
    moved = np.diff(episode.state[:, 2])
    assert np.allclose(moved, episode.action[:, 0], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 19)))
def test_a_hand_over_discards_the_pending_chunk_and_plans_from_a_fresh_observation(steps):
    episode = worker(ScheduledOperator(steps)).collect(request())
    human = episode.actor == Actor.HUMAN
    handed_over = np.flatnonzero(np.diff(human.astype(int), prepend=0))
    assert np.array_equal(planned_at(episode)[handed_over], handed_over)
    assert (episode.chunk_index[handed_over] == 0).all()
    assert np.array_equal(planned_at(episode) + episode.chunk_index, np.arange(len(episode)))
    assert episode.chunk_index.max() <= 3


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 19)))
def test_interventions_are_numbered_and_contiguous(steps):
    episode = worker(ScheduledOperator(steps)).collect(request())
    ids = episode.intervention_id
    for number in range(ids.max() + 1):
        where = np.flatnonzero(ids == number)
        assert len(where)
        assert (np.diff(where) == 1).all()
    assert np.array_equal(ids >= 0, episode.actor == Actor.HUMAN)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 19))
def test_weights_that_arrive_mid_chunk_wait_for_its_end(arrival):
    actor: list[ActorWorker] = []

    class Courier(ScheduledOperator):
        def decide(self, moment):
            if moment.step == arrival:
                actor[0].adopt(weights(7, 0.9))
            return super().decide(moment)

    actor.append(worker(Courier()))
    episode = actor[0].collect(request(explore=0.0))
    boundary = arrival - arrival % 4 + 4
    expected = np.where(np.arange(len(episode)) < boundary, 0, 7)
    assert np.array_equal(episode.policy_version, expected)
    assert np.allclose(episode.action[:, 0], np.where(expected == 7, 0.9, 0.1))


def test_an_older_version_never_replaces_a_newer_one():
    actor = worker()
    actor.adopt(weights(5, 0.5))
    actor.adopt(weights(4, 0.4))
    assert (actor.collect(request()).policy_version == 5).all()


def test_a_validation_episode_keeps_its_version_and_has_no_operator():
    operator = ScheduledOperator(range(20))
    actor = worker(operator)
    actor.adopt(weights(9, 0.9))
    pinned = weights(3, 0.3)
    episode = actor.collect(request(source="validation", explore=0.0), pinned)
    assert (episode.policy_version == 3).all()
    assert np.allclose(episode.action[:, 0], 0.3)
    assert operator.seen == []
    assert (actor.collect(request()).policy_version == 9).all()


def test_an_action_outside_of_the_space_is_clipped_before_it_is_executed_and_stored():
    actor = worker(policy=CountingPolicy(speed=3.0))
    episode = actor.collect(request(explore=0.0))
    assert (episode.action[:, 0] == 1.0).all()
    assert (episode.policy_action[:, 0] == 3.0).all()


def test_nan_from_the_policy_is_refused_naming_the_version():
    actor = worker()
    actor.adopt(weights(12, np.nan))
    with pytest.raises(PolicyFailed, match="policy version 12 proposed NaN"):
        actor.collect(request())


def test_nan_from_the_operator_is_refused():
    with pytest.raises(BadInput, match=r"operator commanded .*nan.* at step 2"):
        worker(ScheduledOperator([2], value=np.nan)).collect(request())


def test_an_episode_is_durable_before_it_is_returned():
    store = MemoryStore()
    actor = worker(store=store)
    episode = actor.collect(request())
    assert store.episodes == [episode]
    actor.adopt(weights(1, np.nan))
    with pytest.raises(PolicyFailed):
        actor.collect(request())
    assert len(store.episodes) == 1


@pytest.mark.parametrize(("verdict", "success"), [("success", True), ("failure", False)])
def test_a_persons_verdict_ends_the_episode(verdict, success):
    operator = ScheduledOperator(verdict=verdict, verdict_at=6)
    episode = worker(operator).collect(request())
    assert len(episode) == 7
    assert episode.terminated
    assert episode.success is success
    assert episode.success_source == "human"


def test_a_discarded_episode_is_not_stored():
    store = MemoryStore()
    operator = ScheduledOperator(verdict="discard", verdict_at=6)
    with pytest.raises(EpisodeDiscarded, match="online-000000"):
        worker(operator, store=store).collect(request())
    assert store.episodes == []


def test_an_actor_that_only_evaluates_encodes_no_more_than_the_policy_needs():
    encoder = CountingEncoder()
    actor = ActorWorker(
        env=CountingEnv(),
        policy=CountingPolicy(),
        encoder=encoder,
        operator=SilentOperator(),
        store=None,
        keep_features=False,
    )
    episode = actor.collect(request())
    assert encoder.frames == -(-len(episode) // 4)
    assert episode.features == {}


def test_success_is_recorded_without_ending_the_episode():
    episode = worker(policy=CountingPolicy(speed=0.9)).collect(request(explore=0.0))
    assert episode.success is True
    assert episode.truncated
    assert not episode.terminated
    assert len(episode) == CountingEnv().max_episode_steps
