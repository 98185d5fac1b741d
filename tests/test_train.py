"""The default job's stages, from recording to report, on a toy that takes seconds."""

import io
import json
import operator
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from embodied import checkpoint, cli, stages
from embodied import train as command
from embodied.config import save_config
from embodied.dataset import EpisodeStore
from embodied.demonstrations import Assignment, demonstrate
from embodied.display import Display
from embodied.envs.catalogue import tasks
from embodied.errors import BadConfig, BadInput, RewardRejected, UnknownName, WorkerLost
from embodied.evaluate import evaluate
from embodied.examples import examples_from
from embodied.fine_tuning import CHECKPOINT, Watch
from embodied.job import REWARD, STATE_FILE, Job, build_encoder, build_policy, save_policy
from embodied.judge import HELD_OUT
from embodied.metrics import JsonlSink, Metrics, read_metrics
from embodied.pool import in_processes
from embodied.rewarding import with_features
from embodied.stages import STAGES
from embodied.statistics import wilson
from embodied.success_curve import Point, episodes_to
from embodied.testing.doubles import CountingEnv
from embodied.testing.episodes import random_episode
from embodied.testing.runs import toy_job


def finished(run: Path) -> list[str]:
    return json.loads((run / STATE_FILE).read_text())["finished"]


def check_finished(run: Path) -> None:
    assert finished(run) == list(STAGES)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["episodes"] == 4
    assert summary["success_before"]["n"] == summary["success_after"]["n"] == 2
    assert summary["env_steps"] == 80
    assert [(p["episodes"], p["n"]) for p in summary["success_curve"]] == [(2, 2), (4, 2)]
    assert summary["updates"] > 0
    assert set(summary["wall_seconds"]) >= set(STAGES) - {"report"}
    assert len(EpisodeStore(run / "episodes")) == 4
    assert len(EpisodeStore(run / "demos")) == 3
    assert len(EpisodeStore(run / "held_out")) == 4
    seeds = [
        store.summary(i).seed
        for part in ("demos", "failures", "held_out", "episodes", "evaluation_before")
        for store in [EpisodeStore(run / part)]
        for i in range(len(store))
    ]
    assert len(set(seeds)) == len(seeds), "two purposes share a start"
    for name in ("report.html", "reward_card.html", "policy/config.json", "policy_base"):
        assert (run / name).exists()


def interrupt(folder: Path, stage: str, row: int, capsys) -> Path:
    """A run that Ctrl-C ended at a row of a stage; the command says how to continue."""
    run = folder / "toy"
    run.mkdir()
    save_config(toy_job(folder, stage=stage, row=row), run)
    assert cli.main(["resume", str(run)]) == cli.INTERRUPTED == 130
    said = [line for line in capsys.readouterr().err.splitlines() if line and line[0] != "["]
    assert said == [
        f"embodied: interrupted; what was finished is on disk. To continue: embodied resume {run}"
    ]
    return run


def test_ctrl_c_while_fine_tuning_leaves_a_run_that_resume_brings_to_its_report(tmp_path, capsys):
    run = interrupt(tmp_path, "fine_tune", 2, capsys)
    assert finished(run) == list(STAGES)[: list(STAGES).index("fine_tune")]
    before = EpisodeStore(run / "episodes").episode_ids()
    assert 0 < len(before) < 4
    assert cli.main(["resume", str(run)]) == 0
    check_finished(run)
    assert EpisodeStore(run / "episodes").episode_ids()[: len(before)] == before
    ids = [row["episode_id"] for row in read_metrics(run / "metrics.jsonl") if "episode_id" in row]
    assert len(ids) == len(set(ids)) == 4, "an episode was learnt from twice"


def test_a_reward_that_is_trained_again_is_a_newer_version_and_labels_the_replay_again(
    tmp_path, capsys, caplog
):
    run = interrupt(tmp_path, "fine_tune", 2, capsys)
    before = checkpoint.load(run / CHECKPOINT)["learner"]["replay"]["episodes"]
    rolled_out = sum(episode["source"] == "online" for episode in before)
    noted = {name: (run / name).read_text() for name in (HELD_OUT, "reward_card.json")}
    (run / REWARD).unlink()
    assert cli.main(["resume", str(run), "reward.members=3"]) == 0
    said = f"Labelling {rolled_out} episodes again by reward version 2."
    assert caplog.text.count(said) == 1
    held = checkpoint.load(run / CHECKPOINT)["learner"]["replay"]["episodes"]
    assert len(held) > len(before)
    for episode in held:
        part = {"demo": "demos", "online": "episodes"}[episode["source"]]
        kept = EpisodeStore(run / part).read_labels(episode["episode_id"], 2)
        assert episode["labels"]["reward_version"] == kept.reward_version == 2
        assert episode["labels"]["reward"].tolist() == kept.reward.tolist()
    for name, text in noted.items():
        assert (run / name).read_text() != text, f"{name} is about the reward before"
    check_finished(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "row"),
    [
        ("record", 0), ("record", 5), ("reward", 0), ("audit", 0), ("clone", 0),
        ("evaluation_before", 0), ("fine_tune", 0), ("evaluate_during", 1), ("evaluation_after", 1),
    ],
)  # fmt: skip
def test_ctrl_c_at_any_stage_leaves_a_run_that_can_be_resumed(tmp_path, capsys, stage, row):
    run = interrupt(tmp_path, stage, row, capsys)
    assert cli.main(["resume", str(run)]) == 0
    check_finished(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "wait_s", "options"),
    [
        ("record", 1.0, ["processes=2"]), ("record", 12.0, ["processes=2"]),
        ("fine-tune", 2.0, ["loop=ray"]), ("fine-tune", 40.0, ["loop=ray"]),
        ("report", 0.1, []),
    ],
)  # fmt: skip
def test_ctrl_c_at_a_terminal_reaches_every_process_and_one_sentence_is_said(
    tmp_path, stage, wait_s, options
):
    run = tmp_path / "toy"
    run.mkdir()
    cfg = toy_job(tmp_path)
    cfg.demos.held_out = 200 if stage == "record" else 2
    cfg.fine_tune.episodes = 4000 if stage == "fine-tune" else 4
    save_config(cfg, run)
    words = [Path(sys.executable).with_name("embodied"), "resume", run, *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"[{stage}]"):
            break
    time.sleep(wait_s)
    os.killpg(process.pid, signal.SIGINT)
    lines = process.stderr.read().splitlines()
    assert process.wait(timeout=200) == 130
    said = [line for line in lines if line and line[0] != "["]
    assert said == [
        f"embodied: interrupted; what was finished is on disk. To continue: embodied resume {run}"
    ]
    smaller = ["demos.held_out=2", "fine_tune.episodes=4", "loop=inline"]
    assert cli.main(["resume", str(run), *smaller]) == 0
    assert finished(run) == list(STAGES)


@pytest.mark.slow
def test_a_rejected_reward_stops_the_run_and_an_override_goes_on(tmp_path):
    with pytest.raises(RewardRejected, match="override_audit=true"):
        command.train(toy_job(tmp_path, override=False))
    run = tmp_path / "toy"
    assert finished(run) == ["record", "reward"]
    assert not (run / "policy_base").exists()
    command.resume(run, ["override_audit=true"])
    check_finished(run)


def test_a_seed_decides_the_whole_run_wherever_it_was_interrupted(tmp_path, capsys):
    """What a stage draws depends on its name and the run's seed, not on what ran before it."""
    results = []
    for number, stage in enumerate(("none", "clone")):
        torch.manual_seed(number)
        folder = tmp_path / str(number)
        folder.mkdir()
        if stage == "none":
            (folder / "toy").mkdir()
            save_config(toy_job(folder), folder / "toy")
        else:
            interrupt(folder, stage, 0, capsys)
        assert cli.main(["resume", str(folder / "toy")]) == 0
        paths = [folder / "toy" / name / "model.safetensors" for name in ("policy_base", "policy")]
        results.append([load_file(path) for path in paths])
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


@pytest.mark.parametrize("bad", [0, 4])
def test_the_policy_is_cloned_from_failures_too_where_nobody_sorted_them(
    tmp_path, capsys, monkeypatch, bad
):
    cloned = []

    def remember(episodes, chunk):
        cloned.extend(episodes)
        return examples_from(episodes, chunk)

    monkeypatch.setattr(stages, "examples_from", remember)
    run = tmp_path / "toy"
    run.mkdir()
    cfg = toy_job(tmp_path, stage="clone", row=0)
    cfg.demos.policy, cfg.demos.policy_failures = 2, bad
    save_config(cfg, run)
    assert cli.main(["resume", str(run)]) == 130
    assert [e.success for e in cloned] == [True] * 2 + [False] * bad
    assert len(EpisodeStore(run / "failures")) == max(3, bad)


def test_the_display_of_a_resumed_run_goes_on_from_the_episodes_before(tmp_path):
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    for episode in [*range(30), 29]:  # a resumed run may tell of one again
        sink.write({"episode": episode, "episode_id": f"online-{episode:06d}", "steps": 50,
                    "learned_success": episode >= 20, "return": float(episode >= 10),
                    "intervention_steps": 5 * (episode >= 20)})  # fmt: skip
    sink.close()
    out = io.StringIO()
    with Display(Console(file=out, width=200), every_s=0.0) as display:
        cfg = toy_job(tmp_path)
        cfg.fine_tune.episodes = 40
        job = Job(run_dir=tmp_path, cfg=cfg, metrics=Metrics([]), display=display)
        watch = Watch(job)
        watch({"episode": 30, "episode_id": "online-000030", "steps": 50, "learned_success": True,
               "return": 21.0, "intervention_steps": 0})  # fmt: skip
    first, second = out.getvalue().splitlines()
    assert "30/40 | accepted 50 % | operator 5 % | reward 1.00 | Waiting for the next" in first
    assert "31/40 | accepted 55 % | operator 5 % | reward 2.00 | Learning from" in second


def test_eval_says_where_its_result_and_its_episodes_are(tmp_path, capsys):
    cfg, run = toy_job(tmp_path), tmp_path / "toy"
    run.mkdir()
    save_config(cfg, run)
    encoder = build_encoder(cfg)
    policy = build_policy(cfg, encoder)
    shown = with_features(recorded(Assignment(purpose="demo", number=3)), encoder)
    policy.fit_statistics(examples_from([shown], cfg.policy.chunk))
    save_policy(policy, run, "policy_base", cfg)
    assert cli.main(["eval", str(run), "evaluate.episodes=1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("policy_base: success ")
    assert json.loads(Path(told[1].partition(": ")[0]).read_text())["policy"] == "policy_base"
    assert len(EpisodeStore(Path(told[2].partition(": ")[0]))) == 1


def test_eval_needs_a_run_that_has_a_policy(tmp_path):
    cfg = toy_job(tmp_path)
    with pytest.raises(BadConfig, match="name the run"):
        evaluate(cfg)
    cfg.run = str(tmp_path)
    with pytest.raises(BadConfig, match="has no policy yet"):
        evaluate(cfg)


def recorded(assignment, env=None):
    return demonstrate(env or CountingEnv(), assignment, run_seed=0, noise=0.1, chunk=4)


def test_a_demonstration_succeeds_and_goes_on_for_a_few_frames():
    episode = recorded(Assignment(purpose="demo", number=3))
    assert episode.episode_id == "demo-000003"
    assert episode.success
    assert episode.success_source == "human"
    done_at = int(np.argmax(episode.state[:, 2] >= 5.0 - 1e-6))
    assert done_at < len(episode) < CountingEnv().max_episode_steps
    assert np.array_equal(episode.action, episode.human_action)
    assert (episode.policy_version == -1).all()
    assert np.array_equal(episode.chunk_index, np.arange(len(episode)) % 4)


def test_a_deliberate_failure_fails_whatever_its_kind():
    for number, kind in enumerate(("stops short", "moves at random", "goes through the motions")):
        episode = recorded(Assignment(purpose="failure", number=number, failure=kind))
        assert episode is not None
        assert episode.success is False
        assert episode.state[:, 2].max() < 5.0


def test_an_expert_that_never_succeeds_is_reported():
    with pytest.raises(BadInput, match="expert of count failed from 10 starts"):
        recorded(Assignment(purpose="demo", number=0), CountingEnv(goal=1000.0))


def test_examples_hold_every_chunk_and_pad_only_at_an_episodes_end():
    episodes = [random_episode(np.random.default_rng(i), steps=n) for i, n in enumerate((5, 9))]
    examples = examples_from(episodes, 4)
    assert len(examples) == 14
    for start, episode in ((0, episodes[0]), (5, episodes[1])):
        for t in range(len(episode)):
            real = int(examples.valid[start + t].sum())
            assert real == min(4, len(episode) - t)
            found = examples.action[start + t, :real].numpy()
            assert np.array_equal(found, episode.action[t : t + real])
            assert np.array_equal(examples.state[start + t].numpy(), episode.state[t])


def test_imitation_of_nothing_is_refused():
    with pytest.raises(BadInput, match="at least one episode"):
        examples_from([], 4)


def test_episodes_to_80_is_the_first_version_that_succeeds_in_80_percent_of_unseen_seeds():
    curve = [Point(episodes=20 * n, success=wilson(n, 10)) for n in range(10)]
    assert episodes_to(0.8, curve) == 160
    assert episodes_to(0.8, curve[:8]) is None


def test_ctrl_c_is_left_to_the_parent():
    set_up = partial(partial, signal.pthread_sigmask, signal.SIG_BLOCK)
    assert all(signal.SIGINT in blocked for blocked in in_processes(set_up, [[], []], 2))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_process_that_dies_is_told_in_one_sentence():
    with pytest.raises(WorkerLost, match="processes=1 needs the least memory"):
        list(in_processes(partial(partial, os._exit), [1, 1], 2))


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(processes):
    set_up = partial(partial, operator.mul, 2)
    assert list(in_processes(set_up, [3, 1, 2], processes)) == [6, 2, 4]
    assert list(in_processes(set_up, [], processes)) == []


def test_an_error_in_another_process_arrives_as_what_it_is():
    work = in_processes(partial(partial, tasks), ["metaworld", "metawrld"], 2)
    assert next(work)
    with pytest.raises(UnknownName, match="did you mean metaworld") as caught:
        next(work)
    assert caught.value.near == ["metaworld"]
