"""How long until an episode survives anything, and what a kill -9 costs.

Times `EpisodeStore.append` from the last step until it returns, next to LeRobot's `save_episode`
and `finalize` on the same episodes in turn; then kills writers at random moments and counts.
"""

import argparse
import json
import os
import tempfile
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import EpisodeStore
from embodied.errors import CorruptFile
from embodied.provenance import Claim, benchmark_result
from embodied.testing.episodes import random_episode
from embodied.types import IMAGES, STATE, Episode

STEPS, SIZE, FPS, STATE_DIM, ACTION_DIM = 40, 96, 20, 8, 4
CAMERAS = {1: ("front",), 2: ("front", "wrist")}
FORK = get_context("fork")


def make(rng: np.random.Generator, cameras: int) -> Episode:
    """An episode of the size that the default job records."""
    return random_episode(
        rng,
        STEPS,
        CAMERAS[cameras],
        size=SIZE,
        state_dim=STATE_DIM,
        action_dim=ACTION_DIM,
        with_features=False,
    )


def time_ours(store: EpisodeStore, episode: Episode) -> dict[str, float]:
    """Milliseconds, on the clock and on the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    store.append(episode)
    return {
        "wall_ms": 1e3 * (time.perf_counter() - wall),
        "processor_ms": 1e3 * (time.process_time() - processor),
    }


def time_lerobot(root: Path, episode: Episode) -> dict[str, float]:
    """The same for LeRobot, which is durable after `finalize`; resuming is not counted."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    if root.exists():
        dataset = LeRobotDataset.resume("local/benchmark", root=root)
    else:
        dataset = LeRobotDataset.create("local/benchmark", FPS, lerobot_features(episode), root)
    for t in range(STEPS):
        frame: dict[str, Any] = {IMAGES + c: frames[t] for c, frames in episode.images.items()}
        frame |= {STATE: episode.state[t], "action": episode.action[t], "task": "push"}
        dataset.add_frame(frame)
    wall, processor = time.perf_counter(), time.process_time()
    dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    return {
        "wall_ms": 1e3 * (time.perf_counter() - wall),
        "processor_ms": 1e3 * (time.process_time() - processor),
    }


def lerobot_features(episode: Episode) -> dict[str, Any]:
    """Images, state and action: LeRobot is asked to store less than we do."""
    image = {"dtype": "video", "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channels"]}
    return {
        **{IMAGES + camera: dict(image) for camera in episode.images},
        STATE: {"dtype": "float32", "shape": (STATE_DIM,), "names": None},
        "action": {"dtype": "float32", "shape": (ACTION_DIM,), "names": None},
    }


def kill_one(root: Path, seed: int) -> dict[str, int]:
    """Kill a writer at a random moment; count what it had acknowledged and what is left."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=write_for_ever, args=(root, seed, sender))
    process.start()
    sender.close()
    rng = np.random.default_rng(seed)
    acknowledged = [receiver.recv() for _ in range(rng.integers(1, 6))]
    time.sleep(rng.uniform(0, 0.15))
    process.kill()
    process.join()
    with suppress(EOFError):
        while True:
            acknowledged.append(receiver.recv())
    store = EpisodeStore(root)
    stored = store.episode_ids()
    lost = sum(name not in stored for name in acknowledged)
    unreadable = 0
    for index in range(len(stored)):
        try:
            store.read(index).validate()
        except CorruptFile:
            unreadable += 1
    info = json.loads((root / "meta/info.json").read_text())
    return {
        "acknowledged": len(acknowledged),
        "lost": lost,
        "unreadable": unreadable,
        "totals_wrong": int(info["total_episodes"] != len(stored)),
    }


def write_for_ever(root: Path, seed: int, acknowledge: Connection) -> None:
    """Append episodes until killed."""
    store, rng = EpisodeStore(root, float(FPS)), np.random.default_rng(seed)
    while True:
        episode = make(rng, 1)
        store.append(episode)
        acknowledge.send(episode.episode_id)


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles, 95th percentile and extremes."""
    points = {"low": 0, "q25": 25, "median": 50, "q75": 75, "q95": 95, "high": 100}
    return {name: float(np.percentile(values, p)) for name, p in points.items()}


def main() -> None:
    """Time, kill, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--lerobot-episodes", type=int, default=8)
    parser.add_argument("--kills", type=int, default=100)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    claims = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        kills = [kill_one(root / f"kill-{seed}", seed) for seed in range(arguments.kills)]
        for cameras in CAMERAS:
            rng = np.random.default_rng(cameras)
            store = EpisodeStore(root / f"ours-{cameras}", float(FPS))
            store.append(make(rng, cameras))
            times: dict[str, list[dict[str, float]]] = {"ours": [], "lerobot": []}
            for number in range(arguments.episodes):
                episode = make(rng, cameras)
                times["ours"].append(time_ours(store, episode))
                if number < arguments.lerobot_episodes:
                    times["lerobot"].append(time_lerobot(root / f"lerobot-{cameras}", episode))
            for writer, measured in times.items():
                for clock in ("wall_ms", "processor_ms"):
                    values = [m[clock] for m in measured]
                    row = {"writer": writer, "cameras": cameras, "clock": clock, "n": len(values)}
                    rows.append(row | spread(values))
            wall, theirs = (spread([m["wall_ms"] for m in t]) for t in times.values())
            claims.append(
                Claim(
                    claim=f"an episode of {STEPS} steps, {cameras} camera(s) of {SIZE}x{SIZE}, is "
                    "durable this many ms after its last step (median; quartiles)",
                    target=150.0,
                    measured=wall["median"],
                    low=wall["q25"],
                    high=wall["q75"],
                    comparison="<=",
                )
            )
            claims.append(
                Claim(
                    claim="LeRobot's save_episode and finalize take this many times as long with "
                    f"{cameras} camera(s) (medians)",
                    target=1.0,
                    measured=theirs["median"] / wall["median"],
                )
            )
    rows.append({"kills": len(kills)} | {k: sum(kill[k] for kill in kills) for k in kills[0]})
    damage = float(sum(k["lost"] + k["unreadable"] + k["totals_wrong"] for k in kills))
    claims.append(
        Claim(
            claim=f"finished episodes lost or damaged by {len(kills)} kill -9 at random moments",
            target=0.0,
            measured=damage,
            comparison="<=",
        )
    )
    for row in rows:
        print(row)
    print(benchmark_result("durability", rows, claims))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
