"""`docs/metrics.md` agrees with what a run writes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from embodied import train
from embodied.metrics import read_metrics
from embodied.testing.runs import toy_job

ROOT = Path(__file__).parents[1]
FREE = {"versions", "wall_seconds"}
"""Keys of `summary.json` whose own keys are packages and stages."""


def documented() -> dict[str, dict[str, str]]:
    """By heading: each key of the tables below it, with its meaning."""
    sections: dict[str, dict[str, str]] = {}
    heading = ""
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.startswith("| `"):
            _, names, meaning, _ = line.split("|")
            row = dict.fromkeys(re.findall(r"`(\w+)`", names), meaning)
            assert not row.keys() & sections.get(heading, {}).keys(), f"twice: {line}"
            sections.setdefault(heading, {}).update(row)
    return sections


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    cfg = toy_job(folder)
    cfg.algorithm.floor = 1.0  # of its small batches little is imitated
    train.train(cfg)
    return folder / "toy"


def test_every_metric_is_documented_and_every_documented_metric_is_written(run: Path) -> None:
    sections = documented()
    del sections["`summary.json`"]
    optional = sections.pop("Only in some runs")
    rows = read_metrics(run / "metrics.jsonl")
    written = {key for row in rows for key in row}
    promised = {key for section in sections.values() for key in section}
    assert written - promised - set(optional) == set()
    assert promised - written == set()
    stages = {str(row["stage"]) for row in rows}
    assert stages == set(re.findall(r"`(\w+)`", sections["Every row"]["stage"]))


def test_what_only_some_runs_write_is_written_somewhere() -> None:
    folders = ("embodied", "policies", "reward_models")
    code = "".join(path.read_text() for name in folders for path in (ROOT / name).rglob("*.py"))
    assert [key for key in documented()["Only in some runs"] if f'"{key}"' not in code] == []


def test_the_summary_has_the_documented_keys(run: Path) -> None:
    sections = documented()["`summary.json`"]
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) == set(sections)
    for key, value in summary.items():
        inner = set(_keys(value)) if key not in FREE else set()
        assert inner <= set(re.findall(r"`(\w+)`", sections[key])), f"{key} has other keys"


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for item in value if isinstance(value, list) else []:
        yield from _keys(item)
