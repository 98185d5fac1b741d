"""Training the ensemble: a bootstrap sample of the episodes for each member, then calibration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from embodied.reward_models.progress_critic import Critic
from embodied.reward_models.progress_ensemble import Ensemble
from embodied.reward_models.progress_lessons import Encoded, channel_statistics, lay_out
from embodied.reward_models.progress_training import Lessons, Strands, train_member
from embodied.reward_models.progress_value import (
    Verdict,
    agree,
    calibrate,
    evidence,
    final_done,
    platt,
)

Bags = Int[np.ndarray, "member clip"]
"""How often each member's sample holds each episode; 0 means that it never sees it."""
FEWEST_STRANGERS = 2
"""Members that must never have seen an episode before their verdict on it counts."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The outcome of a training."""

    accept: float
    """Evidence from which a clip counts as a success."""
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train, and whom to tell."""

    steps: int
    seed: int
    pessimism: float
    linger: int
    shuffle_time_labels: bool
    report: Callable[[float], None] | None


def fit_ensemble(
    ensemble: Ensemble,
    successes: Sequence[Encoded],
    failures: Sequence[Encoded],
    wrong_texts: Float[Tensor, "wrong text"],
    recipe: Recipe,
) -> Fitted:
    """Replace all members by new ones, and choose the threshold on episodes out of their bags."""
    rng = np.random.default_rng(recipe.seed)
    mean, scale = channel_statistics([clip.variants[0] for clip in (*successes, *failures)])
    ensemble.mean.copy_(mean)
    ensemble.scale.copy_(scale)
    good_bags = bootstrap(len(successes), len(ensemble), rng)
    bad_bags = bootstrap(len(failures), len(ensemble), rng)
    shuffle = rng if recipe.shuffle_time_labels else None
    good = lay_out(successes, mean, scale, linger=recipe.linger, shuffle=shuffle)
    bad = lay_out(failures, mean, scale) if failures else None
    lessons = [
        Lessons(
            successes=good,
            failures=bad,
            success_weight=_weight(good, good_bags[member]),
            failure_weight=_weight(bad, bad_bags[member]),
            wrong_texts=wrong_texts,
        )
        for member in range(len(ensemble))
    ]
    losses = _train(ensemble, lessons, recipe)
    ensemble.calibration.copy_(torch.tensor([1.0, 0.0]))
    stated = (
        _out_of_bag(ensemble, successes, good_bags, final_done),
        _out_of_bag(ensemble, failures, bad_bags, final_done),
    )
    ensemble.calibration.copy_(torch.from_numpy(platt(*stated)))

    passed = _out_of_bag(ensemble, successes, good_bags, evidence, recipe.pessimism)
    failed = _out_of_bag(ensemble, failures, bad_bags, evidence, recipe.pessimism)
    accept = calibrate(passed, failed)
    metrics = {
        "accept_threshold": accept,
        "out_of_bag_false_accepts": _share(failed >= accept),
        "out_of_bag_false_rejects": _share(passed < accept),
    }
    return Fitted(accept=accept, metrics=losses | metrics)


def bootstrap(count: int, members: int, rng: np.random.Generator) -> Bags:
    """As many episodes for each member as there are, drawn with replacement."""
    drawn = rng.integers(0, max(count, 1), (members, count))
    return np.stack([np.bincount(bag, minlength=count) for bag in drawn])


def _weight(strands: Strands | None, bag: Int[np.ndarray, " clip"]) -> Float[Tensor, " strand"]:
    """Each strand weighs what its episode does in the bag."""
    if strands is None:
        return torch.zeros(0)
    return torch.from_numpy(bag.astype(np.float32))[strands.clip]


def _train(ensemble: Ensemble, lessons: Sequence[Lessons], recipe: Recipe) -> dict[str, float]:
    """Train each member on its own bag; the mean of each loss over the members."""
    total, finished = recipe.steps * len(ensemble), 0

    def on_step() -> None:
        nonlocal finished
        finished += 1
        if recipe.report is not None:
            recipe.report(finished / total)

    losses = []
    for number, own in enumerate(lessons):
        seed = recipe.seed * 1009 + number
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            critic = Critic(*ensemble.sizes)
            generator = torch.Generator().manual_seed(seed)
            losses.append(train_member(critic, own, generator, steps=recipe.steps, on_step=on_step))
        ensemble.critics[number] = critic
    return {f"loss_{n}": float(np.mean([member[n] for member in losses])) for n in losses[0]}


def _out_of_bag(
    ensemble: Ensemble,
    clips: Sequence[Encoded],
    bags: Bags,
    say: Callable[[Verdict], float],
    pessimism: float = 0.0,
) -> Float[np.ndarray, " judged"]:
    """What members that never trained on a clip say of it, as one number."""
    found = []
    for number, clip in enumerate(clips):
        strangers = np.flatnonzero(bags[:, number] == 0).tolist()
        if len(strangers) < FEWEST_STRANGERS:
            continue
        seen = ensemble.look(clip.variants[0])
        first = [frames[:1] for frames in seen]
        opinions = ensemble.judge(seen, first, clip.text, strangers)
        found.append(say(agree(opinions, pessimism)))
    return np.array(found, np.float64)


def _share(true: np.ndarray) -> float:
    return float(true.mean()) if len(true) else 0.0
