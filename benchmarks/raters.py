"""Several people: two opposite tastes, one reward for all against a reward per person.

Clips of a Meta-World task that all succeed, each in a way of its own (`embodied.testing.ways`).
Half of the known people prefer more of the way, half of them less; each errs in one answer of ten.
Then a new person answers a few questions about clips of training, and every model predicts what
that person thinks of pairs of held-out clips. `clear` pairs differ by half a deviation of the
liking or more. The ceiling is plain Bradley-Terry where everybody has the new person's taste.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.encoders import EfficientNetLite
from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.pal import Pal
from embodied.reward_models.preference_reward import PreferenceReward
from embodied.reward_models.vpl import Vpl
from embodied.statistics import mean_interval
from embodied.testing.clip_embeddings import embed_clips
from embodied.testing.ways import WAYS, Way, record

PEOPLE, ANSWERS = 6, 60
"""Known people, and answers of each."""
NEW, MISTAKE = 10, 0.1
"""Answers of a new person, and share of everybody's that are wrong."""
PAIRS = 400
"""Held-out pairs that a model is judged on."""


def answered(
    liking: Float[np.ndarray, " clip"], count: int, rater: int, rng: np.random.Generator
) -> Comparisons:
    """Answers of somebody who errs at times."""
    first = rng.integers(len(liking), size=count)
    second = (first + rng.integers(1, len(liking), size=count)) % len(liking)
    better = (liking[first] > liking[second]) ^ (rng.random(count) < MISTAKE)
    return Comparisons(
        first=torch.from_numpy(first),
        second=torch.from_numpy(second),
        target=torch.from_numpy(better).float(),
        rater=torch.full((count,), rater),
    )


def joined(each: Sequence[Comparisons]) -> Comparisons:
    """The answers of all people."""
    return Comparisons(
        first=torch.cat([own.first for own in each]),
        second=torch.cat([own.second for own in each]),
        target=torch.cat([own.target for own in each]),
        rater=torch.cat([own.rater for own in each]),
    )


def accuracy(
    reward: Float[Tensor, " clip"], liking: Float[np.ndarray, " clip"], seed: int
) -> dict[str, float]:
    """Share of held-out pairs that are ranked as the person would without a mistake."""
    rng = np.random.default_rng(seed)
    first = rng.integers(len(liking), size=PAIRS)
    second = (first + rng.integers(1, len(liking), size=PAIRS)) % len(liking)
    said = reward.detach().numpy()
    right = (said[first] > said[second]) == (liking[first] > liking[second])
    clear = np.abs(liking[first] - liking[second]) >= liking.std() / 2
    return {"all": float(right.mean()), "clear": float(right[clear].mean())}


def one_seed(way: Way, attempts: Sequence[Any], seed: int) -> list[dict[str, Any]]:
    """Rows of one split of the clips into training and test, and one crowd."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(attempts))
    cut = len(attempts) * 2 // 3
    train, test = ([attempts[i] for i in own] for own in (order[:cut], order[cut:]))
    known = [attempt.clip for attempt in train]
    clips, unseen = embed_clips(known, known), embed_clips(known, [a.clip for a in test])
    liked = np.array([attempt.liking for attempt in train])
    truth = np.array([attempt.liking for attempt in test])
    size = clips.shape[1]
    crowd = joined([answered((-1) ** u * liked, ANSWERS, u, rng) for u in range(PEOPLE)])
    plain = PreferenceReward(size, raters=PEOPLE, members=3, seed=seed)
    pal, vpl = Pal(size, raters=PEOPLE, seed=seed), Vpl(size, seed=seed)
    for model in (plain, pal, vpl):
        model.fit(clips, crowd)
    rows = []
    for taste in (1.0, -1.0):
        few = answered(taste * liked, NEW, 0, rng)
        same = joined([answered(taste * liked, ANSWERS, u, rng) for u in range(PEOPLE)])
        ceiling = PreferenceReward(size, raters=PEOPLE, members=3, seed=seed)
        ceiling.fit(clips, same)
        alone = PreferenceReward(size, members=3, seed=seed)
        alone.fit(clips, few)
        tastes = pal.adapt(clips, few)
        with torch.no_grad():
            said = {
                "Bradley-Terry": plain(unseen).mean(0),
                "PAL": pal(unseen, tastes[None])[0],
                "VPL": vpl(unseen, vpl.infer(clips, few)[0]),
                "Bradley-Terry, the new person's answers alone": alone(unseen).mean(0),
                "ceiling": ceiling(unseen).mean(0),
            }
        rows += [
            {"task": way.task, "seed": seed, "taste": taste, "model": name}
            | accuracy(reward, taste * truth, seed)
            for name, reward in said.items()
        ]
    return rows


def claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Over seeds and tasks, both tastes together; intervals over splits."""
    found = []
    for model in ("Bradley-Terry", "PAL", "VPL"):
        for pairs in ("clear", "all"):
            groups: dict[tuple[str, int], list[float]] = {}
            for row in rows:
                if row["model"] == model:
                    groups.setdefault((row["task"], row["seed"]), []).append(row[pairs])
            interval = mean_interval([float(np.mean(own)) for own in groups.values()], seed=0)
            print(f"{model}, {pairs} pairs: {interval}")
            found.append(
                Claim(
                    claim=f"{model}: {pairs} held-out pairs of a new person ranked rightly",
                    target=0.55 if model == "Bradley-Terry" else 0.9,
                    measured=interval.mean,
                    low=interval.low,
                    high=interval.high,
                    comparison="<=" if model == "Bradley-Terry" else ">=",
                )
            )
    return found


def main() -> None:
    """Record, learn, compare and write ``benchmarks/results/raters.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=len(WAYS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=90)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for way in WAYS[: arguments.tasks]:
        attempts = record(way, range(arguments.clips), EfficientNetLite())
        for seed in range(arguments.seeds):
            rows += one_seed(way, attempts, seed)
            for row in rows[-10:]:
                print(row, flush=True)
    print(benchmark_result("raters", rows, claims(rows)))


if __name__ == "__main__":
    main()
