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
from embodied.reward_models.cycle_consistency import cycle_loss
from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.rapl_alignment import (
    Pair,
    Recipe,
    align,
    favourites,
    learn_return,
    pairs_of,
    return_head,
)
from embodied.reward_models.rapl_matching import Match, Matcher, new_matcher
from embodied.reward_models.transport import Matching
from embodied.statistics import Interval, cluster_bootstrap, voc
from embodied.testing.ways import CAMERA, Attempt, record

TRAIN, TEST = 40, 30
RANKINGS = (5, 15, 60)
"""Triplets that a person ranks."""
FRAMES = 16
BETA = 10.0
"""Of RAPL's Bradley-Terry model, as in `Rapl`."""
REFERENCES = 4
MATCHINGS = {
    "RAPL": Matching(),
    "RAPL, band 0.2": Matching(band=0.2),
    "RAPL, nearest frame": Matching(method="nearest"),
    "RAPL, soft-DTW": Matching(method="soft_dtw"),
}
BASELINES = ("RLHF head", "ImageNet-OT", "TCC-OT")

type Said = Mapping[str, Float[np.ndarray, " clip"]]
"""Of each reward, what it says of the held-out clips."""


def ranked(train: Sequence[Attempt], rng: np.random.Generator) -> list[list[int]]:
    """Triplets of clips, ranked by what is measured: the first n are n rankings."""
    drawn = [rng.choice(len(train), 3, replace=False) for _ in range(max(RANKINGS))]
    return [sorted(map(int, three), key=lambda i: -train[i].liking) for three in drawn]


def learn(
    train: Sequence[Attempt], test: Sequence[Attempt], rankings: int, seed: int, steps: int
) -> tuple[dict[str, Float[np.ndarray, " clip"]], list[dict[str, Any]]]:
    """What every reward says of the held-out clips after learning; and how its plans look."""
    pairs = pairs_of(ranked(train, np.random.default_rng(seed))[:rankings])
    best = favourites(pairs, REFERENCES)
    maps = [[[attempt.clip.features[CAMERA]]] for attempt in train]
    said: dict[str, Float[np.ndarray, " clip"]] = {}
    plans: list[dict[str, Any]] = []
    for name, embedding in (("RAPL", "aligned"), ("ImageNet-OT", "imagenet")):
        matcher = adapted_matcher(maps, embedding, seed)
        if embedding == "aligned":
            recipe = Recipe(seed=seed, steps=steps, frames=FRAMES)
            align(matcher, maps, pairs, best, recipe, beta=BETA)
        matcher.remember([maps[number][0] for number in best])
        others = MATCHINGS if name == "RAPL" and rankings == max(RANKINGS) else {name: Matching()}
        for label, matching in others.items():
            matcher.matching = matching
            matches = [matcher.match([attempt.clip.features[CAMERA]]) for attempt in test]
            said[label] = np.array([-match.distance for match in matches])
            if label == name:
                about = {"reward": name, "rankings": rankings, "seed": seed}
                plans += [about | row for row in shapes(matches, test)]
    said["RLHF head"] = preference_head(maps, pairs, test, seed, steps)
    said["TCC-OT"] = cycle_consistent(maps, best, test, seed, steps)
    return said, plans


def adapted_matcher(maps: Sequence[Any], embedding: str, seed: int) -> Matcher:
    """Untrained; its features are standardised for the training clips."""
    matcher = new_matcher(maps[0][0][0].shape[1], 1, embedding, Matching(), seed)
    matcher.standardise.adapt([copies[0] for copies in maps])
    return matcher


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


def preference_head(
    maps: Sequence[Any], pairs: Sequence[Pair], test: Sequence[Attempt], seed: int, steps: int
) -> Float[np.ndarray, " clip"]:
    """RLHF: a reward per frame on the same features, by Bradley-Terry on its mean."""
    channels = maps[0][0][0].shape[1]
    standardise, head = Standardiser(channels, 1), return_head(channels, 1, seed)
    standardise.adapt([copies[0] for copies in maps])
    recipe = Recipe(seed=seed, steps=steps, frames=FRAMES)
    learn_return(standardise, head, maps, pairs, recipe)
    with torch.inference_mode():
        seen = (standardise([attempt.clip.features[CAMERA]]) for attempt in test)
        return np.array([float(head(maps).mean()) for maps in seen])


def cycle_consistent(
    maps: Sequence[Any], best: Sequence[int], test: Sequence[Attempt], seed: int, steps: int
) -> Float[np.ndarray, " clip"]:
    """TCC: the embedding aligns clips in time and knows no preference; matched as RAPL's is."""
    matcher = adapted_matcher(maps, "aligned", seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        videos = [matcher.standardise(copies[0])[0] for copies in maps]
        optimizer = torch.optim.AdamW(matcher.parameters(), lr=1e-3, weight_decay=1e-4)
        matcher.train()
        for _ in range(steps):
            drawn = [videos[int(i)] for i in torch.randperm(len(videos))[:6]]
            index = [torch.randint(len(v), (FRAMES,)).sort().values for v in drawn]
            frames = torch.cat([v[i] for v, i in zip(drawn, index, strict=True)])
            embedded = matcher.head([frames]).unflatten(0, (len(drawn), FRAMES))
            time = torch.stack([i / len(v) for v, i in zip(drawn, index, strict=True)])
            optimizer.zero_grad()
            cycle_loss(embedded, time).backward()
            optimizer.step()
        matcher.eval()
    matcher.remember([maps[number][0] for number in best])
    return np.array([-matcher.match([a.clip.features[CAMERA]]).distance for a in test])


def intervals(
    truth: Mapping[str, Float[np.ndarray, " clip"]], said: Mapping[str, Sequence[Said]]
) -> tuple[list[dict[str, Any]], dict[str, Interval]]:
    """Mean Spearman of each reward, per task and over tasks; and RAPL's lead over each."""
    names = list(next(iter(said.values()))[0])

    def groups(name: str, task: str) -> list[tuple[float, ...]]:
        each = [seed[name] for seed in said[task]]
        return [(float(t), *map(float, values)) for t, *values in zip(truth[task], *each,
                                                                       strict=True)]  # fmt: skip

    def mean(*tasks: Sequence[tuple[float, ...]]) -> float:
        columns = [np.array(task).T for task in tasks]
        return float(np.mean([voc(own, true) for true, *all_ in columns for own in all_]))

    rows, lead = [], {}
    for name in names:
        for task in [*said, "all"]:
            chosen = [groups(name, each) for each in (said if task == "all" else [task])]
            interval = cluster_bootstrap(mean, *chosen, seed=0)
            rows.append({"reward": name, "task": task} | interval.to_dict())
    for name in BASELINES:
        pairs = [
            [
                (*ours, *theirs)
                for ours, theirs in zip(groups("RAPL", t), groups(name, t), strict=True)
            ]
            for t in said
        ]

        def difference(*tasks: Sequence[tuple[float, ...]]) -> float:
            half = len(tasks[0][0]) // 2
            ours, theirs = ([[c[cut] for c in t] for t in tasks] for cut in
                            (slice(half), slice(half, None)))  # fmt: skip
            return mean(*ours) - mean(*theirs)

        lead[name] = cluster_bootstrap(difference, *pairs, seed=0)
    return rows, lead


def claims(
    rows: Sequence[Mapping[str, Any]],
    leads: Mapping[int, Mapping[str, Interval]],
    plans: Sequence[Any],
) -> list[Claim]:
    """RAPL ahead, intervals apart; plans of liked clips more diagonal than of disliked ones."""
    overall = {(row["reward"], row["rankings"]): row for row in rows if row["task"] == "all"}
    found = []
    for rankings, lead in leads.items():
        found += [
            Claim(
                claim=f"Spearman with the true preference, {rankings} rankings, RAPL minus {name}",
                target=0.0,
                measured=lead[name].mean,
                low=lead[name].low,
                high=lead[name].high,
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
    rows, leads = [], {}
    for n, each in said.items():
        found, leads[n] = intervals(truth, each)
        rows += [row | {"rankings": n} for row in found]
    path = benchmark_result("rapl", rows + plans, claims(rows, leads, plans))
    print("\n".join([*table(rows), str(path)]))


if __name__ == "__main__":
    main()
