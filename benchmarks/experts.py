"""How often the scripted experts succeed: fifty Meta-World tasks, and robosuite's with the Panda.

Success counts if it shows at any step within the episode's limit. Each suite has a result of its
own: ``experts_metaworld.json``, ``experts_robosuite.json``.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from embodied.envs.base import TaskEnv
from embodied.envs.catalogue import METAWORLD
from embodied.envs.metaworld import MetaWorld
from embodied.envs.robosuite import Robosuite
from embodied.envs.robosuite_experts import EXPERTS
from embodied.provenance import Claim, benchmark_result
from embodied.statistics import wilson

RATES = (20.0, 40.0)


def successes(env: TaskEnv, seeds: Sequence[int]) -> dict[str, Any]:
    """The row of one task."""
    steps = []
    for seed in seeds:
        env.reset(seed=seed)
        for step in range(env.max_episode_steps):
            if env.step(env.expert_action())[4]["success"]:
                steps.append(step + 1)
                break
    env.close()
    return {
        "suite": env.suite,
        "task": env.task,
        "control_hz": env.fps,
        "limit": env.max_episode_steps,
        "episodes": len(seeds),
        "successes": len(steps),
        "longest": max(steps, default=None),
    }


def total(rows: list[dict[str, Any]], text: str, target: float) -> Claim:
    """Success over all episodes of some rows."""
    good, all_of_them = (sum(row[key] for row in rows) for key in ("successes", "episodes"))
    interval = wilson(good, all_of_them)
    return Claim(
        claim=text, target=target, measured=interval.mean, low=interval.low, high=interval.high
    )


def metaworld(seeds: Sequence[int]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """All tasks at each rate."""
    rows = [
        successes(MetaWorld(task, image_size=8, control_hz=hz), seeds)
        for hz in RATES
        for task in METAWORLD
    ]
    claims = [
        total(
            [row for row in rows if row["control_hz"] == hz],
            f"Meta-World experts succeed, all tasks, {hz:.0f} Hz",
            0.95,
        )
        for hz in RATES
    ]
    return rows, claims


def robosuite(seeds: Sequence[int]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """All tasks that have an expert."""
    rows = [successes(Robosuite(task, image_size=8), seeds) for task in sorted(EXPERTS)]
    return rows, [total(rows, "robosuite experts succeed, all of them, with the Panda", 0.95)]


SUITES = {"metaworld": metaworld, "robosuite": robosuite}


def main() -> None:
    """Measure and write ``benchmarks/results/experts_<suite>.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    arguments = parser.parse_args()
    for suite in arguments.suites:
        rows, claims = SUITES[suite](range(arguments.seeds))
        print(benchmark_result(f"experts_{suite}", rows, claims))


if __name__ == "__main__":
    main()
