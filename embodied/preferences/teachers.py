"""B-Pref's six scripted teachers: answers computed from true rewards (Lee et al. 2021, section 3).

One pair at a time, in the paper's order: skip, then compare (discounted, perhaps at random), then
err, and call what is nearly equal equal, which wins over an error. Departures from the published
code: a threshold is ``eps`` times the typical return, once (there it is multiplied by ``eps`` again
after the first session, so that 0.1 acts as 0.01); returns that are exactly equal are decided by
chance (there by the order, a teacher who prefers the left side); a skip is an answer of its own
that a caller need not count as a label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from embodied.errors import BadInput, UnknownName
from embodied.preferences.answers import Answer

RECENT_EPISODES = 10
"""Whose returns say what a typical return is."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """How a scripted rater departs from always preferring the higher true return."""

    beta: float | None = None
    """Rationality: P(first) = sigmoid(beta (R1 - R2)). None always takes the higher return."""
    gamma: float = 1.0
    """Discount of earlier steps: step t of H counts gamma^(H - 1 - t). Below 1: myopic."""
    mistake: float = 0.0
    """Probability of the opposite answer."""
    skip: float = 0.0
    """Share of the typical return up to which both clips are too poor to judge."""
    equal: float = 0.0
    """Share of the typical return by which returns must differ to be told apart."""

    def __post_init__(self) -> None:
        """Refuse values that no teacher can have.

        Raises:
            BadInput: naming the value.
        """
        allowed = {
            "beta": self.beta is None or self.beta > 0,
            "gamma": 0 < self.gamma <= 1,
            "mistake": 0 <= self.mistake <= 1,
            "skip": self.skip >= 0,
            "equal": self.equal >= 0,
        }
        for name, fine in allowed.items():
            if not fine:
                raise BadInput(
                    f"a teacher's {name} is {getattr(self, name)}; beta is above 0 or None, gamma "
                    "in (0, 1], mistake in [0, 1], skip and equal at least 0."
                )


TEACHERS: Mapping[str, Teacher] = {
    "oracle": Teacher(),
    "stochastic": Teacher(beta=1.0),
    "mistake": Teacher(mistake=0.1),
    "skip": Teacher(skip=0.1),
    "equal": Teacher(equal=0.1),
    "myopic": Teacher(gamma=0.9),
}
"""B-Pref's six, by their names there."""


def teacher_named(name: str) -> Teacher:
    """One of the six.

    Raises:
        UnknownName: for another name.
    """
    if name not in TEACHERS:
        raise UnknownName("teacher", name, TEACHERS)
    return TEACHERS[name]


def typical_return(returns: Sequence[float], segment: int, episode_steps: int) -> float:
    """What a clip of ``segment`` steps earned lately, on average: the unit of the thresholds.

    Args:
        returns: True returns of episodes, the last ones last.
        segment: Steps of a clip.
        episode_steps: Steps of an episode.

    Raises:
        BadInput: without a return, or for lengths that are not positive.
    """
    if len(returns) == 0 or segment < 1 or episode_steps < 1:
        raise BadInput(
            f"a typical return needs returns and positive lengths, not {len(returns)} returns, "
            f"clips of {segment} steps and episodes of {episode_steps}."
        )
    return float(np.mean(returns[-RECENT_EPISODES:])) * segment / episode_steps


def answer_pairs(
    teacher: Teacher,
    first: Float[np.ndarray, "pair time"],
    second: Float[np.ndarray, "_ _"],
    *,
    typical: float,
    rng: np.random.Generator,
) -> list[Answer]:
    """What the teacher says of each pair: left, right, tie or skip.

    Args:
        teacher: Who answers.
        first: True reward of each step of each pair's first clip.
        second: The same of the second clip.
        typical: See `typical_return`; only teachers that skip or call clips equal look at it.
        rng: Decides what is left to chance. Every pair takes the same number of draws.

    Raises:
        BadInput: for clips of different lengths, or rewards that are not finite.
    """
    _check(first, second)
    returns = first.sum(1), second.sum(1)
    advantage = _discounted(first, teacher.gamma) - _discounted(second, teacher.gamma)
    chance, errs = rng.random(len(first)), rng.random(len(first)) < teacher.mistake
    prefers_first = chance < _probability(advantage, teacher.beta)
    answers = [Answer.LEFT if left else Answer.RIGHT for left in prefers_first ^ errs]
    if teacher.equal:
        near = np.abs(returns[0] - returns[1]) < teacher.equal * typical
        answers = [Answer.TIE if n else a for n, a in zip(near, answers, strict=True)]
    if teacher.skip:
        poor = np.maximum(*returns) <= teacher.skip * typical
        answers = [Answer.SKIP if p else a for p, a in zip(poor, answers, strict=True)]
    return answers


def _check(first: Float[np.ndarray, "pair time"], second: Float[np.ndarray, "_ _"]) -> None:
    if first.shape != second.shape:
        raise BadInput(
            "the clips of a pair must be equally long and come in equal numbers; their rewards "
            f"have the shapes {first.shape} and {second.shape}."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise BadInput("a teacher needs finite true rewards; there are NaN or infinite ones.")


def _discounted(
    rewards: Float[np.ndarray, "pair time"], gamma: float
) -> Float[np.ndarray, " pair"]:
    weights = gamma ** np.arange(rewards.shape[1] - 1, -1, -1)
    return np.asarray(rewards @ weights)


def _probability(
    advantage: Float[np.ndarray, " pair"], beta: float | None
) -> Float[np.ndarray, " pair"]:
    """Of preferring the first clip."""
    if beta is None:
        return np.asarray((np.sign(advantage) + 1.0) / 2.0)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(beta * advantage, -500.0, 500.0))))
