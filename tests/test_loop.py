import os
import signal
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embodied.actor import PolicyFailed
from embodied.errors import BadConfig
from embodied.hardware.base import Account
from embodied.ledger import Ledger, Schedule
from embodied.seed_ranges import PURPOSES, episode_seed
from embodied.testing.doubles import CountingAlgorithm, CountingEnv
from embodied.testing.judges import MortalReward, kill_between
from embodied.testing.runs import DoubleRun, same_state, stored
from embodied.types import Actor


class LyingEnv(CountingEnv):
    """Says the opposite about success, and pays a huge reward."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        info["success"] = not info["success"]
        return observation, 1e9, terminated, truncated, info


def test_the_same_seed_gives_the_same_first_hundred_metrics(tmp_path):
    rows = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        rows[name] = []
        DoubleRun(folder=tmp_path / name, seed=seed).inline(rows[name].append).run()
    assert len(rows["a"]) > 20
    assert rows["a"][:100] == rows["b"][:100]
    assert rows["a"] != rows["c"]


def test_the_simulators_success_and_reward_cannot_reach_the_learner(tmp_path):
    honest = DoubleRun(folder=tmp_path / "honest")
    lying = DoubleRun(folder=tmp_path / "lying", env=LyingEnv)
    for run in (honest, lying):
        run.inline().run()
    assert same_state(stored(honest)["learner"], stored(lying)["learner"])
    told = [run.store().summary(i).success for run in (honest, lying) for i in range(3)]
    assert told[:3] != told[3:], "the poison did not arrive: this test could not fail"
    paid = [run.store().read(0).simulator_reward for run in (honest, lying)]
    assert (paid[0] == 0).all()
    assert (paid[1] == 1e9).all()


def test_the_loop_passes_every_episode_on_once_in_order_and_keeps_validation_apart(tmp_path):
    run = DoubleRun(folder=tmp_path)
    rows = []
    outcome = run.inline(rows.append).run()
    expected = [
        f"{'validation' if run.schedule.validates(n) else 'online'}-{n:06d}" for n in range(12)
    ]
    assert run.store().episode_ids() == expected
    assert [row["episode_id"] for row in rows if "episode_id" in row] == expected
    learnt = stored(run)["learner"]["ingested"]
    assert learnt == [name for name in expected if name.startswith("online")]
    assert outcome.updates > 0
    assert outcome.ledger.steps == sum(run.store().summary(i).steps for i in range(12))


def test_the_operator_stays_within_its_budget_and_its_effort_is_counted(tmp_path):
    run = DoubleRun(folder=tmp_path, algorithm=FrozenAlgorithm)
    outcome = run.inline().run()
    episodes = [run.store().read(i) for i in range(12)]
    human = np.concatenate([e.actor == Actor.HUMAN for e in episodes])
    assert human.any()
    assert (np.cumsum(human) <= 0.15 * np.arange(1, len(human) + 1)).all()
    assert outcome.ledger.human_steps == human.sum()
    assert outcome.ledger.operator_seconds == pytest.approx(human.sum() / 20.0)
    assert all((e.actor != Actor.HUMAN).all() for e in episodes if e.source == "validation")


class FrozenAlgorithm(CountingAlgorithm):
    """Checks the stream, and never improves: the operator stays needed."""

    def weights(self):
        return {"speed": torch.tensor([0.05])}


def test_validation_rolls_out_one_fixed_version_without_noise(tmp_path):
    run = DoubleRun(folder=tmp_path)
    run.inline().run()
    episodes = [run.store().read(n) for n in range(12) if run.schedule.validates(n)]
    assert all(len(set(e.policy_version)) == 1 for e in episodes)
    assert all(len(set(e.action[:, 0])) == 1 for e in episodes)
    assert episodes[0].policy_version[0] == episodes[1].policy_version[0]


def test_three_dropped_episodes_in_a_row_end_the_run_naming_the_version(tmp_path):
    run = DoubleRun(folder=tmp_path, algorithm=Failing)
    rows = []
    with pytest.raises(PolicyFailed, match=r"policy version \d+ proposed NaN"):
        run.inline(rows.append).run()
    assert sum("dropped_id" in row for row in rows) == 3
    assert 0 < len(run.store()) < 9


def Failing(policy, *, seed):
    return CountingAlgorithm(policy, seed=seed, fails_at=10)


def test_ctrl_c_leaves_a_run_that_continues_to_the_same_result(tmp_path):
    whole = DoubleRun(folder=tmp_path / "whole")
    whole.inline().run()
    broken = DoubleRun(folder=tmp_path / "broken")

    def press(row):
        if row.get("episode") == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        broken.inline(press).run()
    assert len(broken.store()) == 5
    broken.inline().run()
    assert same_state(stored(whole), stored(broken))


def test_a_judge_that_is_dead_for_a_while_stops_nothing_and_judges_no_version(tmp_path):
    dead = tmp_path / "dead"
    run = DoubleRun(folder=tmp_path, reward=partial(MortalReward, dead))
    rows = []
    observe = kill_between(dead, rows, dies=1, lives=6)
    outcome = run.inline(observe).run()
    settled = [row for row in rows if "episode_id" in row]
    assert [row["reward_version"] for row in settled] == [1] * 2 + [0] * 5 + [1] * 5
    assert all(row["return"] == 0 and not row["learned_success"] for row in settled[2:7])
    assert outcome.ledger.number == len(run.store()) == 12
    first, second, *_ = (row for row in rows if "judgement" in row)
    assert (first["judgement"], first["validation_episodes"]) == ("unjudged", 0)
    assert second["judgement"] != "unjudged"
    assert stored(run)["learner"]["selection"]["best"]["episodes"] in (0, 2)
    for row in settled:
        kept = run.store().read_labels(row["episode_id"], row["reward_version"] or None)
        assert (kept is None) == (row["reward_version"] == 0)


def test_a_judge_that_was_dead_to_the_end_leaves_the_policy_that_the_run_started_from(tmp_path):
    dead = tmp_path / "dead"
    dead.touch()
    run = DoubleRun(folder=tmp_path, reward=partial(MortalReward, dead))
    rows = []
    outcome = run.inline(rows.append).run()
    assert {row["judgement"] for row in rows if "judgement" in row} == {"unjudged"}
    assert outcome.best.version == 0
    assert len(run.store()) == 12


@given(st.integers(1, 120), st.integers(1, 30), st.integers(0, 10))
def test_every_validation_is_whole_and_the_last_one_ends_the_run(episodes, every, count):
    count = min(count, episodes)
    schedule = Schedule(episodes=episodes, validate_every=every, validation_episodes=count)
    held = [schedule.validates(n) for n in range(episodes)]
    opens = [n for n in range(episodes) if schedule.opens_validation(n)]
    closes = [n for n in range(episodes) if schedule.closes_validation(n)]
    assert all(b - a == count - 1 for a, b in zip(opens, closes, strict=True))
    assert all(held[-count:]) if count else not any(held)
    assert all(b - a >= 2 for a, b in zip(closes, opens[1:], strict=False))


@given(st.integers(0, 9999), st.floats(0, 1), st.floats(0, 1))
def test_every_online_episode_draws_its_own_boldness_and_validations_have_none(seed, one, other):
    low, high = sorted((one, other))
    schedule = Schedule(
        episodes=40, validate_every=8, validation_episodes=2, exploration=(low, high)
    )
    asked = [Ledger(schedule, seed).request(number) for number in range(40)]
    online = [each.explore for each in asked if each.source == "online"]
    assert all(low <= boldness <= high for boldness in online)
    assert low == high or len(set(online)) > 1
    assert {each.explore for each in asked if each.source == "validation"} == {0.0}
    assert asked == [Ledger(schedule, seed).request(number) for number in range(40)]


@pytest.mark.parametrize("wrong", [(0.5, 0.2), (-0.1, 1.0), (0.0, 1.5), (float("nan"), 1.0)])
def test_an_impossible_boldness_is_refused(wrong):
    with pytest.raises(BadConfig, match="two numbers from 0 to 1, the lower one first"):
        Schedule(episodes=40, exploration=wrong)


def test_an_impossible_schedule_is_refused():
    with pytest.raises(BadConfig, match=r"validation_episodes is 9; .* budget of 5"):
        Schedule(episodes=5, validation_episodes=9)


@given(st.data())
def test_seeds_of_different_purposes_runs_and_episodes_never_meet(data):
    draw = st.tuples(
        st.sampled_from([p for p in PURPOSES if p != "evaluation"]),
        st.integers(0, 9999),
        st.integers(0, 9999),
    )
    first, second = data.draw(draw), data.draw(draw)
    assert (episode_seed(*first) == episode_seed(*second)) == (first == second)
    evaluation = {episode_seed("evaluation", first[1], n) for n in range(3)}
    assert evaluation == {episode_seed("evaluation", second[1], n) for n in range(3)}
    assert episode_seed(*first) not in evaluation
    assert episode_seed(*first) < 2**32


@given(st.integers(0, 5000), st.integers(0, 700), st.integers(1, 5))
def test_several_actors_together_never_overspend_the_operators_budget(steps, human, actors):
    ledger = Ledger(Schedule(episodes=9), 0)
    ahead = [Account(steps=steps, human_steps=human)]
    account = ledger.request(0, actors, ahead).account
    free_each = 0.15 * account.steps - account.human_steps
    assert actors * max(0.0, free_each) <= max(0.0, 0.15 * steps - human) + 1e-9
