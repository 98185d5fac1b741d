"""RAPL's claim: from the same few rankings, a reward nearer to the true preference.

Tasks with a way of doing them (`embodied.envs.ways_catalogue`); all clips succeed. A person who is
simulated from what only the simulator knows ranks triplets of training clips. Every reward is
given some of these, and then says of held-out clips how well they are liked: Spearman with the
truth. Intervals are bootstrapped over held-out clips; the mean is over seeds (of triplets and
networks).
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from embodied.encoders import EfficientNetLite
from embodied.envs.ways_catalogue import WAYS
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.rapl_matching import Match
from embodied.reward_models.transport import Matching
from embodied.statistics import Interval, voc
from embodied.testing.way_agreement import Said, agreement, lead
from embodied.testing.way_rewards import BASELINES, learn_rewards, ranked
from embodied.testing.ways import CAMERA, Attempt, record

TRAIN, TEST = 40, 30
RANKINGS = (5, 15, 60)
"""Triplets that a person ranks."""
PUBLISHED = 0.61
"""Spearman with the true preference in RAPL's Table 1: 0.59 (Franka, group) and 0.61 (clutter)."""
MATCHINGS = {
    "RAPL": Matching(),
    "RAPL, band 0.2": Matching(band=0.2),
    "RAPL, nearest frame": Matching(method="nearest"),
    "RAPL, soft-DTW": Matching(method="soft_dtw"),
}


def learn(
    train: Sequence[Attempt], test: Sequence[Attempt], rankings: int, seed: int, steps: int
) -> tuple[dict[str, Float[np.ndarray, " clip"]], list[dict[str, Any]]]:
    """What every reward says of the held-out clips after learning; and how its plans look."""
    ranks = ranked(train, np.random.default_rng(seed), max(RANKINGS))[:rankings]
    learned = learn_rewards(train, ranks, seed, steps)
    said: dict[str, Float[np.ndarray, " clip"]] = {}
    plans: list[dict[str, Any]] = []
    for name in ("RAPL", "ImageNet-OT"):
        matcher = learned.matchers[name]
        others = MATCHINGS if name == "RAPL" and rankings == max(RANKINGS) else {name: Matching()}
        for label, matching in others.items():
            matcher.matching = matching
            matches = [matcher.match([attempt.clip.features[CAMERA]]) for attempt in test]
            said[label] = np.array([-match.distance for match in matches])
            if label == name:
                about = {"reward": name, "rankings": rankings, "seed": seed}
                plans += [about | row for row in shapes(matches, test)]
    return said | {name: learned.say(name, test) for name in ("RLHF head", "TCC-OT")}, plans


def shapes(matches: Sequence[Match], test: Sequence[Attempt]) -> list[dict[str, Any]]:
    """How diagonal and how spread the plans of the best and the least liked third are."""
    order = np.argsort([attempt.liking for attempt in test])
    third = len(test) // 3
    rows = []
    for group, chosen in (("liked", order[-third:]), ("disliked", order[:third])):
        plans = [matches[i].plan.numpy() for i in chosen]
        rows.append(
            {
                "group": group,
                "off_diagonal": float(np.mean([_off_diagonal(plan) for plan in plans])),
                "entropy": float(np.mean([_entropy(plan) for plan in plans])),
            }
        )
    return rows


def _off_diagonal(plan: Float[np.ndarray, "time other"]) -> float:
    """Mean distance in time of what is matched, as a share of a uniform plan's: 0 is diagonal."""
    time, other = (np.linspace(0, 1, size) for size in plan.shape)
    apart = np.abs(time[:, None] - other)
    return float((plan * apart).sum() / apart.mean())


def _entropy(plan: Float[np.ndarray, "time other"]) -> float:
    """Entropy of where a frame goes, as a share of a uniform plan's: 0 is one frame."""
    rows = plan / plan.sum(1, keepdims=True)
    spread = -(rows * np.log(np.maximum(rows, 1e-12))).sum(1)
    return float(spread.mean() / np.log(plan.shape[1]))


def claims(
    rows: Sequence[Mapping[str, Any]],
    leads: Mapping[int, Mapping[str, Interval]],
    plans: Sequence[Any],
) -> list[Claim]:
    """RAPL where the paper has it, ahead, intervals apart; plans of liked clips more diagonal."""
    overall = {(row["reward"], row["rankings"]): row for row in rows if row["task"] == "all"}
    found = [
        Claim(
            claim=f"Spearman with the true preference, {max(leads)} rankings, RAPL, {row['task']}",
            target=PUBLISHED, measured=row["mean"], low=row["low"], high=row["high"],
        )
        for row in rows
        if (row["reward"], row["rankings"]) == ("RAPL", max(leads))
    ]  # fmt: skip
    for rankings, ahead in leads.items():
        found += [
            Claim(
                claim=f"Spearman with the true preference, {rankings} rankings, RAPL minus {name}",
                target=0.0,
                measured=ahead[name].mean,
                low=ahead[name].low,
                high=ahead[name].high,
                whole_interval=True,
            )
            for name in BASELINES
        ]
        found += [
            Claim(
                claim=f"gap between the intervals of RAPL and of {name}, {rankings} rankings",
                target=0.0,
                measured=overall["RAPL", rankings]["low"] - overall[name, rankings]["high"],
            )
            for name in BASELINES
        ]

    def off(group: str) -> float:
        about = ("RAPL", group, max(leads))
        chosen = [
            p["off_diagonal"] for p in plans if (p["reward"], p["group"], p["rankings"]) == about
        ]
        return float(np.mean(chosen))

    return [
        *found,
        Claim(
            claim="distance of RAPL's plans from the diagonal, liked, as a share of a uniform plan",
            target=0.5,
            measured=off("liked"),
            comparison="<=",
        ),
        Claim(
            claim="distance of RAPL's plans from the diagonal, disliked",
            target=0.8,
            measured=off("disliked"),
        ),
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Spearman of each reward over all tasks, and by task with the most rankings, as Markdown."""
    cells = {(row["reward"], row["task"], row["rankings"]): row for row in rows if "task" in row}
    counts = sorted({rankings for _, _, rankings in cells})
    tasks = list(dict.fromkeys(task for _, task, _ in cells if task != "all"))
    columns = [("all", n) for n in counts] + [(task, counts[-1]) for task in tasks]
    lines = [f"| reward | {' | '.join(f'{task}, {n}' for task, n in columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name in (*MATCHINGS, *BASELINES):
        found = [cells.get((name, *column)) for column in columns]
        shown = [f"{c['mean']:.2f} [{c['low']:.2f}, {c['high']:.2f}]" if c else "" for c in found]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def main() -> None:
    """Record, learn, compare and write ``benchmarks/results/rapl.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rankings", nargs="+", type=int, choices=RANKINGS, default=RANKINGS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table([row for row in earlier_rows("rapl") if "mean" in row])))
        return
    torch.set_num_threads(1)
    truth: dict[str, Float[np.ndarray, " clip"]] = {}
    said: dict[int, dict[str, list[Said]]] = {n: {} for n in arguments.rankings}
    plans: list[dict[str, Any]] = []
    for name in arguments.ways:
        attempts = record(WAYS[name], range(TRAIN + TEST), EfficientNetLite())
        test, train = attempts[:TEST], attempts[TEST:]
        truth[name] = np.array([attempt.liking for attempt in test])
        for n in arguments.rankings:
            outcomes = [
                learn(train, test, n, seed, arguments.steps) for seed in range(arguments.seeds)
            ]
            said[n][name] = [outcome for outcome, _ in outcomes]
            plans += [{"way": name} | row for _, shape in outcomes for row in shape]
            means = {
                reward: round(float(np.mean([voc(o[reward], truth[name]) for o, _ in outcomes])), 3)
                for reward in outcomes[0][0]
            }
            print(name, len(train), len(test), f"{n} rankings", means, flush=True)
    rows: list[dict[str, Any]] = []
    leads: dict[int, dict[str, Interval]] = {}
    for n, each in said.items():
        rows += [row | {"rankings": n} for row in agreement(truth, each)]
        leads[n] = {name: lead(truth, each, "RAPL", name) for name in BASELINES}
    path = benchmark_result("rapl", rows + plans, claims(rows, leads, plans))
    print("\n".join([*table(rows), str(path)]))


if __name__ == "__main__":
    main()
