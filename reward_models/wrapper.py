"""What all rewards that are made of other rewards share: see `docs/rewards/combinators.md`.

A wrapper trains, scores, saves and loads its parts. What it makes of their scores (`combine`) and
what it learns itself (`study`) is its own; what it has learned it keeps in `memory`.
"""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from embodied.errors import BadConfig
from embodied.reward_models.base import RewardModel, Scores, TrainableReward, check_clip
from embodied.reward_models.stored_reward import StoredReward
from embodied.types import Clip


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a reward is trained on, and how: the arguments of `TrainableReward.fit`."""

    successes: Sequence[Clip]
    failures: Sequence[Clip]
    distractor_instructions: Sequence[str]
    seed: int
    steps: int
    progress_callback: Callable[[float], None] | None


class Wrapper(StoredReward, abc.ABC):
    """A reward made of others, which need not be trainable themselves.

    Args:
        parts: The rewards that it is made of.

    Raises:
        BadConfig: without a part.
    """

    def __init__(self, parts: Sequence[RewardModel]) -> None:
        super().__init__()
        if not parts:
            raise BadConfig(f"a {type(self).__name__} needs a reward to be made of.")
        self.models: tuple[RewardModel, ...] = tuple(parts)
        self.parts = nn.ModuleList(parts)
        self.causal = all(part.causal for part in parts)
        self.asked_alone = any(part.asked_alone for part in parts)
        self.cameras = tuple(dict.fromkeys(camera for part in parts for camera in part.cameras))
        self.memory: dict[str, Any] = {}
        """What the wrapper itself has learned: tensors, numbers, texts, and mappings of them."""
        self.eval()

    @abc.abstractmethod
    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """The scores of a clip, from those that each part gives it."""

    @abc.abstractmethod
    def study(self, lesson: Lesson) -> dict[str, float]:
        """Train the parts (`fit_parts` does) and fill `memory`; returns metrics by name."""

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if a part, or the wrapper, is untrained.
        """
        for clip in clips:
            check_clip(clip, self.cameras)
        said = [model.score(clips) for model in self.models]
        return [self.combine(clip, own) for clip, *own in zip(clips, *said, strict=True)]

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Train the parts that can be trained, then what the wrapper itself learns.

        Returns:
            The metrics of the parts (prefixed by ``part<number>_`` if there are several), and the
            wrapper's own.
        """
        lesson = Lesson(
            successes=successes,
            failures=failures,
            distractor_instructions=distractor_instructions,
            seed=seed,
            steps=steps,
            progress_callback=progress_callback,
        )
        metrics = self.study(lesson)
        self.version += 1
        return metrics

    def fit_parts(self, lesson: Lesson) -> dict[str, float]:
        """Train every part that can be trained on the same lesson; returns their metrics."""
        return self.fit_each([lesson] * len(self.models))

    def fit_each(self, lessons: Sequence[Lesson]) -> dict[str, float]:
        """Train every part that can be trained on a lesson of its own; returns their metrics."""
        metrics: dict[str, float] = {}
        for number, (model, lesson) in enumerate(zip(self.models, lessons, strict=True)):
            if not isinstance(model, TrainableReward):
                continue
            report = lesson.progress_callback
            found = model.fit(
                lesson.successes,
                lesson.failures,
                distractor_instructions=lesson.distractor_instructions,
                seed=lesson.seed,
                steps=lesson.steps,
                progress_callback=report and partial(_tell, report, number, len(self.models)),
            )
            prefix = f"part{number}_" if len(self.models) > 1 else ""
            metrics |= {prefix + name: value for name, value in found.items()}
        return metrics

    def identity(self) -> dict[str, Any]:
        """What it is made of."""
        return {
            "parts": [type(model).__name__ for model in self.models],
            "cameras": list(self.cameras),
        }

    def learned(self) -> dict[str, Any]:
        """What each part saves, and the wrapper's own memory."""
        kept = [_bytes_of(model) for model in self.models if isinstance(model, TrainableReward)]
        return {"parts": kept, "memory": self.memory}

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what `learned` gave."""
        trainable = [model for model in self.models if isinstance(model, TrainableReward)]
        for model, stored in zip(trainable, learned["parts"], strict=True):
            _load_bytes(model, stored)
        self.memory = learned["memory"]


def _tell(report: Callable[[float], None], number: int, parts: int, share: float) -> None:
    report((number + share) / parts)


def _bytes_of(model: TrainableReward) -> UInt8[Tensor, " byte"]:
    """What a part saves, as a tensor."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "part"
        model.save(path)
        return torch.from_numpy(np.frombuffer(path.read_bytes(), np.uint8).copy())


def _load_bytes(model: TrainableReward, stored: UInt8[Tensor, " byte"]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"part of kind {type(model).__name__}"
        path.write_bytes(stored.numpy().tobytes())
        model.load(path)
