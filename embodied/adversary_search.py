"""The cross-entropy method over action sequences: what in the simulator pleases the reward most.

Rubinstein (1999), with the elites kept from one generation to the next as in iCEM (Pinneri et al.
2020, arXiv 2008.06389). A sequence is open loop: a few knots per dimension of the action, straight
lines between them, from one start. The optimiser is told learned returns and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from einops import einsum
from jaxtyping import Float, Float32, Int

from embodied.adversary_trial import Arena, Trial, perform, proxy_of
from embodied.audit_evidence import score_all, with_features
from embodied.envs.base import TaskEnv
from embodied.errors import BadConfig
from embodied.pool import in_processes
from embodied.reward_models.base import RewardModel
from embodied.seed_ranges import episode_seed
from embodied.types import FrameEncoder

FIRST_START = 5_000
"""Number of the first start among the attack's seeds; the policy's roll-outs have lower ones."""
DEVIATION, LEAST_DEVIATION = 0.6, 0.05
"""Of the knots at first and at least, in units of half the action range."""
KEPT = 0.3
"""Share of the old mean and deviation in the new."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How hard the search tries.

    Raises:
        BadConfig: if a number is too small, or there are more elites than candidates.
    """

    generations: int = 8
    candidates: int = 32
    elites: int = 6
    knots: int = 8

    def __post_init__(self) -> None:
        for name, least in (("generations", 1), ("candidates", 2), ("elites", 1), ("knots", 2)):
            if getattr(self, name) < least:
                raise BadConfig(
                    f"attack.{name} is {getattr(self, name)}; it must be at least {least}."
                )
        if self.elites >= self.candidates:
            raise BadConfig(
                f"attack.elites is {self.elites}; it must be below attack.candidates, "
                f"{self.candidates}."
            )


class CrossEntropy:
    """Proposes action sequences, and learns from their returns alone.

    Args:
        low: Least value of each dimension of the action.
        high: Largest.
        steps: Length of a sequence.
        budget: Candidates, elites and knots.
        seed: Of the proposals.
    """

    def __init__(
        self,
        low: Float32[np.ndarray, " action"],
        high: Float32[np.ndarray, " action"],
        steps: int,
        budget: Budget,
        seed: int,
    ) -> None:
        self._low, self._high, self._budget = low, high, budget
        self._rng = np.random.default_rng(seed)
        at = np.linspace(0, steps - 1, budget.knots)
        self._basis = np.stack([np.interp(np.arange(steps), at, k) for k in np.eye(budget.knots)])
        self._mean = np.zeros((budget.knots, len(low)))
        self._deviation = np.full_like(self._mean, DEVIATION)
        self._asked: Float[np.ndarray, "_ knot action"] = np.empty((0, *self._mean.shape))
        self._elites, self._returns = self._asked, np.empty(0)
        self._names: Int[np.ndarray, " elite"] = np.empty(0, int)
        self._count = 0

    def ask(self) -> Float32[np.ndarray, "candidate time action"]:
        """Sequences to try, within the bounds of the action."""
        shape = (self._budget.candidates, *self._mean.shape)
        drawn = self._mean + self._deviation * self._rng.standard_normal(shape)
        self._asked = np.asarray(np.clip(drawn, -1, 1))
        between = einsum(self._asked, self._basis, "c knot a, knot t -> c t a")
        sequences = self._low + (between + 1) / 2 * (self._high - self._low)
        return np.asarray(np.clip(sequences.astype(np.float32), self._low, self._high))

    def tell(self, returns: Float[np.ndarray, " candidate"]) -> Int[np.ndarray, " elite"]:
        """Learn what the sequences of the last `ask` returned.

        Returns:
            Numbers of the best sequences so far, counted from 0 over all that were asked, the best
            first.
        """
        knots = np.concatenate([self._elites, self._asked])
        found = np.concatenate([self._returns, returns])
        names = np.concatenate([self._names, self._count + np.arange(len(returns))])
        best = np.argsort(-found, kind="stable")[: self._budget.elites]
        self._elites, self._returns, self._names = knots[best], found[best], names[best]
        self._count += len(returns)
        spread = np.maximum(self._elites.std(0), LEAST_DEVIATION)
        self._mean = KEPT * self._mean + (1 - KEPT) * self._elites.mean(0)
        self._deviation = KEPT * self._deviation + (1 - KEPT) * spread
        return self._names


@dataclass(frozen=True, kw_only=True)
class Search:
    """What was found from one start."""

    seed: int
    unselected: tuple[Trial, ...]
    """The first generation: sequences at random, before anything was chosen."""
    elites: tuple[tuple[Trial, ...], ...]
    """After each generation: the best so far by learned return, the best first."""


def search_all(
    arena: Arena,
    budget: Budget,
    starts: int,
    *,
    run_seed: int,
    processes: int,
    shows: Callable[[int], None] = lambda done: None,
) -> list[Search]:
    """Search from several starts, each on its own.

    Args:
        arena: Where; its policy is not used.
        budget: How hard.
        starts: How many.
        run_seed: Decides starts and proposals.
        processes: At most so many.
        shows: Is told how many starts are done.
    """
    found = []
    set_up = partial(_searcher, arena, budget, run_seed)
    for search in in_processes(set_up, range(starts), processes):
        found.append(search)
        shows(len(found))
    return found


def _searcher(arena: Arena, budget: Budget, run_seed: int) -> Callable[[int], Search]:
    env, encoder, reward = arena.env(), arena.encoder(), arena.reward().eval()

    def search(number: int) -> Search:
        seed = episode_seed("attack", run_seed, FIRST_START + number)
        return search_start(env, encoder, reward, budget, seed)

    return search


def search_start(
    env: TaskEnv, encoder: FrameEncoder, reward: RewardModel, budget: Budget, seed: int
) -> Search:
    """Search from one start.

    Args:
        env: Where; must not end on success.
        encoder: Encodes each frame once.
        reward: What is to be pleased.
        budget: How hard.
        seed: Of the start and of the proposals.
    """
    space = env.action_space
    optimiser = CrossEntropy(space.low, space.high, env.max_episode_steps, budget, seed)
    tried: list[Trial] = []
    elites: list[tuple[Trial, ...]] = []
    for _ in range(budget.generations):
        newest = _try_all(env, encoder, reward, optimiser.ask(), seed)
        tried += newest
        best = optimiser.tell(np.array([trial.proxy.total for trial in newest]))
        elites.append(tuple(tried[number] for number in best))
    return Search(seed=seed, unselected=tuple(tried[: budget.candidates]), elites=tuple(elites))


def _try_all(
    env: TaskEnv,
    encoder: FrameEncoder,
    reward: RewardModel,
    sequences: Float32[np.ndarray, "candidate time action"],
    seed: int,
) -> list[Trial]:
    """Execute every sequence; all clips are scored as one batch, each frame is encoded once."""
    performed = [perform(env, seed, sequence) for sequence in sequences]
    clips = with_features([clip for clip, _ in performed], encoder, reward.cameras)
    return [
        Trial(seed=seed, action=sequence, proxy=proxy_of(scores), truth=truth)
        for sequence, scores, (_, truth) in zip(
            sequences, score_all(reward, clips), performed, strict=True
        )
    ]
