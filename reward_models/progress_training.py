"""How the progress critic learns from successes and failures (VLAC, arXiv 2509.15937).

Time order labels successes only. For frames i < j of a success that ends at T the comparison is
c(i, j) = (j - i) / (T - i) and c(j, i) = -c(i, j). VLAC draws mini-groups of four: (i, i+1),
(i, j) and both reversed. The critic is antisymmetric, so the reversed two add nothing and are not
computed. A failure's order says nothing about progress: its frames teach that nothing is done,
that its progress stays below `NEVER_ABOVE`, and that a scene that stands still makes none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from embodied.reward_models.progress_critic import Critic

NEVER_ABOVE = 0.85
"""A failure never completed the task: more progress than this is penalised."""
NOT_DONE, DONE = 0.8, 0.95
"""Share of a success before which the task is not done, and after which it is."""
FRAMES, WRONG, STILL = 32, 24, 16
"""Per update: groups of frames, wrong instructions, still pairs."""
LATE = 0.25
"""Share of the groups that end in the done part of a success."""
NOISE = 0.1
"""Deviation of the noise on standardised features: a still scene flickers a little."""
TEXT_NOISE = 0.02
"""Noise on each entry of an instruction's unit vector, so that paraphrases stay near."""


@dataclass(frozen=True, kw_only=True)
class Strands:
    """Episodes, and augmented copies of them, end to end in one tensor per camera."""

    maps: Sequence[Float[Tensor, "frame row column channel"]]
    """Standardised features."""
    order: Float[Tensor, " frame"]
    """Time of each frame in its episode, in [0, 1]; shuffled for a negative control."""
    first: Int[Tensor, " strand"]
    length: Int[Tensor, " strand"]
    text: Float[Tensor, "strand text"]
    clip: Int[Tensor, " strand"]
    """Number of the episode; a strand and its augmented copies share it."""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What one member of the ensemble learns from: its own bootstrap sample of the episodes."""

    successes: Strands
    failures: Strands | None
    success_weight: Float[Tensor, " strand"]
    failure_weight: Float[Tensor, " failed"]
    wrong_texts: Float[Tensor, "wrong text"]
    same_texts: Float[Tensor, "same text"]
    """The task in other words; may be empty."""


def train_member(
    critic: Critic,
    lessons: Lessons,
    generator: torch.Generator,
    *,
    steps: int,
    learning_rate: float = 3e-3,
    on_step: Callable[[], None],
) -> dict[str, float]:
    """Train one member of the ensemble; returns what `descend` does."""

    def losses() -> dict[str, Tensor]:
        return member_losses(critic, lessons, generator)

    return descend(critic, losses, steps=steps, learning_rate=learning_rate, on_step=on_step)


def descend(
    critic: nn.Module,
    losses_of_update: Callable[[], dict[str, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    on_step: Callable[[], None],
) -> dict[str, float]:
    """Make the sum of the losses small.

    Returns:
        The mean of each loss over the last tenth of the updates.
    """
    optimizer = torch.optim.AdamW(
        critic.parameters(), lr=learning_rate, weight_decay=0.05, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    critic.train()
    tail: list[dict[str, Tensor]] = []
    for step in range(steps):
        losses = losses_of_update()
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step >= steps - max(steps // 10, 1):
            tail.append({name: loss.detach() for name, loss in losses.items()})
        on_step()
    critic.eval()
    return {name: float(torch.stack([t[name] for t in tail]).mean()) for name in tail[0]}


def member_losses(
    critic: Critic, lessons: Lessons, generator: torch.Generator
) -> dict[str, Tensor]:
    """Losses of one update, by name."""
    early, late, strand = draw_pairs(lessons.successes, lessons.success_weight, FRAMES, generator)
    frames = torch.cat([early, early + 1, late])
    vectors = _look(critic, lessons.successes, frames, generator)
    order = lessons.successes.order[frames]
    now, soon, then = vectors.chunk(3)
    text = in_other_words(lessons.successes.text[strand], lessons.same_texts, generator)
    text = noisy(text, TEXT_NOISE, generator)
    losses = _deltas(critic, (now, soon, then), order, text)
    losses |= _wrong_instruction(critic, now, then, lessons.wrong_texts, generator)
    still = _look(critic, lessons.successes, late[:STILL], generator)
    losses["still"] = error(critic.delta(then[:STILL], still, text[:STILL]), 0 * text[:STILL, 0])
    if lessons.failures is not None:
        losses |= _failures(critic, lessons, lessons.failures, generator)
    return losses


def draw_pairs(
    strands: Strands, weight: Float[Tensor, " strand"], count: int, generator: torch.Generator
) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Int[Tensor, " pair"]]:
    """Indices of earlier frames, of later frames of the same strand, and of the strands.

    The later frame is never further than the last, and for a share `LATE` in the done part.
    """
    strand = torch.multinomial(weight, count, replacement=True, generator=generator)
    last = strands.length[strand] - 1
    at, ahead = torch.rand((2, count), generator=generator)
    early = (at * last).long()
    late = early + 1 + (ahead * (last - early)).long()
    finished = torch.maximum(early + 1, ((DONE + (1 - DONE) * ahead) * last).ceil().long())
    late = torch.where(torch.arange(count) < LATE * count, finished, late).clamp(max=last)
    first = strands.first[strand]
    return first + early, first + late, strand


def share_of_remaining(
    before: Float[Tensor, " pair"], after: Float[Tensor, " pair"]
) -> Float[Tensor, " pair"]:
    """VLAC's label from two times in [0, 1]: (j - i) / (T - i), negated for a backward pair."""
    remaining = (1 - torch.minimum(before, after)).clamp_min(1e-6)
    return ((after - before) / remaining).clamp(-1, 1)


def _deltas(
    critic: Critic,
    frames: tuple[Tensor, Tensor, Tensor],
    order: Float[Tensor, " frame"],
    text: Float[Tensor, "pair text"],
) -> dict[str, Tensor]:
    """Comparison of frames i, i + 1 and j, value of each, and completion of each."""
    now, soon, then = frames
    time_now, time_soon, time_then = order.chunk(3)
    step = critic.delta(now, soon, text)
    stride = critic.delta(now, then, text)
    every, texts = torch.cat(frames), torch.cat([text, text, text])
    return {
        "step": error(step, share_of_remaining(time_now, time_soon)),
        "stride": error(stride, share_of_remaining(time_now, time_then)),
        "value": error(critic.value(every, texts), order),
        "done": done_loss(critic.done(every, texts), order),
    }


def error(found: Float[Tensor, " n"], target: Float[Tensor, " n"]) -> Tensor:
    """Distance between values in [-1, 1], large ones counting less than their square."""
    return 4 * nn.functional.smooth_l1_loss(found, target, beta=0.1)


def done_loss(logit: Float[Tensor, " n"], order: Float[Tensor, " n"]) -> Tensor:
    """Cross-entropy, both classes alike; frames between the two bounds have no label."""
    finished, unfinished = order > DONE, order < NOT_DONE
    weight = finished / finished.sum().clamp_min(1) + unfinished / unfinished.sum().clamp_min(1)
    loss = nn.functional.binary_cross_entropy_with_logits(logit, finished.float(), reduction="none")
    return (weight * loss).sum() / 2


def _wrong_instruction(
    critic: Critic,
    before: Float[Tensor, "pair width"],
    after: Float[Tensor, "pair width"],
    texts: Float[Tensor, "wrong text"],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Under an instruction that a clip does not attempt, nothing progresses and nothing is done."""
    before, after = before[:WRONG], after[:WRONG]
    chosen = torch.randint(len(texts), (len(after),), generator=generator)
    text = noisy(texts[chosen], TEXT_NOISE, generator)
    moved = torch.cat([critic.delta(before, after, text), critic.value(after, text)])
    return {
        "wrong_delta": error(moved, torch.zeros_like(moved)),
        "wrong_done": never(critic.done(after, text)),
    }


def _failures(
    critic: Critic, lessons: Lessons, failures: Strands, generator: torch.Generator
) -> dict[str, Tensor]:
    """Nothing is done in a failure, and never was all but a little of the task."""
    early, late, strand = draw_pairs(failures, lessons.failure_weight, FRAMES, generator)
    vectors = _look(critic, failures, torch.cat([early, late]), generator)
    text = in_other_words(failures.text[strand], lessons.same_texts, generator)
    text = noisy(torch.cat([text, text]), TEXT_NOISE, generator)
    return {
        "failure_done": never(critic.done(vectors, text)),
        "failure_value": 4 * (critic.value(vectors, text) - NEVER_ABOVE).relu().square().mean(),
    }


def never(logit: Float[Tensor, " n"]) -> Tensor:
    """Cross-entropy of frames in which nothing is done."""
    return nn.functional.binary_cross_entropy_with_logits(logit, torch.zeros_like(logit))


def _look(
    critic: Critic, strands: Strands, frames: Int[Tensor, " frame"], generator: torch.Generator
) -> Float[Tensor, "frame width"]:
    """Look at frames, each channel of each a little off."""
    size = (len(frames), 1, 1, strands.maps[0].shape[3])
    return critic.look(
        [maps[frames] + NOISE * torch.randn(size, generator=generator) for maps in strands.maps]
    )


def in_other_words(
    text: Float[Tensor, "pair text"], same: Float[Tensor, "same text"], generator: torch.Generator
) -> Float[Tensor, "pair text"]:
    """Each instruction somewhere between its own words and others that mean the same.

    ConvexDA of "Contrast Instructions" (arXiv 2309.16155): lambda e_1 + (1 - lambda) e_2, scaled to
    length 1 as all sentence vectors are; lambda is uniform.
    """
    if len(same) == 0:
        return text
    other = same[torch.randint(len(same), (len(text),), generator=generator)]
    share = torch.rand((len(text), 1), generator=generator)
    return nn.functional.normalize(share * text + (1 - share) * other, dim=1)


def noisy(values: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """With normal noise of this deviation."""
    return values + scale * torch.randn(values.shape, generator=generator)
