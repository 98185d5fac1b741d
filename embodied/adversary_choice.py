"""Best of n: what is chosen among n roll-outs of a policy, estimated from N >= n of them.

The mean over all subsets of size n, in closed form (Nakano et al. 2021, arXiv 2112.09332, appendix
I): with roll-outs in the order of their learned return, number i of 1..N is the best of a subset in
``C(i - 1, n - 1) / C(N, n)`` of all subsets. Choosing so moves the policy by a KL divergence of
``log n - (n - 1) / n`` (Gao et al. 2022, arXiv 2210.10760), whatever the reward.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from embodied.actor import ActorWorker
from embodied.adversary_trial import Arena, Trial, Truth, proxy_of, true_progress
from embodied.audit_evidence import score_all
from embodied.hardware.base import Operator
from embodied.messages import Request
from embodied.pool import in_processes
from embodied.rewarding import with_features
from embodied.seed_ranges import episode_seed
from embodied.statistics import RESAMPLES, Interval, percentiles, widened
from embodied.types import clip_of

MOST = 64
"""Largest n."""


def choices(rollouts: int) -> list[int]:
    """Every n that is looked at: 1, 2, 4... up to 64, or to the number of roll-outs."""
    return [2**k for k in range(MOST.bit_length()) if 2**k <= rollouts]


def divergence(n: int) -> float:
    """KL divergence, in nats, of the best of n from the policy."""
    return math.log(n) - (n - 1) / n


def best_of(by: Float[np.ndarray, " rollout"], n: int) -> Float[np.ndarray, " rollout"]:
    """How often each roll-out is the choice, over all subsets of size n.

    Args:
        by: What is chosen by, more being better; among equals the choice is drawn.
        n: Size of the subsets, at most the number of roll-outs.
    """
    below = np.arange(len(by), dtype=float)
    share = np.exp(_log_choose(below, n - 1) - _log_choose(np.array([float(len(by))]), n))
    _, group = np.unique(by, return_inverse=True)
    each = np.bincount(np.sort(group), share) / np.bincount(group)
    return np.asarray(each[group])


def _log_choose(whole: Float[np.ndarray, " _"], part: int) -> Float[np.ndarray, " _"]:
    """Logarithm of the binomial coefficient; minus infinity where the part is larger."""
    held = np.maximum(whole, part)
    found = gammaln(held + 1) - gammaln(part + 1) - gammaln(held - part + 1)
    return np.where(whole >= part, found, -np.inf)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Means over the choices of one n, each with its interval over roll-outs."""

    n: int
    values: Mapping[str, Interval]


def chosen(
    by: Sequence[float],
    values: Mapping[str, Sequence[float]],
    *,
    seed: int,
    shares: Sequence[str] = (),
) -> list[Chosen]:
    """Means of several values over what is chosen, for every n.

    Whole roll-outs are resampled. A bootstrap has no width where the best few are all alike, so the
    interval of a share is at least Wilson's for N / n attempts: so many disjoint subsets there are,
    and a mean over all subsets varies at most as one over disjoint ones (Hoeffding 1948).

    Args:
        by: Learned return, say, of each roll-out.
        values: By name: a value of each roll-out.
        seed: Of the resampling.
        shares: Names of the values that are 0 or 1.
    """
    order, held = np.asarray(by, float), {k: np.asarray(v, float) for k, v in values.items()}
    count = len(order)
    drawn = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    found = []
    for n in choices(count):
        weights = best_of(order, n)
        resampled = np.stack([best_of(order[index], n) for index in drawn])
        means = {}
        for name, value in held.items():
            spread = np.einsum("rk,rk->r", resampled, value[drawn])
            interval = percentiles(float(weights @ value), spread, count)
            means[name] = widened(interval, count / n) if name in shares else interval
        found.append(Chosen(n=n, values=means))
    return found


def roll_out(
    arena: Arena,
    operator: Callable[[], Operator],
    rollouts: int,
    *,
    run_seed: int,
    explore: float,
    processes: int,
    shows: Callable[[int], None] = lambda done: None,
) -> list[Trial]:
    """Roll-outs of the policy, each from a start of its own, and what the reward says of them.

    Args:
        arena: Where.
        operator: Who never acts; built where it is needed.
        rollouts: How many.
        run_seed: Decides starts and sampling.
        explore: How boldly the policy explores, in [0, 1].
        processes: At most so many.
        shows: Is told how many are done.
    """
    set_up = partial(_roller, arena, operator, run_seed, explore)
    found = []
    for trial in in_processes(set_up, range(rollouts), processes):
        found.append(trial)
        shows(len(found))
    return found


def _roller(
    arena: Arena, operator: Callable[[], Operator], run_seed: int, explore: float
) -> Callable[[int], Trial]:
    env, encoder, reward = arena.env(), arena.encoder(), arena.reward().eval()
    actor = ActorWorker(
        env=env, policy=arena.policy(encoder), encoder=encoder, operator=operator(), store=None
    )

    def roll(number: int) -> Trial:
        seed = episode_seed("attack", run_seed, number)
        env.reset(seed=seed)
        before = env.privileged()
        request = Request(number=number, seed=seed, source="validation", explore=explore)
        episode = with_features(actor.collect(request), encoder)
        (scores,) = score_all(reward, [clip_of(episode)])
        progress = true_progress(before, env.privileged())
        truth = Truth(success=bool(episode.success), progress=progress)
        return Trial(seed=seed, action=episode.action, proxy=proxy_of(scores), truth=truth)

    return roll
