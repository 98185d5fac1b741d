"""One perturbation's numbers: what a reward loses against the same clips unperturbed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from jaxtyping import Float

from embodied.audit_evidence import Evidence
from embodied.audit_metrics import as_float, final_progress
from embodied.reward_models.base import Scores
from embodied.statistics import (
    Interval,
    auroc,
    comparisons,
    mean_interval,
    percentiles,
    resampling_weights,
    voc,
    weighted_area,
    wilson,
)

Pair = tuple[Scores, Scores]
"""Scores of a clip as it was, and perturbed."""
Truths = Sequence[Float[np.ndarray, " _"]]
"""Per success, how far each of its frames really is, where that is not the order of time."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """One perturbation's numbers, over the clips that it was tried on."""

    name: str
    title: str
    voc: Interval
    """Rank correlation of perturbed successes with their true order, which is that of time where
    ``clock`` is None."""
    clock: float | None = None
    """What elapsed time alone reaches against that order, where it is another than time's."""
    pair_accuracy: float
    """Perturbed successes against perturbed failures, by final progress."""
    drop: Interval
    """The larger of what VOC and pair accuracy lose against the same clips unperturbed."""
    moved: float
    """Mean absolute change of final progress."""
    false_success: Interval
    false_reject: Interval


def worst(rows: Sequence[Robustness]) -> Robustness:
    """The perturbation with the largest drop."""
    return max(rows, key=lambda row: row.drop.mean)


def row_of(
    name: str,
    title: str,
    seed: int,
    good: Sequence[Pair],
    bad: Sequence[Pair],
    truths: Truths | None = None,
) -> Robustness:
    """The numbers of one perturbation, from pairs of scores of the same clips."""
    before, after = (([pair[i] for pair in good], [pair[i] for pair in bad]) for i in (0, 1))
    moved = [abs(final_progress(a) - final_progress(b)) for a, b in [*good, *bad]]
    return Robustness(
        name=name,
        title=title,
        drop=drop_of(before, after, seed, paired=True, truths=truths),
        moved=float(np.mean(moved)),
        **numbers_of(*after, seed, truths),
    )


def edited_row(
    name: str,
    title: str,
    seed: int,
    evidence: Evidence,
    good: Sequence[Scores],
    bad: Sequence[Scores],
    truths: Truths | None = None,
) -> Robustness:
    """The same where every held-out clip was edited; the scores run parallel to the evidence's."""
    return row_of(
        name, title, seed,
        list(zip(evidence.successes, good, strict=True)),
        list(zip(evidence.failures, bad, strict=True)),
        truths,
    )  # fmt: skip


Groups = tuple[Sequence[Scores], Sequence[Scores]]
"""Scores of successes and of failures."""


def drop_of(
    before: Groups, after: Groups, seed: int, *, paired: bool, truths: Truths | None = None
) -> Interval:
    """The larger loss of VOC and of pair accuracy, with its bootstrap interval over clips."""
    rng = np.random.default_rng(seed)
    drawn = [resampling_weights(len(group), rng) for group in before]
    drawn_after = drawn if paired else [resampling_weights(len(group), rng) for group in after]
    whole, whole_after = (
        [np.full((1, len(group)), 1 / len(group)) for group in groups] for groups in (before, after)
    )
    n = min(map(len, [*before, *after]))
    return replace(
        percentiles(
            float(_losses(before, after, whole, whole_after, truths)[0]),
            _losses(before, after, drawn, drawn_after, truths),
            n,
        ),
        n=len(after[0]) + len(after[1]),
    )


def _losses(
    before: Groups,
    after: Groups,
    weights: Sequence[Float[np.ndarray, "resamples _"]],
    weights_after: Sequence[Float[np.ndarray, "resamples _"]],
    truths: Truths | None,
) -> Float[np.ndarray, " resamples"]:
    order = weights[0] @ _orders(before[0]) - weights_after[0] @ _orders(after[0], truths)
    accuracy = _areas(before, weights) - _areas(after, weights_after)
    return np.asarray(np.maximum(order, accuracy))


def _areas(
    groups: Groups, weights: Sequence[Float[np.ndarray, "resamples _"]]
) -> Float[np.ndarray, " resamples"]:
    ranked = comparisons(finals(groups[0]), finals(groups[1]))
    return weighted_area(weights[0], ranked, weights[1])


def _orders(scores: Sequence[Scores], truths: Truths | None = None) -> Float[np.ndarray, " clips"]:
    if truths is None:
        return np.array([voc(as_float(s)) for s in scores])
    return np.array([voc(as_float(s), truth) for s, truth in zip(scores, truths, strict=True)])


def finals(scores: Sequence[Scores]) -> Float[np.ndarray, " clips"]:
    """Progress at the end of each clip."""
    return np.array([final_progress(s) for s in scores])


class Numbers(TypedDict):
    """Fields of `Robustness` that need no comparison."""

    voc: Interval
    pair_accuracy: float
    false_success: Interval
    false_reject: Interval


def numbers_of(
    good: Sequence[Scores], bad: Sequence[Scores], seed: int, truths: Truths | None = None
) -> Numbers:
    """What is said of perturbed clips alone."""
    return Numbers(
        voc=mean_interval([*_orders(good, truths)], seed=seed),
        pair_accuracy=auroc(finals(good), finals(bad)),
        false_success=wilson(sum(s.success for s in bad), len(bad)),
        false_reject=wilson(sum(not s.success for s in good), len(good)),
    )
