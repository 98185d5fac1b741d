"""A reward that learns from people's answers while they answer, and asks what it does not know.

After every so many new answers an ensemble is fitted anew. It is judged on the answers to uniform
queries, which it never learns from; the version before is judged on the same answers, so that
"better" is no matter of a test that has grown. What would tell most, and what the members
contradict each other on, is queued to be asked next. Each attribute that people compared clips by
is learnt beside it, from all that was said of it: it is not tested.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from embodied.preferences.acquisition import Pool, choose
from embodied.preferences.attributes import learn_attributes
from embodied.preferences.comparing import Compared, compared
from embodied.preferences.mix import Mix
from embodied.preferences.pairing import Groups, candidates
from embodied.preferences.posterior import linear_posterior
from embodied.preferences.records import NewQuery
from embodied.preferences.store import PreferenceStore
from embodied.statistics import grouped_share

CANDIDATES = 4000
"""Pairs among which the next queries are chosen, at most."""
QUEUED = 3
"""Queries that are queued for each answer between two versions, since people go on answering while
the next one is being learnt."""
CREATOR = "trainer"


@runtime_checkable
class Learner(Protocol):
    """Fits an ensemble; `embodied.reward_models.preference_reward.opinions` is one."""

    def __call__(
        self,
        clips: Float[np.ndarray, "clip dim"],
        first: Int[np.ndarray, " pair"],
        second: Int[np.ndarray, " pair"],
        target: Float[np.ndarray, " pair"],
        rater: Int[np.ndarray, " pair"],
    ) -> Float[np.ndarray, "member clip"]:
        """Reward of every clip by every member, whose mean over clips is 0."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Looked:
    """The clips of a dataset as the trainer knows them."""

    clips: Sequence[int]
    """Ids, ascending."""
    features: Float[np.ndarray, "clip dim"]
    groups: Groups
    """Ids of clips that may be compared."""


@final
class Trainer:
    """Makes the next version when there are enough new answers. It never changes a label.

    Args:
        store: What people answered, and where versions and queries go.
        looked: The clips.
        learn: Fits the ensemble.
        every: New answers between two versions.
        mix: Shares of queries.
        seed: Of what is left to chance.
        tell: Is told in a sentence what it does.
        kinds: Of the raters that it listens to; None for all.
    """

    def __init__(
        self,
        store: PreferenceStore,
        looked: Looked,
        learn: Learner,
        *,
        every: int,
        mix: Mix,
        seed: int,
        tell: Callable[[str], None],
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.store, self.looked, self.learn = store, looked, learn
        self.every, self.mix, self.tell, self.kinds = every, mix, tell, kinds
        self._rng = np.random.default_rng(seed)
        self._newest = -1
        self._known = self._known_before()

    def look(self) -> int | None:
        """Learn if there are enough new answers.

        Returns:
            The new version, or None.

        Raises:
            EmbodiedError: if it cannot; it tries again when there are as many new answers again.
        """
        newest = self.store.newest_label()
        if newest == self._newest:
            return None
        self._newest = newest
        answers = compared(self.store.labels(), self.kinds).among(self.looked.clips)
        count, learnt = len({*answers.label}), answers.take(answers.learnt)
        if count < self._known + self.every:
            self.tell(f"{count} answers; the next version comes with {self._known + self.every}.")
            return None
        if not len(learnt):
            self.tell(f"All {count} answers test the model; there are none to learn from.")
            return None
        self._known = count
        self.tell(f"Learns from {len({*learnt.label})} answers.")
        version = self._make_version(answers, learnt)
        self.tell(f"Version {version} is made; the next one comes with {count + self.every}.")
        return version

    def _known_before(self) -> int:
        """Answers that the newest version knew; 0 if it is of other clips, another dataset's.

        It says how many it learnt from, which were the first ones; answers that test it and came
        after the last of these count as new: rather it is learnt again too early than never.
        """
        scored = {row["clip_id"] for row in self.store.clip_scores()}
        if not scored or not scored <= {*self.looked.clips}:
            return 0
        answers = compared(self.store.labels(), self.kinds).among(self.looked.clips)
        learnt = np.unique(answers.take(answers.learnt).label)
        learnt = learnt[: self.store.reward_versions()[-1]["labels"]]
        return int((np.unique(answers.label) <= learnt[-1]).sum()) if len(learnt) else 0

    def _make_version(self, answers: Compared, learnt: Compared) -> int:
        reward = self.learn(clips=self.looked.features, **learnt.numbers())
        value, doubt = reward.mean(0), reward.std(0)
        known = self.looked
        vector = learn_attributes(
            self.store.labels(), known.clips, known.features, self.learn, self.kinds
        )
        test = answers.take(answers.held_out)
        scored = {row["clip_id"]: row["value"] for row in self.store.clip_scores()}
        before = np.array([scored.get(clip, np.nan) for clip in self.looked.clips])
        reached = judged(value, test) | {"labels": len({*learnt.label}), "accuracy_before": None}
        both = np.isfinite(before[test.first]) & np.isfinite(before[test.second])
        if both.all():  # otherwise the two shares would be of different answers
            reached["accuracy_before"] = judged(before, test)["accuracy"]
        reached["attributes"] = {name: vector.answers[name] for name in vector.scores}
        place = np.pad(self.looked.features[:, :2], [(0, 0), (0, 2)])
        scores = [
            {
                "clip_id": clip, "value": float(value[i]), "uncertainty": float(doubt[i]),
                "x": float(place[i, 0]), "y": float(place[i, 1]),
                "attributes": {name: float(own[i]) for name, own in vector.scores.items()},
            }
            for i, clip in enumerate(self.looked.clips)
        ]  # fmt: skip
        version = self.store.add_reward_version(reached, scores)
        self._queue(reward, learnt, version)
        return version

    def _queue(
        self, reward: Float[np.ndarray, "member clip"], learnt: Compared, version: int
    ) -> None:
        """What to ask next, the best first."""
        if not sum(self.mix.sought.values()) or len(reward) < 2:
            return  # a single member contradicts nobody
        asked, clips = self.store.shown_pairs(), np.array(self.looked.clips)
        ids = candidates(self.looked.groups, asked, CANDIDATES, self._rng)
        places = np.searchsorted(clips, ids)
        pool = Pool(
            features=self.looked.features,
            pairs=places,
            probability=_preferred(reward, places[:, 0], places[:, 1]),
            posterior=linear_posterior(
                self.looked.features, learnt.first, learnt.second, learnt.target
            ),
        )
        chosen = choose(pool, QUEUED * self.every, self._rng, self.mix.sought)
        self.store.add_queries(
            NewQuery(
                clip_ids=[int(clips[place]) for place in each.pair],
                acquisition=each.acquisition,
                reason=each.reason,
                score=each.score,
                reward_version=version,
                created_by=CREATOR,
            )
            for each in chosen
        )


def judged(value: Float[np.ndarray, " clip"], test: Compared) -> dict[str, Any]:
    """Share of pairs that values rank as was answered, each once, with Wilson's interval.

    Several people's answers about one pair are no independent tests: it counts as the share of
    them that is predicted.

    Args:
        value: Of each clip; answers about clips with none are left out.
        test: Answers that were not learnt from; ties decide nothing.
    """
    ahead = value[test.first] - value[test.second]
    decided: Bool[np.ndarray, " pair"] = np.isfinite(ahead) & (test.target != 0.5)
    right = (ahead[decided] > 0) == (test.target[decided] > 0.5)
    of_clips = zip(test.first[decided], test.second[decided], strict=True)
    share = grouped_share([frozenset(clips) for clips in of_clips], [*map(float, right)])
    if not share.n:
        return {"accuracy": None, "low": None, "high": None, "pairs": 0}
    return {"accuracy": share.mean, "low": share.low, "high": share.high, "pairs": share.n}


def _preferred(
    reward: Float[np.ndarray, "member clip"],
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
) -> Float[np.ndarray, "member pair"]:
    """P(first) = sigmoid(R(first) - R(second)), by each member."""
    ahead = np.clip(reward[:, first] - reward[:, second], -30.0, 30.0)
    return np.asarray(1.0 / (1.0 + np.exp(-ahead)))
