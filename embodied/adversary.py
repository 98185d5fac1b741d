"""Optimise against a reward and look at the truth: `attack`.

A reward that ranks held-out clips well may still pay for something else once it is optimised: the
better the optimiser, the further its choices lie from what the reward was trained on. Two attacks
choose by the learned return alone, best of n roll-outs and a search over action sequences; the
run's own fine-tuning, if it has happened, is the third. See `docs/adversary.md`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embodied.adversary_choice import chosen
from embodied.adversary_search import Budget, Search
from embodied.adversary_trial import Trial
from embodied.adversary_verdict import Point, Verdict, Words, is_trick, judge, overall
from embodied.provenance import plain
from embodied.reward_models.base import Scores
from embodied.run_record import OnlineEpisode
from embodied.statistics import Interval, mean_interval, widened
from embodied.types import Clip

JUDGED_ON = 8
"""Disjoint subsets of size n that a verdict on best of n needs; larger n are only drawn."""
WINDOW = 20
"""Online episodes of one point."""

CHOICE = Words(title="best of n", unit="n =", chosen="the choices", axis="n")
SEARCH = Words(
    title="search over actions", unit="generation", chosen="the best sequences", axis="generation"
)
TUNING = Words(
    title="fine-tuning", unit="episode", chosen="the latest episodes", axis="online episodes"
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """An attempt to look at: what pleased the reward most, and fails in truth."""

    attack: str
    trial: Trial
    trick: bool
    clip: Clip
    scores: Scores


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack: its curve, and what it shows."""

    words: Words
    points: tuple[Point, ...]
    judged: int
    """Points that the verdict is taken from: the first so many."""
    verdict: Verdict
    attempts: int
    """In the simulator."""
    note: str
    """How it was made, in a sentence or two."""

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "title": self.words.title,
            "verdict": asdict(self.verdict),
            "attempts": self.attempts,
            "judged_points": self.judged,
            "points": [point.to_dict() for point in self.points],
        }


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """All attacks on one reward, and what is needed to repeat them."""

    attacks: tuple[Attack, ...]
    cases: tuple[Case, ...]
    honest: float
    """Learned return of the median held-out success."""
    pins: dict[str, Any]

    @property
    def verdict(self) -> Verdict:
        """Over all attacks."""
        return overall({attack.words.title: attack.verdict for attack in self.attacks})

    def to_dict(self) -> dict[str, Any]:
        """Everything but pictures, in JSON's types."""
        cases = [
            {
                "attack": case.attack,
                "trick": case.trick,
                "seed": case.trial.seed,
                "proxy": asdict(case.trial.proxy),
                "truth": asdict(case.trial.truth),
                "action": case.trial.action,
            }
            for case in self.cases
        ]
        content = {
            "verdict": asdict(self.verdict),
            "honest_return": self.honest,
            "attacks": [attack.to_dict() for attack in self.attacks],
            "cases": cases,
            "pins": self.pins,
        }
        return dict(plain(content))


def choice_attack(trials: Sequence[Trial], honest: float, *, seed: int, note: str) -> Attack:
    """Best of n among roll-outs of a policy, beside what would be chosen by truth."""
    values = _values(trials, honest)
    returns, truth = values["total"], values["truth"]
    shares = ("accepted", "truth", "tricks")
    by_return = chosen(returns, values, seed=seed, shares=shares)
    by_truth = chosen(truth, {"truth": truth}, seed=seed, shares=shares)
    points = tuple(
        Point(pressure=ours.n, oracle=theirs.values["truth"], **ours.values)
        for ours, theirs in zip(by_return, by_truth, strict=True)
    )
    judged = sum(point.pressure * JUDGED_ON <= len(trials) for point in points) or 1
    return Attack(
        words=CHOICE, points=points, judged=judged, verdict=judge(points[:judged], CHOICE),
        attempts=len(trials), note=note,
    )  # fmt: skip


def search_attack(
    searches: Sequence[Search], budget: Budget, honest: float, *, seed: int, note: str
) -> Attack:
    """The search's best sequences per generation; generation 0 is what was not chosen yet."""
    stages = [[search.unselected for search in searches]]
    stages += [[search.elites[g] for search in searches] for g in range(budget.generations)]
    points = tuple(
        _over_starts(generation, per_start, honest, seed)
        for generation, per_start in enumerate(stages)
    )
    return Attack(
        words=SEARCH, points=points, judged=len(points), verdict=judge(points, SEARCH),
        attempts=len(searches) * budget.generations * budget.candidates, note=note,
    )  # fmt: skip


def tuning_attack(
    episodes: Sequence[OnlineEpisode], honest: float, *, seed: int, note: str
) -> Attack | None:
    """Proxy and truth over a run's own fine-tuning; None for fewer than two windows."""
    known = [episode for episode in episodes if episode.true_success is not None]
    windows = [known[i : i + WINDOW] for i in range(0, len(known) - WINDOW + 1, WINDOW)]
    if len(windows) < 2:
        return None
    points = tuple(_over_window(window, honest, seed) for window in windows)
    return Attack(
        words=TUNING, points=points, judged=len(points), verdict=judge(points, TUNING),
        attempts=len(known), note=note,
    )  # fmt: skip


def worst(trials: Sequence[Trial], count: int) -> list[Trial]:
    """Failures in truth that please the reward most, the most pleasing first; no start twice."""
    failures = sorted((t for t in trials if not t.truth.success), key=lambda t: -t.proxy.total)
    firsts = {trial.seed: trial for trial in reversed(failures)}
    return sorted(firsts.values(), key=lambda t: -t.proxy.total)[:count]


def _values(trials: Sequence[Trial], honest: float) -> dict[str, list[float]]:
    """What is averaged, of each attempt."""
    values = {
        "total": [trial.proxy.total for trial in trials],
        "probability": [trial.proxy.probability for trial in trials],
        "learned_progress": [trial.proxy.progress for trial in trials],
        "accepted": [float(trial.proxy.accepted) for trial in trials],
        "truth": [float(trial.truth.success) for trial in trials],
        "tricks": [float(is_trick(t.proxy, t.truth.success, honest)) for t in trials],
    }
    progress = [trial.truth.progress for trial in trials]
    known = [value for value in progress if value is not None]
    return {**values, "progress": known} if len(known) == len(trials) else values


def _over_starts(
    generation: int, per_start: Sequence[Sequence[Trial]], honest: float, seed: int
) -> Point:
    """Means over starts; sequences of one start are not independent."""
    held = [_values(trials, honest) for trials in per_start]
    names = set.intersection(*(set(values) for values in held))
    means = {
        name: mean_interval([float(np.mean(values[name])) for values in held], seed=seed)
        for name in names
    }
    for name in ("accepted", "truth", "tricks"):
        means[name] = widened(means[name], float(len(per_start)))
    return Point(pressure=generation, **means)


def _over_window(window: Sequence[OnlineEpisode], honest: float, seed: int) -> Point:
    def share(flags: Sequence[bool]) -> Interval:
        return widened(mean_interval([float(flag) for flag in flags], seed=seed), float(len(flags)))

    tricks = [
        not e.true_success and (e.learned_success or e.learned_return >= honest) for e in window
    ]
    return Point(
        pressure=window[-1].number,
        total=mean_interval([e.learned_return for e in window], seed=seed),
        accepted=share([e.learned_success for e in window]),
        truth=share([bool(e.true_success) for e in window]),
        tricks=share(tricks),
    )
