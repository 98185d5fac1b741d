"""Which pairs of clips to ask about, and why: numbers in, chosen pairs and reasons out.

Disagreement of an ensemble, spread out by greedy k-centre selection (B-Pref, Lee et al. 2021), and
mutual information between the answer and the model (BALD, Houlsby et al. 2011) look for what the
model does not know. A uniform share is the only unbiased test of it, repeats with the sides
swapped and gold pairs test the rater.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from embodied.errors import BadInput, UnknownName

OVERSAMPLE = 10
"""Times as many of the pairs with the highest scores as are asked are spread out by k-centre."""
SHARES: Mapping[str, float] = {
    "disagreement": 0.4, "information": 0.2, "uniform": 0.2, "repeat": 0.1, "gold": 0.1,
}  # fmt: skip
"""Of a mixed batch."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A pair to ask about."""

    pair: tuple[int, int]
    """Numbers of the clips; a repeat has those of the earlier question the other way round."""
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
    answered: Sequence[tuple[int, int]] = field(default=())
    """Pairs that the rater has answered."""
    gold: Sequence[tuple[int, int]] = field(default=())
    """Pairs with a certain answer."""

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


def mutual_information(
    probability: Float[np.ndarray, "member pair"],
) -> Float[np.ndarray, " pair"]:
    """What an answer tells of which member is right, in bits: H(mean) - mean H, in [0, 1].

    A pair that all members call even has none: it is hard, but not unknown.
    """
    return np.asarray(_entropy(probability.mean(0)) - _entropy(probability).mean(0)).clip(min=0.0)


def _entropy(p: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(-p * np.log2(p) - (1 - p) * np.log2(1 - p))


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
    shares: Mapping[str, float] = SHARES,
) -> list[Chosen]:
    """A batch of questions; no pair twice, but for repeats.

    What repeats and gold pairs cannot fill is drawn uniformly. If fewer pairs are left than are
    asked for, the batch is smaller.

    Args:
        pool: What can be asked.
        count: How many questions.
        rng: Decides what is left to chance.
        shares: Of the batch, by acquisition; they are divided by their sum.

    Raises:
        UnknownName: for an acquisition that there is not.
        BadInput: for shares that are negative or all 0.
    """
    wanted = _counts(shares, count)
    repeats = _controls(pool.answered, wanted.pop("repeat", 0), "repeat", rng)
    golds = _controls(pool.gold, wanted.pop("gold", 0), "gold", rng)
    wanted["uniform"] = wanted.get("uniform", 0)
    wanted["uniform"] += count - sum(wanted.values()) - len(repeats) - len(golds)
    spread, told = disagreement(pool.probability), mutual_information(pool.probability)
    # Chance draws first, from all pairs: drawn from what the others leave, it would be no test.
    left = rng.permutation(len(pool.pairs))
    picked = {"uniform": left[: wanted["uniform"]]}
    left = np.sort(left[wanted["uniform"] :])
    doubt = {"disagreement": spread, "information": told}
    for kind, score in doubt.items():
        picked[kind] = _far_apart(pool, left, score, wanted.get(kind, 0))
        left = np.setdiff1d(left, picked[kind])
    asked = [
        _asked(pool, int(place), kind, float(doubt[kind][place]) if kind in doubt else None)
        for kind in (*doubt, "uniform")
        for place in picked[kind]
    ]
    return [*asked, *repeats, *golds]


def _far_apart(
    pool: Pool, left: Int[np.ndarray, " some"], score: Float[np.ndarray, " pair"], count: int
) -> Int[np.ndarray, " few"]:
    """Of the pairs with the highest scores, those that cover them."""
    best = left[np.argsort(-score[left], kind="stable")][: OVERSAMPLE * count]
    return best[k_centre(_pair_features(pool, best), count)]


def _counts(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """Whole numbers in these proportions, by the largest remainder."""
    for name in shares:
        if name not in SHARES:
            raise UnknownName("acquisition", name, SHARES)
    total = sum(shares.values())
    if min(shares.values(), default=0.0) < 0 or total <= 0:
        raise BadInput(f"shares of questions must be at least 0 and not all 0: {dict(shares)}.")
    exact = {name: share / total * count for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_remainder[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def _controls(
    known: Sequence[tuple[int, int]], count: int, kind: str, rng: np.random.Generator
) -> list[Chosen]:
    drawn = [known[i] for i in rng.permutation(len(known))[:count]]
    if kind == "repeat":
        reason = "Asked before, with the sides the other way round: tests consistency."
        return [
            Chosen(pair=(second, first), acquisition=kind, reason=reason, score=None)
            for first, second in drawn
        ]
    reason = "The answer is known: tests attention."
    return [Chosen(pair=pair, acquisition=kind, reason=reason, score=None) for pair in drawn]


def _pair_features(pool: Pool, places: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some dim"]:
    """What tells a pair from another, whichever way round it is: middle and distance."""
    first, second = (pool.features[pool.pairs[places, side]] for side in (0, 1))
    return np.concatenate([(first + second) / 2, np.abs(first - second)], 1)


def _asked(pool: Pool, place: int, kind: str, score: float | None) -> Chosen:
    reason = {
        "disagreement": f"The models disagree: their opinions lie {score or 0:.2f} apart.",
        "information": f"The answer would tell {score or 0:.2f} bits of which model is right.",
        "uniform": "Drawn at random: the unbiased test of the model.",
    }[kind]
    first, second = map(int, pool.pairs[place])
    return Chosen(pair=(first, second), acquisition=kind, reason=reason, score=score)
