"""The command line answers fast, tells mistakes in one sentence, and knows how to go on."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import DictConfig

from embodied import choices, cli, dataset_layout, first_checks
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


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What ``--help`` shows after these words."""
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


def test_help_lists_the_keys_of_what_is_chosen_with_their_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = help_of(capsys, "train").split()
    for setting in ("seed=0", "demos.policy=1", "env.task=drawer-open-v3", "loop.actors=1",
                    "reward.members=5", "policy.chunk=4", "operator.budget=0.15"):  # fmt: skip
        assert setting in shown
    other = help_of(capsys, "train", "env=robosuite", "operator=none").split()
    assert {"env.task=Lift", "env.robot=Panda"} <= set(other)
    assert not [word for word in other if word.startswith("operator.")]
    unsorted = help_of(capsys, "train", "experiment=unsorted_demonstrations").split()
    assert {"demos.policy=6", "demos.policy_failures=24", "fine_tune.demo_share=0.0"} <= set(
        unsorted
    )
    assert not [word for word in unsorted if word.startswith("operator.")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "did you mean train"),
        (["train", "--seed", "1"], "takes key=value, not '--seed'; write seed=1."),
        (["eval", "drawer-1", "--evaluate.episodes=9"], "write evaluate.episodes=9."),
        (["train", "env=robosuite", "--env.robot", "IIWA"], "write env.robot=IIWA."),
        (["train", "--fine-tune.episodes", "seed=1"], "write fine_tune.episodes=VALUE."),
        (["label", "-output", "there"], "write output=there."),
        (["train", "--dry-run"], "embodied train --help lists the keys."),
        (["train", "logger=ofline"], "did you mean offline"),
        (["train", "demos.polcy=3"], "demos.policy"),
        (["train", "fine_tune.exploration=[1]"], "write [LEAST,GREATEST]"),
        (["train", "fine_tune.exploration=1"], "must be a list, written [a,b]"),
        (["train", "fine_tune.exploration=[low,1]"], "write [LEAST,GREATEST]"),
        (["train", "name=a/b"], "without a slash"),
        (["train", "env.terminate_on_success=true"], "could read success from the ending"),
        (["attack", "drawer-1", "env.terminate_on_success=true"], "could read success"),
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


SAID_AT_ONCE = {
    ("train", "env.task=drawer-opne-v3"): "did you mean drawer-open-v3",
    ("train", "name=drawer-1"): "the run runs/drawer-1 exists",
    ("record", "env=robosuite", "env.task=Lit"): "did you mean Lift",
    ("resume", "drawer-1", "env.task=drawer-opne-v3"): "did you mean drawer-open-v3",
    ("audit", "demos.held_out=1"): "demos.held_out is 1; it must be at least 2",
    ("audit", "output=there"): "go with dataset=FOLDER",
    ("eval",): "name the run whose policy to evaluate",
    ("eval", "drawer-1"): "has no policy yet",
    ("label",): "name what to label",
    ("label", "dataset=nothing"): "there is no such folder",
    ("export-reward",): "name the run whose reward to write",
    ("export-reward", "drawer-1"): "has no trained reward",
}


def test_what_needs_no_heavy_library_is_told_before_one_is_loaded(run_dir: Path) -> None:
    code = f"""
import sys
from embodied import cli
for words in {list(SAID_AT_ONCE)!r}:
    assert cli.main(words) == 2
print([name for name in ("torch", "numpy", "lerobot", "mujoco") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    lines = done.stderr.splitlines()
    assert len(lines) == len(SAID_AT_ONCE)
    for said, expected in zip(lines, SAID_AT_ONCE.values(), strict=True):
        assert expected in said


def test_the_checks_and_the_datasets_agree_on_what_a_dataset_is() -> None:
    assert first_checks.INFO == dataset_layout.INFO


def test_what_is_made_of_a_dataset_lies_beside_it_wherever_it_is_called_from(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert first_checks.beside(Path("."), "audit") == tmp_path / "mine-audit"
    assert first_checks.beside(Path("a/mine"), "audit") == Path("a/mine-audit")


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
    (run_dir / "policy").mkdir()
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
        ("embodied train env.", {"env.task=", "env.cameras="}),
        ("embodied train env.task=", {"drawer-open-v3", "window-open-v3"}),
        ("embodied train env=robosuite env.task=", {"Lift", "Stack"}),
        ("embodied train env=robosuite seed=1 env.ro", {"env.robot="}),
        ("embodied train override_audit=", {"true", "false"}),
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
