"""The command line answers fast, tells mistakes in one sentence, and knows how to go on."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import DictConfig

from embodied import choices, cli
from embodied.config import compose, save_config
from embodied.errors import BadInput
from embodied.list_envs import list_envs

EMBODIED = Path(sys.executable).with_name("embodied")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that exists, seen from the directory that holds ``runs``."""
    monkeypatch.chdir(tmp_path)
    path = Path("runs") / "drawer-1"
    path.mkdir(parents=True)
    save_config(compose(["seed=5"]), path)
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What a command's function is called with, instead of hours of work."""
    seen: list[tuple[object, ...]] = []

    def load(name: str) -> Callable[..., None]:
        return lambda *arguments: seen.append((name, *arguments))

    monkeypatch.setattr(cli, "_load", load)
    return seen


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_its_function(name: str) -> None:
    module, _, function = cli.COMMANDS[name].function.partition(":")
    assert callable(getattr(import_module(module), function))


def test_help_lists_every_command_without_loading_anything_heavy() -> None:
    done = subprocess.run([EMBODIED, "--help"], capture_output=True, text=True, check=True)
    for name, command in cli.COMMANDS.items():
        assert f"{name} " in done.stdout
        assert command.summary in done.stdout


def test_help_of_train_lists_every_choice_with_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["train", "--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    for group in choices.groups():
        assert f"{group}=" in shown
        for choice, summary in choices.choices(group).items():
            assert choice in shown
            assert summary in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "did you mean train"),
        (["train", "logger=ofline"], "did you mean offline"),
        (["train", "demos.polcy=3"], "demos.policy"),
        (["train", "some-run"], "did you mean resume some-run"),
        (["resume"], "embodied resume runs/<name>"),
        (["view", "drawer-2"], "drawer-1"),
        (["envs", "metawrld"], "did you mean metaworld"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    run_dir: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_train_gets_the_composed_configuration(calls: list[tuple[object, ...]]) -> None:
    assert cli.main(["train", "seed=3"]) == 0
    ((name, config),) = calls
    assert name == "train"
    assert isinstance(config, DictConfig)
    assert (config.seed, config.run) == (3, None)


@pytest.mark.parametrize("words", [["resume", "drawer-1"], ["train", "resume=runs/drawer-1"]])
def test_there_are_two_ways_to_resume(
    run_dir: Path, calls: list[tuple[object, ...]], words: list[str]
) -> None:
    assert cli.main([*words, "fine_tune.episodes=9"]) == 0
    assert calls == [("resume", run_dir, ["fine_tune.episodes=9"])]


@pytest.mark.parametrize("name", ["eval", "audit", "record"])
def test_other_commands_work_on_a_run_with_the_configuration_it_had(
    run_dir: Path, calls: list[tuple[object, ...]], name: str
) -> None:
    assert cli.main([name, "drawer-1", "evaluate.episodes=9"]) == 0
    ((called, config),) = calls
    assert called == name
    assert isinstance(config, DictConfig)
    assert (config.seed, config.evaluate.episodes, config.run) == (5, 9, str(run_dir))


def test_ctrl_c_tells_how_to_continue(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: DictConfig) -> None:
        config.name = "drawer-1"
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_load", lambda name: train)
    assert cli.main(["train"]) == 130
    assert "embodied resume runs/drawer-1" in capsys.readouterr().err


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config: DictConfig) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_load", lambda name: train)
    with pytest.raises(ZeroDivisionError):
        cli.main(["train"])


def test_an_error_that_a_command_raises_is_a_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: DictConfig) -> None:
        raise BadInput("the camera 'wrist' is missing.")

    monkeypatch.setattr(cli, "_load", lambda name: train)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "embodied: the camera 'wrist' is missing.\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("embodied ", {"train", "resume", "view"}),
        ("embodied tr", {"train "}),
        ("embodied train log", {"logger="}),
        ("embodied train logger=", {"offline", "online", "jsonl"}),
        ("embodied train demos.", {"demos.policy=", "demos.reward="}),
        ("embodied resume runs/", {"runs/drawer-1 "}),
    ],
)
def test_the_shell_completes_commands_groups_choices_keys_and_runs(
    run_dir: Path, tmp_path: Path, line: str, expected: set[str]
) -> None:
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "|",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:", "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }  # fmt: skip
    subprocess.run([EMBODIED], env={**os.environ, **asked}, check=True)
    assert expected <= set(answer.read_text().split("|"))


def test_envs_lists_suites_and_the_tasks_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    list_envs(None)
    assert "metaworld" in capsys.readouterr().out
    list_envs("metaworld")
    assert "open the drawer" in capsys.readouterr().out
