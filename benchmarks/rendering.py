"""Frames and steps per second against the stock renderers, on one core.

Counts processor seconds of the process (rendering threads included) while it is bound to one core:
on an otherwise idle machine these are seconds of the wall clock. Stock and ours take turns.
"""

import functools
import os
import time
from collections.abc import Callable
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from embodied.envs.metaworld import MetaWorld
from embodied.envs.robosuite import Robosuite
from embodied.provenance import Claim, benchmark_result
from embodied.statistics import mean_interval

REPEATS, SECONDS = 5, 1.0
METAWORLD_TASKS = ("drawer-open-v3", "door-open-v3", "pick-place-v3")
ROBOSUITE_TASKS = ("Lift", "PickPlaceCan")


def stock_metaworld(task: str) -> Callable[[], Any]:
    """A picture by Gymnasium's renderer, as Meta-World asks for it."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[task](
        render_mode="rgb_array", camera_name="corner2", width=96, height=96
    )
    env._freeze_rand_vec, env._set_task_called = False, True
    env.reset()
    return env.render  # type: ignore[no-any-return]


def our_metaworld(task: str) -> Callable[[], Any]:
    """The same picture by ours."""
    env = MetaWorld(task, cameras=("corner2",), image_size=96)
    env.reset(seed=0)
    return env.render


def stock_robosuite(task: str) -> Callable[[], Any]:
    """A step with its picture."""
    import robosuite

    env = robosuite.make(
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
    env.reset()
    return functools.partial(env.step, np.full(7, 0.1))


def our_robosuite(task: str) -> Callable[[], Any]:
    """The same step with the same picture by ours."""
    env = Robosuite(task, cameras=("agentview",), image_size=84)
    env.reset(seed=0)
    return functools.partial(env.step, np.full(7, 0.1))


def serve(make: Callable[[str], Callable[[], Any]], task: str, pipe: Connection) -> None:
    """Answer each request with how often per processor second, until there are no more."""
    act = make(task)
    for _ in range(3):
        act()
    while pipe.recv():
        count, start = 0, time.process_time()
        while time.process_time() - start < SECONDS:
            act()
            count += 1
        pipe.send(count / (time.process_time() - start))
    os._exit(0)  # the stock renderers complain while the interpreter shuts down


def compare(
    what: str,
    stock: Callable[[str], Callable[[], Any]],
    ours: Callable[[str], Callable[[], Any]],
    task: str,
) -> dict[str, Any]:
    """Rates in turns, each side in a process of its own.

    Stock renderers take it for granted that theirs is the only OpenGL context of the process.
    """
    pipes, processes = [], []
    for make in (stock, ours):
        here, there = Pipe()
        process = get_context("spawn").Process(target=serve, args=(make, task, there))
        process.start()
        there.close()  # so that the end of the process ends the waiting for it
        pipes.append(here)
        processes.append(process)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for pipe, found in zip(pipes, rates, strict=True):
            pipe.send(True)
            found.append(pipe.recv())
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    return {
        "task": task,
        "what": f"{what} per processor second",
        "stock": [round(rate, 1) for rate in rates[0]],
        "ours": [round(rate, 1) for rate in rates[1]],
        "ratio": [round(fast / slow, 2) for slow, fast in zip(*rates, strict=True)],
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
    frames = [compare("frames", stock_metaworld, our_metaworld, t) for t in METAWORLD_TASKS]
    steps = [compare("steps", stock_robosuite, our_robosuite, t) for t in ROBOSUITE_TASKS]
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
