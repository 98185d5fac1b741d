"""How VLAC is asked, and how its answers are read.

The wording is the model's interface: it was trained on exactly these sentences (arXiv 2509.15937,
section 3.2; InternRobotics/VLAC). The critic answers by a signed percentage: how much of what
remained at the first image is done at the second. The done prompt is answered by 1 or 0.
"""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from embodied.reward_models.vlm import Answer, Picture, Question, Token, Unanswered

IMAGE_SIZE = 448
SYSTEM = (
    "You are a visual-language assistant designed to interpret spatial and task-related "
    "information from images and text. Provide precise, context-aware responses and actionable "
    "guidance to assist in achieving task objectives."
)
PAIR = (
    "Image-1: <image>\nImage-2: <image>\nCompare two images and evaluate whether the second image "
    "is closer to achieving task objectives compared to the first image. + score means the second "
    "image is closer, - score means the first image is closer\nResponse the relative progressing "
    "of target task follow <score>. The target task is: <task> {task} </task> <score>"
)
BEGINNING = "0% <image>\nThis image is the trajectory beginning of the following two images\n"
DONE = (
    "<image>The 1 means yes, the 0 means no. Check if the robot has completed its task: "
    "<task> {task} </task> <done>"
)
GOAL_DONE = (
    "<goal> <task> {task} </task>: <image>\n<goal>\n<image>\n The 1 means yes, the 0 means no. "
    "Refer to the goal, check if the robot has completed its task: <task> {task} </task> <done>"
)
LEAST_SHARE = 0.1
"""Of the likeliest token's probability, that another digit needs to count in soft decoding."""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
DIGITS = re.compile(r"([-+]?)(\d+)")


def critic_question(
    task: str,
    first: Picture,
    second: Picture,
    *,
    beginning: Picture | None = None,
    references: Sequence[Picture] = (),
) -> Question:
    """How much closer to the task the second image is.

    Args:
        task: In words.
        first: Earlier image of the attempt.
        second: Later image of the attempt.
        beginning: First image of the attempt; needed beside references only.
        references: Images of a demonstration, two or more, at equal times.
    """
    pair = PAIR.replace("{task}", task)
    if not references or beginning is None:
        return _fill(pair, [first, second])
    steps = [int(i / (len(references) - 1) * 100) for i in range(len(references))]
    example = "".join(f" {percent}% <image>\n" for percent in steps)
    text = f"<trajectory> <task> {task} </task>:{example}</trajectory>{BEGINNING}{pair}"
    return _fill(text, [*references, beginning, first, second])


def done_question(task: str, image: Picture, goal: Picture | None = None) -> Question:
    """Whether the task is complete in an image; compared with the end of a demonstration."""
    if goal is None:
        return _fill(DONE.replace("{task}", task), [image])
    return _fill(GOAL_DONE.replace("{task}", task), [goal, image])


def _fill(text: str, pictures: Sequence[Picture]) -> Question:
    """Each picture in its place; a line ends after it, as in the model's training."""
    texts = text.split("<image>")
    assert len(texts) == len(pictures) + 1, "a prompt has a place for each picture."
    parts: list[str | Picture] = [texts[0]] if texts[0] else []
    for picture, following in zip(pictures, texts[1:], strict=True):
        parts += [_square(picture), "\n" + following]
    return Question(parts=tuple(parts), system=SYSTEM)


def _square(picture: Picture) -> Picture:
    """At the size of the model's training; its shape is not kept, as there."""
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def critic_share(answer: Answer | Unanswered, *, soft: bool) -> float | Unanswered:
    """The critic's answer as a share in [-1, 1].

    Args:
        answer: To a critic question; a percentage, with or without sign and "%".
        soft: Take the expected value of each digit instead of the likeliest.
    """
    if isinstance(answer, Unanswered):
        return answer
    said = NUMBER.search(answer.text.rpartition("</think>")[2])
    if said is None:
        return Unanswered(f"the critic says no percentage, but '{answer.text[:80]}'.")
    number = float(said.group())
    if soft:
        expected = _expected(answer.tokens)
        number = number if expected is None else expected
    return max(-1.0, min(1.0, number / 100))


def done_probability(answer: Answer | Unanswered) -> float | Unanswered:
    """P(1) / (P(0) + P(1)) at the first 0 or 1 of a done answer; 0 or 1 without probabilities."""
    if isinstance(answer, Unanswered):
        return answer
    for token in answer.tokens:
        if token.text.strip() in ("0", "1"):
            mass = {
                digit: sum((p for t, p in token.probabilities.items() if t.strip() == digit), 0.0)
                for digit in ("0", "1")
            }
            total = sum(mass.values())
            return mass["1"] / total if total > 0 else float(token.text)
    return Unanswered(f"the done prompt says neither 0 nor 1, but '{answer.text[:80]}'.")


def _expected(tokens: Sequence[Token]) -> float | None:
    """Expected value of the first number that the tokens spell; None if they spell none."""
    run = _first_number(tokens)
    if not run:
        return None
    negative = _is_negative(tokens, run[0])
    whole = "".join(_digits(tokens[i]) for i in run)
    value, passed = 0.0, 0
    for place in run:
        length = len(_digits(tokens[place]))
        scale = 10 ** (len(whole) - passed - length)
        value += scale * _mean_digit(tokens[place], any_length=len(run) == 1)
        passed += length
    return -value if negative else value


def _first_number(tokens: Sequence[Token]) -> list[int]:
    """Places of the adjoining tokens that are the digits of the first whole number."""
    run: list[int] = []
    for place, token in enumerate(tokens):
        if _digits(token):
            run.append(place)
        elif run:
            break
    return run


def _is_negative(tokens: Sequence[Token], place: int) -> bool:
    before = tokens[place - 1].text.strip() if place else ""
    return tokens[place].text.strip().startswith("-") or before.endswith("-")


def _digits(token: Token) -> str:
    found = DIGITS.fullmatch(token.text.strip())
    return found.group(2) if found else ""


def _mean_digit(token: Token, *, any_length: bool) -> float:
    """Mean of the digits that are likely in a token's place.

    Args:
        token: One that is digits.
        any_length: Whether 9 and 10 may be averaged: only where the token is the whole number.
    """
    own = DIGITS.fullmatch(token.text.strip())
    assert own is not None
    least = LEAST_SHARE * max(token.probabilities.values(), default=0.0)
    total, mass = 0.0, 0.0
    for text, likely in token.probabilities.items():
        other = DIGITS.fullmatch(text.strip())
        if other is None or other.group(1) != own.group(1) or likely <= least:
            continue
        if any_length or len(other.group(2)) == len(own.group(2)):
            total += likely * float(other.group(2))
            mass += likely
    return total / mass if mass > 0 else float(own.group(2))
