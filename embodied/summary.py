"""`summary.json`: a run's results as data."""

import json
from collections.abc import Sequence
from typing import Any

from embodied.checkpoint import load
from embodied.dataset import EpisodeStore
from embodied.durable import write_atomically
from embodied.fine_tuning import CHECKPOINT
from embodied.job import Job
from embodied.metrics import METRICS_FILE, read_metrics
from embodied.provenance import plain, provenance
from embodied.runs import SUMMARY_FILE
from embodied.statistics import Interval, wilson

WINDOW = 20
SHARE = 0.8


def write_summary(job: Job) -> None:
    """Write the results of a finished run."""
    ledger = load(job.run_dir / CHECKPOINT)
    driver, learner = ledger["driver"], ledger["learner"]
    rows = episode_rows(job)
    content = {
        **provenance(),
        "run": job.run_dir.name,
        "suite_and_task": [row for row in (job.cfg.env.get("task"),) if row],
        "seed": job.cfg.seed,
        "success_before": _success(job.store("evaluation_before")).to_dict(),
        "success_after": _success(job.store("evaluation_after")).to_dict(),
        "episodes": driver["number"],
        "episodes_to_80": episodes_to(SHARE, rows),
        "env_steps": driver["steps"],
        "updates": learner["updates"],
        "best_version": learner["selection"]["version"],
        "validation": learner["selection"],
        "interventions": driver["interventions"],
        "human_steps": driver["human_steps"],
        "operator_seconds": driver["operator_seconds"],
        "dropped_episodes": driver["dropped"],
        "restarts": driver["restarts"],
        "repeated_updates": driver["repeated_updates"],
        "wall_seconds": job.state()["seconds"],
    }
    write_atomically(job.run_dir / SUMMARY_FILE, json.dumps(plain(content), indent=1).encode())


def episode_rows(job: Job) -> list[dict[str, Any]]:
    """The metrics of each episode, in order; of one that a resumed run wrote twice, the last."""
    rows = read_metrics(job.run_dir / METRICS_FILE)
    latest = {int(row["episode"] or 0): row for row in rows if "episode_id" in row}
    return [dict(latest[number]) for number in sorted(latest)]


def episodes_to(share: float, rows: Sequence[dict[str, Any]]) -> int | None:
    """After how many episodes the moving success rate first reached ``share``; None if never.

    The rate is over the last `WINDOW` episodes of any kind. An episode counts as a success only if
    the simulator says so and no human acted in it: help does not make the policy look better.
    """
    alone = [bool(r["true_success"]) and not r["intervention_steps"] for r in rows]
    for end in range(WINDOW, len(alone) + 1):
        if sum(alone[end - WINDOW : end]) >= share * WINDOW:
            return int(rows[end - 1]["episode"]) + 1
    return None


def _success(store: EpisodeStore) -> Interval:
    told = [store.summary(i).success is True for i in range(len(store))]
    return wilson(sum(told), len(told))
