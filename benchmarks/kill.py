"""What kill -9 of every kind of process at random moments loses, and whether resuming is exact.

    python benchmarks/kill.py [--kills 20] [--seed 0] [--victims learner ...]

Runs are of doubles (`embodied.testing.doubles`), which refuse steps that are out of order. Workers
are killed under a Ray driver that goes on; drivers, Ray's and the inline one, are killed and
resumed. An inline run that was killed must end in the same bits as one that was not.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from embodied.ledger import Schedule
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.ray_processes import start_ray
from embodied.testing.runs import DoubleRun, stored

DRIVERS = {"ray driver": "ray", "inline driver": "inline"}
VICTIMS = ("actor 0", "reward worker", "learner", *DRIVERS)
EPISODES_PER_KILL = 12


def main() -> None:
    """Kill, check, and write `benchmarks/results/kill.json` after each victim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--drive", nargs=3, metavar=("LOOP", "FOLDER", "EPISODES"))
    options = parser.parse_args()
    if options.drive:
        loop, folder, episodes = options.drive
        drive(loop, Path(folder), int(episodes))
        return
    for victim in options.victims:
        rng = random.Random(f"{options.seed} {victim}")
        with tempfile.TemporaryDirectory() as folder:
            row = kill(victim, Path(folder) / victim, options.kills, rng)
        print(row, flush=True)
        as_often = [r for r in earlier_rows("kill") if r["kills"] == options.kills]
        others = [r for r in as_often if r["victim"] != victim]
        rows = sorted([*others, row], key=lambda r: VICTIMS.index(r["victim"]))
        benchmark_result("kill", rows, claims(rows))


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """What must hold, judged on the rows at hand."""
    lost = sum(row["episodes_lost"] + row["labels_lost"] for row in rows)
    kills, in_order = sum(row["kills"] for row in rows), all(row["in_order"] for row in rows)
    found = [
        Claim(
            claim=f"finished episodes and labels lost to {kills} kill -9 of {len(rows)} processes",
            target=0.0,
            measured=float(lost),
            comparison="<=",
        ),
        Claim(
            claim="the learner has seen every online episode once, in order (1: yes)",
            target=1.0,
            measured=float(in_order),
        ),
    ]
    exact = [row["same_bits"] for row in rows if "same_bits" in row]
    if exact:
        found.append(
            Claim(
                claim="inline run killed and resumed ends in the same bits (1: yes)",
                target=1.0,
                measured=float(all(exact)),
            )
        )
    return found


def kill(victim: str, folder: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """One victim's row."""
    if victim in DRIVERS:
        return kill_driver(victim, folder, kills, rng)
    start_ray(None, 100)
    try:
        return kill_worker(victim, folder, kills, rng)
    finally:
        import ray

        ray.shutdown()


def run_of(folder: Path, episodes: int) -> DoubleRun:
    """The run that is killed."""
    schedule = Schedule(
        episodes=episodes,
        validate_every=7,
        validation_episodes=2,
        checkpoint_every=3,
        updates_per_slice=7,
    )
    return DoubleRun(folder=folder, schedule=schedule)


def drive(loop: str, folder: Path, episodes: int) -> None:
    """A driver in a process of its own; says when each episode is settled."""
    run = run_of(folder, episodes)

    def say(row: Any) -> None:
        if "episode" in row:
            print(row["episode_id"], flush=True)

    (run.ray(say) if loop == "ray" else run.inline(say)).run()


def kill_worker(victim: str, folder: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill a worker again and again while the driver goes on."""
    run = run_of(folder, kills * EPISODES_PER_KILL)
    settled: list[str] = []
    pending = {"kills": kills, "after": 3}

    def observe(row: Any) -> None:
        if "episode_id" in row:
            settled.append(row["episode_id"])
        if pending["kills"] and len(settled) >= pending["after"] and "episode_id" in row:
            pending["kills"] -= 1
            pending["after"] = len(settled) + EPISODES_PER_KILL - 3
            pid, delay = loop.pids[victim], rng.uniform(0.0, 0.3)
            threading.Timer(delay, _kill, [pid]).start()

    loop = run.ray(observe)
    outcome = loop.run()
    return {
        "victim": victim,
        "kills": kills - pending["kills"],
        "restarts": outcome.ledger.restarts,
        "repeated_updates": outcome.ledger.repeated_updates,
        **losses(run, settled),
    }


def kill_driver(victim: str, folder: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill the driver again and again, and resume it."""
    loop = DRIVERS[victim]
    episodes = kills * EPISODES_PER_KILL if loop == "ray" else kills * 6
    run = run_of(folder, episodes)
    settled: list[str] = []
    done = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, __file__, "--drive", loop, str(folder), str(episodes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        patience = rng.randint(1, 4) if done < kills else episodes
        for line in process.stdout:
            settled.append(line.strip())
            patience -= 1
            if patience == 0 and done < kills:
                time.sleep(rng.uniform(0.0, 0.1))
                process.kill()
                break
        remaining = process.stdout.read().split()
        settled.extend(remaining)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL, "the driver failed by itself"
        done += 1
    row = {"victim": victim, "kills": done, "restarts": done, **losses(run, settled)}
    if loop == "inline":
        whole = run_of(folder.with_name("whole"), episodes)
        whole.inline().run()
        row["same_bits"] = same(stored(whole)["learner"], stored(run)["learner"])
    return row


def losses(run: DoubleRun, settled: list[str]) -> dict[str, Any]:
    """Compare what was said to be settled with what is on disk and in the checkpoint."""
    store = run.store()
    on_disk = set(store.episode_ids())
    learnt = stored(run)["learner"]["ingested"]
    names = [
        f"{'validation' if run.schedule.validates(n) else 'online'}-{n:06d}"
        for n in range(run.schedule.episodes)
    ]
    return {
        "episodes": len(on_disk),
        "episodes_lost": len({*settled, *names} - on_disk),
        "labels_lost": sum(store.read_labels(name, 1) is None for name in on_disk),
        "in_order": learnt == [name for name in names if name.startswith("online")],
    }


def same(first: Any, second: Any) -> bool:
    """Whether two states are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
