"""Frames and steps per second against the stock renderers, on one core.

Counts processor seconds of the process (rendering threads included) while it is bound to one core:
on an otherwise idle machine these are seconds of the wall clock. Stock and ours take turns.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from embodied.envs.metaworld import MetaWorld
from embodied.envs.robosuite import Robosuite
from embodied.provenance import Claim, benchmark_result
from embodied.statistics import mean_interval

REPEATS = 5
METAWORLD_TASKS = ("drawer-open-v3", "door-open-v3", "pick-place-v3")
ROBOSUITE_TASKS = ("Lift", "PickPlaceCan")


def rate(act: Callable[[], Any], seconds: float) -> float:
    """How often per processor second."""
    act()
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        act()
        count += 1
    return count / (time.process_time() - start)


def metaworld_frames(task: str) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], None]]:
    """Stock and our picture of one state, 96 x 96, the same camera."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    stock = ALL_V3_ENVIRONMENTS[task](
        render_mode="rgb_array", camera_name="corner2", width=96, height=96
    )
    stock._freeze_rand_vec, stock._set_task_called = False, True
    stock.reset()
    ours = MetaWorld(task, cameras=("corner2",), image_size=96)
    ours.reset(seed=0)

    def close() -> None:
        stock.close()
        ours.close()

    return stock.render, ours.render, close


def robosuite_steps(task: str) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], None]]:
    """A stock step and ours, each with its picture at 84 x 84, the same camera."""
    import robosuite

    stock = robosuite.make(
        task,
        robots="Panda",
        camera_names="agentview",
        camera_heights=84,
        camera_widths=84,
        has_renderer=False,
        hard_reset=False,
        ignore_done=True,
        control_freq=20,
        seed=0,
    )
    stock.reset()
    ours = Robosuite(task, cameras=("agentview",), image_size=84)
    ours.reset(seed=0)
    action = np.full(7, 0.1)

    def close() -> None:
        stock.close()
        ours.close()

    return functools.partial(stock.step, action), functools.partial(ours.step, action), close


def compare(kind: str, task: str) -> dict[str, Any]:
    """Rates of stock and ours in turns, and their ratios."""
    stock, ours, close = (metaworld_frames if kind == "frames" else robosuite_steps)(task)
    pairs = [(rate(stock, 1.5), rate(ours, 1.5)) for _ in range(REPEATS)]
    close()
    return {
        "task": task,
        "what": f"{kind} per processor second",
        "stock": [round(slow, 1) for slow, _ in pairs],
        "ours": [round(fast, 1) for _, fast in pairs],
        "ratio": [round(fast / slow, 2) for slow, fast in pairs],
    }


def claim(rows: list[dict[str, Any]], text: str, target: float) -> Claim:
    """The worst task decides."""
    worst = min(rows, key=lambda row: float(np.mean(row["ratio"])))
    interval = mean_interval(worst["ratio"], seed=0)
    return Claim(
        claim=f"{text} (worst of {len(rows)} tasks: {worst['task']})",
        target=target,
        measured=interval.mean,
        low=interval.low,
        high=interval.high,
    )


def main() -> None:
    """Measure, write ``benchmarks/results/rendering.json``, and say where it is."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    frames = [compare("frames", task) for task in METAWORLD_TASKS]
    steps = [compare("steps", task) for task in ROBOSUITE_TASKS]
    path = benchmark_result(
        "rendering",
        frames + steps,
        [
            claim(frames, "Meta-World frames/s at 96x96 on one core, over stock", 8.0),
            claim(steps, "robosuite Panda steps/s with a picture at 84x84, over stock", 4.0),
        ],
    )
    print(path)


if __name__ == "__main__":
    main()
