"""The stage `record`: what the demonstrator of a way does, all ways mixed, as episodes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from embodied.align_liking import way_of
from embodied.display import Status
from embodied.envs.base import TaskEnv
from embodied.envs.ways import Attempt, attempt
from embodied.errors import BadInput
from embodied.job import Job, build_env, open_store, processes
from embodied.pool import in_processes
from embodied.seed_ranges import episode_seed
from embodied.types import Actor, Episode

DEMOS = "demos"


def record_attempts(job: Job) -> None:
    """Record what is missing; attempts that fail are left out.

    Nothing is recorded where the policy of an earlier run is aligned.

    Raises:
        BadInput: if all of them fail.
    """
    if job.cfg.run:
        return
    store, count = job.store(DEMOS), int(job.cfg.align.attempts)
    missing = [n for n in range(count) if _name(n) not in store.episode_ids()]
    done, write = count - len(missing), job.observe("record")
    doing = f"The demonstrator of {job.cfg.align.way} shows all of its ways."
    job.display.show(Status(stage="record", doing=doing, done=done, total=count))
    work = in_processes(partial(_recorder, job.cfg, job.run_dir), missing, processes(job.cfg))
    for name, steps in work:
        done += 1
        write({"recorded_id": name, "steps": steps})
        job.display.update(done=done)
    if not len(store):
        raise BadInput(f"no attempt of {job.cfg.align.way} succeeded; there is nothing to imitate.")


def _recorder(cfg: DictConfig, run_dir: Path) -> Callable[[int], tuple[str, int]]:
    env, way, store = build_env(cfg), way_of(cfg), open_store(cfg, run_dir, DEMOS)

    def record(number: int) -> tuple[str, int]:
        tried = attempt(way, env, episode_seed("demo", cfg.seed, number))
        if not tried.success:
            return _name(number), 0
        store.append(_episode_of(tried, env, _name(number), int(cfg.policy.chunk)))
        return _name(number), len(tried.actions)

    return record


def _name(number: int) -> str:
    return f"demo-{number:06d}"


def _episode_of(tried: Attempt, env: TaskEnv, name: str, chunk: int) -> Episode:
    steps, state = len(tried.actions), tried.trace.state
    return Episode(
        episode_id=name,
        task=env.task,
        instruction=env.instruction,
        source="demo",
        seed=tried.seed,
        fps=env.fps,
        action=tried.actions,
        images=tried.frames,
        state=state,
        policy_action=tried.actions,
        human_action=tried.actions,
        policy_noise=np.full_like(tried.actions, np.nan),
        actor=np.full(steps, Actor.HUMAN, np.uint8),
        intervention_id=np.zeros(steps, np.int64),
        policy_version=np.full(steps, -1, np.int64),
        chunk_index=np.arange(steps, dtype=np.int64) % chunk,
        timestamp=np.arange(steps + 1, dtype=np.float64) / env.fps,
        terminated=True,
        truncated=False,
        success=True,
        success_source="environment",
        features={},
        encoder="",
    )
