"""Intervals, rank correlations, separation, calibration and tests between runs.

Definitions are those of the docs page `docs/audit.md`. Everything that resamples takes a seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

    def of_indices(*chosen: Int[np.ndarray, " n"]) -> float:
        drawn = ([group[i] for i in index] for group, index in zip(groups, chosen, strict=True))
        return statistic(*drawn)

    n = sum(map(len, groups))
    mean = float(statistic(*groups))
    if min(map(len, groups)) == 1:
        return Interval(mean=mean, low=float("nan"), high=float("nan"), n=n)
    rng = np.random.default_rng(seed)
    values = [
        of_indices(*(rng.integers(len(group), size=len(group)) for group in groups))
        for _ in range(resamples)
    ]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean=mean, low=float(low), high=float(high), n=n)


def mean_interval(values: Sequence[float], *, seed: int) -> Interval:
    """Mean of one value per cluster, with its bootstrap interval."""
    return cluster_bootstrap(lambda drawn: float(np.mean(drawn)), list(values), seed=seed)


def voc(
    values: Float[np.ndarray, " time"], order: Float[np.ndarray, " time"] | None = None
) -> float:
    """Value-order correlation: Spearman between values and the true order, in [-1, 1].

    A constant says nothing of the order and scores 0. The order is that of the frames if not given.
    """
    truth = np.arange(len(values), dtype=float) if order is None else order
    if np.ptp(values) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(values, truth).statistic)


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
    u = scipy.stats.mannwhitneyu(positives, negatives, method="asymptotic").statistic
    return float(u / (len(positives) * len(negatives)))


def auroc_interval(
    positives: Sequence[float], negatives: Sequence[float], *, seed: int
) -> Interval:
    """AUROC with the wider of two intervals, bound by bound.

    The bootstrap collapses to a point where the separation is perfect, however few the clips, so
    Newcombe's score interval (Statistics in Medicine 2006, method 5) is taken besides.
    """

    def statistic(p: Sequence[float], n: Sequence[float]) -> float:
        return auroc(np.asarray(p, float), np.asarray(n, float))

    drawn = cluster_bootstrap(statistic, positives, negatives, seed=seed)
    low, high = newcombe(drawn.mean, len(positives), len(negatives))
    return Interval(
        mean=drawn.mean,
        low=float(np.fmin(drawn.low, low)),
        high=float(np.fmax(drawn.high, high)),
        n=drawn.n,
    )


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
