"""Several people: two opposite tastes, one reward for all against a reward per person.

Clips of a task that all succeed, each in a way of its own (`embodied.envs.ways_catalogue`). Half
of the known people prefer more of the way, half of them less; each errs in one answer of ten. Then
new people answer a few questions about clips of training, and every model predicts what they think
of pairs of held-out clips. `clear` pairs differ by half a deviation of the liking or more. The
ceiling is plain Bradley-Terry where everybody has the new person's taste; the negative control is a
new person who answers by a coin. `VPL, read` is VPL as published, whose set encoder alone reads the
new answers; for `VPL` they weigh the latents of the known people. PAL and the ceiling are learnt
again with one thing taken away each (`WITHOUT`), to tell what they owe to it.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.encoders import EfficientNetLite
from embodied.envs.ways_catalogue import WAYS
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.pal import Pal
from embodied.reward_models.preference_reward import PreferenceReward
from embodied.reward_models.vpl import Vpl
from embodied.statistics import Interval, grouped_interval
from embodied.testing.clip_embeddings import embed_clips
from embodied.testing.ways import Attempt, record

PEOPLE, ANSWERS = 6, 60
"""Known people, and answers of each."""
NEW, MISTAKE = 10, 0.1
"""Answers of a new person, and share of everybody's that are wrong."""
NEWCOMERS = 10
"""New people of each taste."""
FEW = 32
"""Clips that are known where there are few."""
WITHOUT = ("proportions", "prior", "clips")
"""Of the components of an embedding, of the weights, and all but `FEW` of the known clips."""
ABLATED = 1
"""Seeds in which things are taken away."""
MEASURED = ("drawer-open-right", "button-press-clear", "drawer-close-low")


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


def tossed(few: Comparisons, rng: np.random.Generator) -> Comparisons:
    """The same questions, answered by a coin.

    Shuffled answers are no control: with seven firsts of ten they are right more often than not.
    """
    return replace(few, target=torch.from_numpy(rng.integers(2, size=len(few))).float())


def accuracy(
    reward: Float[Tensor, " clip"], liking: Float[np.ndarray, " clip"]
) -> dict[str, float]:
    """Share of all held-out pairs that are ranked as the person would without a mistake."""
    first, second = np.triu_indices(len(liking), 1)
    said = reward.detach().numpy()
    right = (said[first] > said[second]) == (liking[first] > liking[second])
    clear = np.abs(liking[first] - liking[second]) >= liking.std() / 2
    return {"all": float(right.mean()), "clear": float(right[clear].mean())}


def one_seed(attempts: Sequence[Attempt], seed: int) -> list[dict[str, Any]]:
    """Rows of one split of the clips into training and test, and one crowd."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(attempts))
    cut = len(attempts) * 2 // 3
    train, test = ([attempts[i] for i in own] for own in (order[:cut], order[cut:]))
    rows = []
    for without in ("nothing", *WITHOUT) if seed < ABLATED else ("nothing",):
        used = train[:FEW] if without == "clips" else train
        known = [attempt.clip for attempt in used]
        clips, unseen = embed_clips(known, known), embed_clips(known, [a.clip for a in test])
        if without == "proportions":
            clips, unseen = clips / clips.std(0), unseen / clips.std(0)
        liked, truth = (np.array([attempt.liking for attempt in own]) for own in (used, test))
        prior = 0.0 if without == "prior" else 1.0  # times the models' own
        for taste in (1.0, -1.0):
            answers = [answered(taste * liked, ANSWERS, u, rng) for u in range(PEOPLE)]
            ceiling = PreferenceReward(clips.shape[1], raters=PEOPLE, members=3, seed=seed)
            ceiling.fit(clips, joined(answers), prior=prior)
            row = {"seed": seed, "taste": taste, "model": "ceiling", "without": without}
            rows.append(row | accuracy(ceiling(unseen).mean(0), taste * truth))
        crowd = joined([answered((-1) ** u * liked, ANSWERS, u, rng) for u in range(PEOPLE)])
        models = crowd_models(clips, crowd, seed, prior, everything=without == "nothing")
        for taste in (1.0, -1.0):
            for _ in range(NEWCOMERS):
                few = answered(taste * liked, NEW, 0, rng)
                for name, reward in newcomer(models, clips, unseen, crowd, few, rng).items():
                    row = {"seed": seed, "taste": taste, "model": name, "without": without}
                    rows.append(row | accuracy(reward, taste * truth))
    return rows


def crowd_models(
    clips: Float[Tensor, "clip dim"],
    crowd: Comparisons,
    seed: int,
    prior: float,
    *,
    everything: bool,
) -> Mapping[str, PreferenceReward | Pal | Vpl]:
    """Learnt from the known people: PAL, or everything."""
    pal = Pal(clips.shape[1], raters=PEOPLE, seed=seed)
    pal.fit(clips, crowd, prior=3.0 * prior)
    if not everything:
        return {"PAL": pal}
    plain = PreferenceReward(clips.shape[1], raters=PEOPLE, members=3, seed=seed)
    vpl = Vpl(clips.shape[1], seed=seed)
    plain.fit(clips, crowd)
    vpl.fit(clips, crowd)
    return {"Bradley-Terry": plain, "PAL": pal, "VPL": vpl}


def newcomer(
    models: Mapping[str, PreferenceReward | Pal | Vpl],
    clips: Float[Tensor, "clip dim"],
    unseen: Float[Tensor, "other dim"],
    crowd: Comparisons,
    few: Comparisons,
    rng: np.random.Generator,
) -> dict[str, Float[Tensor, " other"]]:
    """What each model says of the held-out clips, given a few answers, and given a coin's."""
    said = {}
    with torch.no_grad():
        for name, model in models.items():
            for label, told in ((name, few), (f"{name}, coin", tossed(few, rng))):
                match model:
                    case Pal():
                        said[label] = model(unseen, model.adapt(clips, told)[None])[0]
                    case Vpl():
                        said[label] = model(unseen, model.adapt(clips, told, crowd))
                        read = model(unseen, model.infer(clips, told)[0])
                        said[label.replace("VPL", "VPL, read")] = read
                    case _ if told is few:
                        said[label] = model(unseen).mean(0)
    return said


TARGETS: Mapping[str, float] = {
    "Bradley-Terry": 0.55, "PAL": 0.9, "VPL": 0.9, "VPL, read": 0.9,
    "PAL, coin": 0.55, "VPL, coin": 0.55,
}  # fmt: skip


def interval_of(rows: Sequence[Mapping[str, Any]], pairs: str) -> Interval:
    """Mean over tastes and new people, interval over splits."""
    groups = [(row["way"], row["seed"]) for row in rows]
    return grouped_interval(groups, [row[pairs] for row in rows], seed=0)


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Over seeds and ways, both tastes together."""
    found = []
    for model, target in TARGETS.items():
        own = [row for row in rows if (row["model"], row["without"]) == (model, "nothing")]
        for pairs in ("clear", "all"):
            interval = interval_of(own, pairs)
            found.append(
                Claim(
                    claim=f"{model}: {pairs} held-out pairs of a new person ranked rightly",
                    target=target,
                    measured=interval.mean,
                    low=interval.low,
                    high=interval.high,
                    comparison=">=" if target > 0.6 else "<=",
                )
            )
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Share of clear pairs, and of all pairs, by way, as Markdown."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = [f"| model | without | {' | '.join(ways)} | all ways | lowest tenth |"]
    lines.append("|---" * (len(ways) + 4) + "|")
    for model, without in dict.fromkeys((row["model"], row["without"]) for row in rows):
        own = [row for row in rows if (row["model"], row["without"]) == (model, without)]
        cells = []
        for way in (*ways, None):
            chosen = [row for row in own if way in (None, row["way"])]
            clear, every = (interval_of(chosen, pairs) for pairs in ("clear", "all"))
            cells.append(
                f"{100 * clear.mean:.0f} [{100 * clear.low:.0f}, {100 * clear.high:.0f}], "
                f"{100 * every.mean:.0f}"
            )
        low = float(np.quantile([row["clear"] for row in own], 0.1))
        lines.append(f"| {model} | {without} | {' | '.join(cells)} | {100 * low:.0f} |")
    return lines


def main() -> None:
    """Record, learn, compare and write ``benchmarks/results/raters.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=MEASURED)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(earlier_rows("raters"))))
        return
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for way in arguments.ways:
        attempts = record(WAYS[way], range(arguments.clips), EfficientNetLite())
        for seed in range(arguments.seeds):
            rows += [{"way": way} | row for row in one_seed(attempts, seed)]
            print(way, seed, flush=True)
        path = benchmark_result("raters", rows, claims(rows))
        print("\n".join([*table(rows), str(path)]), flush=True)


if __name__ == "__main__":
    main()
