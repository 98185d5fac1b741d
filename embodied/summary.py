"""`summary.json`: a run's results as data."""

import json

from embodied.checkpoint import load
from embodied.dataset import EpisodeStore
from embodied.durable import write_atomically
from embodied.fine_tuning import CHECKPOINT
from embodied.job import Job
from embodied.operator_part import operator_part
from embodied.provenance import plain, provenance
from embodied.run_record import read_run
from embodied.runs import SUMMARY_FILE
from embodied.statistics import Interval, wilson
from embodied.success_curve import SHARE, episodes_to, success_curve


def write_summary(job: Job) -> None:
    """Write the results of a finished run."""
    ledger = load(job.run_dir / CHECKPOINT)
    driver, learner = ledger["driver"], ledger["learner"]
    curve = success_curve(job.run_dir)
    content = {
        **provenance(),
        "run": job.run_dir.name,
        "suite_and_task": [row for row in (job.cfg.env.get("task"),) if row],
        "seed": job.cfg.seed,
        "success_before": _success(job.store("evaluation_before")).to_dict(),
        "success_after": _success(job.store("evaluation_after")).to_dict(),
        "episodes": driver["number"],
        "episodes_to_80": episodes_to(SHARE, curve),
        "success_curve": [point.to_dict() for point in curve],
        "env_steps": driver["steps"],
        "updates": learner["updates"],
        "best_version": learner["selection"]["best"]["version"],
        "validation": learner["selection"]["best"],
        "interventions": driver["interventions"],
        "human_steps": driver["human_steps"],
        "operator_share": driver["human_steps"] / max(1, driver["steps"]),
        "operator_seconds": driver["operator_seconds"],
        "successes_per_operator_minute": operator_part(read_run(job.run_dir)).successes_per_minute,
        "dropped_episodes": driver["dropped"],
        "restarts": driver["restarts"],
        "repeated_updates": driver["repeated_updates"],
        "wall_seconds": job.state()["seconds"],
    }
    write_atomically(job.run_dir / SUMMARY_FILE, json.dumps(plain(content), indent=1).encode())


def _success(store: EpisodeStore) -> Interval:
    told = [store.summary(i).success is True for i in range(len(store))]
    return wilson(sum(told), len(told))
