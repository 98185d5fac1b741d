"""How well episodes are liked, as the simulator tells it: for the scripted rater and the report.

No learner reads this. An episode's actions are played again from its start, once; what is found is
kept in its dataset's folder, so that it goes with the episodes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import hydra
from omegaconf import DictConfig

from embodied.dataset import EpisodeStore
from embodied.display import Status
from embodied.durable import write_atomically
from embodied.envs.base import TaskEnv
from embodied.envs.ways import Way, retrace
from embodied.job import Job, build_env, open_store, processes
from embodied.pool import in_processes

WAY_NAMED = "embodied.envs.ways_catalogue.way_named"


@dataclass(frozen=True, kw_only=True)
class Rated:
    """What a way says of one episode."""

    liking: float
    metric: float
    """In the way's unit."""


def way_of(cfg: DictConfig) -> Way:
    """The way that the run is aligned with."""
    return cast(Way, hydra.utils.get_method(WAY_NAMED)(cfg.align.way))


def rated(job: Job, part: str) -> Mapping[str, Rated]:
    """How well each episode of one of the run's datasets is liked, by its id.

    Raises:
        BadInput: if an episode goes otherwise when it is played again.
    """
    path = liking_file(job.run_dir, part)
    known = known_ratings(job.run_dir, part)
    missing = [name for name in sorted(job.store(part).episode_ids()) if name not in known]
    if missing:
        doing = f"Playing {part} again, to see how well each is liked."
        job.display.show(Status(stage="like", doing=doing, total=len(missing)))
        found = in_processes(partial(_rater, job.cfg, job.run_dir, part), missing,
                             processes(job.cfg))  # fmt: skip
        for done, (name, rating) in enumerate(zip(missing, found, strict=True), start=1):
            known[name] = rating
            job.display.update(done=done)
        content = {name: asdict(known[name]) for name in sorted(known)}
        write_atomically(path, json.dumps(content, indent=1).encode())
    return known


def known_ratings(run_dir: Path, part: str) -> dict[str, Rated]:
    """What `rated` has found so far."""
    path = liking_file(run_dir, part)
    content = json.loads(path.read_text()) if path.exists() else {}
    return {name: Rated(**values) for name, values in content.items()}


def by_start(store: EpisodeStore, run_dir: Path, part: str) -> dict[int, Rated]:
    """What is known of each episode of a dataset of the run, by the seed of its start."""
    ratings, told = known_ratings(run_dir, part), map(store.summary, range(len(store)))
    return {s.seed: ratings[s.episode_id] for s in told if s.episode_id in ratings}


def liking_file(run_dir: Path, part: str) -> Path:
    """Where the ratings of a dataset are kept."""
    return run_dir / part / "liking.json"


def blind(cfg: DictConfig) -> TaskEnv:
    """The environment with pictures as small as can be: what happens does not depend on them."""
    return build_env(cfg, **({"image_size": 8} if "image_size" in cfg.env else {}))


def _rater(cfg: DictConfig, run_dir: Path, part: str) -> Callable[[str], Rated]:
    env, way, store = blind(cfg), way_of(cfg), open_store(cfg, run_dir, part)

    def rate(name: str) -> Rated:
        trace = retrace(env, store.read(store.index_of(name), []))
        return Rated(liking=way.rate(trace), metric=way.metric(trace))

    return rate
