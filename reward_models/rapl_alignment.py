"""Learning from clips of which one is preferred to another, by the Bradley-Terry model.

`align` is RAPL (arXiv 2310.07932): with R(o) = -OT(o, o_E) against a preferred clip o_E,
P(o_+ > o_-) = sigmoid(beta (R(o_+) - R(o_-))), and it is the embedding that is learned.
`learn_return` is the baseline with the same labels, RLHF: R(o) is the mean of a learned reward per
frame.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

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

type Pair = tuple[int, int]
"""Numbers of two clips, the preferred one first."""
type Draw = Callable[[np.random.Generator], Int[np.ndarray, "pair role"]]
"""Numbers of the clips of an update."""
type Loss = Callable[[Float[Tensor, "role pair frame dim"]], Float[Tensor, ""]]
"""What the embedded clips of an update cost."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a head is trained."""

    seed: int
    steps: int
    batch: int = 8
    """Pairs per update."""
    frames: int = 16
    """Frames drawn from each clip, anew for each update."""
    report: Callable[[float], None] | None = None
    """Is told the share of the work that is done."""


def pairs_of(ranks: Sequence[Sequence[int]]) -> list[Pair]:
    """Every pair that rankings of clips, best first, imply."""
    return [pair for ranking in ranks for pair in combinations(ranking, 2)]


def favourites(pairs: Sequence[Pair], count: int) -> list[int]:
    """The clips that won more comparisons than they lost, at most so many, the best first.

    Where wins go round in a circle there is none; then the clip that won first is the one.
    """
    net = Counter(better for better, _ in pairs)
    net.subtract(worse for _, worse in pairs)
    ahead = [number for number, wins in net.most_common(count) if wins > 0]
    return ahead or [pairs[0][0]]


def align(
    matcher: Matcher,
    clips: Sequence[Sequence[Maps]],
    pairs: Sequence[Pair],
    preferred: Sequence[int],
    recipe: Recipe,
    *,
    beta: float,
) -> float:
    """Train the embedding so that better clips are nearer to preferred ones; the final loss.

    Args:
        matcher: Whose features are standardised for the clips.
        clips: The features of each clip, and those of its augmented copies.
        pairs: Of clips, by their numbers.
        preferred: Numbers of the clips that the reward will match others with. Each pair is judged
            beside one of them, drawn anew in each update: another one than the two, if there is.
        recipe: Of the training.
        beta: How sure a difference of distances makes the person who answers.
    """
    # A rough plan of few iterations is enough here, as in ROT.
    matching = replace(matcher.matching, iterations=100, tolerance=1e-3)
    beside = [[i for i in preferred if i not in pair] or list(preferred) for pair in pairs]

    def draw(rng: np.random.Generator) -> Int[np.ndarray, "pair role"]:
        drawn = rng.integers(len(pairs), size=recipe.batch)
        return np.array([(rng.choice(beside[i]), *pairs[i]) for i in drawn])

    def loss(embedded: Float[Tensor, "role pair frame dim"]) -> Float[Tensor, ""]:
        reference, better, worse = (list(own) for own in embedded)
        costs = cosine_costs([*better, *worse], [*reference, *reference])
        near, far = distance(costs, plan_of(costs, matching)).chunk(2)
        return nn.functional.softplus(beta * (near - far)).mean()

    return _train(matcher.standardise, matcher.head, clips, draw, recipe, loss)


def learn_return(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    pairs: Sequence[Pair],
    recipe: Recipe,
) -> float:
    """Train the head, with one output, to give better clips the higher mean; the final loss."""

    def draw(rng: np.random.Generator) -> Int[np.ndarray, "pair role"]:
        return rng.choice(np.array(pairs), recipe.batch)

    def loss(embedded: Float[Tensor, "role pair frame dim"]) -> Float[Tensor, ""]:
        better, worse = reduce(embedded, "role pair frame 1 -> role pair", "mean")
        return nn.functional.softplus(worse - better).mean()

    return _train(standardise, head, clips, draw, recipe, loss)


def _train(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    draw: Draw,
    recipe: Recipe,
    loss_of: Loss,
) -> float:
    with torch.random.fork_rng(devices=[]):  # of the dropout
        torch.manual_seed(recipe.seed)
        return _descend(standardise, head, clips, draw, recipe, loss_of)


def _descend(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    draw: Draw,
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
        loss = loss_of(_embed(head, videos, draw(rng), recipe.frames, rng))
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
    drawn: Int[np.ndarray, "pair role"],
    frames: int,
    rng: np.random.Generator,
) -> Float[Tensor, "role pair frame dim"]:
    """Some frames, in order, of each clip of the pairs, each clip in one of its copies."""
    seen = [
        _some(videos[int(number)], frames, rng)
        for number in rearrange(drawn, "pair role -> (role pair)")
    ]
    maps = [torch.cat(camera) for camera in zip(*seen, strict=True)]
    vectors: Tensor = head(maps)
    return rearrange(vectors, "(r p f) d -> r p f d", r=drawn.shape[1], f=frames)


def _some(
    copies: Sequence[Sequence[Tensor]], frames: int, rng: np.random.Generator
) -> list[Tensor]:
    video = copies[int(rng.integers(len(copies)))]
    chosen = torch.from_numpy(np.sort(rng.integers(len(video[0]), size=frames)))
    return [camera[chosen] for camera in video]
