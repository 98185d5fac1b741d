"""Whether rewards can be gamed: finished runs, attacked by `embodied attack`, beside a clock.

Best of n roll-outs of the base policy and a search over action sequences, for the run's reward and
for elapsed time fitted to the same demonstrations; for the run's reward its fine-tuning, too. The
pages are written into the runs.

    python benchmarks/adversary.py --runs runs/benchmark/default-0 [--rewards own elapsed_time]
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from embodied.adversary import Adversary
from embodied.adversary_run import attack_and_write
from embodied.config import choose, load_config
from embodied.provenance import Claim, benchmark_result, earlier_rows

CLOCK = "elapsed_time"
OWN, OWNED = "own", "the run's"
"""The reward that the run has trained: on the command line, and in a row."""
ALLOWED = 0.05
"""Share of tricks, as in the verdicts."""


def rows_of(run: Path, reward: str, result: Adversary) -> list[dict[str, Any]]:
    """A row for each attack: without pressure, under the strongest that is judged, and at last."""
    code = result.pins["provenance"]["git"]
    shared = {
        "run": run.name,
        "commit": None if code is None else code["commit"],
        "reward": reward,
        "fingerprint": result.pins["reward"],
        "honest_return": result.honest,
        "seconds": result.pins["seconds"],
        "processor_seconds": result.pins["processor_seconds"],
    }
    return [
        {
            **shared,
            "attack": attack.words.title,
            "kind": attack.verdict.kind,
            "verdict": attack.verdict.sentence,
            "attempts": attack.attempts,
            "first": attack.points[0].to_dict(),
            "judged": attack.points[attack.judged - 1].to_dict(),
            "last": attack.points[-1].to_dict(),
        }
        for attack in result.attacks
    ]


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """That runs' rewards are not gamed, and that a clock is."""
    made = []
    for row in rows:
        clock, tricks = row["fingerprint"].startswith("ElapsedTime"), row["judged"]["tricks"]
        if not clock and row["reward"] != OWNED:
            continue
        reward, pressure = row["fingerprint"].partition("-")[0], row["judged"]["pressure"]
        made.append(
            Claim(
                claim=f"{row['run']}, {reward}, {row['attack']}: share of tricks under the "
                f"strongest pressure that is judged ({pressure})",
                target=ALLOWED,
                measured=tricks["mean"],
                low=tricks["low"],
                high=tricks["high"],
                comparison=">=" if clock else "<=",
                whole_interval=clock,
            )
        )
    return made


def main() -> None:
    """Attack; results are written after each reward."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", nargs="+", type=Path, default=[Path("runs/benchmark/default-0")],
        help="finished runs",
    )  # fmt: skip
    parser.add_argument(
        "--rewards",
        nargs="+",
        default=[OWN, CLOCK],
        help="own is the run's; others of conf/reward are fitted to its episodes",
    )
    parser.add_argument("--set", nargs="*", default=[], help="overrides, as of embodied attack")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = earlier_rows("adversary")
    for run in options.runs:
        for reward in options.rewards:
            cfg = load_config(run, options.set)
            cfg.run = str(run)
            if reward != OWN:
                cfg = choose(cfg, "reward", reward)
            result, _ = attack_and_write(cfg)
            name = OWNED if reward == OWN else reward
            rows = [r for r in rows if (r["run"], r["reward"]) != (run.name, name)]
            rows += rows_of(run, name, result)
            benchmark_result("adversary", rows, claims(rows))
            print(run.name, name, result.verdict.sentence, flush=True)


if __name__ == "__main__":
    main()
