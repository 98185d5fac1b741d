"""What rewards ask of a vision-language model: words, and how probable each of them was.

Two back ends keep this contract: `vlm_transformers.py` runs the model here, `vlm_endpoint.py` asks
a server. Neither knows what the questions are about.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from embodied.errors import EmbodiedError

Picture = UInt8[np.ndarray, "_ _ 3"]
"""Height x width x RGB; pictures beside each other may differ in size."""


class Unanswered(EmbodiedError):
    """A vision-language model gave no usable answer: dead, slow, malformed, or refusing."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Text and pictures in the order in which the model is to see them."""

    parts: tuple[str | Picture, ...]
    system: str = ""
    """Who the model is to be; empty for its own default."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token of an answer."""

    text: str
    probabilities: Mapping[str, float]
    """Of the likeliest tokens in its place, itself among them; empty if they are not known."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said, its likeliest token at each place."""

    text: str
    tokens: tuple[Token, ...]


@runtime_checkable
class VisionLanguageModel(Protocol):
    """Answers questions about pictures. The same question always has the same answer."""

    @property
    def fingerprint(self) -> str:
        """Names the weights."""
        ...

    def answer(
        self, questions: Sequence[Question], *, max_tokens: int
    ) -> list[Answer | Unanswered]:
        """An answer to each question, of ``max_tokens`` or fewer; or why there is none.

        Raises:
            BadConfig: if no question can be answered as the model is set up.
        """
        ...


def probability_of_yes(answer: Answer | Unanswered, least_mass: float) -> float | Unanswered:
    """P(yes) / (P(yes) + P(no)) where the answer says either, over all ways of writing them.

    Args:
        answer: To a question that is to be answered by yes or no.
        least_mass: P(yes) + P(no) from which the answer counts as one.
    """
    if isinstance(answer, Unanswered):
        return answer
    if answer.tokens and not any(token.probabilities for token in answer.tokens):
        return Unanswered(
            "the model gives no token probabilities; a server needs logprobs and top_logprobs "
            "switched on."
        )
    for token in answer.tokens:
        yes, no = _mass(token, "yes"), _mass(token, "no")
        if yes + no > 0 and yes + no >= least_mass:
            return yes / (yes + no)
        if _word(token.text):
            break
    return Unanswered(f"the model says neither yes nor no, but '{answer.text[:80]}'.")


def insist[T](said: T | Unanswered) -> T:
    """What was said.

    Raises:
        Unanswered: if it is no answer.
    """
    if isinstance(said, Unanswered):
        raise said
    return said


def _mass(token: Token, word: str) -> float:
    return math.fsum(p for text, p in token.probabilities.items() if _word(text) == word)


def _word(text: str) -> str:
    """A token as a word: without blanks, the marks of blanks, stops and capitals."""
    return text.strip(" \t\n\r\u2581\u0120\u010a.,!*\"'`").lower()
