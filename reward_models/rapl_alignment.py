"""Learning from clips of which one is preferred to another, by the Bradley-Terry model.

`align` is RAPL (arXiv 2310.07932): with R(o) = -OT(o, o_E) against a preferred clip o_E,
P(o_+ > o_-) = sigmoid(beta (R(o_+) - R(o_-))), and it is the embedding that is learned.
`learn_return` is the baseline with the same labels, RLHF: R(o) is the mean of a learned reward per
frame. `learn_answers` is the same for answers as people give them: several people, each as reliable
as they are, and ties.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from embodied.reward_models.comparisons import Comparisons, bradley_terry
from embodied.reward_models.frame_head import FrameHead, Standardiser, seeded
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.rapl_matching import SIZE, Matcher
from embodied.reward_models.transport import cosine_costs, distance, plan_of

LEARNING_RATE = 1e-3
RATIONALITY_RATE = 2e-2
"""Of the few numbers that say how reliable people are."""

type Pair = tuple[int, int]
"""Numbers of two clips, the preferred one first."""
type Numbers = Int[np.ndarray, " pair"]
"""Of the pairs of an update."""
type Draw = Callable[[np.random.Generator], tuple[Numbers, Int[np.ndarray, "pair role"]]]
"""The pairs of an update, and the clips of each."""
type Loss = Callable[[Numbers, Float[Tensor, "role pair frame dim"]], Float[Tensor, ""]]
"""What the pairs of an update cost, their clips being embedded."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a head is trained."""

    seed: int
    steps: int
    batch: int = 8
    """Pairs per update."""
    frames: int = 16
    """Frames drawn from each clip, anew for each update."""
    learning_rate: float = LEARNING_RATE
    """Of the head, at its highest."""
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

    def draw(rng: np.random.Generator) -> tuple[Numbers, Int[np.ndarray, "pair role"]]:
        drawn = rng.integers(len(pairs), size=recipe.batch)
        return drawn, np.array([(rng.choice(beside[i]), *pairs[i]) for i in drawn])

    def loss(drawn: Numbers, embedded: Float[Tensor, "role pair frame dim"]) -> Float[Tensor, ""]:
        reference, better, worse = (list(own) for own in embedded)
        costs = cosine_costs([*better, *worse], [*reference, *reference])
        near, far = distance(costs, plan_of(costs, matching)).chunk(2)
        return nn.functional.softplus(beta * (near - far)).mean()

    return _train(matcher.standardise, matcher.head, clips, draw, recipe, loss)


def return_head(channels: int, cameras: int, seed: int) -> nn.Sequential:
    """An untrained reward per frame, on an embedding like RAPL's."""
    return nn.Sequential(
        seeded(lambda: FrameHead(channels, cameras, SIZE), seed),
        seeded(lambda: nn.Linear(SIZE, 1), seed),
    )


def learn_return(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    pairs: Sequence[Pair],
    recipe: Recipe,
) -> float:
    """Train the head, with one output, to give better clips the higher mean; the final loss."""

    def loss(_: Numbers, embedded: Float[Tensor, "role pair frame dim"]) -> Float[Tensor, ""]:
        better, worse = reduce(embedded, "role pair frame 1 -> role pair", "mean")
        return nn.functional.softplus(worse - better).mean()

    return _train(standardise, head, clips, _of_pairs(np.array(pairs), recipe), recipe, loss)


def learn_answers(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    answers: Comparisons,
    recipe: Recipe,
    *,
    raters: int,
    mistake: float,
) -> tuple[float, Float[Tensor, " rater"]]:
    """Train the head, with one output, on the answers of people who differ in reliability.

    P(first > second by u) = (1 - mistake) sigmoid(beta_u (R(first) - R(second))) + mistake / 2.

    Args:
        standardise: Whose statistics are those of the clips.
        head: One number per frame; R is its mean over a clip.
        clips: The features of each clip, and those of its augmented copies.
        answers: Of all people.
        recipe: Of the training.
        raters: How many people answer.
        mistake: Share of answers that are thought to be drawn by chance.

    Returns:
        The final loss; and beta of each person, relative to their geometric mean.

    Raises:
        BadInput: for a clip or rater that there is not.
    """
    answers.check(len(clips), raters)
    log_beta = nn.Parameter(torch.zeros(raters))

    def beta() -> Float[Tensor, " rater"]:
        return (log_beta - log_beta.mean()).exp()

    def loss(drawn: Numbers, embedded: Float[Tensor, "role pair frame dim"]) -> Float[Tensor, ""]:
        asked = answers.take(torch.from_numpy(drawn))
        first, second = reduce(embedded, "role pair frame 1 -> role pair", "mean")
        advantage = beta()[asked.rater] * (first - second)
        return bradley_terry(advantage, asked.target, mistake).mean()

    pairs = torch.stack([answers.first, answers.second], 1).numpy()
    found = _train(
        standardise, head, clips, _of_pairs(pairs, recipe), recipe, loss, rationality=log_beta
    )
    return found, beta().detach()


def _of_pairs(pairs: Int[np.ndarray, "pair role"], recipe: Recipe) -> Draw:
    def draw(rng: np.random.Generator) -> tuple[Numbers, Int[np.ndarray, "pair role"]]:
        drawn = rng.integers(len(pairs), size=recipe.batch)
        return drawn, pairs[drawn]

    return draw


def _train(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    draw: Draw,
    recipe: Recipe,
    loss_of: Loss,
    rationality: nn.Parameter | None = None,
) -> float:
    with torch.random.fork_rng(devices=[]):  # of the dropout
        torch.manual_seed(recipe.seed)
        return _descend(standardise, head, clips, draw, recipe, loss_of, rationality)


def _descend(
    standardise: Standardiser,
    head: nn.Module,
    clips: Sequence[Sequence[Maps]],
    draw: Draw,
    recipe: Recipe,
    loss_of: Loss,
    rationality: nn.Parameter | None,
) -> float:
    rng = np.random.default_rng(recipe.seed)
    videos = [[standardise(maps) for maps in copies] for copies in clips]
    groups: list[dict[str, Any]] = [{"params": head.parameters(), "lr": recipe.learning_rate}]
    if rationality is not None:
        groups.append({"params": [rationality], "lr": RATIONALITY_RATE, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in groups], total_steps=recipe.steps
    )
    head.train()
    losses = []
    for step in range(recipe.steps):
        drawn, numbers = draw(rng)
        loss = loss_of(drawn, _embed(head, videos, numbers, recipe.frames, rng))
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
