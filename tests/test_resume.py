"""Train 2 + resume 2 equals train 4, and a killed process loses nothing that was finished."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from embodied.ledger import Schedule
from embodied.testing.doubles import CountingReward
from embodied.testing.judges import MortalReward
from embodied.testing.runs import DoubleRun, check_relabelled, held_labels, stored


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def run_of(folder: Path, episodes: int) -> DoubleRun:
    schedule = Schedule(
        episodes=episodes,
        validate_every=9,
        validation_episodes=0,
        checkpoint_every=3,
        updates_per_slice=7,
    )
    return DoubleRun(folder=folder, schedule=schedule)


def without_budget(run: DoubleRun):
    state = stored(run)
    del state["driver"]["schedule"]
    return state


def test_training_two_episodes_and_resuming_for_two_equals_training_four(tmp_path):
    whole = run_of(tmp_path / "whole", 4)
    rows_whole: list = []
    whole.inline(rows_whole.append).run()
    rows_parts: list = []
    for episodes in (2, 4):
        run_of(tmp_path / "parts", episodes).inline(rows_parts.append).run()
    parts = run_of(tmp_path / "parts", 4)
    assert same(without_budget(whole), without_budget(parts))
    assert rows_whole == rows_parts
    for index in range(4):
        one, other = whole.store().read(index), parts.store().read(index)
        assert np.array_equal(one.action, other.action)
        assert np.array_equal(one.policy_version, other.policy_version)


def test_a_finished_run_is_not_continued(tmp_path):
    run = run_of(tmp_path, 2)
    run.inline().run()
    before = stored(run)
    outcome = run.inline(lambda row: pytest.fail(f"it went on: {row}")).run()
    assert same(before, stored(run))
    assert outcome.updates == before["learner"]["updates"]


SCRIPT = """
import sys
from pathlib import Path
from embodied.ledger import Schedule
from embodied.testing.runs import DoubleRun
DoubleRun(folder=Path(sys.argv[1]), schedule=Schedule(
    episodes=6, validate_every=9, validation_episodes=0, checkpoint_every=3, updates_per_slice=7,
)).inline(lambda row: print(row.get("episode", ""), flush=True)).run()
"""


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.PIPE, text=True
    )


def wait_for(process: subprocess.Popen, line: str) -> None:
    deadline = time.monotonic() + 200
    assert process.stdout is not None
    while time.monotonic() < deadline:
        if process.stdout.readline().strip() == line:
            return
    pytest.fail(f"waited 200 s for the line {line}")


def test_a_driver_killed_with_9_leaves_a_run_that_continues_exactly(tmp_path):
    whole = run_of(tmp_path / "whole", 6)
    whole.inline().run()
    process = start(tmp_path / "killed")
    wait_for(process, "4")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=200)
    process.stdout.close()
    killed = run_of(tmp_path / "killed", 6)
    finished = killed.store().episode_ids()
    assert len(finished) >= 5
    killed.inline().run()
    assert killed.store().episode_ids()[: len(finished)] == finished
    assert same(stored(whole), stored(killed))


def interrupted(folder: Path) -> tuple[DoubleRun, int]:
    """A run that Ctrl-C ended after five episodes, and how many of them are learnt from."""
    run = DoubleRun(folder=folder)

    def press(row):
        if row.get("episode") == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.inline(press).run()
    check_relabelled(run, 1)
    return run, len(held_labels(run))


def test_a_newer_reward_labels_the_replay_again_before_a_resumed_run_goes_on(tmp_path):
    earlier, count = interrupted(tmp_path)
    run = replace(earlier, reward_version=2, reward=partial(CountingReward, accept=0.1))
    rows: list = []
    run.inline(rows.append).run()
    assert rows[0] == {"relabelled": count, "reward_version": 2}
    check_relabelled(run, 2)
    changed = [
        run.store().read_labels(name, 1).done_index != run.store().read_labels(name, 2).done_index
        for name in list(held_labels(run))[:count]
    ]
    assert any(changed), "both versions say the same: this test could not fail"
    assert {row["reward_version"] for row in rows if "episode_id" in row} == {2}


def test_nothing_is_labelled_again_by_the_version_that_labelled_it(tmp_path):
    run, _ = interrupted(tmp_path)
    rows: list = []
    run.inline(rows.append).run()
    assert not any("relabelled" in row for row in rows)
    check_relabelled(run, 1)


def test_a_newer_reward_that_cannot_be_asked_leaves_the_labels_and_is_asked_at_the_next_resume(
    tmp_path, caplog
):
    earlier, count = interrupted(tmp_path)
    dead = tmp_path / "dead"
    dead.touch()
    run = replace(earlier, reward_version=2, reward=partial(MortalReward, dead))

    def press(row):
        if row.get("episode") == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.inline(press).run()
    assert caplog.text.count("keeps its earlier labels: the judge is dead.") == count
    held = {name: labels["reward_version"] for name, labels in held_labels(run).items()}
    assert list(held.values()) == [1] * count + [0] * (len(held) - count)
    dead.unlink()
    run.inline().run()
    check_relabelled(run, 2)
