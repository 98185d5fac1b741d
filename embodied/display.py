"""What the person at the terminal sees: a live line on a terminal, plain lines in a log."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a run, in the words that are shown. NaN is left out."""

    stage: str
    doing: str
    """One plain sentence: what is happening, or what is waited for."""
    done: int = 0
    total: int = 0
    """Of the stage's unit (episodes, updates); 0 if it has none."""
    accepted: float = math.nan
    """Share of recent episodes that the learned reward takes for successes."""
    success: float = math.nan
    """Share of episodes that are successes in truth: in evaluations, which nobody learns from."""
    interventions: float = math.nan
    """Share of the steps of recent episodes, validations included, that the operator took."""
    reward: float = math.nan
    """Mean learned return of recent episodes."""
    steps_per_s: float = math.nan
    place: str = ""
    """Of the stage among all: ``stage 6 of 9``. `Display.enter` sets it."""

    @property
    def title(self) -> str:
        """The stage, and its place."""
        return f"{self.place}: {self.stage}" if self.place else self.stage


class Display:
    """Shows the latest `Status`. Use it as a context manager: it restores the terminal.

    Args:
        console: Where to write; stderr by default, so that output can be piped.
        every_s: Without a terminal, at most one line in so many seconds; a new stage always shows.
        clock: Seconds; a test passes its own.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._every_s = every_s
        self._clock = clock
        self._status = Status(stage="start", doing="Getting ready.")
        self._place = ""
        self._shown: Status | None = None
        self._shown_at = -math.inf
        self._stage_since = clock()
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._status != self._shown:
            self._print_line()

    def enter(self, number: int, total: int) -> None:
        """What is shown from now on belongs to this one of so many stages, counted from 1."""
        self._place = f"stage {number} of {total}"

    def show(self, status: Status) -> None:
        """Replace what is shown."""
        status = replace(status, place=self._place)
        new_stage = status.stage != self._status.stage
        if new_stage:
            self._stage_since = self._clock()
        self._status = status
        if self._live is None and (new_stage or self._clock() - self._shown_at >= self._every_s):
            self._print_line()

    def update(self, **changes: Any) -> None:
        """Change some fields of the status: ``update(doing="Waiting for the first reward.")``."""
        self.show(replace(self._status, **changes))

    def _print_line(self) -> None:
        self._shown, self._shown_at = self._status, self._clock()
        self._console.print(describe(self._status), highlight=False, markup=False, soft_wrap=True)

    def _render(self) -> Group:
        status = self._status
        head = Table.grid(padding=(0, 2))
        row: list[Text | ProgressBar] = [Text(status.title, style="bold")]
        if status.total:
            row.append(ProgressBar(total=status.total, completed=status.done, width=30))
            row.append(Text(f"{status.done}/{status.total}"))
        row += [Text(number) for number in _numbers(status)]
        row.append(Text(_clock_text(self._clock() - self._stage_since), style="dim"))
        head.add_row(*row)
        return Group(head, Text(status.doing, style="dim"))


def describe(status: Status) -> str:
    """The status as one line of text."""
    count = [f"{status.done}/{status.total}"] if status.total else []
    return f"[{status.title}] " + " | ".join([*count, *_numbers(status), status.doing])


def _numbers(status: Status) -> list[str]:
    shown = [
        (status.accepted, f"accepted {100 * status.accepted:.0f} %"),
        (status.success, f"success {100 * status.success:.0f} %"),
        (status.interventions, f"operator {100 * status.interventions:.0f} %"),
        (status.reward, f"reward {status.reward:.2f}"),
        (status.steps_per_s, f"{status.steps_per_s:.0f} steps/s"),
    ]
    return [text for value, text in shown if not math.isnan(value)]


def _clock_text(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
