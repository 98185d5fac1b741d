"""What every reward model offers: scores of whole clips, with uncertainty."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int
from torch import nn

from embodied.errors import BadInput
from embodied.types import Clip, Labels


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a reward model says of one clip, frame by frame."""

    reward: Float32[np.ndarray, " time"]
    """Reward for arriving at each frame from the one before; 0 at the first."""
    progress: Float32[np.ndarray, " time"]
    """Share of the task that is done, in [0, 1]."""
    done: Float32[np.ndarray, " time"]
    """Probability that the task is complete."""
    uncertainty: Float32[np.ndarray, " time"]
    """Standard deviation of the progress; 0 for a model without an ensemble."""
    success: bool
    """Whether the clip as a whole counts as a success."""
    done_index: int
    """First frame from which the task counts as complete; the clip's length if there is none."""


def nothing(length: int) -> Scores:
    """Scores of a clip in which nothing happens that would be worth a reward."""
    return Scores(
        reward=np.zeros(length, np.float32),
        progress=np.zeros(length, np.float32),
        done=np.zeros(length, np.float32),
        uncertainty=np.zeros(length, np.float32),
        success=False,
        done_index=length,
    )


def abstention(length: int) -> Scores:
    """Scores of a clip about which nothing is known: no reward, and as unsure as can be."""
    return replace(nothing(length), uncertainty=np.ones(length, np.float32))


class RewardModel(nn.Module, abc.ABC):
    """Scores clips. Concrete models are final: change one by wrapping it."""

    causal: bool
    """Whether a frame's score ignores later frames, so that it can be had mid-episode."""
    cameras: tuple[str, ...]
    """Cameras that a clip must have."""
    asked_alone: bool = False
    """Whether clips are to be scored one by one: several may not be answered in time together."""

    @abc.abstractmethod
    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip, computed as one batch; clips may differ in length."""


@runtime_checkable
class Meter(Protocol):
    """Estimates progress while an episode runs."""

    done: float
    """Probability that the task is complete in the newest frame."""

    def begin(self, instruction: str) -> None:
        """Start a new episode."""
        ...

    def update(self, features: Mapping[str, Float[np.ndarray, "channel row column"]]) -> float:
        """Progress in [0, 1] after one more frame."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A reward model that has a meter of its own, cheaper than scoring all frames anew."""

    def meter(self) -> Meter:
        """A meter that says of each frame what the model would say of it."""
        ...


@runtime_checkable
class Compares(Protocol):
    """A reward model that can say which of two clips is the better attempt."""

    def compare(
        self, first: Sequence[Clip], second: Sequence[Clip]
    ) -> Float32[np.ndarray, " pair"]:
        """Probability in [0, 1] that the second clip of each pair is further on, or better."""
        ...


@runtime_checkable
class Chooses(Protocol):
    """A reward model with settings that a few labelled frames can choose among."""

    @property
    def chosen(self) -> str:
        """The setting in use, in words."""
        ...

    def signals(self, clips: Sequence[Clip]) -> Mapping[str, list[Float[np.ndarray, " _"]]]:
        """Per setting, in words: what it says of each frame of each clip, more being better."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which frames of a clip are matched with which frames of a reference."""

    reference: int
    """Number of the reference, of those that the model keeps."""
    mass: Float[np.ndarray, "time other"]
    """Share of the whole that falls on each two frames, those of the clip first; sums to 1."""


@runtime_checkable
class Matches(Protocol):
    """A reward model that lays a clip beside the reference that it is nearest to."""

    def plans(self, clips: Sequence[Clip]) -> list[Plan]:
        """For each clip, how its frames are matched with its best reference's."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What people said of pairs of clips, and where that is kept."""

    clips: Sequence[Clip]
    first: Int[np.ndarray, " pair"]
    """Numbers of clips."""
    second: Int[np.ndarray, " pair"]
    target: Float[np.ndarray, " pair"]
    """Probability that the first clip is the better one: 1, 0, between them if that was
    said slightly, 0.5 for a tie."""
    rater: Int[np.ndarray, " pair"]
    """Numbers of `raters`."""
    raters: tuple[str, ...]
    origin: Mapping[str, str | int]
    """``database``, ``dataset``, how many ``labels``, the id of the ``last_label``, and the
    ``rater_kinds`` whose answers were read; of several databases one after the other, by commas."""
    negatives: Sequence[int] = ()
    """Numbers of clips that somebody called bad whatever they are compared with ("both bad")."""

    @property
    def bad(self) -> list[Clip]:
        """Those clips: no success, however they are preferred to others."""
        return [self.clips[number] for number in self.negatives]

    def decided(self) -> list[tuple[int, int]]:
        """Pairs of clips, the better one first; ties are left out."""
        return decided(self.first, self.second, self.target)


def decided(
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
    target: Float[np.ndarray, " pair"],
) -> list[tuple[int, int]]:
    """Pairs of clips, the better one first; ties are left out. See `Preferences`."""
    sides = zip(first.tolist(), second.tolist(), target, strict=True)
    return [(a, b) if ahead > 0.5 else (b, a) for a, b, ahead in sides if ahead != 0.5]


@runtime_checkable
class LearnsFromPreferences(Protocol):
    """A reward model that is told what people prefer before it is trained."""

    @property
    def origin(self) -> Mapping[str, Any] | None:
        """Which answers it has learned from; None if it has learned from none."""
        ...

    def hear(self, preferences: Preferences) -> None:
        """Take note of what people said; the next `fit` learns from it.

        Raises:
            BadInput: if nobody said which of two clips is better.
        """
        ...


class TrainableReward(RewardModel, abc.ABC):
    """A reward model that learns from episodes whose outcome is known."""

    version: int
    """Counts how often the model was trained; 0 before the first time."""

    @abc.abstractmethod
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
        """Train anew on all clips, and add 1 to `version`; returns metrics by name."""

    @abc.abstractmethod
    def save(self, path: Path) -> None:
        """Write everything that `load` needs; the file is whole or not there."""

    @abc.abstractmethod
    def load(self, path: Path) -> None:
        """Take over what `save` wrote.

        Raises:
            CorruptFile: if the file cannot be read back whole.
            BadConfig: if it belongs to a model that is built differently.
        """


def labels_of(scores: Scores, reward_version: int) -> Labels:
    """Per-step labels of an episode from the scores of its observations."""
    return Labels(
        reward=scores.reward[1:],
        progress=scores.progress,
        done=scores.done,
        uncertainty=scores.uncertainty,
        success=scores.success,
        done_index=scores.done_index,
        reward_version=reward_version,
    )


def check_clip(clip: Clip, cameras: Sequence[str]) -> None:
    """Refuse a clip that no reward model can score.

    Raises:
        BadInput: without an instruction, with a camera missing, shorter than two frames, with
            cameras of different lengths, or with features that are no numbers.
    """
    if not clip.instruction.strip():
        raise BadInput("the clip has no instruction; say in words what the robot should do.")
    for camera in cameras:
        if camera not in clip.features and camera not in clip.frames:
            held = ", ".join(sorted({*clip.features, *clip.frames})) or "none"
            raise BadInput(f"the reward needs camera '{camera}'; the clip has {held}.")
    lengths = {len(held) for held in (*clip.frames.values(), *clip.features.values())}
    if len(lengths) > 1 or len(clip) < 2:
        raise BadInput(
            "a clip needs two frames or more, as many of each camera, "
            f"not {' and '.join(map(str, sorted(lengths)))}."
        )
    for camera, maps in clip.features.items():
        if not np.isfinite(maps).all():
            raise BadInput(f"the clip's features of camera '{camera}' hold NaN or infinity.")
