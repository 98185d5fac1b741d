"""The training monitor: silent on healthy runs, loud on a reward that is exploited, exact again."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from omegaconf import OmegaConf

from embodied import checkpoint
from embodied.config import compose
from embodied.dataset import EpisodeStore
from embodied.display import Display
from embodied.errors import BadConfig, CorruptFile, RunPaused, UnknownName
from embodied.job import Job
from embodied.judge import HELD_OUT, JUDGE, build_judge, build_monitor, check_judge, prepare
from embodied.messages import NOBODY, Note
from embodied.metrics import Metrics, read_metrics
from embodied.monitor import Monitor, higher
from embodied.report import write_report
from embodied.stages import record_all, train_reward
from embodied.testing.judges import LosesFaith, suspicious
from embodied.testing.runs import DoubleRun, same_state, stored, toy_job

EPISODES = 200
HELD_OUT_DOUBTS = list(np.linspace(0.01, 0.04, 40))


def note(number: int, proxy: float, judge: float | None, doubt: float = 0.02) -> Note:
    return Note(
        episode_id=f"online-{number:06d}", source="online", steps=50, human_steps=0,
        interventions=0, operator_seconds=0.0, policy_version=1, reward_version=1,
        learned_success=proxy > 1, learned_return=proxy, final_progress=0.5, uncertainty=doubt,
        judge_evidence=judge, true_success=None,
    )  # fmt: skip


def stream(
    rng: np.random.Generator, success: np.ndarray, exploited: np.ndarray | None = None
) -> list[Note]:
    """Two noisy opinions on the same episodes; of exploited ones the reward alone is convinced."""
    notes = []
    fooled = np.zeros(len(success)) if exploited is None else exploited
    for number, (share, trick) in enumerate(zip(success, fooled, strict=True)):
        tricks = rng.random() < trick
        truth = not tricks and rng.random() < share
        liked = (truth or tricks) != (rng.random() < 0.05)
        believed = truth != (rng.random() < 0.1)
        proxy = float(liked) + 0.3 * rng.normal()
        judge = float(np.clip(rng.normal(0.9 if believed else 0.2, 0.1), 0, 1))
        notes.append(note(number, proxy, judge, float(0.02 * np.exp(0.4 * rng.normal()))))
    return notes


def alarm_of(notes: list[Note], **settings: Any) -> tuple[str, int]:
    monitor = Monitor(HELD_OUT_DOUBTS, **settings)
    for number, each in enumerate(notes):
        monitor.take(each)
        if monitor.alarm:
            return monitor.alarm, number
    return "", len(notes)


HEALTHY = {
    "learns": np.linspace(0.3, 1.0, EPISODES),
    "stands still": np.full(EPISODES, 0.5),
    "collapses and comes back": np.r_[
        np.linspace(0.3, 0.9, 80), np.linspace(0.9, 0.1, 60), np.linspace(0.1, 0.9, 60)
    ],
    "forgets": np.linspace(1.0, 0.0, EPISODES),
}


@pytest.mark.parametrize("kind", HEALTHY)
def test_healthy_runs_raise_no_alarm(kind: str) -> None:
    alarms = [alarm_of(stream(np.random.default_rng(seed), HEALTHY[kind]))[0] for seed in range(25)]
    assert not any(alarms)


def test_it_notices_when_the_reward_is_exploited_while_the_judge_loses_faith() -> None:
    begins = 100
    success = np.r_[np.linspace(0.3, 0.9, begins), np.full(EPISODES - begins, 0.9)]
    trick = np.r_[np.zeros(begins), np.linspace(0.1, 1.0, 40), np.ones(EPISODES - begins - 40)]
    found = [alarm_of(stream(np.random.default_rng(seed), success, trick)) for seed in range(10)]
    assert all("second reward that nobody learns from fell" in alarm for alarm, _ in found)
    assert all(begins < number <= begins + 90 for _, number in found)


@pytest.mark.parametrize(("factor", "alarmed"), [(1.0, False), (2.0, False), (10.0, True)])
def test_it_notices_an_ensemble_without_basis_and_forgives_a_little_doubt(
    factor: float, alarmed: bool
) -> None:
    doubts = np.r_[np.ones(100), np.linspace(1, factor, 20), np.full(80, factor)]
    notes = [
        replace(n, uncertainty=n.uncertainty * doubt)
        for n, doubt in zip(
            stream(np.random.default_rng(0), HEALTHY["learns"]), doubts, strict=True
        )
    ]
    alarm, number = alarm_of(notes)
    assert ("ensemble disagrees" in alarm) is alarmed
    assert number == EPISODES or 110 < number <= 150


def test_episodes_that_the_reward_was_not_asked_about_tell_nothing() -> None:
    monitor = Monitor(HELD_OUT_DOUBTS)
    before = monitor.state_dict()
    for number in range(60):
        silent = replace(note(number, 0.0, 0.0, doubt=1.0), reward_version=NOBODY)
        assert monitor.take(silent) is None
    assert monitor.state_dict() == before


def test_without_a_judge_the_clips_are_kept_and_nothing_is_compared() -> None:
    monitor = Monitor(clips=3)
    rows = [monitor.take(note(n, float(n % 50), None)) for n in range(100)]
    looked = [row for row in rows if row is not None]
    assert [row["watched"] for row in looked] == list(range(10, 101, 10))
    assert set(monitor.liked[:2]) == {"online-000049", "online-000099"}
    assert monitor.liked[2] in ("online-000048", "online-000098")
    assert looked[-1]["best_liked"] == " ".join(monitor.liked)
    assert all(set(row) == {"watched", "alarm", "best_liked"} for row in looked)


def test_the_simulators_success_changes_nothing_that_it_says() -> None:
    notes = stream(np.random.default_rng(1), HEALTHY["learns"])
    said = []
    for truth in (True, False, None):
        monitor = Monitor(HELD_OUT_DOUBTS)
        rows = [monitor.take(replace(n, true_success=truth)) for n in notes]
        said.append((rows, monitor.state_dict()))
    assert said[0] == said[1] == said[2]


def test_a_monitor_that_was_stored_goes_on_as_if_nothing_had_been(tmp_path) -> None:
    notes = stream(np.random.default_rng(2), HEALTHY["forgets"], np.linspace(0, 1, EPISODES))
    whole, parted = Monitor(HELD_OUT_DOUBTS), Monitor(HELD_OUT_DOUBTS)
    rows = [whole.take(n) for n in notes]
    assert whole.alarm, "nothing happens: this test could not fail"
    for number, each in enumerate(notes):
        if number == 95:
            checkpoint.save(tmp_path / "state.pt", parted.state_dict())
            parted = Monitor(HELD_OUT_DOUBTS)
            parted.load_state_dict(checkpoint.load(tmp_path / "state.pt"))
        assert parted.take(each) == rows[number]
    assert parted.state_dict() == whole.state_dict()


def test_the_test_of_ranks_is_mann_whitneys() -> None:
    rng = np.random.default_rng(3)
    for first, second in rng.integers(0, 9, (20, 2, 40)) / 8:
        theirs = scipy.stats.mannwhitneyu(
            first, second, alternative="greater", method="asymptotic"
        ).pvalue
        assert higher(first, second) == pytest.approx(theirs, rel=1e-9)
    assert higher(np.ones(40), np.zeros(40)) < 1e-9
    assert higher(np.ones(40), np.ones(40)) == 1.0


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"monitor.window is 3"):
        Monitor(window=3)
    with pytest.raises(UnknownName, match="did you mean success_classifier"):
        check_judge(compose(["monitor.judge=succes_classifier"]))
    with pytest.raises(BadConfig, match="learns from people's answers"):
        check_judge(compose(["monitor.judge=preference"]))


def test_an_alarm_pauses_the_run_until_a_person_lets_it_go_on_to_the_same_end(tmp_path) -> None:
    whole, told = suspicious(tmp_path / "whole", pause=False), []
    whole.inline(told.append).run()
    assert sum(bool(row.get("alarm")) for row in told) == 1, "an alarm is told once"
    broken = suspicious(tmp_path / "broken", pause=True)
    with pytest.raises(RunPaused, match=r"`embodied resume runs/x monitor.pause=false`"):
        broken.inline().run()
    paused_at = stored(broken)["driver"]["number"]
    assert 20 <= paused_at < 40
    assert len(broken.store()) == paused_at
    with pytest.raises(RunPaused):
        broken.inline().run()
    assert len(broken.store()) == paused_at, "a paused run went on by itself"
    suspicious(tmp_path / "broken", pause=False, turns_after=0).inline().run()
    assert same_state(stored(whole), stored(broken))


def test_the_judge_reaches_no_learner(tmp_path) -> None:
    plain = DoubleRun(folder=tmp_path / "plain")
    judged = replace(DoubleRun(folder=tmp_path / "judged"), judge=partial(LosesFaith, 3))
    rows: dict[str, list[Any]] = {"plain": [], "judged": []}
    plain.inline(rows["plain"].append).run()
    judged.inline(rows["judged"].append).run()
    assert same_state(stored(plain)["learner"], stored(judged)["learner"])
    said = [row["judge_evidence"] for row in rows["judged"] if "episode_id" in row]
    assert said == [1.0] * 3 + [0.0] * 9
    assert {row["judge_evidence"] for row in rows["plain"] if "episode_id" in row} == {None}


def test_the_report_shows_what_the_reward_likes_best_and_the_alarm(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("env: {task: reach-v3}\n")
    with (tmp_path / "metrics.jsonl").open("w") as file:
        suspicious(tmp_path, pause=False).inline(
            lambda row: file.write(json.dumps({"stage": "fine_tune", **row}) + "\n")
        ).run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    liked = [str(row["best_liked"]).split() for row in rows if "best_liked" in row][-1]
    page = write_report(tmp_path).read_text()
    assert "but a second reward that nobody learns from fell" in page
    assert len(liked) == 3
    assert all(f"frames of {name}" in page and f"{name}: learned return" in page for name in liked)
    (tmp_path / "metrics.jsonl").unlink()
    assert "The monitor has not looked at the run yet." in write_report(tmp_path).read_text()


def test_a_damaged_note_about_the_held_out_clips_is_named_with_what_to_do(tmp_path) -> None:
    (tmp_path / "reward").mkdir()
    (tmp_path / HELD_OUT).write_text("[0.1,")
    with pytest.raises(CorruptFile, match=r"held_out.json.*delete it"):
        build_monitor(compose([]), tmp_path)


def test_the_judge_is_trained_once_and_comes_back_as_it_was(tmp_path) -> None:
    cfg, run_dir = toy_job(tmp_path), tmp_path / "toy"
    run_dir.mkdir()
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        record_all(job)
        train_reward(job)
    before = torch.get_rng_state()
    prepare(cfg, run_dir)
    assert torch.equal(torch.get_rng_state(), before), "the stage's own draws have moved"
    written = {name: (run_dir / name).read_bytes() for name in (JUDGE, HELD_OUT)}
    assert len(json.loads(written[HELD_OUT])) == len(EpisodeStore(run_dir / "held_out"))
    prepare(cfg, run_dir)
    assert written == {name: (run_dir / name).read_bytes() for name in (JUDGE, HELD_OUT)}
    judge = build_judge(cfg, run_dir)
    assert judge is not None
    assert judge.version == 1
    OmegaConf.update(cfg, "monitor.judge", "none")
    assert build_judge(cfg, run_dir) is None
