"""The first stage: demonstrations, failures and held-out episodes, each through its own dataset."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from embodied.demonstrations import FAILURES, Assignment, demonstrate
from embodied.display import Status
from embodied.job import Job, build_env, open_store, processes
from embodied.pool import in_processes

PARTS = {
    "demo": "demos",
    "failure": "failures",
    "held-out": "held_out",
    "held-out-failure": "held_out",
}
"""Purpose of an episode, and the dataset that it is recorded in."""


def assignments(cfg: DictConfig) -> list[Assignment]:
    """All episodes to record. The policy is cloned from the first of them."""
    demos = cfg.demos
    counts = {"demo": max(demos.policy, demos.reward), "held-out": demos.held_out}
    wanted = [Assignment(purpose=p, number=n) for p, k in counts.items() for n in range(k)]  # type: ignore[arg-type]
    most = max(demos.failures, demos.policy_failures)
    failures = {"failure": most, "held-out-failure": demos.held_out}
    return wanted + [
        Assignment(purpose=p, number=n, failure=FAILURES[n % len(FAILURES)])  # type: ignore[arg-type]
        for p, k in failures.items()
        for n in range(k)
    ]


def record_all(job: Job) -> None:
    """Record what is missing; may be interrupted and called again at any time."""
    stores = {part: job.store(part) for part in sorted(set(PARTS.values()))}
    known = {name for store in stores.values() for name in store.episode_ids()}
    missing = [a for a in assignments(job.cfg) if a.episode_id not in known]
    total = len(assignments(job.cfg))
    done = total - len(missing)
    write = job.observe("record")
    job.display.show(Status(stage="record", doing="Starting the simulators.", total=total))
    set_up = partial(_recorder, job.cfg, job.run_dir)
    for episode_id, steps in in_processes(set_up, missing, processes(job.cfg)):
        done += 1
        write({"recorded_id": episode_id, "steps": steps})
        job.display.update(done=done, doing=f"Recorded {episode_id}.")


def _recorder(cfg: DictConfig, run_dir: Path) -> Callable[[Assignment], tuple[str, int]]:
    env = build_env(cfg)
    stores = {part: open_store(cfg, run_dir, part) for part in set(PARTS.values())}

    def record(assignment: Assignment) -> tuple[str, int]:
        episode = demonstrate(
            env, assignment, run_seed=cfg.seed, noise=cfg.demos.noise, chunk=cfg.policy.chunk
        )
        if episode is None:
            return assignment.episode_id, 0
        stores[PARTS[assignment.purpose]].append(episode)
        return assignment.episode_id, len(episode)

    return record
