"""RAPL against RLHF as its paper has it: the network below the reward learns from the rankings too.

In `rapl.py` both learn a small head on frozen features, and are a par. Here they also fine-tune the
upper stages of the pre-trained EfficientNet-Lite0 below it, which hold nine tenths of its weights.
Everything else is as there: clips, triplets, updates, frames drawn, Spearman with the truth on
held-out clips. Batch statistics stay as they were trained. Finished cells are written at once and
not done again.

    python benchmarks/rapl_fine_tuned.py
    python benchmarks/rapl_fine_tuned.py --table      # what was measured, as the docs show it
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from embodied.encoders import EfficientNetLite
from embodied.envs.ways_catalogue import WAYS
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.rapl_alignment import (
    LEARNING_RATE,
    Recipe,
    align,
    favourites,
    learn_return,
    pairs_of,
    return_head,
)
from embodied.reward_models.rapl_matching import new_matcher
from embodied.reward_models.transport import Matching
from embodied.statistics import mean_interval, voc
from embodied.testing.fine_tuned import RATE, STRIDE, FineTuned, upper_maps
from embodied.testing.way_rewards import BETA, FRAMES, REFERENCES, ranked
from embodied.testing.ways import CAMERA, Attempt, record

TRAIN, TEST = 40, 30
CHOSEN = ("drawer-open-right", "button-press-clear", "sweep-grouping")
"""Ways on which the two were furthest apart, in both directions, and the first one."""
RANKINGS = (12, 60)
"""Five times as many: what RAPL claims to save."""
HEADS = ("RAPL, head", "RLHF, head")
WHOLE = ("RAPL, fine-tuned", "RLHF, fine-tuned")


@dataclass(frozen=True, kw_only=True)
class Clips:
    """What a network sees of clips, by the part of it that learns."""

    attempts: Sequence[Attempt]
    seen: Mapping[str, Sequence[Maps]]

    def split(self, count: int) -> tuple["Clips", "Clips"]:
        """The first ones, and the others."""
        return tuple(  # type: ignore[return-value]
            Clips(
                attempts=self.attempts[part],
                seen={name: maps[part] for name, maps in self.seen.items()},
            )
            for part in (slice(count), slice(count, None))
        )


def recorded(way: str) -> Clips:
    """Attempts, with maps of stride 8 for what is fine-tuned, and of stride 16 for heads."""
    attempts = record(WAYS[way], range(TRAIN + TEST), EfficientNetLite(stride=STRIDE))
    lower = [attempt.clip.features[CAMERA] for attempt in attempts]
    seen = {"head": upper_maps(lower), "fine-tuned": lower}
    return Clips(
        attempts=attempts, seen={part: [[maps] for maps in own] for part, own in seen.items()}
    )


def judged(
    name: str, train: Clips, test: Clips, ranks: Sequence[Sequence[int]], seed: int, steps: int
) -> Float[np.ndarray, " clip"]:
    """What a reward, one of `HEADS` or `WHOLE`, says of held-out clips after learning."""
    method, part = name.split(", ")
    pairs = pairs_of(ranks)
    best = favourites(pairs, REFERENCES)
    seen, unseen = train.seen[part], test.seen[part]
    channels = train.seen["head"][0][0].shape[1]
    matcher = new_matcher(channels, 1, "aligned", Matching(), seed)
    head = matcher.head if method == "RAPL" else return_head(channels, 1, seed)
    if part == "head":
        matcher.standardise.adapt(seen)
    else:
        matcher.standardise = Standardiser(seen[0][0].shape[1], 1)
        head = FineTuned(train.seen["head"], head)
    rate = LEARNING_RATE if part == "head" else RATE
    recipe = Recipe(seed=seed, steps=steps, frames=FRAMES, learning_rate=rate)
    copies = [[maps] for maps in seen]
    if method == "RLHF":
        learn_return(matcher.standardise, head, copies, pairs, recipe)
        with torch.inference_mode():
            return np.array([float(head(matcher.standardise(maps)).mean()) for maps in unseen])
    matcher.head = head
    align(matcher, copies, pairs, best, recipe, beta=BETA)
    matcher.remember([seen[number] for number in best])
    return np.array([-matcher.match(maps).distance for maps in unseen])


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """RAPL with a fifth of the rankings against RLHF; and with as many."""
    few, many = RANKINGS
    asked = [
        ("RAPL, head", few, "RLHF, fine-tuned", many),
        ("RAPL, head", few, "RLHF, fine-tuned", few),
        ("RAPL, head", many, "RLHF, fine-tuned", many),
        ("RAPL, fine-tuned", few, "RLHF, fine-tuned", many),
        ("RAPL, fine-tuned", few, "RLHF, fine-tuned", few),
        ("RAPL, fine-tuned", many, "RLHF, fine-tuned", many),
        ("RLHF, head", few, "RLHF, fine-tuned", few),
        ("RLHF, head", many, "RLHF, fine-tuned", many),
    ]
    found = []
    for first, rankings, second, others in asked:
        differences = leads(rows, (first, rankings), (second, others))
        if differences:
            ahead = mean_interval(differences, seed=0)
            found.append(
                Claim(
                    claim=f"Spearman, {first}, {rankings} rankings, minus {second}, {others}",
                    target=0.0, measured=ahead.mean, low=ahead.low, high=ahead.high,
                    whole_interval=True,
                )
            )  # fmt: skip
    return found


def leads(
    rows: Sequence[Mapping[str, Any]], first: tuple[str, int], second: tuple[str, int]
) -> list[float]:
    """By how much the first reward is ahead of the second, for each way and seed with both."""
    of = {(r["way"], r["seed"], r["reward"], r["rankings"]): r["spearman"] for r in rows}
    return [
        of[(*key[:2], *first)] - of[(*key[:2], *second)]
        for key in of
        if key[2:] == first and (*key[:2], *second) in of
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean Spearman of each reward and way with its bounds over seeds, as Markdown."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = [f"| reward | rankings | {' | '.join(ways)} | all |", "|---" * (len(ways) + 3) + "|"]
    for name, n in product((*HEADS, *WHOLE), RANKINGS):
        own = [row for row in rows if (row["reward"], row["rankings"]) == (name, n)]
        if not own:
            continue
        cells = [[row["spearman"] for row in own if row["way"] == way] for way in ways]
        means = [f"{np.mean(cell):.2f}" if cell else "" for cell in cells]
        over = mean_interval([row["spearman"] for row in own], seed=0)
        means.append(f"{over.mean:.2f} [{over.low:.2f}, {over.high:.2f}]")
        lines.append(f"| {name} | {n} | {' | '.join(means)} |")
    return "\n".join(lines)


def main() -> None:
    """Do what is not done yet, and write ``benchmarks/results/rapl_fine_tuned.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=CHOSEN)
    parser.add_argument("--rewards", nargs="+", default=[*HEADS, WHOLE[1], WHOLE[0]])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    rows = [r for r in earlier_rows("rapl_fine_tuned") if r["steps"] == arguments.steps]
    if arguments.table:
        print(table(rows))
        return
    torch.set_num_threads(1)
    for way in arguments.ways:
        test, train = recorded(way).split(TEST)
        truth = np.array([attempt.liking for attempt in test.attempts])
        for seed, name, n in product(range(arguments.seeds), arguments.rewards, RANKINGS):
            cell = {"way": way, "seed": seed, "reward": name, "rankings": n}
            if any(cell.items() <= row.items() for row in rows):
                continue
            ranks = ranked(train.attempts, np.random.default_rng(seed), max(RANKINGS))[:n]
            said = judged(name, train, test, ranks, seed, arguments.steps)
            rows.append(cell | {"steps": arguments.steps, "spearman": voc(said, truth)})
            benchmark_result("rapl_fine_tuned", rows, claims(rows))
            print(rows[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
