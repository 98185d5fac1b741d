"""Where measurements go: a file that survives a crash, wandb, memory.

A row is a flat mapping, `docs/metrics.md` defines every key. Sinks never stop a run: what wandb
cannot take is lost to wandb alone, `metrics.jsonl` has it.
"""

import json
import logging
import math
import os
import queue
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from omegaconf import DictConfig, OmegaConf

from embodied.config import instantiate
from embodied.durable import space_for
from embodied.errors import CorruptFile

METRICS_FILE = "metrics.jsonl"

Value = float | int | bool | str | None
Row = Mapping[str, Value]
Mode = Literal["offline", "online", "disabled"]

logger = logging.getLogger(__name__)


@runtime_checkable
class Sink(Protocol):
    """Takes rows until it is closed."""

    def write(self, row: Row) -> None:
        """Record one row; returns at once."""
        ...

    def close(self) -> None:
        """Finish what is pending; writing afterwards is an error of the caller."""
        ...


class MemorySink:
    """Keeps the rows in a list: for tests and notebooks."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Value]] = []

    def write(self, row: Row) -> None:
        """Keep a copy of the row."""
        self.rows.append(dict(row))

    def close(self) -> None:
        """Nothing is pending."""


class JsonlSink:
    """Appends one JSON object per line; a line that was written survives the process.

    A last line that a crash left torn is cut off when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with space_for(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _cut_torn_line(path)
            self._file = path.open("ab", buffering=0)

    def write(self, row: Row) -> None:
        """Append the row; NaN and infinity, which JSON lacks, become null.

        Raises:
            OutOfSpace: What was written before is whole.
        """
        finite = {key: None if _is_undefined(value) else value for key, value in row.items()}
        line = memoryview(f"{json.dumps(finite, allow_nan=False)}\n".encode())
        with space_for(self._path):
            end = self._file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[self._file.write(line) :]
            except OSError:
                self._file.truncate(end)
                raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WandbSink:
    """Hands rows to wandb in a thread of its own, so that wandb can neither stall nor end a run.

    Args:
        run_dir: wandb keeps its own files in ``run_dir/wandb``.
        name: Name of the run on wandb.
        config: What wandb shows as the run's configuration.
        project: Name of the wandb project.
        mode: ``offline`` writes files only, ``disabled`` does not even import wandb.
        close_timeout_s: How long `close` waits for wandb.
    """

    def __init__(
        self,
        *,
        run_dir: Path,
        name: str,
        config: Mapping[str, Any],
        project: str,
        mode: Mode = "offline",
        close_timeout_s: float = 20.0,
    ) -> None:
        self._close_timeout_s = close_timeout_s
        self._rows: queue.Queue[dict[str, Value] | None] = queue.Queue(maxsize=10_000)
        self._dropped = 0
        self._thread = threading.Thread(
            target=self._work, args=(run_dir, name, dict(config), project, mode), daemon=True
        )
        self._enabled = mode != "disabled"
        if self._enabled:
            self._thread.start()

    def write(self, row: Row) -> None:
        """Queue the row; it is dropped if wandb lags ten thousand rows behind, or has failed."""
        if not self._enabled:
            return
        try:
            self._rows.put_nowait(dict(row))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Give wandb ``close_timeout_s`` to finish, then go on without it."""
        if not self._enabled:
            return
        with suppress(queue.Full):
            self._rows.put_nowait(None)
        self._thread.join(self._close_timeout_s)
        if self._thread.is_alive() or self._dropped:
            logger.warning(
                "wandb is incomplete (%d rows dropped); see %s", self._dropped, METRICS_FILE
            )

    def _work(
        self, run_dir: Path, name: str, config: dict[str, Any], project: str, mode: Mode
    ) -> None:
        import wandb

        try:
            settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
            run = wandb.init(
                project=project, name=name, dir=run_dir, config=config, mode=mode, settings=settings
            )
            while (row := self._rows.get()) is not None:
                run.log(row)
            run.finish()
        except (wandb.Error, OSError) as error:
            logger.warning("wandb failed (%s); metrics.jsonl has every row", error)


class Metrics:
    """Several sinks as one."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def write(self, row: Row) -> None:
        """Give the row to every sink."""
        for sink in self._sinks:
            sink.write(row)

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks:
            sink.close()


def open_metrics(run_dir: Path, config: DictConfig) -> Metrics:
    """`metrics.jsonl`, and what ``config.logger`` names."""
    plain = OmegaConf.to_container(config, resolve=True)
    named = instantiate(config.logger, run_dir=run_dir, name=run_dir.name, config=plain)
    return Metrics([JsonlSink(run_dir / METRICS_FILE), named])


def read_metrics(path: Path) -> list[dict[str, Value]]:
    """All whole rows of a `metrics.jsonl`; none if there is no such file.

    A torn last line, which a crash leaves, is skipped.

    Raises:
        CorruptFile: if any other line cannot be read.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise CorruptFile(
                f"line {number} of {path} is no JSON object ({error}); delete that line."
            ) from error
    return rows


def _is_undefined(value: Value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
