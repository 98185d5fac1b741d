"""Training the ensemble: a bootstrap of the episodes for each member, then calibration.

The episodes are cut into as many folds as there are members, and each member never sees one fold.
On it, it is calibrated. The other episodes it weighs by a Bayesian bootstrap (Rubin 1981): random
weights from an exponential distribution, which leave no episode out. Drawing with replacement would
hide a third of a dozen episodes from every member, and that cost a tenth of the true successes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit, logit
from torch import Tensor, nn

from embodied.reward_models.calibration import ACCEPT, UNCALIBRATED, platt
from embodied.reward_models.progress_critic import Critic
from embodied.reward_models.progress_ensemble import Ensemble
from embodied.reward_models.progress_lessons import Encoded, channel_statistics, lay_out
from embodied.reward_models.progress_training import Lessons, Strands, train_member
from embodied.reward_models.progress_value import Opinions, evidence, final_done

Bags = Float[np.ndarray, "member clip"]
"""How much each episode weighs for each member; 0 means that it never sees it."""
Said = Float[np.ndarray, " _"]
"""What members say of clips, clip by clip."""
Say = Callable[[Opinions], Float[np.ndarray, " member"]]
"""What is asked of them."""
OnStep = Callable[[], None]
"""Is called after each update."""
Trained = tuple[nn.Module, dict[str, float]]
"""A member, and its losses by name."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train, and whom to tell."""

    steps: int
    seed: int
    linger: int
    shuffle_time_labels: bool
    report: Callable[[float], None] | None


def fit_ensemble(
    ensemble: Ensemble,
    successes: Sequence[Encoded],
    failures: Sequence[Encoded],
    wrong_texts: Float[Tensor, "wrong text"],
    same_texts: Float[Tensor, "same text"],
    recipe: Recipe,
) -> dict[str, float]:
    """Replace all members by new ones, and calibrate them; returns metrics by name."""
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
            failures=bad if bad_bags[member].any() else None,
            success_weight=_weight(good, good_bags[member]),
            failure_weight=_weight(bad, bad_bags[member]),
            wrong_texts=wrong_texts,
            same_texts=same_texts,
        )
        for member in range(len(ensemble))
    ]
    losses = _train(ensemble, lessons, recipe)

    def outcomes(say: Say) -> tuple[Said, Said]:
        return (
            _out_of_bag(ensemble, successes, good_bags, say),
            _out_of_bag(ensemble, failures, bad_bags, say),
        )

    return losses | calibrate(ensemble.calibration, ensemble.success, outcomes)


def calibrate(
    done: Float[Tensor, "2"],
    success: Float[Tensor, "2"],
    outcomes: Callable[[Say], tuple[Said, Said]],
) -> dict[str, float]:
    """Fit both calibrations on what members say of clips that they never saw.

    Args:
        done: Slope and offset of the done logits; overwritten.
        success: The same from a member's evidence to the probability of success; overwritten.
        outcomes: What members say of successes, and of failures.
    """
    done.copy_(torch.from_numpy(UNCALIBRATED))
    done.copy_(torch.from_numpy(platt(*outcomes(final_done))))
    passed, failed = outcomes(evidence)
    success.copy_(torch.from_numpy(platt(passed, failed)))
    slope, offset = success.tolist()
    accept = float(expit((logit(ACCEPT) - offset) / slope))
    return {
        "accept_threshold": accept,
        "out_of_bag_false_accepts": _share(failed >= accept),
        "out_of_bag_false_rejects": _share(passed < accept),
    }


def bootstrap(count: int, members: int, rng: np.random.Generator) -> Bags:
    """Weights of the episodes for each member; those of its own fold are 0."""
    fold = rng.permutation(count) % members
    weight = rng.exponential(size=(members, count))
    weight[fold, np.arange(count)] = 0.0
    return weight


def _weight(strands: Strands | None, bag: Float[np.ndarray, " clip"]) -> Float[Tensor, " strand"]:
    """Each strand weighs what its episode does in the bag."""
    if strands is None:
        return torch.zeros(0)
    return torch.from_numpy(bag.astype(np.float32))[strands.clip]


def _train(ensemble: Ensemble, lessons: Sequence[Lessons], recipe: Recipe) -> dict[str, float]:
    """Train each member on its own bag; the mean of each loss over the members."""

    def learn(number: int, generator: torch.Generator, on_step: OnStep) -> Trained:
        critic = Critic(*ensemble.sizes)
        losses = train_member(
            critic, lessons[number], generator, steps=recipe.steps, on_step=on_step
        )
        return critic, losses

    return train_members(ensemble.critics, learn, recipe)


def train_members(
    critics: nn.ModuleList,
    learn: Callable[[int, torch.Generator, OnStep], Trained],
    recipe: Recipe,
) -> dict[str, float]:
    """Replace each member by a new one, from a seed of its own; the means of their losses."""
    total, finished = recipe.steps * len(critics), 0

    def on_step() -> None:
        nonlocal finished
        finished += 1
        if recipe.report is not None:
            recipe.report(finished / total)

    losses = []
    for number in range(len(critics)):
        seed = recipe.seed * 1009 + number
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            critics[number], own = learn(number, torch.Generator().manual_seed(seed), on_step)
        losses.append(own)
    return {f"loss_{n}": float(np.mean([member[n] for member in losses])) for n in losses[0]}


def _out_of_bag(
    ensemble: Ensemble,
    clips: Sequence[Encoded],
    bags: Bags,
    say: Say,
) -> Said:
    """What the member that never saw a clip says of it, clip by clip."""
    found: list[float] = []
    for number, clip in enumerate(clips):
        strangers = np.flatnonzero(bags[:, number] == 0).tolist()
        seen = ensemble.look(clip.variants[0])
        first = [frames[:1] for frames in seen]
        found.extend(say(ensemble.judge(seen, first, clip.text, strangers)).tolist())
    return np.array(found, np.float64)


def _share(true: np.ndarray) -> float:
    return float(true.mean()) if len(true) else 0.0
