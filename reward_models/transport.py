"""Which frame of one clip belongs to which frame of another, for many pairs of clips at once.

`sinkhorn` is entropic optimal transport (Cuturi 2013), stabilised in the log domain (Schmitzer
2019, section 3): the plan P that minimises <P, C> - epsilon H(P) with uniform marginals. RAPL and
ROT read a reward off it. `nearest` and `soft_dtw` (Cuturi & Blondel 2017) are the alternatives:
"Is OT necessary for inverse RL?" (arXiv 2506.06793) finds them as good.

A plan is a constant to autograd. Then the gradient of `distance` is that of the regularised cost
<P, C> - epsilon H(P), exactly, because P is where that is least (Danskin).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import einsum, rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from embodied.errors import BadConfig, BadInput, UnknownName

BLOCK = 40
"""Iterations on one kernel, before it is computed anew from the potentials."""
FAR = 1e9
"""Cost of what soft-DTW may not pass; infinity has no gradient."""

METHODS = ("sinkhorn", "nearest", "soft_dtw")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What it costs to match frames of two clips, for each of several pairs of clips."""

    cost: Float[Tensor, "pair time other"]
    """Cost of matching a frame of the first clip with one of the second; padded with zeros."""
    length: Int[Tensor, " pair"]
    """Frames of the first clip."""
    other_length: Int[Tensor, " pair"]
    """Frames of the second clip."""

    def valid(self) -> Bool[Tensor, "pair time other"]:
        """Where there is a frame of either clip."""
        rows = _within(self.length, self.cost.shape[1])
        columns = _within(self.other_length, self.cost.shape[2])
        return rearrange(rows, "p t -> p t 1") & rearrange(columns, "p s -> p 1 s")


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How frames are matched.

    Raises:
        UnknownName: for another method.
        BadConfig: for a smoothing that is not positive, or a negative band.
    """

    method: str = "sinkhorn"
    """``sinkhorn`` uses every frame of both clips equally, in any order; ``nearest`` lets each
    frame choose, ``soft_dtw`` keeps the order."""
    smoothing: float = 0.01
    """Epsilon of Sinkhorn, gamma of soft-DTW, in units of the cost."""
    band: float | None = None
    """Largest difference of the shares of their clips at which frames lie that Sinkhorn matches."""
    iterations: int = 1000
    tolerance: float = 1e-5
    """Sum of the errors of a marginal at which Sinkhorn stops."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UnknownName("matching", self.method, METHODS)
        if self.smoothing <= 0 or (self.band is not None and self.band < 0):
            raise BadConfig(
                f"smoothing must be positive and a band not negative, not {self.smoothing} and "
                f"{self.band}."
            )


def cosine_costs(
    first: Sequence[Float[Tensor, "_ dim"]], second: Sequence[Float[Tensor, "_ dim"]]
) -> Costs:
    """1 - cosine between the frames of the clips of each pair.

    Raises:
        BadInput: for a clip without frames, or with vectors that are no numbers.
    """
    for clip in (*first, *second):
        if not len(clip) or not torch.isfinite(clip).all():
            raise BadInput("clips that are matched need a frame, and vectors that are numbers.")
    ours, theirs = (
        torch.nn.utils.rnn.pad_sequence(
            [torch.nn.functional.normalize(clip, dim=1) for clip in clips], batch_first=True
        )
        for clips in (first, second)
    )
    costs = Costs(
        cost=1 - einsum(ours, theirs, "p t d, p s d -> p t s"),
        length=torch.tensor([len(clip) for clip in first]),
        other_length=torch.tensor([len(clip) for clip in second]),
    )
    return Costs(
        cost=torch.where(costs.valid(), costs.cost, 0.0),
        length=costs.length,
        other_length=costs.other_length,
    )


def plan_of(costs: Costs, matching: Matching) -> Float[Tensor, "pair time other"]:
    """The share of all matches that falls on each two frames; sums to 1 in each pair.

    Raises:
        BadInput: for costs that are no numbers, or clips without frames.
    """
    shortest = min(int(costs.length.min()), int(costs.other_length.min()))
    if not torch.isfinite(costs.cost).all() or shortest < 1:
        raise BadInput("costs must be numbers, and of clips that have a frame.")
    if matching.method == "nearest":
        return nearest(costs)
    if matching.method == "soft_dtw":
        return soft_dtw(costs, matching.smoothing)
    return sinkhorn(costs, matching)


def frame_costs(costs: Costs, plan: Float[Tensor, "pair time other"]) -> Float[Tensor, "pair time"]:
    """What each frame of the first clip contributes to the `distance`."""
    return reduce(costs.cost * plan, "p t s -> p t", "sum")


def distance(costs: Costs, plan: Float[Tensor, "pair time other"]) -> Float[Tensor, " pair"]:
    """<P, C> of each pair."""
    return reduce(costs.cost * plan, "p t s -> p", "sum")


@torch.no_grad()
def sinkhorn(costs: Costs, matching: Matching) -> Float[Tensor, "pair time other"]:
    """The plan of entropic optimal transport between uniform marginals.

    A pair is left alone once its marginals are right, so its plan does not depend on the others.
    """
    allowed = costs.valid() if matching.band is None else _band(costs, matching.band)
    log_kernel = torch.where(allowed, -costs.cost / matching.smoothing, -torch.inf)
    state = _State(
        rows=_uniform(costs.length, costs.cost),
        columns=_uniform(costs.other_length, rearrange(costs.cost, "p t s -> p s t")),
        potential=torch.zeros_like(costs.cost[:, 0]),
    )
    plan = torch.zeros_like(costs.cost)
    left = torch.arange(len(costs.cost))
    for _ in range(max(matching.iterations // BLOCK, 1)):
        state, found = _iterate(log_kernel, state)
        plan[left] = found
        open_ = (reduce(found, "p t s -> p t", "sum") - state.rows).abs().sum(1)
        unfinished = open_ > matching.tolerance
        if not unfinished.any():
            break
        if not unfinished.all():
            left, log_kernel = left[unfinished], log_kernel[unfinished]
            state = _State(*(each[unfinished] for each in state))
    return plan


@torch.no_grad()
def nearest(costs: Costs) -> Float[Tensor, "pair time other"]:
    """Every frame of the first clip goes to the nearest one of the second, linear in memory."""
    cost = torch.where(costs.valid(), costs.cost, torch.inf)
    chosen = torch.nn.functional.one_hot(cost.argmin(2), costs.cost.shape[2])
    rows = _uniform(costs.length, costs.cost)
    return chosen * rearrange(rows, "p t -> p t 1")


def soft_dtw(costs: Costs, gamma: float) -> Float[Tensor, "pair time other"]:
    """Mean of all monotone alignments, each weighed by exp(-its cost / gamma).

    It is the gradient of soft-DTW by the cost; every frame of the first clip weighs the same here,
    however many it is aligned with.
    """
    with torch.enable_grad():
        cost = torch.where(costs.valid(), costs.cost.detach(), FAR).requires_grad_()
        total = _soft_dtw_costs(cost, gamma)
        last = (costs.length + costs.other_length - 2, costs.length - 1)
        ends = total[torch.arange(len(cost)), last[0], last[1]]
        (alignment,) = torch.autograd.grad(ends.sum(), cost)
    visits = reduce(alignment, "p t s -> p t 1", "sum").clamp_min(torch.finfo(cost.dtype).tiny)
    return alignment / visits * rearrange(_uniform(costs.length, cost), "p t -> p t 1")


class _State(NamedTuple):
    """Marginals, and the logarithm of the columns' scaling."""

    rows: Float[Tensor, "pair time"]
    columns: Float[Tensor, "pair other"]
    potential: Float[Tensor, "pair other"]


def _iterate(
    log_kernel: Float[Tensor, "pair time other"], state: _State
) -> tuple[_State, Float[Tensor, "pair time other"]]:
    """One iteration in the log domain; from there on products with the kernel that it leaves.

    The columns' sums are right after each. Both products multiply from the left: on the kernel and
    on a transposed copy, which is several times as fast as multiplying from either side.
    """
    small = torch.finfo(log_kernel.dtype).eps
    along = log_kernel + rearrange(state.potential, "p s -> p 1 s")
    left = state.rows.log() - _log_sum(along, 2)
    right = state.columns.log() - _log_sum(log_kernel + rearrange(left, "p t -> p t 1"), 1)
    scaled = log_kernel + rearrange(left, "p t -> p t 1") + rearrange(right, "p s -> p 1 s")
    kernel = scaled.exp()
    turned = rearrange(kernel, "p t s -> p s t").contiguous()
    v = torch.ones_like(state.columns)
    for _ in range(BLOCK - 1):
        u = state.rows / _times(v, turned).clamp_min(small)
        v = state.columns / _times(u, kernel).clamp_min(small)
    plan = rearrange(u, "p t -> p t 1") * kernel * rearrange(v, "p s -> p 1 s")
    return state._replace(potential=right + v.log()), plan


def _times(
    vector: Float[Tensor, "pair row"], matrix: Float[Tensor, "pair row column"]
) -> Float[Tensor, "pair column"]:
    product = torch.bmm(rearrange(vector, "p r -> p 1 r"), matrix)
    return rearrange(product, "p 1 c -> p c")


def _log_sum(values: Float[Tensor, "pair time other"], dim: int) -> Float[Tensor, "pair frame"]:
    """Logarithm of the sum of exponentials; 0 for a padded frame, which nothing is sent to."""
    found = values.logsumexp(dim)
    return torch.where(found.isinf(), 0.0, found)


def _uniform(
    length: Int[Tensor, " pair"], like: Float[Tensor, "pair frame _"]
) -> Float[Tensor, "pair frame"]:
    share = 1 / rearrange(length, "p -> p 1").to(like.dtype)
    return _within(length, like.shape[1]) * share


def _within(length: Int[Tensor, " pair"], longest: int) -> Bool[Tensor, "pair frame"]:
    return torch.arange(longest) < rearrange(length, "p -> p 1")


def _band(costs: Costs, band: float) -> Bool[Tensor, "pair time other"]:
    """Frames at about the same share of their clips; always wide enough for a plan to exist."""
    ours, theirs = (
        (torch.arange(longest, dtype=torch.float64) + 0.5) / rearrange(length, "p -> p 1")
        for length, longest in (
            (costs.length, costs.cost.shape[1]),
            (costs.other_length, costs.cost.shape[2]),
        )
    )
    apart = (rearrange(ours, "p t -> p t 1") - rearrange(theirs, "p s -> p 1 s")).abs()
    least = rearrange((1 / costs.length + 1 / costs.other_length) / 2, "p -> p 1 1")
    return costs.valid() & (apart <= least.clamp_min(band) + 1e-6)


def _soft_dtw_costs(
    cost: Float[Tensor, "pair time other"], gamma: float
) -> Float[Tensor, "pair diagonal time"]:
    """Least soft cost of reaching each cell, diagonal by diagonal: their cells can be had at once.

    Row t of diagonal d is cell (t, d - t).
    """
    pairs, times, others = cost.shape
    column = torch.arange(times + others - 1) - repeat(torch.arange(times), "t -> t 1")
    inside = (column >= 0) & (column < others)
    picked = cost.gather(2, repeat(column.clamp(0, others - 1), "t d -> p t d", p=pairs))
    skewed = torch.where(inside, picked, FAR)
    far = torch.full_like(cost[:, :1, 0], FAR)
    before = torch.cat([torch.zeros_like(far), far.expand(-1, times - 1)], 1)
    last = torch.full_like(before, FAR)
    reached = []
    for diagonal in range(times + others - 1):
        above = torch.cat([far, last[:, :-1]], 1)
        ways = torch.stack([before, above, last])
        now = skewed[:, :, diagonal] - gamma * (-ways / gamma).logsumexp(0)
        before, last = torch.cat([far, last[:, :-1]], 1), now
        reached.append(now)
    return rearrange(reached, "d p t -> p d t")
