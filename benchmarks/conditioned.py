"""A policy that is told how: whether roll-outs follow a strength that a person's answers taught.

Two Meta-World tasks with a way of doing them (`embodied.envs.ways`). The demonstrators go all ways.
A scripted rater who errs in one answer of ten compares pairs of their attempts; a Bradley-Terry
ensemble on the attempts' proprioception learns how strong the attribute is in each, and its
percentile conditions an `AttributeDiffusion`. That is rolled out from unseen starts with several
targets. What a roll-out reached is the percentile of its true liking among the demonstrators'
attempts; the simulator's truth is used for that, and by the rater, and for nothing else.

`free` is a `DiffusionPolicy` cloned with the same budget: it knows no target, so that its roll-outs
are held against all of them. `shuffled` was told the strengths of other attempts. `unguided` is the
conditioned policy with w = 1, `ignored` with w = 0.

Each finished cell is written at once, and cells that the result holds are not done again; rows that
were made with other settings are dropped.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.encoders import EfficientNetLite
from embodied.envs.base import TaskEnv
from embodied.policies.attribute_diffusion import AttributeDiffusion, percentile
from embodied.policies.base import Policy
from embodied.policies.diffusion import DiffusionPolicy, clone
from embodied.preferences.answers import Answer
from embodied.preferences.teachers import TEACHERS, answer_pairs
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.preference_reward import PreferenceReward
from embodied.statistics import mean_interval, voc
from embodied.testing.way_rollouts import chunks_of, roll_out
from embodied.testing.ways import CAMERA, WAYS, Attempt, Way, record

TARGETS = (0.1, 0.3, 0.5, 0.7, 0.9)
POLICIES = ("conditioned", "free", "shuffled", "unguided", "ignored")
GUIDANCE = {"conditioned": 1.5, "shuffled": 1.5, "unguided": 1.0, "ignored": 0.0}
BLIND = ("free", "ignored")
"""The same roll-outs for every target."""
CHUNK = 4
SETTINGS = ("clips", "answers", "clone_steps", "measured")
"""Arguments that rows of one result have in common."""
UNSEEN = 10_000
"""First seed of the starts that policies are measured on."""


def summed_up(attempts: Sequence[Attempt]) -> Float[Tensor, "clip dim"]:
    """Mean, least and greatest proprioception of each attempt, standardised."""
    summary = np.stack(
        [np.concatenate([a.state.mean(0), a.state.min(0), a.state.max(0)]) for a in attempts]
    )
    return torch.from_numpy((summary - summary.mean(0)) / (summary.std(0) + 1e-3)).float()


def learned_strength(attempts: Sequence[Attempt], answers: int, seed: int) -> Float[Tensor, " _"]:
    """Of each attempt, from a rater's answers about random pairs of them."""
    rng = np.random.default_rng(seed)
    liking = np.array([[attempt.liking] for attempt in attempts])
    first = rng.integers(len(liking), size=answers)
    second = (first + rng.integers(1, len(liking), size=answers)) % len(liking)
    said = answer_pairs(
        TEACHERS["mistake"], liking[first], liking[second], typical=1.0, rng=rng
    )  # fmt: skip
    comparisons = Comparisons(
        first=torch.from_numpy(first),
        second=torch.from_numpy(second),
        target=torch.tensor([float(answer is Answer.LEFT) for answer in said]),
        rater=torch.zeros(answers, dtype=torch.long),
    )
    clips = summed_up(attempts)
    reward = PreferenceReward(clips.shape[1], seed=seed)
    reward.fit(clips, comparisons)
    return reward(clips).mean(0).detach()


def cloned(
    attempts: Sequence[Attempt],
    strength: Float[Tensor, " clip"] | None,
    env: TaskEnv,
    seed: int,
    steps: int,
) -> Policy:
    """A policy that is told the percentile of a strength; without one, one that is told nothing."""
    shapes: dict[str, Any] = {
        "cameras": (CAMERA,), "feature_shape": EfficientNetLite().shape,
        "state_size": attempts[0].state.shape[1], "action_low": env.action_space.low.tolist(),
        "action_high": env.action_space.high.tolist(), "chunk": CHUNK,
    }  # fmt: skip
    examples = chunks_of(attempts, CHUNK)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if strength is None:
            policy: DiffusionPolicy | AttributeDiffusion = DiffusionPolicy(**shapes)
        else:
            lengths = torch.tensor([len(chunks_of([attempt], CHUNK)) for attempt in attempts])
            told = percentile(strength[:, None], strength[:, None])
            examples = replace(examples, attributes=told.repeat_interleave(lengths, 0))
            policy = AttributeDiffusion(**shapes, attributes=("liked",))
    clone(policy, examples, steps=steps, seed=seed)
    return policy


def measure(
    policy: Policy, env: TaskEnv, way: Way, liked: Float[np.ndarray, " clip"], count: int
) -> dict[str, Any]:
    """What roll-outs towards each target reached, and how well that follows the target."""
    blind = not isinstance(policy, AttributeDiffusion) or policy.guidance == 0
    reached, success = [], []
    for target in TARGETS[:1] if blind else TARGETS:
        if isinstance(policy, AttributeDiffusion):
            policy.target = {"liked": target}
        done = [
            roll_out(policy, env, way, EfficientNetLite(), start=UNSEEN + i, seed=i, explore=1.0)
            for i in range(count)
        ]
        found = torch.tensor([[attempt.liking] for attempt in done])
        reached.append(percentile(found, torch.from_numpy(liked)[:, None].float())[:, 0].tolist())
        success.append(float(np.mean([attempt.success for attempt in done])))
    if blind:
        reached, success = reached * len(TARGETS), success * len(TARGETS)
    return followed(np.array(reached)) | {"success": success, "reached": reached}


def followed(reached: Float[np.ndarray, "target rollout"]) -> dict[str, float]:
    """Rank correlation with the target, mean absolute error, and AlignDiff's area.

    The area is that of the published code: the share of roll-outs whose error is below a
    tolerance, averaged over 90 tolerances that fall from 1 to 0.01 by a constant factor and 10
    more down to 0.
    """
    target = np.repeat(TARGETS, reached.shape[1])
    error = np.abs(reached.ravel() - target)
    falling = np.exp(np.linspace(0.0, -4.6, 90))
    tolerance = np.concatenate([falling, np.linspace(falling[-1], 0.0, 10)])
    return {
        "spearman": voc(reached.ravel(), target),
        "mae": float(error.mean()),
        "area": float((error < tolerance[:, None]).mean()),
    }


def one_seed(
    way: Way, seed: int, rows: list[dict[str, Any]], arguments: argparse.Namespace
) -> None:
    """Do the cells of one rater and one start of the networks that are not done yet."""
    done = {(row["task"], row["seed"], row["policy"]) for row in rows}
    missing = [name for name in POLICIES if (way.task, seed, name) not in done]
    if not missing:
        return
    attempts, env = recorded(way, arguments.clips), way.make(cameras=(CAMERA,))
    liked = np.array([attempt.liking for attempt in attempts])
    strength = learned_strength(attempts, arguments.answers, seed)
    order = torch.randperm(len(strength), generator=torch.Generator().manual_seed(seed))
    told = {"free": None, "shuffled": strength[order]}
    kept: dict[str, Policy] = {}
    for name in missing:
        kind = name if name in told else "conditioned"
        if kind not in kept:
            own = told.get(kind, strength)
            kept[kind] = cloned(attempts, own, env, seed, arguments.clone_steps)
        policy = kept[kind]
        if isinstance(policy, AttributeDiffusion):
            policy.guidance = GUIDANCE[name]
        row: dict[str, Any] = {"task": way.task, "seed": seed, "policy": name}
        row |= {setting: getattr(arguments, setting) for setting in SETTINGS}
        row |= {"strength_spearman": voc(strength.numpy(), liked)}
        rows.append(row | measure(policy, env, way, liked, arguments.measured))
        print({k: v for k, v in rows[-1].items() if k not in SETTINGS}, flush=True)
        benchmark_result("conditioned", rows, claims(rows))
    env.close()


@cache
def recorded(way: Way, clips: int) -> list[Attempt]:
    """The demonstrators' attempts."""
    return record(way, range(clips), EfficientNetLite())


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Over tasks and seeds: targets are followed, by what was learned, and the task is kept."""
    of = {(row["task"], row["seed"], row["policy"]): row for row in rows}
    cells = sorted({key[:2] for key in of})

    def each(name: str, key: str, less: str | None = None) -> list[float]:
        return [
            float(np.mean(of[(*cell, name)][key]))
            - (0.0 if less is None else float(np.mean(of[(*cell, less)][key])))
            for cell in cells
            if (*cell, name) in of and (less is None or (*cell, less) in of)
        ]

    return [
        found
        for found in (
            _claim("Spearman of target and what was reached", each("conditioned", "spearman"), 0.5),
            _claim(
                "the same with shuffled strengths", each("shuffled", "spearman"), 0.2, at_most=True
            ),
            _claim("area, conditioned less free", each("conditioned", "area", "free"), 0.0),
            _claim("mean error, free less conditioned", each("free", "mae", "conditioned"), 0.0),
            _claim(
                "success, conditioned less free", each("conditioned", "success", "free"), -0.1
            ),
            _claim(
                "Spearman, guidance of 1.5 less 1", each("conditioned", "spearman", "unguided"), 0.0
            ),
        )
        if found is not None
    ]  # fmt: skip


def _claim(
    text: str, values: Sequence[float], target: float, *, at_most: bool = False
) -> Claim | None:
    """Judged by the interval over tasks and seeds; None if nothing was measured."""
    if not values:
        return None
    interval = mean_interval(values, seed=0)
    low, high = (None if math.isnan(bound) else bound for bound in (interval.low, interval.high))
    return Claim(
        claim=text, target=target, measured=interval.mean, low=low, high=high,
        comparison="<=" if at_most else ">=", whole_interval=low is not None,
    )  # fmt: skip


def main() -> None:
    """Do what is not done yet, and write ``benchmarks/results/conditioned.json`` cell by cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=60, help="attempts that are cloned")
    parser.add_argument("--answers", type=int, default=100, help="of the rater")
    parser.add_argument("--clone-steps", type=int, default=3000)
    parser.add_argument("--measured", type=int, default=6, help="roll-outs towards each target")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    rows = [row for row in earlier_rows("conditioned") if settings.items() <= row.items()]
    for seed in range(arguments.seeds):
        for way in WAYS[: arguments.tasks]:
            one_seed(way, seed, rows, arguments)
    print(benchmark_result("conditioned", rows, claims(rows)))


if __name__ == "__main__":
    main()
