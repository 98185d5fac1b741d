"""Rows survive crashes, wandb never harms a run, and the display tells what is going on."""

import io
import json
import logging
import math
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from embodied.display import Display, Status, describe
from embodied.errors import CorruptFile
from embodied.metrics import (
    JsonlSink,
    MemorySink,
    Metrics,
    Sink,
    WandbSink,
    read_metrics,
)

rows = st.lists(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=5
    ),
    min_size=1,
    max_size=6,
)


@given(rows=rows, cut=st.integers(0, 200))
def test_whatever_a_crash_tears_off_only_the_last_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, float]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    sink = JsonlSink(path)
    for row in rows:
        sink.write(row)
    sink.close()
    whole = read_metrics(path)
    content = path.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    path.write_bytes(content[: len(content) - min(cut, last)])
    kept = whole if cut == 0 else whole[:-1]
    assert read_metrics(path) == kept
    again = JsonlSink(path)
    again.write({"after": 1})
    again.close()
    assert read_metrics(path) == [*kept, {"after": 1}]


def test_a_row_is_on_disk_before_write_returns(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    sink.write({"reward": 0.5})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"reward": 0.5}
    sink.close()


def test_undefined_numbers_are_null_because_json_has_no_nan(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    sink.write({"a": math.nan, "b": -math.inf, "c": 1.0})
    sink.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"a": None, "b": None, "c": 1.0}]


def test_a_line_that_is_damaged_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"b": \n{"c": 1}\n')
    with pytest.raises(CorruptFile, match="line 2"):
        read_metrics(path)


def test_no_file_means_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_rows_reach_every_sink_as_copies() -> None:
    first, second = MemorySink(), MemorySink()
    metrics = Metrics([first, second])
    row = {"a": 1.0}
    metrics.write(row)
    row["a"] = 2.0
    metrics.close()
    assert first.rows == second.rows == [{"a": 1.0}]
    assert all(isinstance(sink, Sink) for sink in (first, metrics))


def test_wandb_offline_writes_into_the_run(tmp_path: Path) -> None:
    sink = WandbSink(
        run_dir=tmp_path, name="run", config={"seed": 1}, project="embodied", close_timeout_s=300.0
    )
    sink.write({"reward": 0.5, "stage": "fine_tune"})
    sink.close()
    written = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(written) == 1
    deadline = time.monotonic() + 120.0  # wandb's own process writes, on a busy machine later
    while b"fine_tune" not in written[0].read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"fine_tune" in written[0].read_bytes()


def test_wandb_that_cannot_start_is_a_warning_and_not_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    sink = WandbSink(run_dir=tmp_path, name="run", config={}, project="no/such:project")
    with caplog.at_level(logging.WARNING):
        sink.write({"reward": 0.5})
        sink.close()
    assert "metrics.jsonl" in caplog.text


def test_disabled_wandb_starts_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    sink = WandbSink(run_dir=tmp_path, name="run", config={}, project="p", mode="disabled")
    sink.write({"reward": 0.5})
    assert threading.active_count() == before
    sink.close()
    assert list(tmp_path.iterdir()) == []


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_lines_are_few_but_every_stage_and_the_end_are_told() -> None:
    clock, out = _Clock(), io.StringIO()
    with Display(Console(file=out, width=200), every_s=5.0, clock=clock) as display:
        display.show(Status(stage="clone", doing="Cloning the policy.", total=100))
        for step in range(100):
            clock.now += 0.1
            display.update(done=step + 1)
        display.show(Status(stage="fine-tune", doing="Waiting for the first episode."))
        display.update(doing="Learning.")
    lines = out.getvalue().splitlines()
    assert [line.split("]")[0] for line in lines] == ["[clone"] * 2 + ["[fine-tune"] * 2
    assert "Waiting for the first episode." in lines[-2]
    assert lines[-1].endswith("Learning.")


def test_numbers_that_nobody_knows_are_left_out() -> None:
    known = Status(stage="fine-tune", doing="Learning.", done=3, total=200, accepted=0.25)
    assert describe(known) == "[fine-tune] 3/200 | accepted 25 % | Learning."


def test_each_line_says_which_stage_it_is_of_how_many() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=200), every_s=0.0) as display:
        display.enter(6, 9)
        display.show(Status(stage="fine-tune", doing="Learning."))
        display.update(done=1, total=200)
        display.enter(7, 9)
        display.show(Status(stage="evaluate_during", doing="Rolling out.", success=0.5))
    assert out.getvalue().splitlines() == [
        "[stage 6 of 9: fine-tune] Learning.",
        "[stage 6 of 9: fine-tune] 1/200 | Learning.",
        "[stage 7 of 9: evaluate_during] success 50 % | Rolling out.",
    ]


def test_on_a_terminal_the_live_line_shows_the_numbers() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Display(console) as display:
        display.show(
            Status(stage="fine-tune", doing="Learning.", done=3, total=200, interventions=0.12)
        )
    assert "operator 12 %" in out.getvalue()
    assert "3/200" in out.getvalue()
