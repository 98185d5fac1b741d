"""How often the scripted experts succeed: fifty Meta-World tasks, three of robosuite.

Success counts if it shows at any step within the episode's limit.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from embodied.envs.base import TaskEnv
from embodied.envs.catalogue import METAWORLD
from embodied.envs.metaworld import MetaWorld
from embodied.envs.robosuite import Robosuite
from embodied.provenance import Claim, benchmark_result
from embodied.statistics import wilson

RATES = (20.0, 40.0)
ROBOSUITE_TASKS = ("Lift", "Stack", "PickPlaceCan")


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


def main() -> None:
    """Measure and write ``benchmarks/results/experts.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    rows = []
    for task in ROBOSUITE_TASKS:
        rows.append(successes(Robosuite(task, image_size=8), seeds))
    for hz in RATES:
        for task in METAWORLD:
            env = MetaWorld(task, image_size=8, control_hz=hz)
            rows.append(successes(env, seeds))
    claims = [
        total(
            [row for row in rows if row["suite"] == "metaworld" and row["control_hz"] == hz],
            f"Meta-World experts succeed, all tasks, {hz:.0f} Hz",
            0.95,
        )
        for hz in RATES
    ]
    claims.append(
        total(
            [row for row in rows if row["suite"] == "robosuite"],
            f"robosuite experts succeed, {', '.join(ROBOSUITE_TASKS)} with the Panda",
            0.95,
        )
    )
    print(benchmark_result("experts", rows, claims))


if __name__ == "__main__":
    main()
