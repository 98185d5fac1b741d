"""Which pairs of clips to ask about, and why: numbers in, chosen pairs and reasons out.

Disagreement of an ensemble, spread out by greedy k-centre selection (B-Pref, Lee et al. 2021), and
information, what the answer tells of a linear reward (`posterior`), look for what the model does
not know. A uniform share is what they are compared with. Controls are no matter of the model: the
schedule makes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from embodied.errors import BadInput, UnknownName
from embodied.preferences.mix import SOUGHT
from embodied.preferences.posterior import Posterior

OVERSAMPLE = 10
"""Times as many of the pairs with the highest scores as are asked are spread out by k-centre."""
KINDS = (*SOUGHT, "uniform")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A pair to ask about."""

    pair: tuple[int, int]
    """Numbers of the clips."""
    acquisition: str
    reason: str
    """Why it is asked, for the person who answers."""
    score: float | None
    """Of the acquisition; None where chance decided."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What can be asked, and what the model thinks of it."""

    features: Float[np.ndarray, "clip dim"]
    """Embedding of each clip."""
    pairs: Int[np.ndarray, "pair 2"]
    """That have not been asked."""
    probability: Float[np.ndarray, "member pair"]
    """That the first clip of each pair is preferred, by each member of the ensemble."""
    posterior: Posterior
    """Of a reward linear in the features, after all answers that may be learnt from."""

    def __post_init__(self) -> None:
        """Refuse numbers that do not belong together.

        Raises:
            BadInput: saying which.
        """
        members, pairs = self.probability.shape
        if members < 2 or pairs != len(self.pairs):
            raise BadInput(
                f"choosing needs two members' opinions of {len(self.pairs)} pairs; it got "
                f"{members} members' of {pairs}."
            )
        if not ((self.probability >= 0) & (self.probability <= 1)).all():
            raise BadInput("probabilities of preference must lie in [0, 1].")
        if pairs and not 0 <= self.pairs.min() <= self.pairs.max() < len(self.features):
            raise BadInput(f"pairs name clips beyond the {len(self.features)} that there are.")


def disagreement(probability: Float[np.ndarray, "member pair"]) -> Float[np.ndarray, " pair"]:
    """Standard deviation over the members, in [0, 0.5]."""
    return np.asarray(probability.std(0))


def k_centre(features: Float[np.ndarray, "item dim"], count: int) -> list[int]:
    """Items that cover the others: the first one, then always the farthest from those taken."""
    if not len(features) or count < 1:
        return []
    taken = [0]
    distance = np.linalg.norm(features - features[0], axis=1)
    while len(taken) < min(count, len(features)):
        distance[taken] = -1.0
        farthest = int(distance.argmax())
        taken.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(features - features[farthest], axis=1))
    return taken


def choose(
    pool: Pool,
    count: int,
    rng: np.random.Generator,
    shares: Mapping[str, float],
) -> list[Chosen]:
    """A batch of questions; no pair twice. If fewer pairs are left than asked for, it is smaller.

    Args:
        pool: What can be asked.
        count: How many questions.
        rng: Decides what is left to chance.
        shares: Of the batch, by acquisition; they are divided by their sum. See `Mix`.

    Raises:
        UnknownName: for an acquisition that there is not.
        BadInput: for shares that are negative or all 0.
    """
    wanted = {kind: 0 for kind in KINDS} | _counts(shares, count)
    # Chance draws first, from all pairs: drawn from what the others leave, it would be no test.
    left = rng.permutation(len(pool.pairs))
    uniform, left = left[: wanted["uniform"]], np.sort(left[wanted["uniform"] :])
    told = _telling(pool, left, wanted["information"])
    spread = disagreement(pool.probability)
    doubtful = _far_apart(pool, np.setdiff1d(left, [*told]), spread, wanted["disagreement"])
    return [
        *(_asked(pool, int(place), "disagreement", float(spread[place])) for place in doubtful),
        *(_asked(pool, place, "information", score) for place, score in told.items()),
        *(_asked(pool, int(place), "uniform", None) for place in uniform),
    ]


def _telling(pool: Pool, left: Int[np.ndarray, " some"], count: int) -> dict[int, float]:
    """Pairs whose answers tell most, each after those before it, with what they resolve."""
    difference = pool.features[pool.pairs[left, 0]] - pool.features[pool.pairs[left, 1]]
    posterior, told = pool.posterior, dict[int, float]()
    free = np.ones(len(left), dtype=bool)
    for _ in range(min(count, len(left))):
        resolved = np.where(free, posterior.resolved(difference), -1.0)
        most = int(resolved.argmax())
        told[int(left[most])], free[most] = float(resolved[most]), False
        posterior = posterior.after(difference[most])
    return told


def _far_apart(
    pool: Pool, left: Int[np.ndarray, " some"], score: Float[np.ndarray, " pair"], count: int
) -> Int[np.ndarray, " few"]:
    """Of the pairs with the highest scores, those that cover them."""
    best = left[np.argsort(-score[left], kind="stable")][: OVERSAMPLE * count]
    return best[k_centre(_pair_features(pool, best), count)]


def _counts(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """Whole numbers in these proportions, by the largest remainder."""
    for name in shares:
        if name not in KINDS:
            raise UnknownName("acquisition", name, KINDS)
    total = sum(shares.values())
    if min(shares.values(), default=0.0) < 0 or total <= 0:
        raise BadInput(f"shares of questions must be at least 0 and not all 0: {dict(shares)}.")
    exact = {name: share / total * count for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_remainder[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def _pair_features(pool: Pool, places: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some dim"]:
    """What tells a pair from another, whichever way round it is: middle and distance."""
    first, second = (pool.features[pool.pairs[places, side]] for side in (0, 1))
    return np.concatenate([(first + second) / 2, np.abs(first - second)], 1)


def _asked(pool: Pool, place: int, kind: str, score: float | None) -> Chosen:
    reason = {
        "disagreement": f"The models disagree: their opinions lie {score or 0:.2f} apart.",
        "information": f"The answer would settle {100 * (score or 0):.0f} % of the doubt about it.",
        "uniform": "Drawn at random: the unbiased test of the model.",
    }[kind]
    first, second = map(int, pool.pairs[place])
    return Chosen(pair=(first, second), acquisition=kind, reason=reason, score=score)
