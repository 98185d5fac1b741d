"""Batched Sinkhorn against a loop over POT, in processor time, on pairs of embedded clips.

POT's ``sinkhorn_log`` is the fair opponent: with the epsilon of 0.01 that RAPL and ROT use, the
plain ``sinkhorn`` underflows as soon as a cost is large (in float64 from 7 on, in float32 from 0.9
on). Where it does not, it is the faster one of POT's two, so the table has it too.
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

FRAMES, DIM = 50, 32
EPSILON = 0.01
STOP = 1e-5
TRIES = 3


def pairs(count: int) -> Costs:
    """Pairs of random walks, the second a noisy copy of the first."""
    rng = np.random.default_rng(0)
    walks = rng.normal(size=(count, FRAMES, DIM)).cumsum(1) + 8 * rng.normal(size=(count, 1, DIM))
    copies = walks + rng.normal(size=walks.shape)
    return cosine_costs(*([torch.from_numpy(clip) for clip in clips] for clips in (walks, copies)))


def batched(costs: Costs, dtype: torch.dtype) -> Float[np.ndarray, "pair time other"]:
    """All plans at once."""
    cast = Costs(cost=costs.cost.to(dtype), length=costs.length, other_length=costs.other_length)
    matching = Matching(smoothing=EPSILON, tolerance=STOP, iterations=5000)
    return plan_of(cast, matching).double().numpy()


def looped(costs: Costs, method: str) -> Float[np.ndarray, "pair time other"]:
    """One plan after the other, by POT."""
    uniform = np.full(FRAMES, 1 / FRAMES)
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
    costs = pairs(arguments.pairs)
    few = _first(costs, arguments.looped)
    rows: list[dict[str, Any]] = []
    plans = {}
    for dtype in (torch.float32, torch.float64):
        name = f"batched, {str(dtype).removeprefix('torch.')}"
        spent, plans[name] = seconds(lambda dtype=dtype: batched(costs, dtype))
        rows.append({"solver": name, "ms_per_pair": 1e3 * spent / arguments.pairs})
    for method in ("sinkhorn", "sinkhorn_log"):
        name = f"POT {method}, float64"
        spent, plans[name] = seconds(lambda method=method: looped(few, method))
        rows.append({"solver": name, "ms_per_pair": 1e3 * spent / arguments.looped})
    exact = plans["POT sinkhorn_log, float64"]
    for row in rows:
        off = plans[row["solver"]][: arguments.looped] - exact
        row["largest_difference"] = float(np.abs(off).max())
        print(row)
    print(benchmark_result("sinkhorn", rows, claims(rows)))


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """How much faster, and whether to the same result."""
    by_name = {row["solver"]: row for row in rows}
    opponent = by_name["POT sinkhorn_log, float64"]["ms_per_pair"]
    ours = [by_name[f"batched, {name}"] for name in ("float32", "float64")]
    found = [
        Claim(
            claim=f"a loop over POT's log-domain Sinkhorn takes this many times our time ({name})",
            target=20.0,
            measured=opponent / row["ms_per_pair"],
        )
        for name, row in zip(("float32", "float64"), ours, strict=True)
    ]
    return [
        *found,
        Claim(
            claim="largest difference of an entry of the batched plan from POT's",
            target=1e-4,
            measured=max(row["largest_difference"] for row in ours),
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
