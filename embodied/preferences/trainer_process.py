"""The trainer in a process of its own, beside the server: the page never waits for it.

It ends with the server, also if that is killed with -9; a server that goes on starts one that ended
anew. Nothing of it is lost but the version in work: answers and versions are in the database.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import final

import numpy as np
import torch
from omegaconf import DictConfig

from embodied.config import instantiate
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput, CorruptFile, EmbodiedError
from embodied.given_dataset import image_size
from embodied.job import build_cached_encoder
from embodied.pool import deaf_children
from embodied.preferences.database import Database
from embodied.preferences.embedding import components, mean_map
from embodied.preferences.mix import Mix
from embodied.preferences.pairing import Groups
from embodied.preferences.store import PreferenceStore
from embodied.preferences.training import Looked, Trainer

POLL_S = 1.0
"""Between two looks at the database."""
RESTART_S = 60.0
"""Before a trainer that ended is started anew."""
STOP_S = 5.0
NICE = 10
"""The page goes first."""
COMPONENTS = 24
"""Of a clip's embedding, as in `benchmarks/active_queries.py`."""


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
        self._closing = threading.Event()
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
                if self._closing.wait(self.restart_s):
                    return
                self._start()


def _run(job: TrainerJob, told: connection.Connection) -> None:
    """The process: looks at the clips once, then at the database again and again."""
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    os.nice(NICE)
    torch.set_num_threads(1)
    status = TrainerStatus(doing="Looks at the clips.")

    def tell(doing: str | None = None, trouble: str | None = None) -> None:
        nonlocal status
        status = replace(
            status,
            doing=status.doing if doing is None else doing,
            trouble=status.trouble if trouble is None else trouble,
        )
        told.send(status)

    try:
        looked, missing = look_at(job, tell)
    except EmbodiedError as error:
        tell("Nothing is learnt.", f"The clips cannot be learnt from: {error}")
        threading.Event().wait()  # starting anew would not help
        return
    tell(trouble=missing)
    trainer = Trainer(
        PreferenceStore(Database(job.database)),
        looked,
        partial(instantiate, job.config.preferences.reward),
        every=int(job.config.preferences.retrain_every),
        mix=Mix(**{kind: job.config.preferences.mix[kind] for kind in Mix.__dataclass_fields__}),
        seed=int(job.config.seed),
        tell=tell,
    )
    while True:
        try:
            if trainer.look() is not None:
                tell(trouble=missing)
        except EmbodiedError as error:
            tell("Waits for more answers.", f"No new version could be learnt: {error}")
        time.sleep(POLL_S)


def look_at(job: TrainerJob, tell: Callable[[str], None]) -> tuple[Looked, str]:
    """The clips of a dataset through the frozen encoder.

    Returns:
        What could be read, and a sentence about what could not; empty if all could.

    Raises:
        BadInput: if fewer than two could, or for frames that the encoder does not take.
    """
    dataset, encoder = EpisodeStore(job.root), build_cached_encoder(job.config)
    store = PreferenceStore(Database(job.database))
    clips, maps, trouble = store.clips(job.clips), {}, ""
    store.database.close()
    for number, clip in enumerate(clips):
        tell(f"Looks at the clips: {number} of {len(clips)}.")
        try:
            maps[clip.id] = mean_map(dataset, encoder, clip, image_size(job.config))
        except CorruptFile as error:
            trouble = trouble or str(error)
    if len(maps) < 2:
        raise BadInput(trouble or "there are fewer than two clips.")
    if trouble:
        trouble = f"{len(clips) - len(maps)} clips are left out: {trouble}"
    groups = [[clip for clip in group if clip in maps] for group in job.groups]
    features = components(np.stack([*maps.values()]), COMPONENTS)
    return Looked(clips=[*maps], features=features, groups=groups), trouble


def _end_with_the_server() -> None:
    """However that ended: also a killed process closes what it held open."""
    server = parent_process()
    assert server is not None  # nobody else starts this
    connection.wait([server.sentinel])
    os._exit(0)
