"""Run folders: made, found by name, listed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import yaml
from omegaconf import DictConfig
from rich.console import Console

from embodied.config import CONFIG_FILE, save_config
from embodied.errors import BadConfig, UnknownName
from embodied.metrics import METRICS_FILE, JsonlSink, read_metrics
from embodied.provenance import provenance

SUMMARY_FILE = "summary.json"
COMMANDS_FILE = "commands.jsonl"
"""How a run was begun, and each time that it was resumed."""
CACHE_FOLDER = ".cache"
"""Of a folder of runs: what may be deleted at any time, and tokens."""
REWARD = "reward/reward.pt"
"""Where a run keeps its trained reward."""


def create_run(config: DictConfig, now: Callable[[], datetime] = datetime.now) -> Path:
    """Make the run's folder with its `config.yaml`, and set ``config.name`` if it was null.

    The command that does so is written down as the one that the run was begun with.

    Raises:
        BadConfig: if a run of that name exists.
    """
    if config.name is None:
        config.name = f"{config.env.task}-{now():%Y%m%d-%H%M%S}"
    check_free(config)
    run_dir = Path(str(config.runs_dir)) / str(config.name)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        save_config(config, run_dir)
        note_command(run_dir, "begun")
    except OSError as error:
        raise BadConfig(
            f"the run {run_dir} cannot be made ({error.strerror}); choose another runs_dir=... or "
            "name=..."
        ) from error
    return run_dir


def check_free(config: DictConfig) -> None:
    """Whether the name that was chosen for a new run, if one was, can be used.

    Raises:
        BadConfig: if a run of that name exists, or it is no name of a folder.
    """
    name = str(config.name)
    if name in ("", ".", "..") or Path(name).name != name:
        raise BadConfig(
            f"name={name} cannot be the name of a run: it names one folder in runs_dir, without "
            "a slash. runs_dir=FOLDER chooses where it lies."
        )
    run_dir = Path(str(config.runs_dir)) / name
    if config.name is not None and (run_dir / CONFIG_FILE).exists():
        raise BadConfig(
            f"the run {run_dir} exists; continue it with `embodied resume {run_dir}`, "
            "or choose another name=..."
        )


def note_command(run_dir: Path, what: Literal["begun", "resumed"]) -> None:
    """Write down that the command under way begins or resumes this run."""
    told = provenance()
    sink = JsonlSink(run_dir / COMMANDS_FILE)
    try:
        commit = told["git"] and told["git"]["commit"]
        row = {"what": what, "command": told["command"], "date": told["date"], "commit": commit}
        sink.write(row)
    finally:
        sink.close()


def find_run(text: str, runs_dir: Path = Path("runs")) -> Path:
    """A run by its path, or by its name within ``runs_dir``.

    Raises:
        UnknownName: listing runs with similar names.
    """
    for path in (Path(text), runs_dir / text):
        if (path / CONFIG_FILE).is_file():
            return path
    known = [path.name for path in _run_folders(runs_dir)]
    if not known:
        raise BadConfig(f"no run named '{text}': {runs_dir.resolve()} holds no runs.")
    raise UnknownName("run", text, known)


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """What the table of runs says about one of them."""

    name: str
    task: str
    stage: str
    episodes: int
    before: str
    after: str
    date: str


def describe_run(run_dir: Path) -> RunLine:
    """Read a run's state from its files; what is not there yet is shown as a dash."""
    config = yaml.safe_load((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    summary_path = run_dir / SUMMARY_FILE
    summary = json.loads(summary_path.read_text()) if summary_path.is_file() else {}
    rows = read_metrics(run_dir / METRICS_FILE)
    stages = [str(row["stage"]) for row in rows if "stage" in row]
    episodes = {row["episode_id"] for row in rows if "episode_id" in row}
    return RunLine(
        name=run_dir.name,
        task=str((config.get("env") or {}).get("task", "-")),
        stage="finished" if summary else (stages[-1] if stages else "not started"),
        episodes=int(summary.get("episodes", len(episodes))),
        before=_percent(summary.get("success_before")),
        after=_percent(summary.get("success_after")),
        date=f"{datetime.fromtimestamp((run_dir / CONFIG_FILE).stat().st_mtime):%Y-%m-%d %H:%M}",
    )


def list_runs(runs_dir: Path, console: Console | None = None) -> list[RunLine]:
    """Print a table of the runs, newest last, and return its lines.

    The table is as wide as its words: a name that was cut could not be typed, or piped on.
    """
    lines = sorted(map(describe_run, _run_folders(runs_dir)), key=lambda line: line.date)
    table = _table(lines) if lines else f"no runs in {runs_dir.resolve()}."
    console = console or Console()
    console.print(table, soft_wrap=True, highlight=False, markup=False)
    return lines


def _table(lines: Sequence[RunLine]) -> str:
    names = ("name", "task", "stage", "episodes", "before", "after", "date")
    rows = [("run", *names[1:]), *([str(getattr(line, name)) for name in names] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ([word.ljust(width) for word, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def _run_folders(runs_dir: Path) -> list[Path]:
    return sorted(path.parent for path in runs_dir.glob(f"*/{CONFIG_FILE}"))


def _percent(estimate: dict[str, float] | None) -> str:
    if not estimate:
        return "-"
    low, high = 100 * estimate["low"], 100 * estimate["high"]
    return f"{100 * estimate['mean']:.0f} % ({low:.0f}-{high:.0f})"
