"""Whether "slightly better" should count for less: a softer target, an ordinary one, or none.

    python benchmarks/strength.py [--seeds 3] [--clips 120]

Clips of X-MAGICAL tasks that all succeed, each in a way of its own, seen as small pictures. A
person sees the difference of two clips' liking with noise, prefers the one that seems better, and
says "slightly" where the difference seems small: so these answers are wrong more often. The
preference reward learns from them, and predicts what the person thinks of pairs of held-out clips.
In the control it is drawn by lot which answers are said to be slight, as often as they were.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from embodied.encoders import Pixels
from embodied.envs.ways_catalogue import WAYS
from embodied.preferences.comparing import SLIGHT
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.preference_reward import PreferenceReward
from embodied.statistics import Interval, mean_interval
from embodied.testing.clip_embeddings import embed_clips
from embodied.testing.ways import Attempt, record

MEASURED = ("sweep-avoiding", "sweep-grouping")
IMAGE_SIZE = 24
"""Pixels."""
ANSWERS, PEOPLE = 60, 4
NOISE, SMALL = 0.5, 0.7
"""Scale of the logistic noise, and what seems small, in deviations of the liking."""
TARGETS = {"ordinary": 1.0, "softer": SLIGHT, "left out": 0.5}
"""Of the clip that is called slightly better."""
SEEMS, LOT = "as it seems", "by lot"
MEANT = ((SEEMS, "ordinary"), (SEEMS, "softer"), (SEEMS, "left out"), (LOT, "softer"))
"""Which answers are said to be slight, and how these count."""


def one_seed(attempts: Sequence[Attempt], seed: int) -> list[dict[str, Any]]:
    """Rows of one split of the clips into training and test, and several people."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(attempts))
    cut = len(attempts) * 2 // 3
    train, test = ([attempts[i] for i in own] for own in (order[:cut], order[cut:]))
    known = [attempt.clip for attempt in train]
    clips, unseen = embed_clips(known, known), embed_clips(known, [a.clip for a in test])
    liked, truth = (np.array([attempt.liking for attempt in own]) for own in (train, test))
    liked = liked / liked.std()
    pairs = np.triu_indices(len(truth), 1)
    rows = []
    for person in range(PEOPLE):
        first, second = np.array(
            [rng.choice(len(train), 2, replace=False) for _ in range(ANSWERS)]
        ).T  # fmt: skip
        seen = liked[first] - liked[second] + rng.logistic(scale=NOISE, size=ANSWERS)
        wrong = (seen > 0) != (liked[first] > liked[second])
        slight = np.abs(seen) < SMALL
        drawn = rng.permutation(slight)
        for said, name in MEANT:
            told, target = drawn if said == LOT else slight, TARGETS[name]
            kept = ~told if name == "left out" else np.ones(ANSWERS, bool)
            better = np.where(told, target, 1.0)
            answers = Comparisons.from_numbers(
                first[kept], second[kept],
                np.where(seen > 0, better, 1.0 - better)[kept],
                np.zeros(int(kept.sum()), np.int64),
            )  # fmt: skip
            reward = PreferenceReward(clips.shape[1], raters=1, members=1, seed=seed)
            reward.fit(clips, answers)
            with torch.no_grad():
                value = reward(unseen)[0].numpy()
            right = (value[pairs[0]] > value[pairs[1]]) == (truth[pairs[0]] > truth[pairs[1]])
            rows.append({
                "seed": seed, "person": person, "slight": said, "counts": name,
                "accuracy": float(right.mean()), "said_slight": float(slight.mean()),
                "wrong": float(wrong.mean()), "wrong_slight": float(wrong[slight].mean()),
            })  # fmt: skip
    return rows


def gain(rows: Sequence[Mapping[str, Any]], said: str, name: str) -> Interval:
    """Accuracy beyond that with ordinary targets; the interval is over splits."""
    at = {(r["way"], r["seed"], r["person"], r["slight"], r["counts"]): r["accuracy"] for r in rows}
    groups: dict[tuple[str, int], list[float]] = {}
    for (way, seed, person, slight, counts), accuracy in at.items():
        if (slight, counts) == (said, name):
            more = accuracy - at[way, seed, person, SEEMS, "ordinary"]
            groups.setdefault((way, seed), []).append(more)
    return mean_interval([float(np.mean(own)) for own in groups.values()], seed=0)


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """That slight answers should count for less, and not where it is drawn by lot which are."""
    found = []
    for said, name in MEANT[1:]:
        more = gain(rows, said, name)
        found.append(
            Claim(
                claim=f"slight answers {name}, said {said}: accuracy beyond ordinary targets",
                target=0.0,
                measured=more.mean,
                low=more.low,
                high=more.high,
                whole_interval=True,
            )
        )
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Held-out pairs ranked rightly, in %, as Markdown."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = [f"| slight | counts | {' | '.join(ways)} | beyond ordinary, points |"]
    lines.append("|---" * (len(ways) + 3) + "|")
    for said, name in dict.fromkeys((row["slight"], row["counts"]) for row in rows):
        own = [row for row in rows if (row["slight"], row["counts"]) == (said, name)]
        cells = [
            f"{100 * np.mean([row['accuracy'] for row in own if row['way'] == way]):.1f}"
            for way in ways
        ]
        more = gain(rows, said, name)
        cells.append(f"{100 * more.mean:+.1f} [{100 * more.low:.1f}, {100 * more.high:.1f}]")
        lines.append(f"| {said} | {name} | {' | '.join(cells)} |")
    keys = ("said_slight", "wrong", "wrong_slight")
    told = {key: round(float(np.nanmean([row[key] for row in rows])), 3) for key in keys}
    return [*lines, str(told)]


def main() -> None:
    """Record, learn, compare and write ``benchmarks/results/strength.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=MEASURED)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(earlier_rows("strength"))))
        return
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for way in arguments.ways:
        encoder = Pixels(IMAGE_SIZE)
        attempts = record(WAYS[way], range(arguments.clips), encoder, image_size=IMAGE_SIZE)
        for seed in range(arguments.seeds):
            rows += [{"way": way} | row for row in one_seed(attempts, seed)]
            print(way, seed, flush=True)
        path = benchmark_result("strength", rows, claims(rows))
        print("\n".join([*table(rows), str(path)]), flush=True)


if __name__ == "__main__":
    main()
