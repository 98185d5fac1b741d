"""The command line. Each command lives in its own module, imported only when it is called."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied import shell
from embodied.errors import BadConfig, EmbodiedError, UnknownName

INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: what it is for, what it takes, and where it lives."""

    summary: str
    usage: str
    function: str
    """``module:function``; see `docs/commands.md` for what the function is called with."""
    check: str = ""
    """The same of what is told before the function's module, which may take long, is imported."""


COMMANDS: Mapping[str, Command] = {
    "train": Command(
        summary="run an experiment from demonstrations to report",
        usage="[key=value ...]",
        function="embodied.train:train",
        check="embodied.first_checks:check_job",
    ),
    "align": Command(
        summary="align a policy with how a person wants the task to be done, by comparisons",
        usage="[RUN] [way=NAME] [rater=scripted|person] [key=value ...]",
        function="embodied.align:align",
        check="embodied.align_choice:check_align",
    ),
    "resume": Command(
        summary="continue a run exactly where it stopped",
        usage="RUN [key=value ...]",
        function="embodied.train:resume",
    ),
    "eval": Command(
        summary="measure success on unseen seeds, with confidence intervals",
        usage="[RUN] [key=value ...]",
        function="embodied.evaluate:evaluate",
        check="embodied.first_checks:check_evaluation",
    ),
    "audit": Command(
        summary="decide whether rewards can be trusted, in a run or on a dataset; writes a card",
        usage="[RUN] [dataset=FOLDER] [success_key=COLUMN] [output=FOLDER] [rewards=[NAME,...]] "
        "[shifted=FOLDER] [other_robot=FOLDER] [key=value ...]",
        function="embodied.audit_run:audit",
        check="embodied.first_checks:check_audit",
    ),
    "attack": Command(
        summary="optimise against a run's reward, and report what is true; writes a page",
        usage="RUN [key=value ...]",
        function="embodied.adversary_run:attack",
        check="embodied.first_checks:attacked_run",
    ),
    "label": Command(
        summary="score a LeRobotDataset with a reward, or people's labels; writes a copy",
        usage="[RUN] [dataset=FOLDER] [output=FOLDER] [labels=people] [key=value ...]",
        function="embodied.label:label",
        check="embodied.first_checks:label_folders",
    ),
    "serve-reward": Command(
        summary="answer for a reward over HTTP, so that it can live on another machine",
        usage="[RUN] [key=value ...]",
        function="embodied.serve_reward:serve_reward",
        check="embodied.first_checks:check_values",
    ),
    "serve-preferences": Command(
        summary="ask people which clips are better, on a page in the browser",
        usage="[RUN] [dataset=FOLDER] [key=value ...]",
        function="embodied.preferences.serve:serve_preferences",
        check="embodied.first_checks:compared_dataset",
    ),
    "branch": Command(
        summary="let a policy go on where a person took over; writes pairs to compare",
        usage="RUN [output=FOLDER] [key=value ...]",
        function="embodied.preferences.branch:branch",
        check="embodied.first_checks:branched_run",
    ),
    "export-reward": Command(
        summary="write a run's reward as a reward model that LeRobot loads",
        usage="RUN [output=FOLDER]",
        function="embodied.export_reward:export_reward",
        check="embodied.first_checks:exported_run",
    ),
    "record": Command(
        summary="record demonstrations as a LeRobotDataset",
        usage="[RUN] [key=value ...]",
        function="embodied.record:record",
        check="embodied.first_checks:check_job",
    ),
    "view": Command(
        summary="open a run's episodes in Rerun",
        usage="RUN",
        function="embodied.view:view",
    ),
    "envs": Command(
        summary="list environments, or the tasks of one",
        usage="[SUITE]",
        function="embodied.list_envs:list_envs",
    ),
    "runs": Command(
        summary="list runs with their success before and after",
        usage="",
        function="embodied.runs:list_runs",
    ),
}
TAKES_OVERRIDES = (
    "train", "align", "resume", "eval", "audit", "attack", "label", "serve-reward",
    "serve-preferences", "branch", "export-reward", "record",
)  # fmt: skip
OWN_WORDS = {
    "align": ("way", "rater"),
    "label": ("dataset", "output", "labels"),
    "audit": ("dataset", "success_key", "output", "rewards", "shifted", "other_robot"),
    "serve-preferences": ("dataset",),
    "branch": ("output",),
    "export-reward": ("output",),
}
"""Words ``name=...`` that a command takes beside the configuration's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words)
    _complete(parser)
    try:
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise UnknownName("command", words[0], COMMANDS)
        _refuse_options(words)
        arguments = parser.parse_args(words or ["--help"])
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: on a busy machine two
        # threads that wait for each other take ten times as long as one
        _run(arguments)
    except EmbodiedError as error:
        print(f"embodied: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        told = " ".join(["interrupted; what was finished is on disk.", *map(str, stop.args)])
        print(f"\nembodied: {told}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _refuse_options(words: Sequence[str]) -> None:
    """Other programs are told ``--seed 1``; here it is ``seed=1``."""
    if not words or words[0] not in TAKES_OVERRIDES or {"-h", "--help"} & set(words):
        return
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("-"):
            own = OWN_WORDS.get(words[0], ())
            right = shell.as_override(word, following, [*own, *shell.keys(words)])
            told = f"write {right}" if right else f"embodied {words[0]} --help lists the keys"
            raise BadConfig(f"{words[0]} takes key=value, not '{word}'; {told}.")


def _run(arguments: argparse.Namespace) -> None:
    name: str = arguments.command
    if name == "view":
        run = _find_run(arguments.run)
        _load(name)(run, part=arguments.part, save=arguments.save, port=arguments.port)
    elif name == "envs":
        _load(name)(arguments.suite)
    elif name == "runs":
        _load(name)(arguments.runs_dir)
    else:
        _run_with_overrides(name, arguments.words)


def _run_with_overrides(name: str, words: list[str]) -> None:
    """A first word without ``=`` names a run; ``train resume=RUN`` is another way to resume."""
    from embodied.config import compose, load_config
    from embodied.first_checks import check_task, is_dataset

    run = words[0] if words and "=" not in words[0] and not words[0].startswith("~") else None
    overrides = words if run is None else words[1:]
    if name == "train":
        if run is not None:
            raise BadConfig(f"train takes key=value, not '{run}'; did you mean resume {run}?")
        resumed = [word.removeprefix("resume=") for word in words if word.startswith("resume=")]
        if resumed:
            name, run = "resume", resumed[-1]
            overrides = [word for word in words if not word.startswith("resume=")]
    if name == "resume":
        if run is None:
            raise BadConfig("resume needs the run to continue: embodied resume runs/<name>.")
        run_dir = _find_run(run)
        check_task(load_config(run_dir, overrides))
        _tell_how_to_continue(name, lambda: run_dir, lambda: _load(name)(run_dir, overrides))
        return
    own, overrides = _take_own(name, overrides)
    if run is not None and "dataset" in OWN_WORDS.get(name, ()) and is_dataset(Path(run)):
        own, run = {"dataset": run, **own}, None
    if run is None:
        config = compose(overrides)
    else:
        run_dir = _find_run(run)
        config = load_config(run_dir, overrides)
        config.run = str(run_dir)
    if COMMANDS[name].check:
        _import(COMMANDS[name].check)(config, **own)
    function = _load(name)

    def folder() -> Path | None:
        named = config.name and Path(config.runs_dir) / config.name
        return Path(config.run) if config.run else named

    if name in ("attack", "align", "branch"):  # two begin anew; one says itself how to go on
        function(config, **own)
        return
    again = "resume" if name == "train" else name
    _tell_how_to_continue(again, folder, lambda: function(config, **own))


def _take_own(name: str, words: list[str]) -> tuple[dict[str, str], list[str]]:
    """The command's own words, and all others."""
    taken = [word for word in words if word.partition("=")[0] in OWN_WORDS.get(name, ())]
    rest = [word for word in words if word not in taken]
    return {key: value for key, _, value in (word.partition("=") for word in taken)}, rest


def _tell_how_to_continue(
    name: str, run_dir: Callable[[], Path | None], work: Callable[[], None]
) -> None:
    """The run's folder is asked for when it is needed: the command may make it."""
    try:
        work()
    except KeyboardInterrupt:
        folder = run_dir()
        if folder is None or not folder.is_dir():
            raise
        raise KeyboardInterrupt(f"To continue: embodied {name} {folder}") from None


def _load(name: str) -> Callable[..., Any]:
    return _import(COMMANDS[name].function)


def _import(path: str) -> Callable[..., Any]:
    module, _, function = path.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded


def _find_run(text: str) -> Path:
    from embodied.runs import find_run

    return find_run(text)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(
        f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()
    )
    parser = argparse.ArgumentParser(
        prog="embodied",
        usage="embodied COMMAND ...",
        description=f"Fine-tune robot policies with learned rewards.\n\ncommands:\n{listing}",
        epilog="embodied COMMAND --help lists what a command takes, with all choices.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, help=argparse.SUPPRESS)
    asked = {"-h", "--help"} & set(words)
    described = shell.describe_choices(words) if asked else ""
    for name, command in COMMANDS.items():
        _add_command(commands, name, command, described)
    return parser


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Command,
    described_choices: str,
) -> None:
    takes_overrides = name in TAKES_OVERRIDES
    parser = commands.add_parser(
        name,
        usage=f"embodied {name} {command.usage}".rstrip(),
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=described_choices if takes_overrides else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if takes_overrides:
        words = parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
        words.completer = shell.suggest  # type: ignore[attr-defined]
    elif name == "view":
        run = parser.add_argument("run", metavar="RUN", help="a run's folder, or its name")
        run.completer = shell.suggest_runs  # type: ignore[attr-defined]
        parser.add_argument(
            "--part", default="episodes", help="demos, failures, held_out, episodes (default), "
            "evaluation_before, evaluation_after, or what embodied eval wrote",
        )  # fmt: skip
        parser.add_argument("--save", type=Path, help="write an .rrd file, open no window")
        parser.add_argument("--port", type=int, default=9876, help="of the viewer (9876)")
    elif name == "envs":
        parser.add_argument("suite", nargs="?", metavar="SUITE", help="list this suite's tasks")
    else:
        parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="default: runs")


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, and leave, if it is the shell that asks."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())
