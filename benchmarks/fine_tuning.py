"""Whether the default job makes a weak policy reliable, on which tasks, and what it takes.

Runs `embodied train` once for each case and seed and collects the summaries. A run that is
finished is not repeated, one that was interrupted is resumed: the script may be stopped any time.

    python benchmarks/fine_tuning.py --cases default --seeds 0 1 2
    python benchmarks/fine_tuning.py --cases default alone dsrl --seeds 0 1 2
    python benchmarks/fine_tuning.py --table      # what was measured, as the docs show it
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.statistics import Interval, difference, wilson

CASES: dict[str, tuple[str, ...]] = {
    "default": (),
    "alone": ("operator=none",),
    "dsrl": ("algorithm=dsrl",),
    "coffee-button": ("env.task=coffee-button-v3",),
    "button-press": ("env.task=button-press-v3",),
    "window-open": ("env.task=window-open-v3",),
    "door-open": ("env.task=door-open-v3",),
    "robosuite-lift": ("env=robosuite",),
    "unsorted": ("experiment=unsorted_demonstrations",),
    "unsorted-whole-noise": (
        "experiment=unsorted_demonstrations",
        "fine_tune.exploration=[1.0,1.0]",
    ),
    "elapsed-time": ("reward=elapsed_time", "override_audit=true"),
    "shuffled-time": ("reward=shuffled_time", "override_audit=true"),
    "wrong-instruction": ("reward=wrong_instruction", "override_audit=true"),
    "elapsed-time-alone": ("reward=elapsed_time", "override_audit=true", "operator=none"),
    "shuffled-time-alone": ("reward=shuffled_time", "override_audit=true", "operator=none"),
    "wrong-instruction-alone": (
        "reward=wrong_instruction",
        "override_audit=true",
        "operator=none",
    ),
    "unsorted-elapsed-time": (
        "experiment=unsorted_demonstrations",
        "reward=elapsed_time",
        "override_audit=true",
    ),
    "unsorted-shuffled-time": (
        "experiment=unsorted_demonstrations",
        "reward=shuffled_time",
        "override_audit=true",
    ),
}
"""Overrides of the default job; nothing else differs."""
CONTROLS = tuple(case for case in CASES if "override_audit=true" in CASES[case])
"""Corrections teach whatever the reward is; without an operator only the reward can."""
MINUTES = 15


def run(case: str, seed: int, folder: Path, extra: list[str]) -> dict[str, Any]:
    """One run's row: its summary, or why there is none."""
    name = f"{case}-{seed}"
    place = folder / name
    if not (place / "summary.json").exists():
        begun = (place / "config.yaml").exists()
        words = ["resume", str(place)] if begun else ["train", f"name={name}", f"seed={seed}"]
        changes = [] if begun else [f"runs_dir={folder}", *CASES[case], *extra]
        command = [str(Path(sys.executable).with_name("embodied")), *words, *changes]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if not (place / "summary.json").exists():
            reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            return {"case": case, "seed": seed, "failed": reason} | verdict(place)
    summary = json.loads((place / "summary.json").read_text())
    kept = ("success_before", "success_after", "episodes", "episodes_to_80", "env_steps", "updates",
            "interventions", "human_steps", "operator_seconds", "success_curve",
            "wall_seconds")  # fmt: skip
    row = {"case": case, "seed": seed} | {name: summary.get(name) for name in kept}
    row |= {"commit": summary["git"]["commit"]}
    return row | verdict(place)


def verdict(place: Path) -> dict[str, Any]:
    """What the audit said of the run's reward."""
    card = place / "reward_card.json"
    return {"audit": json.loads(card.read_text())["headline"]} if card.exists() else {}


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """What issue and design promise, judged on the rows at hand."""
    found = [*worth_of_interventions(rows), *worth_of_reward(rows)]
    for row in rows:
        if "failed" in row:
            continue
        about = f"{row['case']}, seed {row['seed']}"
        after, before = row["success_after"], row["success_before"]
        bounds = {"low": after["low"], "high": after["high"]}
        if row["case"] in CONTROLS:
            found.append(
                Claim(
                    claim=f"{about}: success after stays below 0.9", target=0.9,
                    measured=after["mean"], comparison="<=", **bounds,
                )
            )  # fmt: skip
            continue
        found.append(
            Claim(
                claim=f"{about}: success after fine-tuning", target=0.9, measured=after["mean"],
                **bounds,
            )
        )  # fmt: skip
        if row["case"] != "default":
            continue
        for comparison, target in ((">=", 0.2), ("<=", 0.4)):
            found.append(
                Claim(
                    claim=f"{about}: success of the base policy", target=target,
                    measured=before["mean"], low=before["low"], high=before["high"],
                    comparison=comparison,
                )
            )  # fmt: skip
        minutes = sum(row["wall_seconds"].values()) / 60
        found.append(
            Claim(claim=f"{about}: minutes", target=MINUTES, measured=minutes, comparison="<=")
        )
    return found


def worth_of_interventions(rows: list[dict[str, Any]]) -> list[Claim]:
    """Share of the episodes to 80 % that interventions save, over the seeds that have both.

    A run that never reached 80 % counts with all of its episodes: the share is then a lower bound
    if it ran alone, and an upper one if it had help.
    """
    needed: dict[str, dict[int, int]] = {"default": {}, "alone": {}}
    for row in rows:
        if row["case"] in needed and "failed" not in row:
            reached = row["episodes_to_80"]
            needed[row["case"]][row["seed"]] = row["episodes"] if reached is None else reached
    seeds = sorted(needed["default"].keys() & needed["alone"].keys())
    if not seeds:
        return []
    with_help, alone = (sum(needed[case][seed] for seed in seeds) for case in ("default", "alone"))
    claim = f"episodes to 80 % that interventions save, seeds {', '.join(map(str, seeds))}"
    return [Claim(claim=claim, target=1 / 3, measured=1 - with_help / alone)]


def worth_of_reward(rows: list[dict[str, Any]]) -> list[Claim]:
    """Success after learning from unsorted roll-outs, over that of the controls; seeds pooled.

    No operator and no demonstrations are left to learn from, so only the reward can tell which of
    the policy's own roll-outs are worth repeating.
    """
    by = {(row["case"], row["seed"]): row for row in rows if "failed" not in row}
    found = []
    for control in ("unsorted-elapsed-time", "unsorted-shuffled-time"):
        seeds = sorted(s for case, s in by if case == "unsorted" and (control, s) in by)
        if not seeds:
            continue
        learned, other = (
            pooled([by[case, seed]["success_after"] for seed in seeds])
            for case in ("unsorted", control)
        )
        gain = difference(learned, other)
        found.append(
            Claim(
                claim=f"unsorted: success after, reward over {control.removeprefix('unsorted-')}, "
                f"seeds {', '.join(map(str, seeds))}",
                target=0.0, measured=gain.mean, low=gain.low, high=gain.high, whole_interval=True,
            )
        )  # fmt: skip
    return found


def pooled(parts: list[dict[str, Any]]) -> Interval:
    """Success over all episodes of several runs."""
    return wilson(sum(round(p["mean"] * p["n"]) for p in parts), sum(p["n"] for p in parts))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as lines of Markdown; success in percent with its interval.

    ``after`` is of the version that the learned reward chose, ``last version`` of the last one.
    """
    lines = [
        "| case | seed | before | after | last version | episodes to 80 % | human steps | audit "
        "| minutes | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (list(CASES).index(row["case"]), row["seed"])):
        verdict = "rejected" if "Do not" in row.get("audit", "Do not") else "accepted"
        if "failed" in row:
            why = "stopped at the audit" if "Do not train" in row["failed"] else row["failed"]
            lines.append(f"| {row['case']} | {row['seed']} | {why} ||||| {verdict} |||")
            continue
        before, after = (
            f"{100 * s['mean']:.0f} ({100 * s['low']:.0f} to {100 * s['high']:.0f})"
            for s in (row["success_before"], row["success_after"])
        )
        last = f"{100 * row['success_curve'][-1]['mean']:.0f}" if row["success_curve"] else ""
        reached = "not reached" if row["episodes_to_80"] is None else row["episodes_to_80"]
        share = f"{row['human_steps']} ({100 * row['human_steps'] / row['env_steps']:.0f} %)"
        minutes = f"{sum(row['wall_seconds'].values()) / 60:.0f}"
        cells = (row["case"], row["seed"], before, after, last, reached, share, verdict, minutes)
        cells += (row["commit"][:7],)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def main() -> None:
    """Run the cases that were asked for, and write the results after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--override", nargs="*", default=[], help="for all cases, e.g. loop=inline")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    asked = parser.parse_args()
    rows = previous(asked.override)
    if asked.table:
        print("\n".join(table(rows)))
        return
    for seed in asked.seeds:
        for case in asked.cases:
            row = run(case, seed, asked.folder, asked.override) | {"overrides": asked.override}
            rows = [r for r in rows if (r["case"], r["seed"]) != (case, seed)] + [row]
            print(json.dumps(row))
            benchmark_result("fine_tuning", rows, claims(rows))


def previous(overrides: list[str]) -> list[dict[str, Any]]:
    """Rows of an earlier call with the same overrides."""
    return [r for r in earlier_rows("fine_tuning") if r.get("overrides") == overrides]


if __name__ == "__main__":
    main()
