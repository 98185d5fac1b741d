"""`embodied align`, whole: whether a policy follows forty answers of which a tenth is wrong.

Each seed is a run of its own, from attempts to report, with the command's defaults. What the report
says is written down: the change of liking and of the way's metric by start, task success before and
after, how well the answers that it has not learnt from are predicted.

Each finished run is written at once, and runs that the result holds are not done again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.statistics import mean_interval

KEPT = ("metric_before", "metric_after", "metric_change", "liking_gain", "ranked_right",
        "answered_right", "unit", "better")  # fmt: skip

SHARES = ("answered_right", "ranked_right", "success_before", "success_after")

NOTICED = 0.2
"""Deviations of the base policy's roll-outs: what is less than a small effect is none."""


def one_run(way: str, seed: int, words: Sequence[str]) -> dict[str, Any]:
    """What a run of the command found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "embodied.cli", "align", f"way={way}", f"seed={seed}",
                   f"runs_dir={folder}", "name=run", "logger=jsonl", *words]  # fmt: skip
        subprocess.run(command, check=True)
        summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
    row = {"way": way, "seed": seed, "settings": list(words)}
    row |= {key: summary["way"][key] for key in KEPT}
    row |= {key: summary[key] for key in ("success_before", "success_after", "alignment")}
    row["commit"] = summary["git"]["commit"][:7]
    row |= {"answers": summary["answers"], "minutes": sum(summary["wall_seconds"].values()) / 60}
    return row


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Every run is liked better than before, by start; task success is kept."""
    found = [
        Claim(
            claim=f"{' '.join([row['way'], *row['settings']])}, seed {row['seed']}: "
            "change of liking, in deviations, by start",
            target=NOTICED,
            measured=row["liking_gain"]["mean"],
            low=row["liking_gain"]["low"],
            high=row["liking_gain"]["high"],
            whole_interval=True,
        )
        for row in rows
    ]
    if rows:
        lost = [row["success_after"]["mean"] - row["success_before"]["mean"] for row in rows]
        kept = "task success after less before, mean of the runs"
        mean = mean_interval(lost, seed=0).mean
        found.append(Claim(claim=kept, target=-0.05, measured=mean))
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each run, as Markdown."""
    lines = [
        "| way, settings | seed | before, after | change by start | change of liking, deviations "
        "| answers right; pairs ranked right, % | success before, after, % | minutes |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        settings = [word.removeprefix("align.") for word in row["settings"] if "align." in word]
        percent = {key: f"{100 * row[key]['mean']:.0f}" for key in SHARES}
        cells = [
            ", ".join([row["way"], *settings]), str(row["seed"]),
            f"{row['metric_before']['mean']:.2f}, {row['metric_after']['mean']:.2f}",
            *(between(row[key]) for key in ("metric_change", "liking_gain")),
            f"{percent['answered_right']}; {percent['ranked_right']}",
            f"{percent['success_before']}, {percent['success_after']}", f"{row['minutes']:.0f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def between(interval: Mapping[str, float]) -> str:
    """The mean and its bounds."""
    return f"{interval['mean']:.2f} ({interval['low']:.2f} to {interval['high']:.2f})"


def main() -> None:
    """Do the runs that are missing, and write ``benchmarks/results/align.json`` run by run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", default=["drawer-open-right"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    parser.add_argument("words", nargs="*", help="settings, as of embodied align")
    arguments = parser.parse_args()
    rows = earlier_rows("align")
    if arguments.table:
        print("\n".join(table(rows)))
        return
    for way in arguments.ways:
        for seed in range(arguments.seeds):
            wanted = {"way": way, "seed": seed, "settings": arguments.words}
            if not any(wanted.items() <= row.items() for row in rows):
                rows.append(one_run(way, seed, arguments.words))
                print(benchmark_result("align", rows, claims(rows)), flush=True)


if __name__ == "__main__":
    main()
