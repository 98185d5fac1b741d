"""Whether the training monitor keeps quiet on healthy runs, and not on others: runs, replayed.

The judge is trained as a run trains it, and the monitor sees every stored episode of the run in
order, with the labels that it was given. A run is healthy if the policy got better in truth; its
reward was exploited if the policy got worse and the learned return did not. Runs that went without
a judge get the default one.

    python benchmarks/monitor.py --runs runs/benchmark/default-0 runs/benchmark/shuffled-time-0
"""

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from embodied.config import load_config
from embodied.job import build_cached_encoder, open_store
from embodied.judge import build_judge, build_monitor, prepare
from embodied.messages import note_of
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.rewarding import evidence, with_features

LINKED = ("demos", "failures", "held_out", "config.yaml")
JUDGE = "success_classifier"
"""That of runs by default."""
LOST = 0.1
"""True success of a run that got worse is less by more than this."""
HALF = 100
"""Episodes at the beginning and at the end of a run whose true success is compared."""


def replay(run: Path) -> dict[str, Any]:
    """One run's row."""
    cfg = load_config(run)
    if cfg.monitor.judge == "none":
        cfg = load_config(run, [f"monitor.judge={JUDGE}"])
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for name in LINKED:
            (copy / name).symlink_to((run / name).resolve())
        (copy / "reward").mkdir()
        (copy / "reward/reward.pt").symlink_to((run / "reward/reward.pt").resolve())
        begun = time.process_time()
        prepare(cfg, copy)
        trained = time.process_time() - begun
        monitor, judge = build_monitor(cfg, copy), build_judge(cfg, copy)
    store, encoder = open_store(cfg, run, "episodes"), build_cached_encoder(cfg)
    alarmed_at, asking, truth, rows, returns = None, 0.0, [], [], []
    for name in sorted(store.episode_ids(), key=lambda n: int(n.rpartition("-")[2])):
        labels = store.read_labels(name)
        episode = with_features(store.read(store.index_of(name)), encoder)
        begun = time.process_time()
        said = evidence(judge, episode)
        asking += time.process_time() - begun
        assert labels is not None, f"{name} of a finished run has no labels"
        seen = monitor.take(note_of(episode, labels, said))
        truth.append(bool(episode.success))
        returns.append(float(labels.reward.sum()))
        rows += [] if seen is None else [seen]
        if monitor.alarm and alarmed_at is None:
            alarmed_at = len(truth)
    return {
        "run": run.name,
        "episodes": len(truth),
        "true_success_first": sum(truth[:HALF]) / HALF,
        "true_success_last": sum(truth[-HALF:]) / HALF,
        "return_first": sum(returns[:HALF]) / HALF,
        "return_last": sum(returns[-HALF:]) / HALF,
        "alarm_at": alarmed_at,
        "alarm": monitor.alarm,
        "least_judge_p": min((row["judge_p"] for row in rows if "judge_p" in row), default=None),
        "judge_training_s": trained,
        "asking_ms_per_episode": 1e3 * asking / len(truth),
    }


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """That no run whose policy got better was stopped, and every run whose reward was exploited."""
    healthy = [r for r in rows if r["true_success_last"] > r["true_success_first"]]
    exploited = [
        row
        for row in rows
        if row["true_success_last"] < row["true_success_first"] - LOST
        and row.get("return_last", -math.inf) >= row.get("return_first", 0.0)
    ]
    found = [
        Claim(
            claim=f"{len(healthy)} runs whose policy got better in truth: false alarms",
            target=0,
            measured=sum(row["alarm_at"] is not None for row in healthy),
            comparison="<=",
        )
    ]
    if exploited:
        found.append(
            Claim(
                claim=f"{len(exploited)} runs whose policy got worse, their return not: alarms",
                target=len(exploited),
                measured=sum(row["alarm_at"] is not None for row in exploited),
            )
        )
    return found


def main() -> None:
    """Replay the runs; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", nargs="+", type=Path, default=[Path("runs/benchmark/default-0")],
        help="finished runs",
    )  # fmt: skip
    torch.set_num_threads(1)
    rows = earlier_rows("monitor")
    for run in parser.parse_args().runs:
        row = replay(run)
        rows = [r for r in rows if r["run"] != row["run"]] + [row]
        benchmark_result("monitor", rows, claims(rows))
        print(row, flush=True)


if __name__ == "__main__":
    main()
