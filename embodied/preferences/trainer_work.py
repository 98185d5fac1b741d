"""What the trainer's process does: it looks at the clips, then waits for answers to learn from."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
import torch

from embodied.config import choose, instantiate
from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, BadInput, CorruptFile, EmbodiedError
from embodied.given_dataset import image_size
from embodied.job import build_cached_encoder, build_reward
from embodied.preferences.database import Database
from embodied.preferences.embedding import COMPONENTS, components, mean_map
from embodied.preferences.mix import Mix
from embodied.preferences.proposing import Proposer
from embodied.preferences.store import PreferenceStore
from embodied.preferences.trainer_process import TrainerJob, TrainerStatus
from embodied.preferences.training import Looked, Trainer
from embodied.reward_models.base import Compares

POLL_S = 1.0
"""Between two looks at the database."""
NONE = "none"


def work(job: TrainerJob, told: Connection) -> None:
    """Look at the clips once, then at the database again and again; never returns.

    Args:
        job: What to learn from.
        told: Where each new `TrainerStatus` goes.
    """
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
    store = PreferenceStore(Database(job.database))
    try:
        proposer = build_proposer(job, store)
    except EmbodiedError as error:
        proposer, missing = None, f"{missing} No model proposes: {error}".strip()
    tell(trouble=missing)
    trainer = Trainer(
        store,
        looked,
        partial(instantiate, job.config.preferences.reward),
        every=int(job.config.preferences.retrain_every),
        mix=Mix.configured(job.config.preferences.mix),
        seed=int(job.config.seed),
        tell=tell,
    )
    while True:
        try:
            if trainer.look() is not None:
                tell(trouble=missing)
        except EmbodiedError as error:
            tell("Waits for more answers.", f"No new version could be learnt: {error}")
        try:
            proposed = None if proposer is None else proposer.propose()
        except EmbodiedError as error:
            proposed = None
            tell(trouble=f"The model that proposes gave no answer: {error}")
        if proposed is None:
            time.sleep(POLL_S)


def build_proposer(job: TrainerJob, store: PreferenceStore) -> Proposer | None:
    """The model that proposes; None if the configuration wants none.

    Raises:
        BadConfig: for a reward that cannot compare two clips.
    """
    name = str(job.config.preferences.proposals)
    if name == NONE:
        return None
    model = build_reward(choose(job.config, "reward", name))
    if not isinstance(model, Compares):
        raise BadConfig(f"preferences.proposals is {name}, which cannot compare two clips.")
    return Proposer(store, EpisodeStore(job.root), model, name)


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
