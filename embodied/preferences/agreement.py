"""Whether answers can be trusted: agreement, self-consistency, side bias, gold questions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy import stats

from embodied.preferences.answers import TARGETS, Answer
from embodied.statistics import Interval, cluster_bootstrap, wilson

BIASED = 0.01
"""A side is called favoured if chance would do it less often."""


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float:
    """Agreement beyond chance on nominal values (Krippendorff 2011); 1 is perfect, 0 is chance.

    Args:
        units: The values that raters gave to each unit; those with fewer than two say nothing.

    Returns:
        NaN where no two raters met, or all values are the same: there is nothing to disagree on.
    """
    paired = [Counter(values) for values in units if len(values) > 1]
    totals: Counter[str] = sum(paired, Counter())
    n = sum(totals.values())
    expected = n * n - sum(count * count for count in totals.values())
    if not expected:
        return float("nan")
    observed = sum(
        (size * size - sum(count * count for count in values.values())) / (size - 1)
        for values in paired
        if (size := sum(values.values()))
    )
    return 1.0 - (n - 1) * observed / expected


def alpha_interval(labels: Iterable[Mapping[str, Any]], *, seed: int = 0) -> Interval | None:
    """Krippendorff's alpha of pair labels, whole queries resampled; None where no raters met."""
    by_query: dict[int, dict[int, str]] = {}
    for label in labels:
        if label["choice"] in INFORMATIVE:
            by_query.setdefault(label["query_id"], {})[label["rater_id"]] = label["choice"]
    units = [list(values.values()) for values in by_query.values() if len(values) > 1]
    if not units:
        return None
    return cluster_bootstrap(krippendorff_alpha, units, seed=seed)


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

    A proposal that is even decides nothing, and is left out.
    """
    decided = {Answer.LEFT: True, Answer.RIGHT: False}
    said: dict[int, list[bool]] = {}
    for label in labels:
        if label["choice"] in decided:
            said.setdefault(label["query_id"], []).append(decided[label["choice"]])
    found: dict[str, list[bool]] = {}
    for row in proposals:
        alike = found.setdefault(row["source"], [])
        if row["probability_first"] != 0.5:
            first = row["probability_first"] > 0.5
            alike += [first == answer for answer in said.get(row["query_id"], ())]
    return {source: wilson(sum(alike), len(alike)) for source, alike in found.items()}


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
