"""Whether the demonstrators of every way succeed, and differ in how their attempts are liked.

Writes ``benchmarks/results/ways.json``. With ``--pictures`` it also draws, for each way, the best
and the least liked attempt, one above the other, into a folder, as in `docs/ways.md`; and with
``--drivers`` it counts how often X-MAGICAL's scripted drivers are done in time.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from embodied.envs.ways import Attempt, Way, attempt
from embodied.envs.ways_catalogue import WAYS
from embodied.envs.xmagical import WITH_A_WAY, XMagical
from embodied.envs.xmagical_robots import EMBODIMENTS
from embodied.provenance import Claim, benchmark_result
from embodied.statistics import voc, wilson

CAMERA = "front"
FRAMES = 7
BODIES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "lift-gently": ({"robot": "Panda"}, {"robot": "Sawyer"}),
    "lift-level": ({"robot": "Panda"},),
    "lift-right": ({"robot": "Panda"}, {"robot": "IIWA"}, {"robot": "Kinova3"}),
    "sweep-avoiding": tuple({"embodiment": name} for name in WITH_A_WAY),
    "sweep-grouping": tuple({"embodiment": name} for name in WITH_A_WAY),
}
"""Bodies that a way is shown by; Meta-World has but one."""


def measure(way: Way, seeds: Sequence[int], pictures: Path | None) -> list[dict[str, Any]]:
    """A row for each body."""
    rows = []
    for number, body in enumerate(BODIES.get(way.name, ({},))):
        env = way.make(cameras=(CAMERA,), **body)
        tried = [attempt(way, env, seed) for seed in seeds]
        env.close()
        done = [each for each in tried if each.success]
        told = [way.metric(each.trace) for each in done]
        liked = [way.rate(each.trace) for each in done]
        sign = 1 if way.better == "higher" else -1
        if pictures is not None and number == 0:
            _draw(way, done, pictures / f"{way.name}.png")
        rows.append(
            {
                "way": way.name, "body": " ".join(body.values()), "attempts": len(tried),
                "successes": len(done), "unit": way.unit, "least": min(told),
                "median": float(np.median(told)), "most": max(told),
                "agreement": voc(np.array(liked), np.array(told)) * sign,
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def _draw(way: Way, done: Sequence[Attempt], path: Path) -> None:
    """The most liked attempt above the least liked one."""
    order = sorted(done, key=lambda each: way.rate(each.trace))
    strips = []
    for each in (order[-1], order[0]):
        frames = each.frames[CAMERA]
        chosen = np.linspace(0, len(frames) - 1, FRAMES).astype(int)
        strips.append(np.hstack([frames[index] for index in chosen]))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(strips)[..., ::-1])


def drivers(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """How often each driver of X-MAGICAL is done within the limit."""
    rows = []
    for task in ("SweepToTop", "Avoiding", "Grouping"):
        for embodiment in EMBODIMENTS if task == "SweepToTop" else WITH_A_WAY:
            env = XMagical(task, embodiment=embodiment, image_size=8)
            steps = [taken for seed in seeds if (taken := _steps(env, seed)) is not None]
            share = wilson(len(steps), len(seeds))
            rows.append(
                {
                    "task": task, "embodiment": embodiment, "limit": env.max_episode_steps,
                    "median_steps": float(np.median(steps)) if steps else None,
                }
                | share.to_dict()
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def _steps(env: XMagical, seed: int) -> int | None:
    env.reset(seed=seed)
    for step in range(env.max_episode_steps):
        if env.step(env.expert_action())[4]["success"]:
            return step + 1
    return None


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Most attempts succeed, so that they differ in nothing but their way."""
    good, all_of_them = (sum(row[key] for row in rows) for key in ("successes", "attempts"))
    share = wilson(good, all_of_them)
    return [
        Claim(
            claim="attempts of the ways' demonstrators succeed, all ways and bodies",
            target=0.9, measured=share.mean, low=share.low, high=share.high,
        )
    ]  # fmt: skip


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--drivers", action="store_true")
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    if arguments.drivers:
        drivers(range(3 * arguments.seeds))
        return
    chosen = [WAYS[name] for name in arguments.ways]
    rows = [row for way in chosen for row in measure(way, seeds, arguments.pictures)]
    print(benchmark_result("ways", rows, claims(rows)))


if __name__ == "__main__":
    main()
