"""The report of a run: true to the files, complete in itself, and there for unfinished runs too."""

import io
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from embodied.config import compose
from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, BadInput, CorruptFile, UnknownName
from embodied.metrics import JsonlSink, read_metrics
from embodied.operator_part import operator_part
from embodied.report import write_report
from embodied.report_figures import running_mean
from embodied.run_record import read_run
from embodied.runs import create_run, find_run, list_runs, note_command
from embodied.testing.episodes import random_episode
from embodied.types import Episode, Labels
from embodied.view import view

EPISODES = 30
VALIDATIONS = 10


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has everything."""
    root = tmp_path_factory.mktemp("runs") / "drawer-open-v3-test"
    root.mkdir()
    rng = np.random.default_rng(0)
    (root / "config.yaml").write_text("env:\n  task: drawer-open-v3\nseed: 0\n")
    _write_online(root, rng)
    for part, successes in (("evaluation_before", [0, 0, 1]), ("evaluation_after", [1, 1, 0])):
        store = EpisodeStore(root / part, 20.0)
        for seed, success in enumerate(successes):
            store.append(_episode(rng, f"{part}-{seed}", seed=seed, success=bool(success)))
    (root / "summary.json").write_text(json.dumps(_summary()))
    (root / "reward_card.json").write_text(json.dumps(_card()))
    return root


@pytest.fixture(scope="module")
def page(run_dir: Path) -> str:
    return write_report(run_dir).read_text()


def _write_online(root: Path, rng: np.random.Generator) -> None:
    sink = JsonlSink(root / "metrics.jsonl")
    store = EpisodeStore(root / "episodes", 20.0)
    for number in range(EPISODES):
        truth = bool(rng.random() < number / EPISODES)
        learned = truth if rng.random() < 0.9 else not truth
        human = 5 if number % 3 == 0 else 0
        sink.write({"stage": "fine_tune", "episode": number, "episode_id": f"e{number}",
                    "learned_success": learned, "true_success": truth, "source": "online",
                    "return": float(learned) + 0.1 * rng.standard_normal(), "steps": 20,
                    "intervention_steps": human, "operator_seconds": human / 20})  # fmt: skip
        if number >= EPISODES - 6:
            episode = _episode(rng, f"e{number}", seed=number, success=truth, human=human)
            store.append(episode, _labels(len(episode)))
    for number in range(EPISODES, EPISODES + VALIDATIONS):
        sink.write({"stage": "fine_tune", "episode": number, "episode_id": f"v{number}",
                    "learned_success": True, "true_success": True, "source": "validation",
                    "return": 1.0, "steps": 20, "intervention_steps": 0,
                    "operator_seconds": 0.0})  # fmt: skip
    sink.close()


def _episode(
    rng: np.random.Generator, episode_id: str, *, seed: int, success: bool, human: int = 0
) -> Episode:
    episode = random_episode(
        rng, 20, episode_id=episode_id, success=success, interventions=[(5, 5 + human)][:human]
    )
    return replace(episode, seed=seed)


def _labels(steps: int) -> Labels:
    progress = np.linspace(0, 1, steps + 1, dtype=np.float32)
    return Labels(
        reward=np.diff(progress), progress=progress, done=progress**4,
        uncertainty=np.full(steps + 1, 0.05, np.float32), success=True, done_index=steps,
        reward_version=1,
    )  # fmt: skip


def _summary() -> dict[str, object]:
    return {
        "command": "embodied train <b>", "success_before": _estimate(0.28, 0.17, 0.42),
        "success_after": _estimate(0.94, 0.84, 0.98), "episodes": EPISODES, "episodes_to_80": 22,
        "operator_seconds": 95.0, "wall_seconds": {"demos": 12.0, "reward": 61.0, "loop": 400.0},
        "git": {"commit": "0123abc", "dirty": False},
    }  # fmt: skip


def _estimate(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high, "n": 50}


def _card() -> dict[str, object]:
    gate = {"name": "voc", "label": "pass", "sentence": "Values rise with time."}
    return {"accepted": True, "headline": "This reward may be trained on.", "gates": [gate]}


def test_the_headline_says_what_the_summary_says(page: str) -> None:
    assert "success went from 28 % (17 to 42 %) to 94 % (84 to 98 %)" in page
    assert f"within {EPISODES} online episodes" in page
    assert "7 min 53 s" in page
    assert "This reward may be trained on." in page


def test_the_report_needs_nothing_but_itself_and_escapes_what_it_shows(page: str) -> None:
    sources = re.findall(r'(?:src|poster|href)="([^"]*)"', page)
    assert {s for s in sources if not s.startswith("data:")} == {"reward_card.html"}
    assert "embodied train &lt;b&gt;" in page
    assert page.count("<video") == 6
    assert "None" not in re.sub(r"<[^>]*>", "", page)


def test_the_confusion_table_counts_every_known_episode_once(run_dir: Path, page: str) -> None:
    cells = re.search(r"accepted by the reward.*?</table>", page, re.DOTALL)
    assert cells is not None
    counts = [int(n) for n in re.findall(r'<td class="number">(\d+)</td>', cells[0])]
    episodes = read_run(run_dir).episodes
    right = sum(e.learned_success is e.true_success for e in episodes)
    assert sum(counts) == EPISODES
    assert counts[0] + counts[3] == right


def test_the_operators_part_counts_all_online_episodes_and_only_what_was_helped(
    run_dir: Path, page: str
) -> None:
    helped = [number for number in range(EPISODES) if number % 3 == 0]
    part = operator_part(read_run(run_dir))
    rows = [row for row in read_metrics(run_dir / "metrics.jsonl") if row["episode"] in helped]
    accepted = sum(bool(row["learned_success"]) for row in rows)
    true = sum(bool(row["true_success"]) for row in rows)
    steps, human, seconds = 20 * (EPISODES + VALIDATIONS), 5 * len(helped), len(helped) / 4
    assert (part.steps, part.human_steps, part.seconds) == (steps, human, seconds)
    assert (part.helped, part.helped_accepted, part.helped_true) == (len(helped), accepted, true)
    assert part.successes_per_minute == pytest.approx(accepted / (seconds / 60))
    for said in (
        f"took {100 * human / steps:.1f} % of the steps of all {EPISODES + VALIDATIONS} online "
        f"episodes, {VALIDATIONS} validations included",
        f"accepted {accepted}: {60 * accepted / seconds:.1f} successes with help per operator",
        f"In truth {true} are successes.",
        f"from 28 % to 94 %: +66 points over the base policy, {60 * 66 / seconds:+.1f} points per",
    ):
        assert said in page


def test_a_run_without_help_has_no_successes_per_minute(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    assert operator_part(read_run(tmp_path)).successes_per_minute is None


def test_the_report_says_how_a_run_was_begun_and_that_it_was_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = "embodied train env.task=door-open-v3 seed=3"
    monkeypatch.setattr("sys.orig_argv", ["python", ".venv/bin/embodied", *typed.split()[1:]])
    run = create_run(compose([f"runs_dir={tmp_path}", "name=door"]))
    page = write_report(run).read_text()
    assert f"<pre>{typed}</pre>" in page
    assert "To continue: embodied resume door" in page
    assert "Resumed" not in page
    for number, again in enumerate(("Resumed once", "Resumed 2 times"), start=1):
        word = f"seed={number}"
        monkeypatch.setattr("sys.orig_argv", ["python", "bin/embodied", "resume", "door", word])
        note_command(run, "resumed")
        (run / "summary.json").write_text(json.dumps(_summary()))
        page = write_report(run).read_text()
        assert f"<pre>{typed}</pre>" in page
        assert again in page
        assert f"embodied resume door {word}" in page
    assert "To continue" not in page


def test_a_run_that_has_only_begun_has_a_report_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("env: {task: reach-v3}\n")
    page = write_report(tmp_path).read_text()
    assert "not measured yet" in page
    assert "The reward was not audited." in page


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "reward_card.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.yaml").write_text("env: {task: reach-v3}\n")
    (tmp_path / name).write_text("{")
    with pytest.raises(CorruptFile, match=re.escape(name)):
        write_report(tmp_path)


def test_an_episode_that_a_resumed_run_wrote_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    for accepted in (False, True):
        sink.write({"episode_id": "a", "accepted": accepted, "success": None, "reward_sum": 0.5})
    sink.write({"episode_id": "b", "source": "validation", "accepted": True})
    sink.close()
    (episode,) = read_run(tmp_path).episodes
    assert (episode.learned_success, episode.true_success, episode.learned_return) == (
        True, None, 0.5,
    )  # fmt: skip


@given(values=st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=60))
def test_the_running_mean_is_the_mean_of_the_last_known_values(values: Sequence[float]) -> None:
    means = running_mean(np.array(values, dtype=float), window=7)
    for end, mean in enumerate(means, start=1):
        known = [v for v in values[max(0, end - 7) : end] if v == v]
        assert mean == pytest.approx(np.mean(known)) if known else np.isnan(mean)


def test_the_table_of_runs_shows_before_and_after(run_dir: Path) -> None:
    out = io.StringIO()
    (line,) = list_runs(run_dir.parent, Console(file=out, width=160))
    assert (line.task, line.stage, line.episodes) == ("drawer-open-v3", "finished", EPISODES)
    assert "28 % (17-42)" in out.getvalue()
    assert "94 % (84-98)" in out.getvalue()


def test_no_name_of_a_run_is_ever_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    names = {f"button-press-topdown-wall-v3-{'x' * length}" for length in (1, 60, 150)}
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("env: {task: button-press-topdown-wall-v3}\n")
    list_runs(tmp_path)
    first = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert first[0] == "run"
    assert set(first[1:]) == names


def test_runs_are_found_by_path_or_name_and_near_names_are_told(run_dir: Path) -> None:
    assert find_run(str(run_dir), Path("nowhere")) == run_dir
    assert find_run(run_dir.name, run_dir.parent) == run_dir
    with pytest.raises(UnknownName, match=run_dir.name):
        find_run("drawer-opn-v3-test", run_dir.parent)
    with pytest.raises(BadConfig, match="holds no runs"):
        find_run("x", run_dir)


def test_view_saves_what_it_would_show_and_says_how_to_open_it(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "run.rrd"
    view(run_dir, part="episodes", save=saved, port=0)
    told = f"{saved}: 6 episodes of {run_dir / 'episodes'}. To open it: rerun {saved}\n"
    assert capsys.readouterr().out == told
    content = saved.read_bytes()
    assert content[:3] == b"RRF"
    for entity in (b"camera/front", b"state/0", b"action/1", b"who_acts", b"reward/progress"):
        assert entity in content, entity


def test_view_shows_what_eval_wrote(run_dir: Path, tmp_path: Path) -> None:
    part = run_dir / "evaluation_policy_door-open-v3"
    shutil.copytree(run_dir / "evaluation_after", part)
    view(run_dir, part=part.name, save=tmp_path / "a.rrd", port=0)
    assert (tmp_path / "a.rrd").stat().st_size > 1000


def test_view_refuses_a_part_that_the_run_lacks(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="evaluation_after"):
        view(run_dir, part="evaluation_aftr", save=tmp_path / "a.rrd", port=0)
    with pytest.raises(BadInput, match="demos"):
        view(run_dir, part="demos", save=tmp_path / "a.rrd", port=0)
