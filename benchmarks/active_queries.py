"""Active questions against random ones: held-out accuracy by the number of answers.

Clips of a task that all succeed, each in a way of its own. A person who errs in one
answer of ten is asked in rounds; after each round an ensemble of rewards is trained anew on all
answers and judged on pairs of held-out clips. A round is drawn at random, by disagreement with
k-centre selection, by information, or mixed as the server's trainer and schedule ask, without their
controls (`embodied/preferences/acquisition.py`). In the first round nobody disagrees yet: random
questions stand in for it, whereas information knows the clips' embeddings.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from embodied.encoders import EfficientNetLite
from embodied.envs.ways_catalogue import WAYS
from embodied.preferences.acquisition import Pool, choose
from embodied.preferences.answers import Answer
from embodied.preferences.mix import Mix
from embodied.preferences.posterior import linear_posterior
from embodied.preferences.teachers import TEACHERS, answer_pairs
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.preference_reward import PreferenceReward
from embodied.statistics import mean_interval
from embodied.testing.clip_embeddings import embed_clips
from embodied.testing.ways import Attempt, record

STRATEGIES: Mapping[str, Mapping[str, float]] = {
    "random": {"uniform": 1.0},
    "disagreement": {"disagreement": 1.0},
    "information": {"information": 1.0},
    "mixed": {**Mix().sought, "uniform": Mix().uniform},
}

DRAWN = 2000
"""Times that the splits are drawn again for an interval."""
MEASURED = ("drawer-open-right", "button-press-clear", "drawer-close-low")


def curve(
    attempts: Sequence[Attempt], shares: Mapping[str, float], seed: int, rounds: int, batch: int
) -> list[float]:
    """Held-out accuracy after each round."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(attempts))
    cut = len(attempts) * 2 // 3
    train, test = ([attempts[i] for i in own] for own in (order[:cut], order[cut:]))
    known = [attempt.clip for attempt in train]
    clips, unseen = embed_clips(known, known), embed_clips(known, [a.clip for a in test])
    liking, truth = (np.array([[a.liking] for a in own]) for own in (train, test))
    left = np.array(list(combinations(range(len(train)), 2)))
    asked = np.empty((0, 2), dtype=np.int64)
    targets = np.empty(0)
    model = PreferenceReward(clips.shape[1], seed=seed)
    found = []
    first = {kind: share for kind, share in shares.items() if kind != "disagreement"}
    for number in range(rounds):
        features = clips.numpy().astype(np.float64)
        pool = Pool(
            features=features,
            pairs=left,
            probability=probabilities(model, clips, left),
            posterior=linear_posterior(features, asked[:, 0], asked[:, 1], targets),
        )
        chosen = choose(pool, batch, rng, shares if number else first or {"uniform": 1.0})
        new = np.array([each.pair for each in chosen])
        answers = answer_pairs(
            TEACHERS["mistake"], liking[new[:, 0]], liking[new[:, 1]], typical=1.0, rng=rng
        )
        asked = np.concatenate([asked, new])
        targets = np.append(targets, [float(answer is Answer.LEFT) for answer in answers])
        left = np.array(sorted({*map(tuple, left)} - {*map(tuple, new)}))
        model = PreferenceReward(clips.shape[1], seed=seed)
        model.fit(clips, comparisons(asked, targets))
        with torch.no_grad():
            found.append(accuracy(model(unseen).mean(0).numpy(), truth[:, 0]))
    return found


def probabilities(model: PreferenceReward, clips: torch.Tensor, pairs: np.ndarray) -> np.ndarray:
    """What each member thinks of each pair."""
    said = model.probability(clips, comparisons(pairs, np.full(len(pairs), 0.5)))
    return said.double().numpy()


def comparisons(pairs: np.ndarray, targets: np.ndarray) -> Comparisons:
    """Answers of one person."""
    return Comparisons.from_numbers(*pairs.T, targets, np.zeros(len(pairs), dtype=np.int64))


def accuracy(said: np.ndarray, truth: np.ndarray) -> float:
    """Share of all pairs of held-out clips that are ranked rightly."""
    first, second = np.triu_indices(len(truth), 1)
    return float(np.mean((said[first] > said[second]) == (truth[first] > truth[second])))


def needed(random: np.ndarray, active: np.ndarray) -> float:
    """Share of the random curve's answers after which the other one has its final accuracy.

    Of mean curves over splits, the other one smoothed by a running maximum; infinite if it never
    gets there.
    """
    final = random.mean(0)[-1]
    reached = np.maximum.accumulate(active.mean(0)) >= final
    return float((reached.argmax() + 1) / len(reached)) if reached.any() else float("inf")


def needed_between(random: np.ndarray, active: np.ndarray) -> tuple[float, float]:
    """95 % interval of `needed`: the splits are drawn again, the same ones for both."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(random), size=(DRAWN, len(random)))
    shares = [needed(random[own], active[own]) for own in drawn]
    low, high = np.quantile(shares, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def strategies(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those that were measured, in their order."""
    return list(dict.fromkeys(row["strategy"] for row in rows))


def curves_of(
    rows: Sequence[Mapping[str, Any]], strategy: str, way: str | None = None
) -> np.ndarray:
    """Accuracy by split and round, of one way or of all."""
    return np.array(
        [
            row["accuracy"]
            for row in rows
            if row["strategy"] == strategy and way in (None, row["way"])
        ]
    )


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """From the curves over ways and splits: answers saved, and leads over random."""
    random = curves_of(rows, "random")
    early = int(0.6 * random.shape[1]) - 1
    found = []
    for name in strategies(rows):
        if name == "random":
            continue
        own = curves_of(rows, name)
        low, high = needed_between(random, own)
        ends = np.isfinite(high)  # a claim has both ends or none; the table says "never"
        found.append(
            Claim(
                claim=f"{name}: share of the answers that random questions need",
                target=0.6,
                measured=needed(random, own),
                low=low if ends else None,
                high=high if ends else None,
                comparison="<=",
            )
        )
        for what, lead in (
            ("after 60 % of the answers, less random after all", own[:, early] - random[:, -1]),
            ("less random, on average over the rounds", own.mean(1) - random.mean(1)),
        ):
            mean = mean_interval(lead, seed=0)
            found.append(
                Claim(
                    claim=f"{name} {what}",
                    target=0.0,
                    measured=mean.mean,
                    low=mean.low,
                    high=mean.high,
                )
            )
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Final accuracies, shares of random's answers that its final accuracy takes, and curves."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = [f"| questions | {' | '.join(ways)} | all ways |", "|---" * (len(ways) + 2) + "|"]
    for name in strategies(rows):
        cells = []
        for way in (*ways, None):
            random, own = (curves_of(rows, each, way) for each in ("random", name))
            share, *ends = needed(random, own), *needed_between(random, own)
            between = ", ".join(map(percent, ends))
            cells.append(f"{own[:, -1].mean():.3f}, {percent(share)} [{between}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rounds = range(1, curves_of(rows, "random").shape[1] + 1)
    lines += ["", f"| after round | {' | '.join(map(str, rounds))} | average |"]
    lines.append("|---" * (len(rounds) + 2) + "|")
    for name in strategies(rows):
        own = curves_of(rows, name)
        cells = [f"{value:.3f}" for value in own.mean(0)]
        spread = mean_interval(own.mean(1), seed=0)
        cells.append(f"{spread.mean:.3f} [{spread.low:.3f}, {spread.high:.3f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.0f} %" if np.isfinite(share) else "never"


def main() -> None:
    """Ask, learn, compare and write ``benchmarks/results/active_queries.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=MEASURED)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(earlier_rows("active_queries"))))
        return
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for way in arguments.ways:
        attempts = record(WAYS[way], range(arguments.clips), EfficientNetLite())
        for seed in range(arguments.seeds):
            for name, shares in STRATEGIES.items():
                found = curve(attempts, shares, seed, arguments.rounds, arguments.batch)
                rows.append({"way": way, "seed": seed, "strategy": name, "accuracy": found})
                print(way, seed, name, [round(value, 3) for value in found], flush=True)
        path = benchmark_result("active_queries", rows, claims(rows))
        print("\n".join([*table(rows), str(path)]), flush=True)


if __name__ == "__main__":
    main()
