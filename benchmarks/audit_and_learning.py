"""Whether the audit's verdict tells beforehand which rewards will teach a policy.

For each task one run records, clones a base policy from unsorted demonstrations and measures it.
Every reward then gets a copy of that run: the same episodes, the same base policy, no operator. It
is trained and audited (a rejection is overridden), and fine-tunes. The audit's score is the share
of the measured gates that pass; what was learnt is the change of true success on the same unseen
seeds. Finished runs are not repeated, interrupted ones are resumed: the script may be stopped any
time.

    python benchmarks/audit_and_learning.py --tasks drawer-open-v3 window-open-v3 --seeds 0
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

from embodied.config import CONFIG_FILE
from embodied.durable import write_atomically
from embodied.job import STATE_FILE
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.statistics import cluster_bootstrap

TASKS = ("drawer-open-v3", "window-open-v3", "drawer-close-v3")
REWARDS = ("progress", "success_classifier", "goal_distance", "elapsed_time", "shuffled_time")
SHARED = ("demos", "failures", "held_out", "policy_base", "evaluation_before")
"""What the rewards of a task have in common: folders of the run, and its stages."""
SHARED_STAGES = ("record", "clone", "evaluate_before")
OVERRIDES = (
    "experiment=unsorted_demonstrations", "override_audit=true", "monitor.judge=none",
    "monitor.pause=false", "evaluate.curve_episodes=0", "fine_tune.snapshot_every=0",
)  # fmt: skip


def embodied(*words: str) -> str:
    """Run a command; its last line on stderr if it failed, else nothing."""
    command = [str(Path(sys.executable).with_name("embodied")), *words]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = finished.stderr.strip().splitlines() or ["no message"]
    return lines[-1] if finished.returncode else ""


def run(folder: Path, task: str, reward: str, seed: int) -> dict[str, Any]:
    """One reward's row on one task."""
    name = f"{task}-{reward}-{seed}"
    place, first = folder / name, folder / f"{task}-{REWARDS[0]}-{seed}"
    failed = ""
    if not (place / "summary.json").exists():
        if place != first and not (place / CONFIG_FILE).exists():
            copy_shared(first, place)
        if (place / CONFIG_FILE).exists():
            failed = embodied("resume", str(place), f"reward={reward}", f"name={name}")
        else:
            own = (f"env.task={task}", f"seed={seed}", f"reward={reward}", f"name={name}")
            failed = embodied("train", f"runs_dir={folder}", *OVERRIDES, *own)
    about = {"task": task, "reward": reward, "seed": seed}
    return about | ({"failed": failed} if failed else outcome(place))


def copy_shared(first: Path, place: Path) -> None:
    """A run that begins with the episodes and the base policy of another one."""
    draft = place.with_name(f"{place.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for part in SHARED:
        shutil.copytree(first / part, draft / part)
    shutil.copy(first / CONFIG_FILE, draft)
    seconds = json.loads((first / STATE_FILE).read_text())["seconds"]
    kept = {stage: seconds[stage] for stage in SHARED_STAGES}
    state = {"finished": list(SHARED_STAGES), "seconds": kept}
    write_atomically(draft / STATE_FILE, json.dumps(state).encode())
    draft.rename(place)


def outcome(place: Path) -> dict[str, Any]:
    """What the audit said beforehand, and what was learnt."""
    summary = json.loads((place / "summary.json").read_text())
    card = json.loads((place / "reward_card.json").read_text())
    before, after = summary["success_before"], summary["success_after"]
    measured = [gate for gate in card["gates"] if gate["value"] is not None]
    return {
        "accepted": card["accepted"],
        "gates_passed": sum(gate["passed"] for gate in measured) / len(measured),
        "failed_gates": [gate["name"] for gate in card["gates"] if not gate["passed"]],
        "auroc": {gate["name"]: gate["value"] for gate in card["gates"]}["auroc"]["mean"],
        "success_before": before,
        "success_after": after,
        "gain": after["mean"] - before["mean"],
        "episodes": summary["episodes"],
        "commit": summary["git"]["commit"],
    }


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Rank correlations over rewards x tasks, with an interval over these pairs."""
    known = [row for row in rows if "failed" not in row]
    if len(known) < 4:
        return []
    found = []
    for score in ("gates_passed", "auroc"):
        pairs = np.array([[row[score], row["gain"]] for row in known], np.float64)
        interval = cluster_bootstrap(correlation, list(pairs), seed=0)
        found.append(
            Claim(
                claim=f"rank correlation of {score} with the gain in true success, "
                f"{len(known)} rewards x tasks",
                target=0.5, measured=interval.mean, low=interval.low, high=interval.high,
            )
        )  # fmt: skip
    accepted = [row["gain"] for row in known if row["accepted"]]
    rejected = [row["gain"] for row in known if not row["accepted"]]
    if accepted and rejected:
        found.append(
            Claim(
                claim="mean gain of accepted rewards over that of rejected ones", target=0.0,
                measured=float(np.mean(accepted) - np.mean(rejected)),
            )
        )  # fmt: skip
    return found


def correlation(pairs: Sequence[Float[np.ndarray, " 2"]]) -> float:
    """Spearman's, ties at their mean rank; 0 if one side is constant."""
    score, gain = np.stack(pairs).T
    if np.ptp(score) == 0 or np.ptp(gain) == 0:
        return 0.0
    return float(spearmanr(score, gain).statistic)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as Markdown."""
    lines = ["| task | reward | seed | gates passed | verdict | before | after |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: (row["task"], REWARDS.index(row["reward"]))):
        about = f"| {row['task']} | {row['reward']} | {row['seed']} |"
        if "failed" in row:
            lines.append(f"{about} {row['failed']} ||||")
            continue
        verdict = "accepted" if row["accepted"] else "rejected"
        before, after = (
            f"{100 * s['mean']:.0f} ({100 * s['low']:.0f} to {100 * s['high']:.0f})"
            for s in (row["success_before"], row["success_after"])
        )
        lines.append(
            f"{about} {100 * row['gates_passed']:.0f} % | {verdict} | {before} | {after} |"
        )
    return lines


def main() -> None:
    """Run what was asked for, and write the results after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--rewards", nargs="+", choices=REWARDS, default=list(REWARDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/audit_and_learning"))
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    asked = parser.parse_args()
    rows = earlier_rows("audit_and_learning")
    if asked.table:
        print("\n".join(table(rows)))
        return
    for seed in asked.seeds:
        for task in asked.tasks:
            for reward in asked.rewards:
                row = run(asked.folder, task, reward, seed)
                same = ("task", "reward", "seed")
                rows = [r for r in rows if any(r[key] != row[key] for key in same)] + [row]
                print(json.dumps(row))
                benchmark_result("audit_and_learning", rows, claims(rows))


if __name__ == "__main__":
    main()
