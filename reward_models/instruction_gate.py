"""A single-task reward that does not read: what keeps it from rewarding a wrong instruction.

The gate knows the instructions that the wrapped reward was trained on. It opens for a sentence
whose vector is close to one of them, and closer than to any sentence known to mean something else.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.encoders import TextEncoder
from embodied.errors import BadConfig
from embodied.reward_models.base import (
    LearnsFromPreferences,
    Preferences,
    RewardModel,
    Scores,
    nothing,
)
from embodied.reward_models.wrapper import Lesson, Wrapper
from embodied.types import Clip

THRESHOLD = 0.7
"""Cosine from which two sentences may mean the same."""


@final
class InstructionGate(Wrapper):
    """The wrapped reward for instructions that it was trained on, nothing for all others.

    Closeness of sentence vectors is closeness of topic: "close the drawer" has a cosine of 0.9 with
    "open the drawer". An opposite is told apart only where `fit` was given it as a distractor.

    Args:
        model: Learned on one task; several tasks are not told apart from each other.
        text_encoder: Makes a vector of each new instruction, once.
        threshold: Least cosine with an instruction of the training clips.
        labels: Where people's answers are kept, for a model that learns from them: the folder of
            the dataset whose clips were compared, or a database's URL, or several. The gate does
            not look; who trains the reward reads the answers, and calls `hear`.
        rater_kinds: Of the raters whose answers are read; None for all.

    Raises:
        BadConfig: for a threshold that no cosine reaches, or every one.
    """

    def __init__(
        self,
        model: RewardModel,
        text_encoder: TextEncoder,
        threshold: float = THRESHOLD,
        labels: str | Sequence[str] | None = None,
        rater_kinds: Sequence[str] | None = None,
    ) -> None:
        super().__init__([model])
        if not -1 < threshold <= 1:
            raise BadConfig(f"the threshold is a cosine in (-1, 1], not {threshold}.")
        self.text_encoder, self.threshold = text_encoder, threshold
        self.labels, self.rater_kinds = labels, rater_kinds

    @property
    def origin(self) -> Mapping[str, Any] | None:
        """Which answers the model has learned from; None if it has learned from none."""
        (model,) = self.models
        return model.origin if isinstance(model, LearnsFromPreferences) else None

    def hear(self, preferences: Preferences) -> None:
        """Pass what people said on to the model.

        Raises:
            BadConfig: if the model does not learn from it.
            BadInput: if nobody said which of two clips is better.
        """
        (model,) = self.models
        if not isinstance(model, LearnsFromPreferences):
            raise BadConfig(
                f"a {type(model).__name__} does not learn from people's answers; leave "
                "reward.labels out, or choose reward=preference or reward=rapl."
            )
        model.hear(preferences)

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """What the model says if the gate is open."""
        return said[0] if self.opens(clip.instruction) else nothing(len(clip))

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the model, and remember its instructions and the distractors."""
        clips = (*lesson.successes, *lesson.failures)
        right = dict.fromkeys(clip.instruction for clip in clips)
        wrong = dict.fromkeys(t for t in lesson.distractor_instructions if t not in right)
        self.memory = {"right": self._vectors(right), "wrong": self._vectors(wrong)}
        return self.fit_parts(lesson)

    def opens(self, instruction: str) -> bool:
        """Whether the instruction is taken for one that the model was trained on.

        Raises:
            BadConfig: before the first training.
        """
        right, wrong = self.memory.get("right", {}), self.memory.get("wrong", {})
        if not right:
            raise BadConfig("the gate knows no instruction; call fit or load first.")
        if instruction in right or instruction in wrong:
            return instruction in right
        vector = self._vector(instruction)
        closest = _closest(vector, right)
        return closest >= self.threshold and closest > _closest(vector, wrong)

    def _vectors(self, texts: Iterable[str]) -> dict[str, Tensor]:
        return {text: self._vector(text) for text in texts}

    def _vector(self, text: str) -> Float[Tensor, " text"]:
        return torch.from_numpy(np.array(self.text_encoder.encode(text), np.float32))


def _closest(vector: Float[Tensor, " text"], known: Mapping[str, Tensor]) -> float:
    return max((float(vector @ other) for other in known.values()), default=-1.0)
