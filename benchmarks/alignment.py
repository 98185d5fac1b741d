"""Alignment of a diffusion policy by the number of human answers: RAPL, RLHF and direct DPO.

Three Meta-World tasks with a way of doing them (`embodied.testing.ways`). The base policy is cloned
from attempts that go all ways. Its roll-outs share start states by groups; a person who errs in one
answer of ten compares n pairs of one start. RAPL aligns an embedding on these answers and matches
with the clips that won most, RLHF learns a reward per frame from the same answers, on frozen
features or, as RAPL's paper compares with, together with the network below. Each then scores *all*
roll-outs, and the policy clones the best three tenths of those that did the task (filtered
cloning). Two ways learn no reward: direct DPO has the n answers alone, and no failure for a winner;
its preferences are of whole roll-outs: the t-th chunk of the winner is paired with the t-th of the
loser, each with what its own roll-out saw. And the same cloning takes the best of the roll-outs
that were compared, by the share of their comparisons that they won: what a reward adds to that.
Every policy is rolled out again from unseen starts; how well it is liked is measured in the
simulator, in deviations of the base policy's roll-outs. Beside these the ceiling, the same cloning
by what the simulator says; and other updates than cloning. Roll-outs end shortly after success.

Each finished cell is written at once, and cells that the result holds are not done again; rows that
were made with other settings are dropped. Seeds are done one after the other, each on all tasks.

    python benchmarks/alignment.py
    python benchmarks/alignment.py --table      # what was measured, as the docs show it
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from embodied.align_answers import Rolled
from embodied.encoders import EfficientNetLite
from embodied.envs.base import TaskEnv
from embodied.envs.metaworld import MetaWorld
from embodied.policies.base import Policy
from embodied.policies.diffusion import DiffusionPolicy, clone
from embodied.policies.updates import UPDATES, update
from embodied.preferences.answers import Answer
from embodied.preferences.teachers import TEACHERS, answer_pairs
from embodied.provenance import Claim, benchmark_result, earlier_rows, provenance
from embodied.reward_models.answer_ranking import rank
from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.rapl_alignment import Pair, Recipe, learn_return, return_head
from embodied.statistics import mean_interval, voc
from embodied.testing.fine_tuned import RATE, STRIDE, FineTuned
from embodied.testing.way_rollouts import chunks_of, roll_out
from embodied.testing.ways import CAMERA, WAYS, Attempt, Way, record

ANSWERS = (10, 50, 250)
MOST = 320
"""Nearly all pairs of one start: only RAPL, RLHF and direct DPO get as many."""
FIFTH = {10: 50, 50: 250, 64: MOST}
"""Answers of RAPL, and of what it is compared with, which has five times as many."""
WHOLE = "RLHF, fine-tuned"
"""RLHF as RAPL's paper compares with it: the network below learns from the answers too."""
REWARDS = ("RAPL", "RLHF", WHOLE)
WON = "share won"
"""No reward: of the roll-outs that were compared, the share of their comparisons that each won."""
TRUTH = "truth"
"""All pairs as the simulator ranks them: what could be reached at most."""
TRUTH_AT = 250
"""What stands beside it for a number of answers; nobody is asked."""
CHUNK = 4
BY = "filtered"
"""The update that rewards are compared with."""
OTHERS_AT = 50
"""Answers after which the other updates are compared with it, by RAPL's reward."""
SETTINGS = ("clips", "starts", "each", "measured", "clone_steps", "reward_steps", "updates")
"""Arguments that rows of one result have in common."""
UNSEEN = 10_000
"""First seed of the starts that policies are measured on."""

type Cell = tuple[str, str]
"""A reward, and an update."""


def base_policy(
    attempts: Sequence[Attempt], env: TaskEnv, seed: int, steps: int
) -> DiffusionPolicy:
    """Cloned from all attempts, whatever their way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = DiffusionPolicy(
            cameras=(CAMERA,),
            feature_shape=EfficientNetLite().shape,
            state_size=attempts[0].state.shape[1],
            action_low=env.action_space.low.tolist(),
            action_high=env.action_space.high.tolist(),
            chunk=CHUNK,
        )
    clone(policy, chunks_of(attempts, CHUNK), steps=steps, seed=seed)
    return policy


def answered(rolled: Sequence[Attempt], pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The pairs as the person answers them, in random order: the first n are n questions."""
    rng = np.random.default_rng(seed)
    asked = [pairs[i] for i in rng.permutation(len(pairs))]
    liking = np.array([[attempt.liking] for attempt in rolled])
    first, second = (liking[[pair[side] for pair in asked]] for side in (0, 1))
    said = answer_pairs(TEACHERS["mistake"], first, second, typical=1.0, rng=rng)
    return [
        (i, j) if answer is Answer.LEFT else (j, i)
        for (i, j), answer in zip(asked, said, strict=True)
    ]


def learned_reward(
    name: str, rolled: Sequence[Attempt], answers: Sequence[Pair], seed: int, steps: int
) -> np.ndarray:
    """What RAPL or RLHF says of each roll-out after learning from the answers."""
    maps = [[attempt.clip.features[CAMERA]] for attempt in rolled]
    if name != WHOLE:
        return rank(name.lower(), maps, answers, seed=seed, steps=steps)
    encoder = EfficientNetLite(stride=STRIDE)
    lower = [[encoder.encode(attempt.clip.frames[CAMERA])] for attempt in rolled]
    network = FineTuned(maps, return_head(maps[0][0].shape[1], 1, seed))
    as_they_are = Standardiser(lower[0][0].shape[1], 1)
    recipe = Recipe(seed=seed, steps=steps, learning_rate=RATE)
    learn_return(as_they_are, network, [[each] for each in lower], answers, recipe)
    with torch.inference_mode():
        return np.array([float(network(as_they_are(each)).mean()) for each in lower])


def share_won(answers: Sequence[Pair], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each roll-out: the share of its comparisons that it won, and whether there is any."""
    won, asked = np.zeros(count), np.zeros(count)
    for better, worse in answers:
        won[better] += 1
        asked[[better, worse]] += 1
    return won / np.maximum(asked, 1), asked > 0


def aligned(
    name: str,
    base: DiffusionPolicy,
    rolled: Sequence[Attempt],
    ranked: Sequence[Pair],
    reward: np.ndarray | None,
    imitable: np.ndarray,
    arguments: argparse.Namespace,
    seed: int,
) -> tuple[Policy, dict[str, float]]:
    """A policy that was aligned, and the last row that its aligner wrote."""
    policy, rows = update(
        name, base,
        chunks=[chunks_of([attempt], CHUNK) for attempt in rolled],
        start=[number // arguments.each for number in range(len(rolled))],
        ranked=ranked, reward=reward, steps=arguments.updates, seed=seed,
        succeeded=imitable,
    )  # fmt: skip
    return policy, rows[-1]


def measure(
    policy: Policy, env: TaskEnv, way: Way, scale: tuple[float, float], count: int
) -> dict[str, float]:
    """Mean liking, in deviations of the base policy's roll-outs above their mean; and success."""
    encoder = EfficientNetLite()
    done = [
        roll_out(policy, env, way, encoder, start=UNSEEN + i, seed=i, explore=1.0)
        for i in range(count)
    ]
    liking = np.array([attempt.liking for attempt in done])
    return {
        "liking": float((liking.mean() - scale[0]) / scale[1]),
        "success": float(np.mean([attempt.success for attempt in done])),
    }


def one_seed(
    way: Way,
    seed: int,
    attempts: Sequence[Attempt],
    rows: list[dict[str, Any]],
    arguments: argparse.Namespace,
) -> None:
    """Do the cells of one base policy that are not done yet, and write each."""
    cells = [
        cell
        for n in arguments.answers
        for cell in (("direct", "dpo", n), *((reward, BY, n) for reward in (*REWARDS, WON)))
    ]
    cells += [("direct", "dpo", MOST), ("RAPL", BY, 64), ("RAPL", BY, MOST), ("RLHF", BY, MOST)]
    cells += [(TRUTH, BY, TRUTH_AT)]
    cells += [("RAPL", by, OTHERS_AT) for by in arguments.updates_by if by != BY]
    cells += [
        cell
        for by in arguments.also
        for cell in (*product(("RAPL", "RLHF"), [by], arguments.answers), (TRUTH, by, TRUTH_AT))
    ]
    cells += [("RLHF", "dpo", OTHERS_AT)]
    done = {tuple(row[k] for k in ("task", "seed", "reward", "update", "answers")) for row in rows}
    if all((way.task, seed, *cell) in done for cell in [("base", "none", 0), *cells]):
        return
    env = MetaWorld(way.task, cameras=(CAMERA,))
    encoder = EfficientNetLite()
    base = base_policy(attempts, env, seed, arguments.clone_steps)
    rolled = [
        roll_out(base, env, way, encoder, start=1000 + start, seed=1000 * seed + i, explore=1.0)
        for start in range(arguments.starts)
        for i in range(arguments.each)
    ]
    liking = np.array([attempt.liking for attempt in rolled])
    scale = float(liking.mean()), float(liking.std())
    every = Rolled(
        names=[str(number) for number in range(len(rolled))],
        start=[number // arguments.each for number in range(len(rolled))],
        succeeded=[attempt.success for attempt in rolled],
    )
    pairs = every.pairs()
    answers = answered(rolled, pairs, seed)
    for name, by, n in [("base", "none", 0), *cells]:
        if (way.task, seed, name, by, n) in done:
            continue
        row: dict[str, Any] = {"task": way.task, "seed": seed, "reward": name}
        row |= {"update": by, "answers": n, "asked": min(n, len(answers))}
        row |= {setting: getattr(arguments, setting) for setting in SETTINGS}
        row["commit"] = provenance()["git"]["commit"][:7]
        row["failed"] = sum(not attempt.success for attempt in rolled)
        policy: Policy = base
        if name != "base":
            ranked, reward = answers[:n], None
            imitable = np.array(every.succeeded)
            if name == WON:
                reward, compared = share_won(ranked, len(rolled))
                imitable &= compared
            elif name != "direct":
                reward = liking
                if name != TRUTH:
                    reward = learned_reward(name, rolled, answers[:n], seed, arguments.reward_steps)
                row["spearman"] = voc(reward, liking)
                ranked = every.ranked(reward)
            row["pairs_right"] = float(np.mean([liking[i] > liking[j] for i, j in ranked]))
            policy, told = aligned(by, base, rolled, ranked, reward, imitable, arguments, seed)
            row |= {key: value for key, value in told.items() if math.isfinite(value)}
        row |= measure(policy, env, way, scale, arguments.measured)
        rows.append(row)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        benchmark_result("alignment", rows, claims(rows))
    env.close()


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """RAPL with n answers against RLHF with 5 n; against the others with n; task success kept.

    Whatever is compared by other updates than the same one says so.
    """
    same = {n: n for n in (*ANSWERS, MOST)}
    rapl, rlhf, whole, direct = ("RAPL", BY), ("RLHF", BY), (WHOLE, BY), ("direct", "dpo")
    asked: dict[str, tuple[Cell, Cell, dict[int, int], str]] = {
        "liking, RAPL with n answers less RLHF with 5 n": (rapl, rlhf, FIFTH, "liking"),
        "liking, RAPL less RLHF with as many answers": (rapl, rlhf, same, "liking"),
        f"liking, RAPL with n answers less {WHOLE}, with 5 n": (rapl, whole, FIFTH, "liking"),
        f"liking, RAPL less {WHOLE}, with as many answers": (rapl, whole, same, "liking"),
        "pairs ranked right, RAPL with n answers less RLHF with 5 n": (
            rapl, rlhf, FIFTH, "pairs_right"
        ),
        f"pairs ranked right, RAPL with n answers less {WHOLE}, with 5 n": (
            rapl, whole, FIFTH, "pairs_right"
        ),
        f"pairs ranked right, RAPL less {WHOLE}, with as many answers": (
            rapl, whole, same, "pairs_right"
        ),
        "liking, RAPL with n answers less direct DPO with 5 n": (rapl, direct, FIFTH, "liking"),
        "liking, RAPL less direct DPO with as many answers": (rapl, direct, same, "liking"),
        "liking, RLHF less direct DPO with as many answers": (rlhf, direct, same, "liking"),
        f"liking, RAPL by dpo less direct DPO, {OTHERS_AT} answers": (
            ("RAPL", "dpo"), direct, {OTHERS_AT: OTHERS_AT}, "liking"
        ),
        f"liking, RLHF by dpo less direct DPO, {OTHERS_AT} answers": (
            ("RLHF", "dpo"), direct, {OTHERS_AT: OTHERS_AT}, "liking"
        ),
        "liking, RAPL less cloning by the share won, as many answers": (
            rapl, (WON, BY), same, "liking"
        ),
        "liking, RLHF less cloning by the share won, as many answers": (
            rlhf, (WON, BY), same, "liking"
        ),
    }  # fmt: skip
    best = ("RAPL", "best_of_n"), ("RLHF", "best_of_n")
    asked["liking by best_of_n, RAPL with n answers less RLHF with 5 n"] = *best, FIFTH, "liking"
    asked["liking by best_of_n, RAPL less RLHF with as many answers"] = *best, same, "liking"
    for by in UPDATES:
        if by != BY:
            claim = f"liking, RAPL with {OTHERS_AT} answers, by {BY} less by {by}"
            asked[claim] = rapl, ("RAPL", by), {OTHERS_AT: OTHERS_AT}, "liking"
    found = [judged(claim, differences(rows, *cells), 0.0) for claim, cells in asked.items()]
    kept = "success after alignment with RAPL less before"
    before = dict.fromkeys((*ANSWERS, MOST), 0)
    found.append(judged(kept, differences(rows, rapl, ("base", "none"), before, "success"), -0.05))
    leads = f"liking, RAPL with {OTHERS_AT} answers, by best_of_n less by {BY}"
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        lost = differences(own, rapl, ("base", "none"), before, "success")
        found.append(judged(f"{kept}, {task}", lost, -0.05))
        gained = differences(own, ("RAPL", "best_of_n"), rapl, {OTHERS_AT: OTHERS_AT}, "liking")
        found.append(judged(f"{leads}, {task}", gained, 0.0))
    return [claim for claim in found if claim is not None]


def judged(claim: str, values: Sequence[float], target: float) -> Claim | None:
    """At least the target, with the whole interval over base policies; None if there are few."""
    if len(values) < 2:
        return None
    mean = mean_interval(values, seed=0)
    return Claim(
        claim=claim, target=target, measured=mean.mean, low=mean.low, high=mean.high,
        whole_interval=True,
    )  # fmt: skip


def differences(
    rows: Sequence[Mapping[str, Any]],
    first: Cell,
    second: Cell,
    answers: Mapping[int, int],
    key: str,
) -> list[float]:
    """One number per base policy: the mean difference between two cells, by the answers of each."""
    of = {
        (row["task"], row["seed"], row["reward"], row["update"], row["answers"]): row[key]
        for row in rows
        if key in row
    }
    found = []
    for base in sorted({place[:2] for place in of}):
        own = [
            of[(*base, *first, n)] - of[(*base, *second, m)]
            for n, m in answers.items()
            if (*base, *first, n) in of and (*base, *second, m) in of
        ]
        if own:
            found.append(float(np.mean(own)))
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean liking and success of each way to align, over base policies, as Markdown."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = ["| reward | update | answers | " + " | ".join(tasks) + " | all | success |"]
    lines.append("|---" * (len(tasks) + 5) + "|")
    found = {(row["answers"], row["update"], row["reward"]) for row in rows}
    for n, by, name in sorted(found, key=lambda cell: (cell[2] == TRUTH, cell)):
        own = [r for r in rows if (r["answers"], r["update"], r["reward"]) == (n, by, name)]
        cells = [
            over([r["liking"] for r in own if r["task"] == task], bounds=False) for task in tasks
        ]
        cells += [over([r["liking"] for r in own]), over([r["success"] for r in own], bounds=False)]
        lines.append(f"| {name} | {by} | {n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def over(values: Sequence[float], *, bounds: bool = True) -> str:
    """The mean, with its bounds if they are wanted, and how many there are."""
    if not values:
        return ""
    mean = mean_interval(values, seed=0)
    shown = f" [{mean.low:.2f}, {mean.high:.2f}]" if bounds else ""
    return f"{mean.mean:.2f}{shown} ({len(values)})"


def main() -> None:
    """Do what is not done yet, and write ``benchmarks/results/alignment.json`` cell by cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=[way.task for way in WAYS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(5)])
    parser.add_argument("--answers", type=int, nargs="+", default=list(ANSWERS))
    parser.add_argument("--updates-by", nargs="+", choices=UPDATES, default=[*UPDATES])
    parser.add_argument(
        "--also", nargs="+", choices=UPDATES, default=[], help="compare rewards by these as well"
    )
    parser.add_argument("--clips", type=int, default=60, help="attempts that are cloned")
    parser.add_argument("--starts", type=int, default=16)
    parser.add_argument("--each", type=int, default=7, help="roll-outs of each start")
    parser.add_argument("--measured", type=int, default=30, help="roll-outs that are measured")
    parser.add_argument("--clone-steps", type=int, default=1500)
    parser.add_argument("--reward-steps", type=int, default=120)
    parser.add_argument("--updates", type=int, default=900)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(earlier_rows("alignment")))
        return
    torch.set_num_threads(1)
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    rows = [row for row in earlier_rows("alignment") if settings.items() <= row.items()]
    ways = [way for way in WAYS if way.task in arguments.tasks]
    clips = {way.task: record(way, range(arguments.clips), EfficientNetLite()) for way in ways}
    for seed, way in product(arguments.seeds, ways):
        one_seed(way, seed, clips[way.task], rows, arguments)
    print(benchmark_result("alignment", rows, claims(rows)))


if __name__ == "__main__":
    main()
