"""Ctrl-C at a chosen moment of a run, by configuration: a sink of metrics that presses it."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from embodied.metrics import Row


@final
class PressCtrlC:
    """Presses Ctrl-C at the n-th row of a stage, once per run folder.

    Args:
        run_dir: Where it remembers that it has pressed.
        name: Unused; every named sink gets it.
        config: Unused.
        stage: Whose rows are counted.
        row: Which of them, from 0.
    """

    def __init__(
        self, *, run_dir: Path, name: str, config: Mapping[str, Any], stage: str, row: int
    ) -> None:
        self._pressed = run_dir / "ctrl-c-was-pressed"
        self._stage, self._left = stage, row

    def write(self, row: Row) -> None:
        """Count, and press."""
        if row.get("stage") != self._stage or self._pressed.exists():
            return
        if self._left == 0:
            self._pressed.touch()
            signal.raise_signal(signal.SIGINT)
        self._left -= 1

    def close(self) -> None:
        """Nothing is pending."""
