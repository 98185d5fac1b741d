"""The loop on a real Ray cluster of this machine; one cluster for the whole module."""

import itertools
import os
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from embodied.errors import BadConfig, RunPaused
from embodied.ray_processes import start_ray
from embodied.testing.doubles import CountingReward
from embodied.testing.judges import MortalReward, Unhurried, kill_between, suspicious
from embodied.testing.runs import DoubleRun, check_relabelled, held_labels, stored
from embodied.types import Actor


@pytest.fixture(scope="module", autouse=True)
def cluster():
    start_ray(None, 100)
    import ray  # not before: it reads its settings when it is imported

    yield ray
    ray.shutdown()


def expected(run):
    return [
        f"{'validation' if run.schedule.validates(n) else 'online'}-{n:06d}"
        for n in range(run.schedule.episodes)
    ]


def check_complete(run, outcome):
    """Every episode once, settled and learnt from in order, and none lost."""
    names = expected(run)
    state = stored(run)
    assert sorted(run.store().episode_ids()) == sorted(names)
    assert state["learner"]["ingested"] == [n for n in names if n.startswith("online")]
    assert state["driver"]["number"] == len(names)
    assert outcome.updates == state["learner"]["updates"] > 0
    episodes = [run.store().read(run.store().index_of(name)) for name in names]
    assert outcome.ledger.steps == sum(map(len, episodes))
    human = np.concatenate([e.actor == Actor.HUMAN for e in episodes])
    assert outcome.ledger.human_steps == human.sum() <= 0.15 * len(human)
    for episode in episodes:
        changed = np.flatnonzero(np.diff(episode.policy_version)) + 1
        assert (episode.chunk_index[changed] == 0).all(), "weights changed within a chunk"
        assert run.store().read_labels(episode.episode_id, 1) is not None
    for episode in (e for e in episodes if e.source == "validation"):
        assert len(set(episode.policy_version)) == 1


def test_it_listens_on_the_loopback_interface_alone(cluster):
    assert cluster.util.get_node_ip_address() == "127.0.0.1"


def test_workers_killed_with_9_are_started_again_and_nothing_is_lost(tmp_path):
    run = DoubleRun(folder=tmp_path)
    victims = {3: "actor 0", 5: "reward worker", 8: "learner"}
    rows = []

    def observe(row):
        rows.append(row)
        if row.get("episode") in victims:
            os.kill(loop.pids[victims[row["episode"]]], signal.SIGKILL)

    loop = run.ray(observe)
    outcome = loop.run()
    assert [row["restarted"] for row in rows if "restarted" in row] == list(victims.values())
    assert outcome.ledger.restarts == 3
    check_complete(run, outcome)
    assert [row["episode"] for row in rows if "episode" in row] == list(range(12))


@pytest.mark.parametrize("moment", ["nominated", "judged"])
def test_a_learner_that_dies_before_it_saved_is_told_again(tmp_path, monkeypatch, moment):
    """What it decided is not in the checkpoint that the next one starts from."""
    run = DoubleRun(folder=tmp_path)
    rows, killed = [], []
    loop = run.ray(rows.append)
    save, nominated = loop._save, []

    def save_a_dead_learner():
        candidate = loop._ledger.candidate
        nominated.extend([candidate] if candidate >= 0 else [])
        due = candidate >= 0 if moment == "nominated" else bool(nominated and candidate < 0)
        if due and not killed:
            killed.append(loop.pids["learner"])
            os.kill(killed[0], signal.SIGKILL)
        save()

    monkeypatch.setattr(loop, "_save", save_a_dead_learner)
    outcome = loop.run()
    assert killed
    assert outcome.ledger.restarts == 1
    check_complete(run, outcome)
    judged = [row["validated_version"] for row in rows if "judgement" in row]
    assert judged == sorted(set(judged))
    assert stored(run)["learner"]["selection"]["best"]["version"] in judged


def test_ctrl_c_leaves_a_run_that_goes_on_from_where_it_was(tmp_path):
    run = DoubleRun(folder=tmp_path)

    def press(row):
        if row.get("episode") == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.ray(press).run()
    before, rolled_out = stored(run), set(run.store().episode_ids())
    assert before["driver"]["number"] >= 5
    rows = []
    check_complete(run, run.ray(rows.append).run())
    numbers = [row["episode"] for row in rows if "episode" in row]
    assert numbers == list(range(before["driver"]["number"], 12))
    updates = [row["updates"] for row in rows if "loss" in row]
    assert all(b > a for a, b in itertools.pairwise([before["learner"]["updates"], *updates]))
    versions = [
        row["policy_version"]
        for row in rows
        if row.get("source") == "online" and row["episode_id"] not in rolled_out
    ]
    assert versions == sorted(versions)
    assert versions[-1] > before["learner"]["version"], "no actor ever adopted new weights"


def test_a_newer_reward_labels_the_replay_again_though_the_learner_dies_meanwhile(tmp_path):
    earlier = DoubleRun(folder=tmp_path)

    def press(row):
        if row.get("episode") == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        earlier.inline(press).run()
    count = len(held_labels(earlier))
    run = replace(earlier, reward_version=2, reward=partial(CountingReward, accept=0.1))
    rows = []

    def observe(row):
        rows.append(row)
        if len(rows) == 1:
            os.kill(loop.pids["learner"], signal.SIGKILL)

    loop = run.ray(observe)
    outcome = loop.run()
    told = {"relabelled": count, "reward_version": 2}
    assert rows[:3] == [told, {"restarted": "learner"}, told]
    assert outcome.ledger.restarts == 1
    check_relabelled(run, 2)
    assert len(held_labels(run)) > count


def test_a_dead_judge_stops_no_actor(tmp_path):
    dead = tmp_path / "dead"
    run = DoubleRun(folder=tmp_path, reward=partial(MortalReward, dead))
    rows = []
    observe = kill_between(dead, rows, dies=2, lives=7)
    outcome = run.ray(observe, actors=2).run()
    settled = [row for row in rows if "episode_id" in row]
    assert [row["episode_id"] for row in settled] == expected(run)
    assert sum(row["reward_version"] == 0 for row in settled) >= 2
    assert (settled[0]["reward_version"], settled[-1]["reward_version"]) == (1, 1)
    assert outcome.ledger.restarts == 0


def test_episodes_of_several_actors_that_wait_are_labelled_together(tmp_path):
    log, rows = tmp_path / "log", []
    run = DoubleRun(folder=tmp_path, reward=partial(Unhurried, log, 0.5))

    def observe(row):
        rows.append(row)
        if row.get("episode") == 6:
            os.kill(loop.pids["reward worker"], signal.SIGKILL)

    loop = run.ray(observe, actors=2, lead=5)
    check_complete(run, loop.run())
    together = [int(line) for line in log.read_text().split()]
    assert max(together) >= 2, "whatever waited was labelled one by one"
    assert [row["episode"] for row in rows if "episode" in row] == list(range(12))
    assert [row["restarted"] for row in rows if "restarted" in row] == ["reward worker"]


@pytest.mark.timeout(900)  # starts the processes three times
def test_an_alarm_pauses_the_run_until_a_person_lets_it_go_on(tmp_path):
    """Episodes that are on their way at the alarm are durable, and not settled twice."""
    run, rows = suspicious(tmp_path, pause=True), []
    with pytest.raises(RunPaused, match=r"`embodied resume runs/x monitor.pause=false`"):
        run.ray(rows.append).run()
    paused_at, rolled_out = stored(run)["driver"]["number"], run.store().episode_ids()
    assert sum(bool(row.get("alarm")) for row in rows) == 1
    assert 20 <= paused_at < 40
    assert paused_at <= len(rolled_out) <= paused_at + 2
    with pytest.raises(RunPaused):
        run.ray().run()
    assert run.store().episode_ids() == rolled_out, "a paused run went on by itself"
    rows.clear()
    run = suspicious(tmp_path, pause=False, turns_after=0)
    check_complete(run, run.ray(rows.append).run())
    assert [row["episode"] for row in rows if "episode" in row] == list(range(paused_at, 40))
    assert not any(row.get("alarm") for row in rows), "the alarm was told twice"


def test_fewer_episodes_on_their_way_than_actors_are_refused(tmp_path):
    run = DoubleRun(folder=tmp_path)
    with pytest.raises(BadConfig, match="actors is 3 and lead is 2"):
        run.ray(actors=3)
