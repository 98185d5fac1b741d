"""Everything that the audit asks a reward model: the same clips for it and for its baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embodied.audit_perturbations import freeze, reverse, undo
from embodied.errors import BadInput
from embodied.reward_models.base import RewardModel, Scores
from embodied.types import Clip, FrameEncoder

GROUP = 16
"""Clips that are scored as one batch."""
FROZEN_POSITIONS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one model said of each clip; the lists run parallel to the held-out clips."""

    successes: Sequence[Scores]
    failures: Sequence[Scores]
    reversed: Sequence[Scores]
    """Successes played backwards; entry t is the t-th frame shown."""
    undone: Sequence[Scores]
    """Successes followed by their reverse."""
    frozen: Sequence[Sequence[Scores]]
    """Per success: its first, middle and last frame, each held."""
    wrong: Mapping[str, Sequence[Scores | None]]
    """Per other instruction: each success under it; None where it is the clip's own."""
    aside: Mapping[str, Sequence[Scores | None]]
    """The same for instructions that no gate counts."""

    @property
    def asked(self) -> Mapping[str, Sequence[Scores | None]]:
        """Both."""
        return {**self.wrong, **self.aside}


def collect(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    other_instructions: Sequence[str],
    counterfactuals: Sequence[str] = (),
) -> Evidence:
    """Ask the model about every variant of every clip."""
    frozen = [
        score_all(model, [freeze(clip, position) for clip in successes])
        for position in FROZEN_POSITIONS
    ]
    return Evidence(
        successes=score_all(model, successes),
        failures=score_all(model, failures),
        reversed=score_all(model, [reverse(clip) for clip in successes]),
        undone=score_all(model, [undo(clip) for clip in successes]),
        frozen=list(zip(*frozen, strict=True)),
        wrong={other: _under(model, successes, other) for other in other_instructions},
        aside={other: _under(model, successes, other) for other in counterfactuals},
    )


def _under(model: RewardModel, clips: Sequence[Clip], instruction: str) -> list[Scores | None]:
    asked = [i for i, clip in enumerate(clips) if clip.instruction != instruction]
    scores = score_all(model, [replace(clips[i], instruction=instruction) for i in asked])
    answers: list[Scores | None] = [None] * len(clips)
    for i, score in zip(asked, scores, strict=True):
        answers[i] = score
    return answers


def score_all(model: RewardModel, clips: Sequence[Clip]) -> list[Scores]:
    """Scores of any number of clips, a few at a time.

    Raises:
        BadInput: if the model returns another number of frames than it was shown, or a NaN.
    """
    scores = [
        score
        for start in range(0, len(clips), GROUP)
        for score in model.score(clips[start : start + GROUP])
    ]
    for clip, score in zip(clips, scores, strict=True):
        for name in ("reward", "progress", "done", "uncertainty"):
            values = getattr(score, name)
            if len(values) != len(clip) or not np.isfinite(values).all():
                raise BadInput(
                    f"{type(model).__name__} returned {len(values)} values of {name}, "
                    f"{np.isfinite(values).sum()} of them finite, for a clip of {len(clip)} frames."
                )
    return scores


def with_features(
    clips: Sequence[Clip], encoder: FrameEncoder, cameras: Sequence[str]
) -> list[Clip]:
    """Clips with features of all cameras; each frame that has none is encoded once.

    Raises:
        BadInput: if a clip lacks a camera.
    """
    return [_encoded(clip, encoder, cameras) for clip in clips]


def _encoded(clip: Clip, encoder: FrameEncoder, cameras: Sequence[str]) -> Clip:
    features = dict(clip.features)
    for camera in cameras:
        if camera in features:
            continue
        if camera not in clip.frames:
            held = ", ".join(sorted({*clip.frames, *clip.features})) or "none"
            raise BadInput(f"the reward needs camera '{camera}'; the clip has {held}.")
        features[camera] = encoder.encode(clip.frames[camera])
    return replace(clip, features=features)
