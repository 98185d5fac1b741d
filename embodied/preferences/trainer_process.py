"""The trainer in a process of its own, beside the server: the page never waits for it.

It ends with the server, also if that is killed with -9; a server that goes on starts one that ended
anew. Nothing of it is lost but the version in work: answers and versions are in the database.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import final

from omegaconf import DictConfig

from embodied.pool import deaf_children
from embodied.preferences.pairing import Groups

RESTART_S = 60.0
"""Before a trainer that ended is started anew."""
STOP_S = 5.0
NICE = 10
"""The page goes first."""


@final
@dataclass(frozen=True, kw_only=True)
class TrainerJob:
    """What a trainer works on; travels to its process."""

    config: DictConfig
    root: Path
    """Of the dataset."""
    database: str
    """URL."""
    clips: Sequence[int]
    """Ids, ascending."""
    groups: Groups


@final
@dataclass(frozen=True, kw_only=True)
class TrainerStatus:
    """What a trainer says of itself, in sentences."""

    doing: str
    trouble: str = ""
    """Why it does not learn, or not of everything; empty if nothing is wrong."""


@final
class TrainerProcess:
    """Starts a trainer and hears from it.

    Args:
        job: What it works on.
        restart_s: Seconds before one that ended is started anew.
    """

    def __init__(self, job: TrainerJob, restart_s: float = RESTART_S) -> None:
        self.job, self.restart_s = job, restart_s
        self.status = TrainerStatus(doing="Starts.")
        self._closing, self._starting = threading.Event(), threading.Lock()
        self._start()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid

    def close(self) -> None:
        """End it."""
        self._closing.set()
        with self._starting:  # none is started from here on
            self._process.terminate()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
        self._listener.join(STOP_S)

    def _start(self) -> None:
        context = get_context("spawn")
        self._heard, told = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(self.job, told), daemon=True)
        with deaf_children():
            self._process.start()
        told.close()  # the process has its own end: when that is closed, it ended

    def _listen(self) -> None:
        while True:
            try:
                self.status = self._heard.recv()
            except (EOFError, OSError):
                self._process.join(STOP_S)
                self.status = TrainerStatus(
                    doing="Nothing is learnt now.",
                    trouble=f"The trainer ended unexpectedly (code {self._process.exitcode}); all "
                    f"answers are kept. It starts again within {self.restart_s:.0f} s.",
                )
                self._closing.wait(self.restart_s)
                with self._starting:
                    if self._closing.is_set():
                        return
                    self._start()


def _run(job: TrainerJob, told: connection.Connection) -> None:
    """The process. What is heavy is loaded there alone, once it ends with the server."""
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    os.nice(NICE)
    from embodied.preferences.trainer_work import work

    work(job, told)


def _end_with_the_server() -> None:
    """However that ended: also a killed process closes what it held open."""
    server = parent_process()
    assert server is not None  # nobody else starts this
    connection.wait([server.sentinel])
    os._exit(0)
