"""RAPL's claim of transfer: rankings of one body's clips say how well another body's are liked.

Ways that several bodies can show (`embodied.envs.ways_catalogue`). Every reward learns from ranked
clips of one body, or of two, and then judges held-out clips of another body that nobody ranked.
Beside it: the same from as many rankings of that other body's own clips, which is as good as can be
hoped for; from rankings in a random order, which should say nothing; and the same with features
standardised by the mean and deviation of the other body's own clips, which needs no label. Spearman
with the truth, mean over seeds (of triplets and networks); intervals are bootstrapped over held-out
clips.
"""

import argparse
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float

from embodied.encoders import EfficientNetLite
from embodied.envs.ways_catalogue import WAYS
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.testing.way_agreement import BySeed, Said, Truth, agreement, lead
from embodied.testing.way_rewards import BASELINES, REWARDS, Learned, learn_rewards, ranked
from embodied.testing.ways import CAMERA, Attempt, record

TRAIN, TEST = 40, 30
"""Clips of each body; where two bodies teach, each gives half of the training clips."""
ATTEMPTS = {"Kinova3": 100}
"""Seeds that are tried, other than ``TRAIN + TEST``: a third of the attempts of this arm fail."""
RANKINGS = 60
OWN, SHUFFLED, RESTANDARDISED = "own body", "shuffled", "restandardised"
BODY = {"sweep-avoiding": "embodiment", "sweep-grouping": "embodiment", "lift-right": "robot"}
"""The keyword that names the body."""

type Body = tuple[str, str]
"""A way, and who goes it."""


@dataclass(frozen=True)
class Transfer:
    """From whose clips, to whose."""

    way: str
    sources: tuple[str, ...]
    target: str

    def __str__(self) -> str:
        return f"{self.way}: {' and '.join(self.sources)} to {self.target}"


TRANSFERS = (
    Transfer("sweep-avoiding", ("mediumstick",), "shortstick"),
    Transfer("sweep-avoiding", ("shortstick",), "mediumstick"),
    Transfer("sweep-grouping", ("mediumstick",), "shortstick"),
    Transfer("sweep-grouping", ("shortstick",), "mediumstick"),
    Transfer("lift-right", ("Panda",), "IIWA"),
    Transfer("lift-right", ("Panda",), "Kinova3"),
    Transfer("lift-right", ("IIWA",), "Panda"),
    Transfer("lift-right", ("Panda", "IIWA"), "Kinova3"),
)


def record_bodies(transfers: Sequence[Transfer]) -> dict[Body, list[Attempt]]:
    """The attempts of every body that teaches or is judged; the first `TEST` are held out."""
    bodies = dict.fromkeys((t.way, body) for t in transfers for body in (*t.sources, t.target))
    encoder = EfficientNetLite()
    found = {}
    for way, body in bodies:
        seeds = range(ATTEMPTS.get(body, TRAIN + TEST))
        found[way, body] = record(WAYS[way], seeds, encoder, **{BODY[way]: body})
        print(way, body, f"{len(found[way, body])} of {len(seeds)} succeed", flush=True)
    return found


@final
class Lessons:
    """What is learned from rankings of some bodies' clips; the same lesson is learned once.

    Args:
        attempts: Of every body.
        steps: Updates of each network.
    """

    def __init__(self, attempts: Mapping[Body, Sequence[Attempt]], steps: int) -> None:
        self._attempts, self._steps = attempts, steps
        self._learned: dict[tuple[str, tuple[str, ...], bool, int], Learned] = {}

    def clips(self, way: str, bodies: Sequence[str]) -> list[Attempt]:
        """To learn from: as many of each body, `TRAIN` in all."""
        each = TRAIN // len(bodies)
        return [a for body in bodies for a in self._attempts[way, body][TEST : TEST + each]]

    def learn(self, way: str, bodies: tuple[str, ...], shuffled: bool, seed: int) -> Learned:
        """Every reward, from `RANKINGS` rankings, in a random order if they are shuffled."""
        lesson = (way, bodies, shuffled, seed)
        if lesson not in self._learned:
            rng = np.random.default_rng(seed)
            clips = self.clips(way, bodies)
            ranks = ranked(clips, rng, RANKINGS)
            if shuffled:
                ranks = [list(map(int, rng.permutation(three))) for three in ranks]
            self._learned[lesson] = learn_rewards(clips, ranks, seed, self._steps)
        return self._learned[lesson]


def judge(transfer: Transfer, lessons: Lessons, test: Sequence[Attempt], seed: int) -> Said:
    """What each reward, learned in each of these ways, says of the held-out clips."""
    way, own = transfer.way, (transfer.target,)
    plain = lessons.learn(way, transfer.sources, False, seed)
    restandardised = copy.deepcopy(plain)
    unlabelled = [[clip.clip.features[CAMERA]] for clip in lessons.clips(way, own)]
    for matcher in restandardised.matchers.values():  # what they match with is embedded already
        matcher.standardise.adapt(unlabelled)
    taught = {
        "": plain,
        f", {OWN}": lessons.learn(way, own, False, seed),
        f", {SHUFFLED}": lessons.learn(way, transfer.sources, True, seed),
        f", {RESTANDARDISED}": restandardised,
    }
    return {
        name + kind: learned.say(name, test) for kind, learned in taught.items() for name in REWARDS
    }


def claims(truth: Truth, said: BySeed, rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """What was learned says something of another body; what comes close to it, and what does not.

    The paper's own numbers are of one body, .59 and .61, and of another group of objects, .47.
    """
    cells = {(row["reward"], row["task"]): row for row in rows}
    found = []
    for task in [*said, "all"]:
        row = cells["RAPL", task]
        found.append(
            Claim(
                claim=f"Spearman with the true preference on a body without labels, RAPL, {task}",
                target=0.0, measured=row["mean"], low=row["low"], high=row["high"],
                whole_interval=True,
            )
        )  # fmt: skip
    compared = [
        (f"RAPL minus RAPL of {SHUFFLED} rankings", f"RAPL, {SHUFFLED}", 0.0),
        (f"RAPL minus RAPL of the {OWN}, at most 0.1 behind", f"RAPL, {OWN}", -0.1),
        *((f"RAPL minus {name}", name, 0.0) for name in BASELINES),
    ]
    for text, other, target in compared:
        ahead = lead(truth, said, "RAPL", other)
        found.append(
            Claim(
                claim=f"Spearman on a body without labels, {text}, all",
                target=target, measured=ahead.mean, low=ahead.low, high=ahead.high,
                whole_interval=True,
            )
        )  # fmt: skip
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Spearman of each reward on each transfer, as Markdown: a line a transfer."""
    cells = {(row["reward"], row["task"]): row for row in rows}
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    more = [f"{name}, {kind}" for kind in (RESTANDARDISED, OWN, SHUFFLED) for name in REWARDS[:2]]
    columns = [*REWARDS, *more]
    lines = [f"| from, to | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for task in tasks:
        found = [cells[name, task] for name in columns]
        shown = [f"{c['mean']:.2f} [{c['low']:.2f}, {c['high']:.2f}]" for c in found]
        lines.append(f"| {task} | {' | '.join(shown)} |")
    return lines


def main() -> None:
    """Record, learn, judge and write ``benchmarks/results/transfer.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=BODY, default=list(BODY))
    parser.add_argument("--first", type=int, help="only so many of the transfers")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(earlier_rows("transfer"))))
        return
    torch.set_num_threads(1)
    transfers = [transfer for transfer in TRANSFERS if transfer.way in arguments.ways]
    transfers = transfers[: arguments.first]
    attempts = record_bodies(transfers)
    lessons = Lessons(attempts, arguments.steps)
    truth: dict[str, Float[np.ndarray, " clip"]] = {}
    said: dict[str, list[Said]] = {}
    for transfer in transfers:
        name = str(transfer)
        held_out = attempts[transfer.way, transfer.target][:TEST]
        truth[name] = np.array([attempt.liking for attempt in held_out])
        said[name] = [judge(transfer, lessons, held_out, s) for s in range(arguments.seeds)]
        rows = agreement({name: truth[name]}, {name: said[name]})
        shown = {r["reward"]: round(r["mean"], 2) for r in rows if r["task"] == name}
        print(name, shown, flush=True)
    rows = agreement(truth, said)
    path = benchmark_result("transfer", rows, claims(truth, said, rows))
    print("\n".join([*table(rows), str(path)]))


if __name__ == "__main__":
    main()
