"""What a generative judge is shown, and what it is asked."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from einops import rearrange, reduce

from embodied.errors import BadConfig
from embodied.reward_models.vlm import Picture, Question
from embodied.types import Clip

Choice = Literal["spread", "changes"]
SYSTEM = "You judge robots by what camera frames show, strictly, and answer as briefly as asked."
YES_OR_NO = "Answer with one word, yes or no."


def choose_frames(clip: Clip, camera: str, end: int, budget: int, choice: Choice) -> list[int]:
    """Which of the frames up to ``end`` are shown, in their order; the first and the last always.

    Args:
        clip: With frames of the camera.
        camera: Whose frames are compared.
        end: Last frame that may be shown.
        budget: How many may be shown.
        choice: ``spread`` takes them at equal times, ``changes`` at equal shares of the change in
            the picture, so that waiting costs no frames.

    Raises:
        BadConfig: for a budget of no frame, or another choice.
    """
    if budget < 1 or choice not in ("spread", "changes"):
        raise BadConfig(f"frames are chosen by spread or changes, one or more; not {budget}.")
    if budget == 1 or end == 0:
        return [end]
    wanted = np.linspace(0, 1, min(budget, end + 1))
    passed = np.linspace(0, 1, end + 1)
    if choice == "changes":
        small = clip.frames[camera][: end + 1].astype(np.float32)
        change = reduce(np.abs(np.diff(small, axis=0)), "t h w c -> t", "mean")
        if change.sum() > 0:
            passed = np.concatenate([[0], np.cumsum(change) / change.sum()])
    nearest = np.abs(rearrange(passed, "t -> 1 t") - rearrange(wanted, "n -> n 1")).argmin(1)
    return sorted({0, *nearest[1:-1].tolist(), end})


def show(clip: Clip, cameras: Sequence[str], chosen: Sequence[int]) -> tuple[str | Picture, ...]:
    """Frames with their numbers, each from every camera."""
    parts: list[str | Picture] = []
    for number, frame in enumerate(chosen):
        for camera in cameras:
            named = f" ({camera})" if len(cameras) > 1 else ""
            parts += [f"\nFrame {number + 1}{named}: ", clip.frames[camera][frame]]
    return tuple(parts)


def ask_of_one(
    shown: tuple[str | Picture, ...], criterion: str, principles: Sequence[str]
) -> tuple[str | Picture, ...]:
    """Whether the last frame meets a criterion."""
    return (
        "Frames of one attempt by a robot, in the order of time:",
        *shown,
        f"\n{_rules(principles)}Statement about the last frame: {criterion}\nIs it true? ",
    )


def ask_of_two(
    first: tuple[str | Picture, ...],
    second: tuple[str | Picture, ...],
    criterion: str,
    principles: Sequence[str],
) -> tuple[str | Picture, ...]:
    """Whether clip B is ahead of clip A."""
    return (
        "Clip A:",
        *first,
        "\nClip B:",
        *second,
        f"\n{_rules(principles)}Statement: {criterion}\nIs clip B closer to making it true than "
        "clip A, by its last frame? ",
    )


def final(parts: tuple[str | Picture, ...], reasons: str = "") -> Question:
    """The question for a yes or no, after what was reasoned about it."""
    thought = f"\nWhat was observed: {reasons}\n" if reasons else ""
    return Question(parts=(*parts, thought + YES_OR_NO), system=SYSTEM)


def reasoning(parts: tuple[str | Picture, ...]) -> Question:
    """The question for reasons, not yet for a yes or no."""
    wish = "First say in two sentences what the frames show that matters to this."
    return Question(parts=(*parts, wish), system=SYSTEM)


def _rules(principles: Sequence[str]) -> str:
    if not principles:
        return ""
    return "Judge by these principles:\n" + "".join(f"- {rule}\n" for rule in principles)
