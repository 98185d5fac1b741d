"""Active questions against random ones: held-out accuracy by the number of answers.

Clips of a task that all succeed, each in a way of its own. A person who errs in one
answer of ten is asked in rounds; after each round an ensemble of rewards is trained anew on all
answers and judged on pairs of held-out clips. A round is drawn at random, by disagreement with
k-centre selection, by mutual information, or mixed (`embodied/preferences/acquisition.py`, without
its controls).
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
    "mixed": {"disagreement": 0.5, "information": 0.25, "uniform": 0.25},
}


MEASURED = ("drawer-open-right", "button-press-clear", "drawer-close-low")


def curve(
    attempts: Sequence[Attempt], shares: Mapping[str, float], seed: int, rounds: int, batch: int
) -> list[float]:
    """Held-out accuracy after each round; the first round is always drawn at random."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(attempts))
    cut = len(attempts) * 2 // 3
    train, test = ([attempts[i] for i in own] for own in (order[:cut], order[cut:]))
    known = [attempt.clip for attempt in train]
    clips, unseen = embed_clips(known, known), embed_clips(known, [a.clip for a in test])
    liking, truth = (np.array([[a.liking] for a in own]) for own in (train, test))
    left = np.array(list(combinations(range(len(train)), 2)))
    asked: list[tuple[int, int]] = []
    targets: list[float] = []
    model = PreferenceReward(clips.shape[1], seed=seed)
    found = []
    for number in range(rounds):
        pool = Pool(
            features=clips.numpy().astype(np.float64),
            pairs=left,
            probability=probabilities(model, clips, left),
        )
        chosen = choose(pool, batch, rng, shares if number else {"uniform": 1.0})
        new = np.array([each.pair for each in chosen])
        answers = answer_pairs(
            TEACHERS["mistake"], liking[new[:, 0]], liking[new[:, 1]], typical=1.0, rng=rng
        )
        asked += [each.pair for each in chosen]
        targets += [1.0 if answer is Answer.LEFT else 0.0 for answer in answers]
        left = np.array(sorted({*map(tuple, left)} - {*asked}))
        model = PreferenceReward(clips.shape[1], seed=seed)
        model.fit(clips, comparisons(np.array(asked), targets))
        with torch.no_grad():
            found.append(accuracy(model(unseen).mean(0).numpy(), truth[:, 0]))
    return found


def probabilities(model: PreferenceReward, clips: torch.Tensor, pairs: np.ndarray) -> np.ndarray:
    """What each member thinks of each pair."""
    said = model.probability(clips, comparisons(pairs, [0.5] * len(pairs)))
    return said.double().numpy()


def comparisons(pairs: np.ndarray, targets: Sequence[float]) -> Comparisons:
    """Answers of one person."""
    first, second = torch.from_numpy(pairs).unbind(1)
    return Comparisons(
        first=first, second=second, target=torch.tensor(targets), rater=torch.zeros_like(first)
    )


def accuracy(said: np.ndarray, truth: np.ndarray) -> float:
    """Share of all pairs of held-out clips that are ranked rightly."""
    first, second = np.triu_indices(len(truth), 1)
    return float(np.mean((said[first] > said[second]) == (truth[first] > truth[second])))


def needed(random: Sequence[float], active: Sequence[float]) -> float:
    """Share of the random curve's answers after which the other one has its final accuracy.

    Of curves that were smoothed by a running maximum; infinite if it never gets there.
    """
    reached = [value >= random[-1] for value in np.maximum.accumulate(active)]
    return (reached.index(True) + 1) / len(random) if any(reached) else float("inf")


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """From the mean curves over tasks and seeds; and the lead after 60 % of the answers."""
    curves = {
        name: np.array([row["accuracy"] for row in rows if row["strategy"] == name])
        for name in STRATEGIES
    }
    early = int(0.6 * curves["random"].shape[1]) - 1
    found = []
    for name in STRATEGIES:
        if name == "random":
            continue
        share = needed(curves["random"].mean(0), curves[name].mean(0))
        lead = mean_interval(curves[name][:, early] - curves["random"][:, -1], seed=0)
        print(name, share, lead)
        found += [
            Claim(
                claim=f"{name}: share of the answers that random questions need",
                target=0.6,
                measured=share,
                comparison="<=",
            ),
            Claim(
                claim=f"{name} after 60 % of the answers, less random after all of them",
                target=0.0,
                measured=lead.mean,
                low=lead.low,
                high=lead.high,
            ),
        ]
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Final accuracies, and the share of random's answers that its final accuracy takes."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = [f"| questions | {' | '.join(ways)} | all ways |", "|---" * (len(ways) + 2) + "|"]
    for name in STRATEGIES:
        cells = []
        for way in (*ways, None):
            random, own = (
                np.mean(
                    [
                        row["accuracy"]
                        for row in rows
                        if row["strategy"] == strategy and way in (None, row["way"])
                    ],
                    0,
                )
                for strategy in ("random", name)
            )
            share = needed(random, own)
            told = f"{100 * share:.0f} %" if np.isfinite(share) else "never"
            cells.append(f"{own[-1]:.3f}, {told}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


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
