"""RAPL's claim: from the same few rankings, a reward nearer to the true preference.

Three Meta-World tasks with a way of doing them (`embodied.testing.ways`); all clips succeed. A
person who is simulated from the hand's position ranks triplets of training clips. Every reward is
given these, and then says of held-out clips how well they are liked: Spearman with the truth.
Intervals are bootstrapped over held-out clips; the mean is over seeds (of triplets and networks).
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from embodied.encoders import EfficientNetLite
from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.cycle_consistency import cycle_loss
from embodied.reward_models.rapl import Rapl, Triplet
from embodied.reward_models.rapl_alignment import Ranks, Recipe, learn_return
from embodied.reward_models.rapl_matching import SIZE, Match, Matcher
from embodied.reward_models.transport import Matching
from embodied.statistics import Interval, cluster_bootstrap, voc
from embodied.testing.ways import CAMERA, WAYS, Attempt, record

TRAIN, TEST = 40, 30
TRIPLETS = 60
FRAMES = 16
MATCHINGS = {
    "RAPL": Matching(),
    "RAPL, band 0.2": Matching(band=0.2),
    "RAPL, nearest frame": Matching(method="nearest"),
    "RAPL, soft-DTW": Matching(method="soft_dtw"),
}
BASELINES = ("RLHF head", "ImageNet-OT", "TCC-OT")

type Said = Mapping[str, Float[np.ndarray, " clip"]]
"""Of each reward, what it says of the held-out clips."""


def ranked(train: Sequence[Attempt], rng: np.random.Generator) -> list[Ranks]:
    """Triplets of clips, ranked by what is measured."""
    drawn = [rng.choice(len(train), 3, replace=False) for _ in range(TRIPLETS)]
    best_first = [sorted(map(int, three), key=lambda i: -train[i].liking) for three in drawn]
    return [(best, better, worse) for best, better, worse in best_first]


def learn(
    train: Sequence[Attempt], test: Sequence[Attempt], seed: int, steps: int
) -> tuple[dict[str, Float[np.ndarray, " clip"]], list[dict[str, Any]]]:
    """What every reward says of the held-out clips after learning; and how its plans look."""
    ranks = ranked(train, np.random.default_rng(seed))
    triplets = [
        Triplet(best=train[i].clip, better=train[j].clip, worse=train[k].clip) for i, j, k in ranks
    ]
    clips = [attempt.clip for attempt in test]
    said, plans = {}, []
    for name, embedding in (("RAPL", "aligned"), ("ImageNet-OT", "imagenet")):
        reward = Rapl(EfficientNetLite(), (CAMERA,), embedding=embedding)
        reward.align(triplets, seed=seed, steps=steps)
        for label, matching in MATCHINGS.items() if name == "RAPL" else ((name, Matching()),):
            reward.matcher.matching = matching
            matches = reward.match(clips)
            said[label] = np.array([-match.distance for match in matches])
            if label == name:
                plans += [{"reward": name, "seed": seed} | row for row in shapes(matches, test)]
    maps = [[[attempt.clip.features[CAMERA]]] for attempt in train]
    said["RLHF head"] = preference_head(maps, ranks, clips, seed, steps)
    said["TCC-OT"] = cycle_consistent(maps, ranks, clips, seed, steps)
    return said, plans


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
    maps: Sequence[Any], ranks: Sequence[Ranks], clips: Sequence[Any], seed: int, steps: int
) -> Float[np.ndarray, " clip"]:
    """RLHF: a reward per frame on the same features, by Bradley-Terry on its mean."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        matcher = Matcher(maps[0][0][0].shape[1], 1, "aligned", Matching())
        head = nn.Sequential(matcher.head, nn.Linear(SIZE, 1))
    matcher.standardise.adapt([copies[0] for copies in maps])
    recipe = Recipe(seed=seed, steps=steps, frames=FRAMES)
    learn_return(matcher.standardise, head, maps, ranks, recipe)
    with torch.inference_mode():
        seen = (matcher.standardise([clip.features[CAMERA]]) for clip in clips)
        return np.array([float(head(maps).mean()) for maps in seen])


def cycle_consistent(
    maps: Sequence[Any], ranks: Sequence[Ranks], clips: Sequence[Any], seed: int, steps: int
) -> Float[np.ndarray, " clip"]:
    """TCC: the embedding aligns clips in time and knows no preference; matched as RAPL's is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        matcher = Matcher(maps[0][0][0].shape[1], 1, "aligned", Matching())
        matcher.standardise.adapt([copies[0] for copies in maps])
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
    best = list(dict.fromkeys(best for best, _, _ in ranks))[:4]
    matcher.remember([maps[number][0] for number in best])
    return np.array([-matcher.match([clip.features[CAMERA]]).distance for clip in clips])


def intervals(
    truth: Mapping[str, Float[np.ndarray, " clip"]], said: Mapping[str, Sequence[Said]]
) -> tuple[list[dict[str, Any]], dict[str, Interval]]:
    """Mean Spearman of each reward, per task and over tasks; and RAPL's lead over each."""
    names = [*MATCHINGS, *BASELINES]

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
            print(name, task, interval)
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
    rows: Sequence[Mapping[str, Any]], lead: Mapping[str, Interval], plans: Sequence[Any]
) -> list[Claim]:
    """RAPL ahead, intervals apart; plans of liked clips more diagonal than of disliked ones."""
    overall = {row["reward"]: row for row in rows if row["task"] == "all"}
    found = [
        Claim(
            claim=f"Spearman with the true preference, RAPL minus {name}",
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
            claim=f"gap between the intervals of RAPL and of {name}",
            target=0.0,
            measured=overall["RAPL"]["low"] - overall[name]["high"],
        )
        for name in BASELINES
    ]

    def off(group: str) -> float:
        chosen = [p["off_diagonal"] for p in plans if (p["reward"], p["group"]) == ("RAPL", group)]
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


def main() -> None:
    """Record, learn, compare and write ``benchmarks/results/rapl.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    truth, said, plans = {}, {}, []
    for way in WAYS:
        attempts = record(way, range(TRAIN + TEST), EfficientNetLite())
        test, train = attempts[:TEST], attempts[TEST:]
        truth[way.text] = np.array([attempt.liking for attempt in test])
        outcomes = [learn(train, test, seed, arguments.steps) for seed in range(arguments.seeds)]
        said[way.text] = [outcome for outcome, _ in outcomes]
        plans += [{"task": way.text} | row for _, shape in outcomes for row in shape]
        print(way.text, len(train), len(test), [
            {name: round(voc(values, truth[way.text]), 3) for name, values in each.items()}
            for each in said[way.text]
        ], flush=True)  # fmt: skip
    rows, lead = intervals(truth, said)
    print(benchmark_result("rapl", rows + plans, claims(rows, lead, plans)))


if __name__ == "__main__":
    main()
