"""Whether answers can be trusted: agreement, self-consistency, side bias, gold questions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from embodied.preferences.answers import TARGETS, Answer
from embodied.statistics import RESAMPLES, Interval, grouped_share, percentiles, widened, wilson

BIASED = 0.01
"""A side is called favoured if chance would do it less often."""


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float:
    """Agreement beyond chance on nominal values (Krippendorff 2011); 1 is perfect, 0 is chance.

    Args:
        units: The values that raters gave to each unit; those with fewer than two say nothing.

    Returns:
        NaN where no two raters met, or all values are the same: there is nothing to disagree on.
    """
    counts, apart = _counted(units)
    observed, expected = _disagreement(counts.sum(0), apart.sum(0))
    return float(_alpha(observed, expected))


def alpha_interval(labels: Iterable[Mapping[str, Any]], *, seed: int = 0) -> Interval | None:
    """Krippendorff's alpha of pair labels, whole queries resampled; None where no raters met.

    Resamples in which all values are the same have no alpha, and are left out; if most are so, or
    there is one query alone, the bounds are NaN. Raters who never differ would leave a point: so
    it is never narrower than Wilson's interval of the share that agrees, with the agreement that
    chance would give held fixed.
    """
    by_query: dict[int, dict[int, str]] = {}
    for label in labels:
        if label["choice"] in INFORMATIVE:
            by_query.setdefault(label["query_id"], {})[label["rater_id"]] = label["choice"]
    units = [list(values.values()) for values in by_query.values() if len(values) > 1]
    if not units:
        return None
    counts, apart = _counted(units)
    observed, expected = _disagreement(counts.sum(0), apart.sum(0))
    size, alpha = len(units), float(_alpha(observed, expected))
    times = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    drawn = _alpha(*_disagreement(times @ counts, times @ apart))
    drawn = drawn[np.isfinite(drawn)]
    if size == 1 or 2 * len(drawn) <= RESAMPLES:
        return Interval(mean=alpha, low=float("nan"), high=float("nan"), n=size)
    found, agreed = percentiles(alpha, drawn, size), 1.0 - float(observed)
    share = widened(Interval(mean=agreed, low=agreed, high=agreed, n=size), float(size))
    low, high = (float(_alpha(1.0 - bound, expected)) for bound in (share.low, share.high))
    return replace(found, low=max(-1.0, min(found.low, low)), high=max(found.high, high))


def _counted(
    units: Sequence[Sequence[str]],
) -> tuple[Int[np.ndarray, "unit value"], Float[np.ndarray, " unit"]]:
    """How often each value was given to a unit, and how often its raters differ."""
    paired = [Counter(values) for values in units if len(values) > 1]
    values = sorted({value for unit in paired for value in unit})
    counts = np.array([[unit[value] for value in values] for unit in paired], np.int64)
    counts = counts.reshape(len(paired), len(values))
    size = counts.sum(1)
    return counts, (size**2 - (counts**2).sum(1)) / (size - 1)


def _disagreement(counts: Any, apart: Any) -> tuple[Any, Any]:
    """Observed share of values that differ, and the share that chance would give.

    Args:
        counts: How often each value was given, along the last axis; of one sample or of many.
        apart: The sum of what `_counted` says of the units.
    """
    n = counts.sum(-1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where no two raters met
        return apart / n, (n**2 - (counts**2).sum(-1)) / (n * (n - 1))


def _alpha(observed: Any, expected: Any) -> Any:
    """NaN where nothing differs by chance."""
    with np.errstate(invalid="ignore"):
        return 1.0 - observed / expected


INFORMATIVE = {answer.value for answer, target in TARGETS.items() if target is not None}


def self_consistency(labels: Sequence[Mapping[str, Any]]) -> Interval:
    """Share of repeats, shown with the sides swapped, that got the same answer as before."""
    first = {(label["rater_id"], label["query_id"]): label["choice"] for label in labels}
    pairs = [
        (first.get((label["rater_id"], label["repeat_of"])), label["choice"])
        for label in labels
        if label["repeat_of"] is not None and label["choice"] in INFORMATIVE
    ]
    judged = [(before, now) for before, now in pairs if before in INFORMATIVE]
    return wilson(sum(before == now for before, now in judged), len(judged))


def gold_accuracy(labels: Sequence[Mapping[str, Any]]) -> Interval:
    """Share of gold questions that were answered right; those not answered do not count."""
    asked = [label for label in labels if label["gold"] and label["choice"] in INFORMATIVE]
    return wilson(sum(label["choice"] == label["gold"] for label in asked), len(asked))


def proposal_agreement(
    labels: Iterable[Mapping[str, Any]], proposals: Iterable[Mapping[str, Any]]
) -> dict[str, Interval]:
    """Share of people's decided answers that each model's proposals agree with, by source.

    Each query counts once, however many answered it. A proposal that is even decides nothing, and
    is left out.
    """
    decided = {Answer.LEFT: True, Answer.RIGHT: False}
    said: dict[int, list[bool]] = {}
    for label in labels:
        if label["choice"] in decided:
            said.setdefault(label["query_id"], []).append(decided[label["choice"]])
    found: dict[str, list[tuple[int, float]]] = {}
    for row in proposals:
        query, alike = row["query_id"], found.setdefault(row["source"], [])
        if row["probability_first"] != 0.5:
            first = row["probability_first"] > 0.5
            alike += [(query, float(first == answer)) for answer in said.get(query, ())]
    return {
        source: grouped_share([query for query, _ in alike], [agrees for _, agrees in alike])
        for source, alike in found.items()
    }


def side_bias(labels: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Share of decided pairs in which the clip *shown* left won, and whether chance explains it.

    Sides are swapped at random, so whoever looks at the clips takes either side half of the time.
    """
    left, decided = 0, 0
    for label in labels:
        if label["choice"] in (Answer.LEFT, Answer.RIGHT):
            decided += 1
            left += (label["choice"] == Answer.LEFT) != label["swapped"]
    share = wilson(left, decided)
    p_value = float(stats.binomtest(left, decided).pvalue) if decided else 1.0
    return {"left": share.to_dict(), "p_value": p_value, "biased": p_value < BIASED}
