"""Learning from ranked triplets of clips, by the Bradley-Terry model.

`align` is RAPL (arXiv 2310.07932): with R(o) = -OT(o, o_E) against the best clip of the triplet,
P(o_+ > o_-) = sigmoid(beta (R(o_+) - R(o_-))), and it is the embedding that is learned.
`learn_return` is the baseline with the same labels, RLHF: R(o) is the mean of a learned reward per
frame, and every pair of the triplet is compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.rapl_matching import Matcher
from embodied.reward_models.transport import cosine_costs, distance, plan_of

LEARNING_RATE = 1e-3

type Ranks = tuple[int, int, int]
"""Numbers of three clips: the best, the better and the worse one."""
type Loss = Callable[[Float[Tensor, "clip triplet frame dim"]], Float[Tensor, ""]]
"""What embedded triplets cost; the clips are in the order of their ranks."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a head is trained."""

    seed: int
    steps: int
    batch: int = 8
    """Triplets per update."""
    frames: int = 16
    """Frames drawn from each clip, anew for each update."""
    report: Callable[[float], None] | None = None
    """Is told the share of the work that is done."""


def align(
    matcher: Matcher,
    clips: Sequence[Sequence[Maps]],
    ranks: Sequence[Ranks],
    recipe: Recipe,
    *,
    beta: float,
) -> float:
    """Train the embedding so that better clips are nearer to the best one; the final loss.

    Args:
        matcher: Whose features are standardised for the clips.
        clips: The features of each clip, and those of its augmented copies.
        ranks: Of clips, by their numbers.
        recipe: Of the training.
        beta: How sure a difference of distances makes the person who ranks.
    """
    # A rough plan of few iterations is enough here, as in ROT.
    matching = replace(matcher.matching, iterations=100, tolerance=1e-3)

    def loss(embedded: Float[Tensor, "clip triplet frame dim"]) -> Float[Tensor, ""]:
        best, better, worse = (list(own) for own in embedded)
        costs = cosine_costs([*better, *worse], [*best, *best])
        near, far = distance(costs, plan_of(costs, matching)).chunk(2)
        return nn.functional.softplus(beta * (near - far)).mean()

    return _train(matcher.standardise, matcher.head, clips, ranks, recipe, loss)


def learn_return(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    ranks: Sequence[Ranks],
    recipe: Recipe,
) -> float:
    """Train the head, with one output, to give better clips the higher mean; the final loss."""

    def loss(embedded: Float[Tensor, "clip triplet frame dim"]) -> Float[Tensor, ""]:
        best, better, worse = reduce(embedded, "clip triplet frame 1 -> clip triplet", "mean")
        ahead = torch.stack([best - better, best - worse, better - worse])
        return nn.functional.softplus(-ahead).mean()

    return _train(standardise, head, clips, ranks, recipe, loss)


def _train(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    ranks: Sequence[Ranks],
    recipe: Recipe,
    loss_of: Loss,
) -> float:
    with torch.random.fork_rng(devices=[]):  # of the dropout
        torch.manual_seed(recipe.seed)
        return _descend(standardise, head, clips, ranks, recipe, loss_of)


def _descend(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    ranks: Sequence[Ranks],
    recipe: Recipe,
    loss_of: Loss,
) -> float:
    rng = np.random.default_rng(recipe.seed)
    videos = [[standardise(maps) for maps in copies] for copies in clips]
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=recipe.steps
    )
    head.train()
    losses = []
    for step in range(recipe.steps):
        drawn = rng.choice(np.array(ranks), recipe.batch)
        loss = loss_of(_embed(head, videos, drawn, recipe.frames, rng))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if recipe.report is not None:
            recipe.report((step + 1) / recipe.steps)
    head.eval()
    return float(np.mean(losses[-max(recipe.steps // 10, 1) :]))


def _embed(
    head: nn.Module,
    videos: Sequence[Sequence[Sequence[Tensor]]],
    drawn: Int[np.ndarray, "triplet rank"],
    frames: int,
    rng: np.random.Generator,
) -> Float[Tensor, "clip triplet frame dim"]:
    """Some frames, in order, of each clip of the triplets, each clip in one of its copies."""
    seen = [
        _some(videos[int(number)], frames, rng)
        for number in rearrange(drawn, "triplet rank -> (rank triplet)")
    ]
    maps = [torch.cat(camera) for camera in zip(*seen, strict=True)]
    vectors: Tensor = head(maps)
    return rearrange(vectors, "(c t f) d -> c t f d", c=3, f=frames)


def _some(
    copies: Sequence[Sequence[Tensor]], frames: int, rng: np.random.Generator
) -> list[Tensor]:
    video = copies[int(rng.integers(len(copies)))]
    chosen = torch.from_numpy(np.sort(rng.integers(len(video[0]), size=frames)))
    return [camera[chosen] for camera in video]
