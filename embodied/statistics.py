"""Intervals, rank correlations, separation, calibration and tests between runs.

Definitions are those of the docs page `docs/audit.md`. Everything that resamples takes a seed.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int

from embodied.errors import BadInput

LEVEL = 0.95
"""Confidence of every interval."""
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean, or another statistic, with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    n: int
    """Independent samples: runs, episodes or clips."""

    def to_dict(self) -> dict[str, float | int]:
        """Fields by name."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval of a proportion; [0, 1] around NaN without a sample.

    Raises:
        BadInput: unless ``0 <= successes <= n``.
    """
    if not 0 <= successes <= n:
        raise BadInput(f"{successes} successes of {n} attempts cannot be.")
    if n == 0:
        return Interval(mean=float("nan"), low=0.0, high=1.0, n=0)
    bounds = scipy.stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(mean=successes / n, low=float(bounds.low), high=float(bounds.high), n=n)


def widened(interval: Interval, attempts: float) -> Interval:
    """A share's interval, at least as wide as Wilson's for so many independent attempts.

    For shares whose bootstrap may collapse to a point. The attempts need not be whole.
    """
    z2, share = scipy.stats.norm.ppf((1 + LEVEL) / 2) ** 2, interval.mean
    middle = (share + z2 / (2 * attempts)) / (1 + z2 / attempts)
    reach = np.sqrt(share * (1 - share) * z2 / attempts + (z2 / (2 * attempts)) ** 2)
    reach = float(reach / (1 + z2 / attempts))
    low, high = np.clip([middle - reach, middle + reach], 0, 1)  # they may be off by rounding
    return replace(
        interval, low=float(np.fmin(interval.low, low)), high=float(np.fmax(interval.high, high))
    )


def grouped_share(groups: Sequence[Hashable], values: Sequence[float]) -> Interval:
    """Share in which each group counts once, with Wilson's interval of so many attempts.

    For answers about the same thing, which are no independent attempts.

    Args:
        groups: What each value belongs to.
        values: As many, 0 to 1.
    """
    means = _group_means(groups, values)
    if not means:
        return wilson(0, 0)
    share = float(np.mean(means))
    return widened(Interval(mean=share, low=share, high=share, n=len(means)), float(len(means)))


def difference(first: Interval, second: Interval) -> Interval:
    """Score interval of a difference of two independent proportions, given their own (`wilson`).

    Newcombe 1998, method 10.
    """
    apart = first.mean - second.mean
    below = np.hypot(first.mean - first.low, second.high - second.mean)
    above = np.hypot(first.high - first.mean, second.mean - second.low)
    low, high = float(apart - below), float(apart + above)
    return Interval(mean=apart, low=low, high=high, n=first.n + second.n)


def cluster_bootstrap[T](
    statistic: Callable[..., float],
    *groups: Sequence[T],
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile bootstrap of ``statistic(*groups)`` in which whole clusters are drawn.

    Args:
        statistic: Takes as many sequences of clusters as there are groups.
        groups: Clusters of each group, say one entry per episode that holds all its frames. Groups
            are resampled separately and keep their size. A group of one cluster says nothing of
            its spread: the bounds are then NaN.
        seed: Of the resampling.
        resamples: How many.

    Raises:
        BadInput: if a group is empty.
    """
    if any(len(group) == 0 for group in groups):
        raise BadInput(f"a bootstrap needs clusters in each group, not {[*map(len, groups)]}.")

    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        chosen = [rng.integers(len(group), size=len(group)) for group in groups]
        drawn = ([group[i] for i in index] for group, index in zip(groups, chosen, strict=True))
        values.append(statistic(*drawn))
    size = 1 if min(map(len, groups)) == 1 else sum(map(len, groups))
    interval = percentiles(float(statistic(*groups)), np.array(values), size)
    return replace(interval, n=sum(map(len, groups)))


def mean_interval(values: Sequence[float], *, seed: int) -> Interval:
    """Mean of one value per cluster, with the interval of `cluster_bootstrap`.

    Raises:
        BadInput: if there is no value.
    """
    if len(values) == 0:
        raise BadInput("a mean needs at least one value.")
    weights = resampling_weights(len(values), np.random.default_rng(seed))
    return percentiles(float(np.mean(values)), weights @ np.asarray(values, float), len(values))


def grouped_interval(groups: Sequence[Hashable], values: Sequence[float], *, seed: int) -> Interval:
    """Mean of the groups' means, with the interval over groups.

    Args:
        groups: What each value belongs to.
        values: As many.
        seed: See `mean_interval`.

    Raises:
        BadInput: if there is no value.
    """
    return mean_interval(_group_means(groups, values), seed=seed)


def _group_means(groups: Sequence[Hashable], values: Sequence[float]) -> list[float]:
    own: dict[Hashable, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        own.setdefault(group, []).append(value)
    return [float(np.mean(each)) for each in own.values()]


def resampling_weights(
    clusters: int, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Float[np.ndarray, "resamples clusters"]:
    """Each row: the share that every cluster has in one bootstrap sample."""
    counts = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    return counts / clusters


def percentiles(mean: float, resampled: Float[np.ndarray, " resamples"], n: int) -> Interval:
    """Percentile interval of a statistic from its bootstrap values; none for a single cluster."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) if n > 1 else (np.nan, np.nan)
    return Interval(mean=mean, low=float(low), high=float(high), n=n)


def voc(
    values: Float[np.ndarray, " time"], order: Float[np.ndarray, " time"] | None = None
) -> float:
    """Value-order correlation: Spearman between values and the true order, in [-1, 1].

    A constant says nothing of the order and scores 0. The order is that of the frames if not given.
    """
    truth = np.arange(len(values), dtype=float) if order is None else order
    if np.ptp(values) == 0 or np.ptp(truth) == 0:
        return 0.0
    # Pearson of the ranks: 40 times faster than spearmanr, which computes a p-value besides.
    return float(np.corrcoef(scipy.stats.rankdata(values), scipy.stats.rankdata(truth))[0, 1])


def harmonic_mean(first: float, second: float) -> float:
    """Harmonic mean of two correlations, negative ones counting as 0."""
    first, second = max(first, 0.0), max(second, 0.0)
    return 2 * first * second / (first + second) if first + second > 0 else 0.0


def kendall_tau_a(values: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> float:
    """(concordant - discordant) / all pairs: unlike scipy's tau-b, ties count as nothing.

    Raises:
        BadInput: for fewer than two values.
    """
    if len(values) < 2:
        raise BadInput("Kendall's tau needs at least two values.")
    sign = np.sign(values[:, None] - values) * np.sign(truth[:, None] - truth)
    return float(sign.sum() / (len(values) * (len(values) - 1)))


def auroc(positives: Float[np.ndarray, " p"], negatives: Float[np.ndarray, " n"]) -> float:
    """Share of (positive, negative) pairs that are ranked rightly; a tie counts half."""
    return float(comparisons(positives, negatives).mean())


def auroc_interval(
    positives: Sequence[float], negatives: Sequence[float], *, seed: int
) -> Interval:
    """AUROC with the wider of two intervals, bound by bound.

    The bootstrap collapses to a point where the separation is perfect, however few the clips, so
    Newcombe's score interval (Statistics in Medicine 2006, method 5) is taken besides.
    """
    ranked = comparisons(np.asarray(positives, float), np.asarray(negatives, float))
    rng = np.random.default_rng(seed)
    first, second = (resampling_weights(size, rng) for size in ranked.shape)
    resampled = weighted_area(first, ranked, second)
    n = len(positives) + len(negatives)
    drawn = percentiles(float(ranked.mean()), resampled, n)
    low, high = newcombe(drawn.mean, len(positives), len(negatives))
    return replace(drawn, low=min(drawn.low, low), high=max(drawn.high, high))


def comparisons(
    positives: Float[np.ndarray, " p"], negatives: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "p n"]:
    """1 where the positive is higher, 0 where it is lower, 0.5 for a tie."""
    return np.asarray((1 + np.sign(positives[:, None] - negatives)) / 2)


def weighted_area(
    positives: Float[np.ndarray, "resamples p"],
    ranked: Float[np.ndarray, "p n"],
    negatives: Float[np.ndarray, "resamples n"],
) -> Float[np.ndarray, " resamples"]:
    """AUROC of each bootstrap sample, from its `resampling_weights` and the `comparisons`."""
    return np.asarray(np.einsum("rp,pn,rn->r", positives, ranked, negatives, optimize=True))


def newcombe(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Score interval of an area under the ROC curve.

    All areas whose Hanley-McNeil standard error, with both samples taken at their mean size, does
    not rule out the observed one.
    """
    z = scipy.stats.norm.ppf((1 + LEVEL) / 2)
    spread = (positives + negatives) / 2 - 1
    areas = np.linspace(0, 1, 10001)
    shape = 1 + spread * ((1 - areas) / (2 - areas) + areas / (1 + areas))
    error = np.sqrt(areas * (1 - areas) * shape / (positives * negatives))
    allowed = areas[np.abs(areas - area) <= z * error + 1e-4]
    return float(allowed[0]), float(allowed[-1])


def roc_curve(
    positives: Float[np.ndarray, " p"], negatives: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """False-positive and true-positive rates from the strictest threshold to the laxest."""
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    false = [0.0, *(float(np.mean(negatives >= t)) for t in thresholds)]
    true = [0.0, *(float(np.mean(positives >= t)) for t in thresholds)]
    return np.array(false), np.array(true)


def auprc(positives: Float[np.ndarray, " p"], negatives: Float[np.ndarray, " n"]) -> float:
    """Average precision: precision weighted by the recall that each threshold adds.

    Tied scores share one threshold, so their order does not matter.
    """
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    found = (positives >= thresholds[:, None]).sum(1)
    taken = found + (negatives >= thresholds[:, None]).sum(1)
    gained = np.diff(found, prepend=0) / len(positives)
    return float((gained * found / taken).sum())


def brier(probability: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """Mean squared error of a probability; 0 is best, 0.25 is what 0.5 scores."""
    return float(np.square(probability - truth).mean())


def expected_calibration_error(
    probability: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"], bins: int = 10
) -> float:
    """Mean distance between stated probability and observed frequency, over equal-width bins."""
    stated, observed, count = reliability(probability, truth, bins)
    return float((np.abs(stated - observed) * count).sum() / count.sum())


def reliability(
    probability: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"], bins: int = 10
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Mean stated probability, observed frequency and count of each bin that is not empty."""
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    held = count > 0
    stated = np.bincount(bin_of, probability, bins)[held] / count[held]
    observed = np.bincount(bin_of, truth, bins)[held] / count[held]
    return stated, observed, count[held]


def selective_risk(
    certainty: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Share of decisions taken, and share of these that are wrong, the surest first.

    Equal certainty is one step, so that the order of ties does not matter.
    """
    thresholds = np.unique(certainty)[::-1]
    taken = (certainty >= thresholds[:, None]).sum(1)
    mistaken = (wrong & (certainty >= thresholds[:, None])).sum(1)
    return taken / len(certainty), mistaken / taken


def permutation_test(first: Sequence[float], second: Sequence[float], *, seed: int) -> float:
    """One-sided p-value that runs of the first group are better by chance alone.

    Exact for small groups; otherwise from 10,000 random permutations.
    """

    def difference(a: Any, b: Any, axis: int = -1) -> Any:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    tested = scipy.stats.permutation_test(
        (np.asarray(first, float), np.asarray(second, float)), difference,
        alternative="greater", vectorized=True, n_resamples=9999, rng=seed,
    )  # fmt: skip
    return float(tested.pvalue)


def interquartile_mean(values: Float[np.ndarray, "..."]) -> float:
    """Mean of the middle half of all values (Agarwal et al. 2021)."""
    return float(scipy.stats.trim_mean(values, 0.25, axis=None))


def interquartile_mean_interval(runs: Sequence[Sequence[float]], *, seed: int) -> Interval:
    """Interquartile mean over tasks and runs; runs are resampled within each task.

    Args:
        runs: For each task, the scores of its runs.
        seed: Of the resampling.
    """

    def statistic(*drawn: Sequence[float]) -> float:
        return interquartile_mean(np.concatenate([np.asarray(task, float) for task in drawn]))

    return cluster_bootstrap(statistic, *runs, seed=seed)
