"""What a run has left on disk, read for the report; parts that are not there yet are empty."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from embodied.dataset import EpisodeStore
from embodied.dataset_layout import INFO
from embodied.errors import CorruptFile
from embodied.metrics import METRICS_FILE, Value, read_metrics
from embodied.runs import COMMANDS_FILE

LOOP_NAMES = {
    "learned_success": "accepted",
    "true_success": "success",
    "return": "reward_sum",
    "intervention_steps": "human_steps",
}
"""What `embodied.messages.Note` calls the same numbers."""


@dataclass(frozen=True, kw_only=True)
class OnlineEpisode:
    """One row of `metrics.jsonl` about a finished online episode."""

    episode_id: str
    number: int
    """From 1, among all online episodes of the run, validations included."""
    learned_success: bool
    true_success: bool | None
    learned_return: float
    intervention_steps: int
    steps: int
    operator_seconds: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run, as far as it got."""

    run_dir: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    card: dict[str, Any]
    """`reward_card.json`."""
    episodes: tuple[OnlineEpisode, ...]
    """That the policy could learn from: without the validations, which lie between them."""
    validations: tuple[OnlineEpisode, ...] = ()
    """Online episodes that versions were judged by; nobody may intervene in them."""
    commands: tuple[dict[str, Value], ...] = ()
    """How it was begun and resumed, as `commands.jsonl` says; older runs have none."""
    liked: tuple[dict[str, Value], ...] = ()
    """Rows about the episodes with the highest learned return, the highest first."""
    alarm: str = ""
    """What the training monitor warned of."""

    @property
    def task(self) -> str:
        """Name of the task."""
        return str((self.config.get("env") or {}).get("task", self.run_dir.name))

    def store(self, part: str) -> EpisodeStore | None:
        """One of the run's datasets (``episodes``, ``demos``...); None if it does not exist."""
        root = self.run_dir / part
        return EpisodeStore(root) if (root / INFO).is_file() else None


def read_run(run_dir: Path) -> RunRecord:
    """Read all small files of a run.

    Raises:
        CorruptFile: naming the file that cannot be read.
    """
    rows = read_metrics(run_dir / METRICS_FILE)
    return RunRecord(
        run_dir=run_dir,
        config=_read_yaml(run_dir / "config.yaml"),
        summary=_read_json(run_dir / "summary.json"),
        card=_read_json(run_dir / "reward_card.json"),
        episodes=_online_episodes(rows, ("online", None)),
        validations=_online_episodes(rows, ("validation",)),
        commands=tuple(read_metrics(run_dir / COMMANDS_FILE)),
        liked=_liked(rows),
        alarm=" ".join(dict.fromkeys(str(row["alarm"]) for row in rows if row.get("alarm"))),
    )


def _liked(rows: Sequence[dict[str, Value]]) -> tuple[dict[str, Value], ...]:
    latest = {str(row["episode_id"]): row for row in rows if "episode_id" in row}
    named = [str(row["best_liked"]).split() for row in rows if "best_liked" in row]
    return tuple(latest[name] for name in (named[-1] if named else []) if name in latest)


def _online_episodes(
    rows: Sequence[dict[str, Value]], sources: Sequence[str | None]
) -> tuple[OnlineEpisode, ...]:
    """The latest row of each episode: a resumed run may have written one twice."""
    latest: dict[str, OnlineEpisode] = {}
    for row in rows:
        if "episode_id" not in row or row.get("source") not in sources:
            continue
        value = {
            name: row.get(name, row.get(in_loop)) for name, in_loop in LOOP_NAMES.items()
        } | row
        truth = value["true_success"]
        latest[str(row["episode_id"])] = OnlineEpisode(
            episode_id=str(row["episode_id"]),
            number=int(row.get("episode", len(latest))) + 1,  # type: ignore[arg-type]
            learned_success=bool(value["learned_success"]),
            true_success=None if truth is None else bool(truth),
            learned_return=float(value["return"] or 0.0),
            intervention_steps=int(value["intervention_steps"] or 0),
            steps=int(value.get("steps") or 0),
            operator_seconds=float(value.get("operator_seconds") or 0.0),
        )
    return tuple(latest.values())


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptFile(f"{path} is not JSON: {error}.") from error
    return dict(content)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CorruptFile(f"{path} is missing; is {path.parent} a run?")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CorruptFile(f"{path} is not YAML: {error}.") from error
    return dict(content or {})
