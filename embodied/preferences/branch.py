"""`embodied branch RUN`: the policy goes on where a person took over, and in other ways.

Makes a dataset of its own: the run's episodes that were branched, and their branches. Nothing of
the run changes, and `embodied serve-preferences dataset=FOLDER` shows the pairs.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from embodied.branching import Brancher
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.first_checks import branched_run, database_url
from embodied.job import build_encoder, build_env, load_policy
from embodied.preferences.alone import RollOuts
from embodied.preferences.branches import Branches, take_overs
from embodied.preferences.database import Database
from embodied.preferences.labels import LabelBook
from embodied.preferences.store import PreferenceStore
from embodied.seeding import small_seed
from embodied.types import Episode

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Branched:
    """What was made."""

    take_overs: int
    """Corrections beside what they replaced; each has its answer."""
    questions: int
    """Pairs of branches; none has an answer yet."""


def branch(cfg: DictConfig, *, output: str = "") -> None:
    """Branch a run's episodes, and put the pairs into a preference database.

    Raises:
        BadConfig: if no run is named, or a number makes no sense.
        BadInput: if the run has no episodes, none to branch, or the output exists.
    """
    source, target = branched_run(cfg, output=output)
    made = branch_run(cfg, source, target)
    told = (
        f"{made.take_overs} take-overs with their answer and {made.questions} pairs of branches to "
        f"ask about are in {target}: embodied serve-preferences dataset={target}"
    )
    Console().print(told, highlight=False, soft_wrap=True, markup=False)


def branch_run(cfg: DictConfig, source: Path, target: Path) -> Branched:
    """The same without a word.

    Args:
        cfg: Of the run.
        source: Its dataset.
        target: Folder of the new dataset; its database goes beside it.
    """
    episodes = EpisodeStore(source)
    online = [i for i in range(len(episodes)) if episodes.summary(i).source == "online"]
    kept = EpisodeStore(target, episodes.fps)
    database = Database(database_url(cfg, target))
    try:
        branches = Branches(
            kept, PreferenceStore(database), LabelBook(database), small_seed(cfg.seed, "sides")
        )
        if cfg.branches.replay:
            made = _rolled(cfg, episodes, online, branches)
        else:
            made = Branched(take_overs=_found(cfg, episodes, online, branches), questions=0)
    finally:
        database.close()
    if made == Branched(take_overs=0, questions=0):
        raise BadInput(f"{source} has no take-overs, and branches.episodes asks for no others.")
    return made


def _rolled(
    cfg: DictConfig, episodes: EpisodeStore, online: list[int], branches: Branches
) -> Branched:
    """What a policy does from states that a simulator is brought to again."""
    env, encoder = build_env(cfg), build_encoder(cfg)
    try:
        policy = load_policy(Path(cfg.run), cfg.branches.policy, encoder)
        roll_on = partial(
            Brancher(env=env, policy=policy, encoder=encoder).branch,
            explore=float(cfg.branches.explore),
        )
        rng = np.random.default_rng(small_seed(cfg.seed, "branch"))
        return Branched(
            take_overs=_corrections(cfg, episodes, online, branches, roll_on, rng),
            questions=_siblings(cfg, episodes, online, branches, roll_on, rng),
        )
    finally:
        env.close()


def _found(cfg: DictConfig, episodes: EpisodeStore, online: list[int], branches: Branches) -> int:
    """Each take-over beside what the policy did alone where it looked most alike: no simulator."""
    alone, made = RollOuts(episodes, online), 0
    for index in online:
        if made == cfg.branches.take_overs:
            break
        episode = episodes.read(index)
        for taken in take_overs(episode)[: cfg.branches.take_overs - made]:
            found = alone.nearest(index, taken.start, taken.stop - taken.start)
            if found is not None:
                parent = _keep(branches.dataset, episode)
                other = _keep(branches.dataset, episodes.read(found.episode))
                branches.add_take_over(parent, taken, other, found.start)
                made += 1
    return made


def _corrections(
    cfg: DictConfig,
    episodes: EpisodeStore,
    online: list[int],
    branches: Branches,
    roll_on: Callable[..., Episode],
    rng: np.random.Generator,
) -> int:
    """Each take-over beside the same policy going on alone, up to the most that are wanted."""
    made = 0
    for index in online:
        if made == cfg.branches.take_overs:
            break
        episode = episodes.read(index)
        for taken in take_overs(episode)[: cfg.branches.take_overs - made]:
            seed = int(rng.integers(2**31))
            try:
                alone = roll_on(
                    episode, taken.start, number=taken.intervention, seed=seed,
                    steps=taken.stop - taken.start,
                )  # fmt: skip
            except BadInput as error:  # the others can be branched all the same
                logger.warning("%s is left out: %s", episode.episode_id, error)
                break
            parent = _keep(branches.dataset, episode)
            branches.add_take_over(parent, taken, branches.dataset.append(alone), taken.start)
            made += 1
    return made


def _siblings(
    cfg: DictConfig,
    episodes: EpisodeStore,
    online: list[int],
    branches: Branches,
    roll_on: Callable[..., Episode],
    rng: np.random.Generator,
) -> int:
    """Some episodes, each going on in several ways from a step of its first half."""
    made, wanted = 0, min(int(cfg.branches.episodes), len(online))
    for index in rng.choice(online, wanted, replace=False) if wanted else ():
        episode = episodes.read(int(index))
        step = int(rng.integers(1 + len(episode) // 2))
        steps = max(1, round(float(cfg.preferences.clip_s) * episodes.fps))
        seeds = rng.integers(2**31, size=int(cfg.branches.continuations))
        try:
            courses = [
                roll_on(episode, step, number=1000 + number, seed=int(seed), steps=steps)
                for number, seed in enumerate(seeds)
            ]
        except BadInput as error:
            logger.warning("%s is left out: %s", episode.episode_id, error)
            continue
        parent = _keep(branches.dataset, episode)
        others = [branches.dataset.append(course) for course in courses]
        made += len(branches.add_branches(parent, step, others))
    return made


def _keep(dataset: EpisodeStore, episode: Episode) -> int:
    """The episode's index in the dataset of branches, where it is added if it is new."""
    if episode.episode_id not in dataset.episode_ids():
        return dataset.append(episode)
    return dataset.index_of(episode.episode_id)
