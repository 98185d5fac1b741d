"""Batched Sinkhorn against a loop over POT, in processor time, on pairs of embedded clips.

POT has two solvers that matter: ``sinkhorn_log``, which like ours works at any epsilon, and the
plain ``sinkhorn``, which is faster and underflows where a cost exceeds some 700 epsilon in float64,
87 in float32 (a cosine cost is at most 2, RAPL's and ROT's epsilon is 0.01). Both are measured.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ot
import torch
from jaxtyping import Float

from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.transport import Costs, Matching, cosine_costs, plan_of

LENGTHS, DIM = (16, 50), 32
EPSILON = 0.01
STOP = 1e-5
TRIES = 3
OURS = ("batched, float32", "batched, float64")
PLAIN, LOG = "POT sinkhorn, float64", "POT sinkhorn_log, float64"


def pairs(count: int, frames: int) -> Costs:
    """Pairs of random walks, the second a noisy copy of the first."""
    rng = np.random.default_rng(0)
    walks = rng.normal(size=(count, frames, DIM)).cumsum(1) + 8 * rng.normal(size=(count, 1, DIM))
    copies = walks + rng.normal(size=walks.shape)
    return cosine_costs(*([torch.from_numpy(clip) for clip in clips] for clips in (walks, copies)))


def batched(costs: Costs, dtype: torch.dtype) -> Float[np.ndarray, "pair time other"]:
    """All plans at once."""
    cast = Costs(cost=costs.cost.to(dtype), length=costs.length, other_length=costs.other_length)
    matching = Matching(smoothing=EPSILON, tolerance=STOP, iterations=5000)
    return plan_of(cast, matching).double().numpy()


def looped(costs: Costs, method: str) -> Float[np.ndarray, "pair time other"]:
    """One plan after the other, by POT."""
    frames = costs.cost.shape[1]
    uniform = np.full(frames, 1 / frames)
    return np.stack([
        ot.sinkhorn(uniform, uniform, cost, EPSILON, method, numItermax=5000, stopThr=STOP)
        for cost in costs.cost.numpy()
    ])  # fmt: skip


def seconds[T](run: Callable[[], T], tries: int = TRIES) -> tuple[float, T]:
    """Least processor time of a few tries, and the outcome."""
    times = []
    for _ in range(tries):
        start = time.process_time()
        outcome = run()
        times.append(time.process_time() - start)
    return min(times), outcome


def main() -> None:
    """Measure and write ``benchmarks/results/sinkhorn.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--looped", type=int, default=64, help="pairs that POT is given")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for frames in LENGTHS:
        rows += measure(pairs(arguments.pairs, frames), arguments.looped)
    print(benchmark_result("sinkhorn", rows, claims(rows)))


def measure(costs: Costs, few: int) -> list[dict[str, Any]]:
    """Every solver on the same pairs, POT on a few of them."""
    count, frames = costs.cost.shape[:2]
    solvers: dict[str, tuple[int, Callable[[], Float[np.ndarray, "pair time other"]]]] = {
        OURS[0]: (count, lambda: batched(costs, torch.float32)),
        OURS[1]: (count, lambda: batched(costs, torch.float64)),
        PLAIN: (few, lambda: looped(_first(costs, few), "sinkhorn")),
        LOG: (few, lambda: looped(_first(costs, few), "sinkhorn_log")),
    }
    rows, plans = [], {}
    for name, (number, run) in solvers.items():
        spent, plans[name] = seconds(run)
        rows.append({"frames": frames, "solver": name, "ms_per_pair": 1e3 * spent / number})
    for row in rows:
        off = plans[row["solver"]][:few] - plans[LOG]
        row["largest_difference"] = float(np.abs(off).max())
        print(row)
    return rows


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """How much faster, and whether to the same result."""
    spent = {(row["frames"], row["solver"]): row["ms_per_pair"] for row in rows}
    found = [
        Claim(
            claim=f"a loop over {theirs} takes this many times our time "
            f"({ours}, clips of {frames} frames)",
            target=20.0,
            measured=spent[frames, theirs] / spent[frames, ours],
        )
        for theirs in (LOG, PLAIN)
        for frames in LENGTHS
        for ours in OURS
    ]
    return [
        *found,
        Claim(
            claim="largest difference of an entry of the batched plan from POT's",
            target=1e-4,
            measured=max(row["largest_difference"] for row in rows if row["solver"] in OURS),
            comparison="<=",
        ),
    ]


def _first(costs: Costs, count: int) -> Costs:
    return Costs(
        cost=costs.cost[:count],
        length=costs.length[:count],
        other_length=costs.other_length[:count],
    )


if __name__ == "__main__":
    main()
