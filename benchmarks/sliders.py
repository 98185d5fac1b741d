"""Whether the order of clips follows the sliders, by how many answers there are.

    python benchmarks/sliders.py [--ways drawer-open-right] [--clips 80] [--seeds 5]
                                 [--pictures docs/images] [--table]

Attempts of a task with a way (`embodied.envs.ways_catalogue`) are compared by three attributes that
the simulator knows: how fast the hand moves (speed), how little its actions change (smoothness),
and how well the way is kept to (safety). One answer in ten is wrong. `learn_attributes` learns from
them on the embedding that the page's trainer has; the order that some directions give is compared
with the one that the same directions give of the true values. In the negative control people judge
other clips than they are shown: the true values are shuffled over the clips.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from playwright.sync_api import sync_playwright
from scipy.stats import spearmanr

from embodied.encoders import EfficientNetLite
from embodied.envs.ways_catalogue import WAYS
from embodied.preferences.attributes import AttributeVector, beaten, learn_attributes
from embodied.preferences.embedding import COMPONENTS, components
from embodied.preferences.raters import RaterClient
from embodied.preferences.records import Direction
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.preference_reward import opinions
from embodied.statistics import Interval, grouped_interval
from embodied.testing.browser import CHROMIUM, TOKEN, ServedPage, sign_in
from embodied.testing.ways import CAMERA, Attempt, record

ANSWERS = (10, 20, 40, 80)
"""About each attribute."""
MISTAKE = 0.1
FLOOR = 0.25
DIRECTIONS: Mapping[str, Direction] = {
    "speed": Direction(sliders={"speed": 1.0}, floor=0.0),
    "smoothness": Direction(sliders={"smoothness": 1.0}, floor=0.0),
    "fast and smooth": Direction(sliders={"speed": 0.6, "smoothness": 0.8}, floor=0.0),
    "slow and smooth": Direction(sliders={"speed": -0.8, "smoothness": 0.6}, floor=0.0),
    "fast, if safe": Direction(sliders={"speed": 1.0}, floor=FLOOR),
}


def true_values(attempts: Sequence[Attempt]) -> dict[str, Float[np.ndarray, " clip"]]:
    """What the simulator says of each attribute; no learner sees it."""
    hands = [attempt.state[:, :3] for attempt in attempts]
    return {
        "speed": np.array([np.linalg.norm(np.diff(h, axis=0), axis=1).mean() for h in hands]),
        "smoothness": np.array([-np.abs(np.diff(a.action, axis=0)).mean() for a in attempts]),
        "safety": np.array([attempt.liking for attempt in attempts]),
    }


def said_of(
    values: Mapping[str, Float[np.ndarray, " clip"]], count: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Labels of somebody who errs at times."""
    clips, labels = len(values["speed"]), []
    for number in range(count):
        first, second = (int(clip) for clip in rng.choice(clips, 2, replace=False))
        ahead = {n: (v[first] > v[second]) ^ (rng.random() < MISTAKE) for n, v in values.items()}
        labels.append(
            {
                "id": number + 1, "supersedes": None, "choice": "tie", "mode": "pair",
                "clip_ids": [first, second], "rater": "ann", "acquisition": "random",
                "attributes": {n: "left" if own else "right" for n, own in ahead.items()},
            }
        )  # fmt: skip
    return labels


def one_seed(attempts: Sequence[Attempt], seed: int) -> list[dict[str, Any]]:
    """Rows of one person, and of one who judges other clips."""
    maps = [np.asarray(a.clip.features[CAMERA], np.float32).mean(0).ravel() for a in attempts]
    features = components(np.stack(maps), COMPONENTS)
    true = true_values(attempts)
    everything = dict.fromkeys(true, 0)
    right = AttributeVector(
        scores={name: beaten(own) for name, own in true.items()}, answers=everything
    )
    rng, rows = np.random.default_rng(seed), []
    for shuffled in (False, True):
        order = rng.permutation(len(attempts)) if shuffled else np.arange(len(attempts))
        labels = said_of({name: own[order] for name, own in true.items()}, max(ANSWERS), rng)
        for answers in ANSWERS:
            vector = learn_attributes(
                labels[:answers], range(len(attempts)), features, partial(opinions, seed=seed)
            )
            for name, direction in DIRECTIONS.items():
                found, wanted = vector.reward(direction), right.reward(direction)
                best = np.argsort(-found)[: len(found) // 4]
                rows.append(
                    {
                        "seed": seed, "shuffled": shuffled, "answers": answers, "direction": name,
                        "correlation": float(spearmanr(found, wanted).statistic),
                        "unsafe": float((right.scores["safety"][best] < FLOOR).mean()),
                    }
                )  # fmt: skip
    return rows


def interval_of(rows: Sequence[Mapping[str, Any]], measure: str) -> Interval:
    """Mean over directions, interval over ways and people."""
    groups = [(row["way"], row["seed"]) for row in rows]
    return grouped_interval(groups, [row[measure] for row in rows], seed=0)


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Over all directions, after the most answers."""
    most = [row for row in rows if row["answers"] == max(ANSWERS)]
    own, other = ([row for row in most if row["shuffled"] is s] for s in (False, True))
    safe = [row for row in own if row["direction"] == "fast, if safe"]
    free = [row for row in own if row["direction"] == "speed"]
    told = (
        ("rank correlation of the sliders' order with the true one", own, "correlation", 0.6, ">="),
        ("the same, answers about shuffled clips", other, "correlation", 0.2, "<="),
        ("truly below the floor in the best quarter, with the floor", safe, "unsafe", 0.1, "<="),
        ("truly below the floor in the best quarter, without", free, "unsafe", 0.1, ">="),
    )
    found = []
    for claim, chosen, measure, target, comparison in told:
        interval = interval_of(chosen, measure)
        found.append(
            Claim(
                claim=f"sliders: {claim}, {max(ANSWERS)} answers",
                target=target,
                measured=interval.mean,
                low=interval.low,
                high=interval.high,
                comparison=comparison,
            )
        )
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rank correlation by direction and answers, as Markdown; then what is unsafe."""
    lines = [f"| order | {' | '.join(f'{n} answers' for n in ANSWERS)} | shuffled |"]
    lines.append("|---" * (len(ANSWERS) + 2) + "|")
    for name in DIRECTIONS:
        own = [row for row in rows if row["direction"] == name]
        cells = [[r for r in own if not r["shuffled"] and r["answers"] == n] for n in ANSWERS]
        cells.append([r for r in own if r["shuffled"] and r["answers"] == max(ANSWERS)])
        found = [interval_of(cell, "correlation") for cell in cells]
        said = [f"{i.mean:.2f} [{i.low:.2f}, {i.high:.2f}]" for i in found]
        lines.append(f"| {name} | {' | '.join(said)} |")
    for name in ("speed", "fast, if safe"):
        chosen = [r for r in rows if not r["shuffled"] and r["direction"] == name]
        shares = [
            interval_of([r for r in chosen if r["answers"] == n], "unsafe").mean for n in ANSWERS
        ]
        lines.append(f"{name}, below the floor in the best quarter: {np.round(shares, 2)}")
    return lines


def picture(path: Path) -> None:
    """The page's sliders after thirty answers, as a picture."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = ServedPage(Path(folder), episodes=8)
        try:
            with RaterClient(server.url, TOKEN, "oracle", patience_s=300.0) as oracle:
                for _ in range(30):
                    showing = oracle.following()[0]
                    left, right = (server.nearness(clip) for clip in showing["clip_ids"])
                    near, far = ("left", "right") if left > right else ("right", "left")
                    said = {"success": near, "speed": near, "safety": far}
                    oracle.answer(showing, near, attributes=said)
            while not server.store.reward_versions():
                time.sleep(0.5)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1000, "height": 1090})
            page.set_default_timeout(120_000)
            sign_in(page, server.url, "browser", TOKEN)
            page.keyboard.press("l")
            page.fill("input[name=success]", "0.6")
            page.fill("input[name=speed]", "-0.3")
            page.wait_for_selector("#sliders figure canvas")
            page.wait_for_timeout(3000)
            page.screenshot(path=path)
            browser.close()
        finally:
            server.kill()


def main() -> None:
    """Record, learn, compare and write ``benchmarks/results/sliders.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["drawer-open-right"])
    parser.add_argument("--clips", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(earlier_rows("sliders"))))
        return
    if arguments.pictures is not None:
        picture(arguments.pictures / "preferences_sliders.png")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for way in arguments.ways:
        attempts = record(WAYS[way], range(arguments.clips), EfficientNetLite())
        for seed in range(arguments.seeds):
            rows += [{"way": way} | row for row in one_seed(attempts, seed)]
    path = benchmark_result("sliders", rows, claims(rows))
    print("\n".join([*table(rows), str(path)]), flush=True)


if __name__ == "__main__":
    main()
