"""Attributes of clips, learnt from comparisons, and the reward that a direction makes of them.

Directional Preference Alignment (Wang et al., arXiv 2402.18571): r(x) in R^k, and a person's reward
is v . r with a unit vector v that sliders choose. The paper regresses scores; people are asked here
which of two clips is smoother, so that each attribute is a Bradley-Terry reward of its own,
P(first) = sigmoid(r_a(first) - r_a(second)), with 0.5 for a tie. A clip's score is the share of the
other clips that it beats, which lies in [0, 1] and needs no scale. Safety is a constraint and not
traded: a clip below the floor ranks behind every clip above it, by how much it falls short.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from embodied.errors import BadInput
from embodied.preferences.comparing import Compared, by_attribute, compared
from embodied.preferences.records import ATTRIBUTES, CONSTRAINED, Direction
from embodied.preferences.store import PreferenceStore

FEWEST = 5
"""Answers that prefer a clip by an attribute, below which nothing is said of it."""


@final
@dataclass(frozen=True, kw_only=True)
class AttributeVector:
    """The r of the paper, for each clip; attributes with too few answers are not there."""

    scores: Mapping[str, Float[np.ndarray, " clip"]]
    """Of each attribute: share of the other clips that a clip beats."""
    answers: Mapping[str, int]
    """Of each attribute of `ATTRIBUTES`: how many answers prefer a clip by it."""

    def reward(self, direction: Direction) -> Float[np.ndarray, " clip"]:
        """What a person likes of each clip: v . r, constraint first.

        |v . r| is at most the root of k, so that a clip that falls short is behind all that do not.

        Raises:
            BadInput: for an attribute that the direction needs and too few answers are about.
        """
        wanted = {name: slider for name, slider in direction.sliders.items() if slider}
        for name in [*wanted, *([CONSTRAINED] if direction.floor else [])]:
            if name not in self.scores:
                raise BadInput(_too_few(name, self.answers[name]))
        length = float(np.linalg.norm([*wanted.values()]))
        along = sum(slider / length * self.scores[name] for name, slider in wanted.items())
        if not direction.floor:
            return np.asarray(along)
        short = direction.floor - self.scores[CONSTRAINED]
        return np.where(short > 0, -(len(wanted) ** 0.5) - short, along)


def learn_attributes(
    labels: Sequence[Mapping[str, Any]],
    clips: Sequence[int],
    features: Float[np.ndarray, "clip dim"],
    learn: Callable[..., Float[np.ndarray, "member clip"]],
    kinds: Sequence[str] | None = None,
) -> AttributeVector:
    """Each attribute from what people said of it, one after the other.

    Args:
        labels: As `PreferenceStore.labels` gives them.
        clips: Ids of two clips or more; answers about others do not count.
        features: Of these clips.
        learn: Fits an ensemble; see `embodied.preferences.training.Learner`.
        kinds: Of the raters whose answers count; None for all.
    """
    scores, answers = {}, {}
    for name in ATTRIBUTES:
        said = compared(by_attribute(labels, name), kinds).among(clips)
        answers[name] = preferring(said)
        if answers[name] >= FEWEST:
            scores[name] = beaten(learn(clips=features, **said.numbers()).mean(0))
    return AttributeVector(scores=scores, answers=answers)


def preferring(said: Compared) -> int:
    """How many answers prefer one of two clips."""
    return int((said.target != 0.5).sum())


def beaten(value: Float[np.ndarray, " clip"]) -> Float[np.ndarray, " clip"]:
    """Share of the other clips that have a lower value; an equal one counts half."""
    return np.asarray((rankdata(value) - 1) / (len(value) - 1))


def sliders_view(
    store: PreferenceStore,
    clips: Collection[int],
    rater: str,
    kinds: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What the page's sliders need: attributes, answers, scores of the clips, the kept direction.

    Args:
        store: Of the newest version, and of what the rater kept.
        clips: Ids of those that are shown; answers about others do not count.
        rater: Who looks.
        kinds: Of the raters whose answers count; None for all.
    """
    versions = store.reward_versions()
    learnt = (versions[-1]["attributes"] if versions else None) or {}
    labels, kept = store.labels(), store.direction(rater)

    def answers(name: str) -> int:
        if name in learnt:  # those that the shown scores come from
            return int(learnt[name])
        return preferring(compared(by_attribute(labels, name), kinds).among([*clips]))

    return {
        "constrained": CONSTRAINED,
        "fewest": FEWEST,
        "attributes": [
            {"name": name, "learnt": name in learnt, "answers": answers(name)}
            for name in ATTRIBUTES
        ],
        "clips": [
            {"clip_id": row["clip_id"], "scores": row["attributes"]}
            for row in store.clip_scores()
            if row["attributes"] and row["clip_id"] in clips
        ],
        "kept": None if kept is None else {"sliders": kept.sliders, "floor": kept.floor},
    }


def _too_few(name: str, answers: int) -> str:
    without = "a floor of 0 (align.floor=0)" if name == CONSTRAINED else f"no slider of {name}"
    return (
        f"{answers} answers say which of two clips has more {name}, and {FEWEST} are needed: say "
        f"so beside the answers on the preference page, or choose {without}."
    )
