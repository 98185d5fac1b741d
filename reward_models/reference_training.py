"""How the reference critic learns: on many tasks, each time beside another demonstration.

A group is one demonstration, pairs of frames of other successes of its task, frames of failures of
its task, and frames of another task. Labels are those of the progress critic
(`progress_training.py`). Everything is asked twice: with the demonstration, and without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from embodied.reward_models.progress_training import (
    NEVER_ABOVE,
    NOISE,
    Strands,
    done_loss,
    draw_pairs,
    error,
    never,
    noisy,
    share_of_remaining,
)
from embodied.reward_models.reference_attention import (
    AFTER,
    TOKENS,
    Goal,
    InContextCritic,
    Look,
)

GROUPS = 6
"""Demonstrations per update."""
PAIRS, FAILED, OTHER = 6, 3, 4
"""Per demonstration: pairs of frames of successes, of failures, and of another task."""
TEXT_NOISE = 0.004
"""Noise on each entry of an instruction's unit vector: a fifth of what tells close from open."""
SAME = 1e-3
"""Distance within which two instructions are the same one."""

Vectors = Float[Tensor, "frame width"]


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """Episodes of several tasks, and what one member of the ensemble may see of them."""

    strands: Strands
    task: Int[Tensor, " strand"]
    success: Bool[Tensor, " strand"]
    weight: Float[Tensor, " strand"]
    wrong_texts: Float[Tensor, "wrong text"]
    linger: int
    """Frames that successes go on after the task is complete."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Frames of one kind, as many beside each demonstration."""

    frames: Look
    shown: Look
    order: Float[Tensor, " frame"]
    text: Float[Tensor, "frame text"]


def member_losses(
    critic: InContextCritic, tasks: Tasks, generator: torch.Generator
) -> dict[str, Tensor]:
    """Losses of one update, by name."""
    parts = draw_parts(critic, tasks, generator)
    losses: dict[str, Tensor] = {}
    for name, in_context in (("shown", True), ("alone", False)):
        found = _successes(critic, parts["pairs"], tasks.wrong_texts, in_context, generator)
        if "failed" in parts:
            found |= _failures(critic, parts["failed"], in_context, generator)
        if "other" in parts:
            found |= _another_task(critic, parts["other"], in_context, generator)
        losses |= {f"{name}_{key}": loss for key, loss in found.items()}
    return losses


def draw_parts(
    critic: InContextCritic, tasks: Tasks, generator: torch.Generator
) -> dict[str, Part]:
    """Frames of each kind that there is, beside new demonstrations."""
    weight = tasks.weight * tasks.success
    drawn = torch.multinomial(weight, GROUPS, replacement=True, generator=generator).tolist()
    groups = [draw_group(tasks, strand, generator) for strand in drawn]
    shown = _look(critic, tasks.strands, torch.cat([g["tokens"] for g in groups]), generator)
    parts = {}
    for kind in ("pairs", "failed", "other"):
        having = [n for n, group in enumerate(groups) if kind in group]
        if not having:
            continue
        frames = torch.cat([groups[n][kind] for n in having])
        text = tasks.strands.text[torch.tensor([drawn[n] for n in having])]
        parts[kind] = Part(
            frames=_look(critic, tasks.strands, frames, generator),
            shown=_of_groups(shown, having),
            order=tasks.strands.order[frames],
            text=repeat(text, "group text -> (group n) text", n=len(frames) // len(having)),
        )
    return parts


def draw_group(
    tasks: Tasks, strand: int, generator: torch.Generator
) -> Mapping[str, Int[Tensor, " frame"]]:
    """Frames by kind, as places in the strands; without those kinds of which there are none."""
    strands, own = tasks.strands, tasks.task == tasks.task[strand]
    mates = tasks.weight * tasks.success * own
    others = mates * (strands.clip != strands.clip[strand])
    mates = others if others.any() else mates  # a task's only success is shown to itself
    early, late, _ = draw_pairs(strands, mates, PAIRS, generator)
    tokens = strands.first[strand] + token_places(int(strands.length[strand]), tasks.linger)
    group = {"tokens": tokens, "pairs": torch.cat([early, early + 1, late])}
    elsewhere = {
        "failed": (tasks.weight * ~tasks.success * own, FAILED),
        "other": (tasks.weight * tasks.success * ~own, OTHER),
    }
    for kind, (weight, count) in elsewhere.items():
        if weight.any():
            early, late, _ = draw_pairs(strands, weight, count, generator)
            group[kind] = torch.cat([early, late])
    return group


def token_places(length: int, linger: int) -> Int[Tensor, " token"]:
    """Frames of a demonstration that are looked at: of the way to completion, and after it."""
    complete = max(length - 1 - linger, length // 2)
    way = torch.linspace(0, complete, TOKENS - AFTER)
    after = torch.linspace(complete, length - 1, AFTER + 1)[1:]
    return torch.cat([way, after]).round().long()


def _look(
    critic: InContextCritic,
    strands: Strands,
    frames: Int[Tensor, " frame"],
    generator: torch.Generator,
) -> Look:
    """Look at frames, each channel of each a little off."""
    size = (len(frames), 1, 1, strands.maps[0].shape[3])
    return critic.look(
        [maps[frames] + NOISE * torch.randn(size, generator=generator) for maps in strands.maps]
    )


def _of_groups(shown: Look, chosen: Sequence[int]) -> Look:
    """Tokens of some of the demonstrations."""
    rows = torch.cat([torch.arange(n * TOKENS, (n + 1) * TOKENS) for n in chosen])
    return Look(vectors=shown.vectors[rows], frozen=[own[rows] for own in shown.frozen])


def _related(
    critic: InContextCritic, part: Part, in_context: bool, generator: torch.Generator
) -> tuple[Vectors, Goal]:
    """The frames, and what they are judged by if the instruction is the right one."""
    vectors = critic.relate(part.frames, part.shown if in_context else None)
    text = noisy(part.text, TEXT_NOISE, generator)
    return vectors, critic.goal(text, part.text if in_context else None)


def _successes(
    critic: InContextCritic,
    part: Part,
    wrong_texts: Float[Tensor, "wrong text"],
    in_context: bool,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Comparison of frames i, i + 1 and j, value and completion; none under another instruction."""
    vectors, goal = _related(critic, part, in_context, generator)
    pattern = "(group kind pair) ... -> kind (group pair) ..."
    now, soon, then = rearrange(vectors, pattern, kind=3, pair=PAIRS)
    time_now, time_soon, time_then = rearrange(part.order, pattern, kind=3, pair=PAIRS)
    own = _goal_of_pairs(goal)
    wrong = _wrong_goal(critic, part, wrong_texts, in_context, generator)
    moved = torch.cat([critic.delta(now, then, wrong), critic.value(then, wrong)])
    return {
        "step": error(critic.delta(now, soon, own), share_of_remaining(time_now, time_soon)),
        "stride": error(critic.delta(now, then, own), share_of_remaining(time_now, time_then)),
        "value": error(critic.value(vectors, goal), part.order),
        "done": done_loss(critic.done(vectors, goal), part.order),
        "wrong_delta": error(moved, torch.zeros_like(moved)),
        "wrong_done": never(critic.done(then, wrong)),
    }


def _goal_of_pairs(goal: Goal) -> Goal:
    """Of the first frame of each pair."""
    return Goal(vectors=_firsts(goal.vectors), start=_firsts(goal.start))


def _firsts(values: Float[Tensor, "frame any"]) -> Float[Tensor, "pair any"]:
    kinds = rearrange(values, "(group kind pair) any -> kind (group pair) any", kind=3, pair=PAIRS)
    first: Tensor = kinds[0]
    return first


def _wrong_goal(
    critic: InContextCritic,
    part: Part,
    wrong_texts: Float[Tensor, "wrong text"],
    in_context: bool,
    generator: torch.Generator,
) -> Goal:
    """For each pair an instruction that it does not attempt: no task's, or another task's."""
    own = _firsts(part.text)
    count = len(own)
    nobodys = wrong_texts[torch.randint(len(wrong_texts), (count,), generator=generator)]
    others = own[torch.randperm(count, generator=generator)]
    same = (others - own).norm(dim=1, keepdim=True) < SAME
    half = rearrange(torch.rand(count, generator=generator) < 0.5, "pair -> pair 1")
    chosen = torch.where(same | half, nobodys, others)
    text = noisy(chosen, TEXT_NOISE, generator)
    return critic.goal(text, own if in_context else None)


def _failures(
    critic: InContextCritic, part: Part, in_context: bool, generator: torch.Generator
) -> dict[str, Tensor]:
    """Nothing is done in a failure, and never was all but a little of the task."""
    vectors, goal = _related(critic, part, in_context, generator)
    return {
        "failure_done": never(critic.done(vectors, goal)),
        "failure_value": 4 * (critic.value(vectors, goal) - NEVER_ABOVE).relu().square().mean(),
    }


def _another_task(
    critic: InContextCritic, part: Part, in_context: bool, generator: torch.Generator
) -> dict[str, Tensor]:
    """An attempt at another task makes no progress in this one, whatever the instruction says."""
    vectors, goal = _related(critic, part, in_context, generator)
    value = critic.value(vectors, goal)
    return {
        "other_value": error(value, torch.zeros_like(value)),
        "other_done": never(critic.done(vectors, goal)),
    }
