"""Memory that a replay takes for the same frames, against LeRobot's float32 buffer.

Each variant is filled in a process of its own; what counts is the growth of its resident memory,
divided by the bytes of the frames: uint8, each observation once.
"""

import ctypes
import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from embodied.provenance import Claim, benchmark_result
from embodied.replay import Replay
from embodied.testing.episodes import random_frames, random_labelled_episode
from embodied.types import IMAGES, STATE, LabelledEpisode

EPISODES, STEPS, SIZE = 100, 40, 96
RAW = EPISODES * (STEPS + 1) * SIZE * SIZE * 3
FORK = get_context("fork")


def episodes(count: int = EPISODES) -> Iterator[LabelledEpisode]:
    """Episodes with frames and no features."""
    for number in range(count):
        rng = np.random.default_rng(number)
        episode = random_labelled_episode(rng, STEPS)
        images = {"front": random_frames(rng, STEPS + 1, SIZE)}
        yield replace(episode, images=images, features={})


def fill_ours() -> Any:
    """Whole episodes, as they come."""
    replay = Replay(EPISODES * STEPS)
    for episode in episodes():
        replay.add(episode)
    return replay


def fill_lerobot(optimize_memory: bool) -> Any:
    """Transitions, with images as the float32 tensors that its storage is made of."""
    import torch
    from lerobot.rl.buffer import ReplayBuffer

    torch.set_num_threads(1)
    keys = [IMAGES + "front", STATE]
    buffer = ReplayBuffer(EPISODES * STEPS, "cpu", keys, lambda x: x, False, "cpu", optimize_memory)
    for episode in episodes():
        for t in range(STEPS):
            before, after = (
                {
                    keys[0]: torch.from_numpy(episode.images["front"][i]).permute(2, 0, 1) / 255,
                    keys[1]: torch.from_numpy(episode.state[i]),
                }
                for i in (t, t + 1)
            )
            action = torch.from_numpy(episode.action[t])
            buffer.add(before, action, 0.0, after, t == STEPS - 1, t == STEPS - 1)
    return buffer


def resident_bytes() -> int:
    """Physical memory of this process that is its own, without what it has freed already."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    resident, shared = (int(x) for x in open("/proc/self/statm").read().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def measure(variant: str, result: Connection) -> None:
    """Fill in this process and report its growth."""
    import lerobot.rl.buffer  # noqa: F401, its own memory must not be counted

    for _ in episodes(5):  # what making episodes takes must not be counted either
        pass
    before = resident_bytes()
    kept = fill_ours() if variant == "ours" else fill_lerobot(variant == "lerobot, optimized")
    result.send(resident_bytes() - before)
    del kept


def main() -> None:
    """Measure the variants and write the result."""
    rows = []
    for variant in ("ours", "lerobot", "lerobot, optimized"):
        receiver, sender = FORK.Pipe(duplex=False)
        process = FORK.Process(target=measure, args=(variant, sender))
        process.start()
        grown = receiver.recv()
        process.join()
        rows.append({"replay": variant, "resident_mib": grown / 2**20, "ratio": grown / RAW})
        print(rows[-1])
    replay = fill_ours()
    held = replay.nbytes / RAW
    rows.append(
        {"replay": "ours, arrays held", "resident_mib": replay.nbytes / 2**20, "ratio": held}
    )
    claims = [
        Claim(
            claim="bytes held by the replay over bytes of the uint8 frames",
            target=1.05,
            measured=held,
            comparison="<=",
        ),
        Claim(
            claim="resident memory of the replay over bytes of the uint8 frames",
            target=1.05,
            measured=rows[0]["ratio"],
            comparison="<=",
        ),
        Claim(
            claim="LeRobot's buffer takes this many times our resident memory",
            target=4.0,
            measured=rows[1]["ratio"] / rows[0]["ratio"],
        ),
    ]
    print(benchmark_result("replay_memory", rows, claims))


if __name__ == "__main__":
    main()
