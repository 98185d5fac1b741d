"""What a reward loses when the same clips look, or run, a little differently."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from jaxtyping import Float

from embodied.audit_evidence import Evidence, score_all, with_features
from embodied.audit_metrics import as_float, final_progress
from embodied.audit_perturbations import (
    change_speed,
    drop_frames,
    edit_images,
    image_perturbations,
    thin,
)
from embodied.reward_models.base import RewardModel, Scores
from embodied.statistics import (
    Interval,
    auroc,
    comparisons,
    mean_interval,
    percentiles,
    resampling_weights,
    voc,
    weighted_area,
    wilson,
)
from embodied.types import Clip, FrameEncoder

IMAGE_CLIPS = 8
"""Successes, and failures, whose pictures are perturbed: each has to be encoded again."""
IMAGE_FRAMES = 40
"""At most so many evenly spaced frames of each."""

Pair = tuple[Scores, Scores]
"""Scores of a clip as it was, and perturbed."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """One perturbation's numbers, over the clips that it was tried on."""

    name: str
    title: str
    voc: Interval
    """VOC of perturbed successes."""
    pair_accuracy: float
    """Perturbed successes against perturbed failures, by final progress."""
    drop: Interval
    """The larger of what VOC and pair accuracy lose against the same clips unperturbed."""
    moved: float
    """Mean absolute change of final progress."""
    false_success: Interval
    false_reject: Interval


def robustness(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    evidence: Evidence,
    encoder: FrameEncoder,
    *,
    seed: int,
    shifted: tuple[Sequence[Clip], Sequence[Clip]] | None,
) -> tuple[Robustness, ...]:
    """Every perturbation's numbers. Pictures are left alone where the clips hold none.

    Args:
        model: The reward.
        successes: With features.
        failures: With features.
        evidence: What the model said of them unperturbed.
        encoder: Encodes perturbed pictures.
        seed: Of dropped frames and of the bootstrap.
        shifted: Successes and failures rendered from a moved camera; they need not be the same
            episodes, so their drop compares means.
    """
    rng = np.random.default_rng(seed)
    edits: dict[str, tuple[str, Callable[[Clip], Clip]]] = {
        "dropped_frames": ("30 % of frames lost", lambda clip: drop_frames(clip, 0.3, rng)),
        "half_speed": ("half the speed", lambda clip: change_speed(clip, 0.5)),
        "double_speed": ("twice the speed", lambda clip: change_speed(clip, 2.0)),
    }
    rows = [
        _row(
            name, title, seed,
            list(zip(evidence.successes, score_all(model, [*map(edit, successes)]), strict=True)),
            list(zip(evidence.failures, score_all(model, [*map(edit, failures)]), strict=True)),
        )
        for name, (title, edit) in edits.items()
    ]  # fmt: skip
    rows += _image_rows(model, successes, failures, encoder, seed)
    if shifted is not None:
        rows.append(_shifted_row(model, evidence, shifted, encoder, seed))
    return tuple(rows)


def worst(rows: Sequence[Robustness]) -> Robustness:
    """The perturbation with the largest drop."""
    return max(rows, key=lambda row: row.drop.mean)


def _image_rows(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    encoder: FrameEncoder,
    seed: int,
) -> list[Robustness]:
    if not all(set(model.cameras) <= set(clip.frames) for clip in [*successes, *failures]):
        return []
    kept = [thin(clip, IMAGE_FRAMES) for clip in successes[:IMAGE_CLIPS]]
    good = len(kept)
    kept += [thin(clip, IMAGE_FRAMES) for clip in failures[:IMAGE_CLIPS]]
    before = score_all(model, kept)
    rows = []
    for perturbation in image_perturbations():
        edited = [
            edit_images(clip, perturbation.edit, i if i < good else i - good)
            for i, clip in enumerate(kept)
        ]
        after = score_all(model, with_features(edited, encoder, model.cameras))
        pairs = list(zip(before, after, strict=True))
        rows.append(_row(perturbation.name, perturbation.title, seed, pairs[:good], pairs[good:]))
    return rows


def _shifted_row(
    model: RewardModel,
    evidence: Evidence,
    shifted: tuple[Sequence[Clip], Sequence[Clip]],
    encoder: FrameEncoder,
    seed: int,
) -> Robustness:
    good, bad = (
        score_all(model, with_features(clips, encoder, model.cameras)) for clips in shifted
    )
    moved = _finals(good).mean() - _finals(evidence.successes).mean()
    return Robustness(
        name="camera_shift",
        title="camera really shifted",
        drop=_drop((evidence.successes, evidence.failures), (good, bad), seed, paired=False),
        moved=float(abs(moved)),
        **_numbers(good, bad, seed),
    )


def _row(name: str, title: str, seed: int, good: Sequence[Pair], bad: Sequence[Pair]) -> Robustness:
    before, after = (([pair[i] for pair in good], [pair[i] for pair in bad]) for i in (0, 1))
    moved = [abs(final_progress(a) - final_progress(b)) for a, b in [*good, *bad]]
    return Robustness(
        name=name,
        title=title,
        drop=_drop(before, after, seed, paired=True),
        moved=float(np.mean(moved)),
        **_numbers(*after, seed),
    )


Groups = tuple[Sequence[Scores], Sequence[Scores]]
"""Scores of successes and of failures."""


def _drop(before: Groups, after: Groups, seed: int, *, paired: bool) -> Interval:
    """The larger loss of VOC and of pair accuracy, with its bootstrap interval over clips."""
    rng = np.random.default_rng(seed)
    drawn = [resampling_weights(len(group), rng) for group in before]
    drawn_after = drawn if paired else [resampling_weights(len(group), rng) for group in after]
    whole, whole_after = (
        [np.full((1, len(group)), 1 / len(group)) for group in groups] for groups in (before, after)
    )
    n = min(map(len, [*before, *after]))
    return replace(
        percentiles(
            float(_losses(before, after, whole, whole_after)[0]),
            _losses(before, after, drawn, drawn_after),
            n,
        ),
        n=len(after[0]) + len(after[1]),
    )


def _losses(
    before: Groups,
    after: Groups,
    weights: Sequence[Float[np.ndarray, "resamples _"]],
    weights_after: Sequence[Float[np.ndarray, "resamples _"]],
) -> Float[np.ndarray, " resamples"]:
    order = weights[0] @ _orders(before[0]) - weights_after[0] @ _orders(after[0])
    accuracy = _areas(before, weights) - _areas(after, weights_after)
    return np.asarray(np.maximum(order, accuracy))


def _areas(
    groups: Groups, weights: Sequence[Float[np.ndarray, "resamples _"]]
) -> Float[np.ndarray, " resamples"]:
    ranked = comparisons(_finals(groups[0]), _finals(groups[1]))
    return weighted_area(weights[0], ranked, weights[1])


def _orders(scores: Sequence[Scores]) -> Float[np.ndarray, " clips"]:
    return np.array([voc(as_float(s)) for s in scores])


def _finals(scores: Sequence[Scores]) -> Float[np.ndarray, " clips"]:
    return np.array([final_progress(s) for s in scores])


class _Numbers(TypedDict):
    voc: Interval
    pair_accuracy: float
    false_success: Interval
    false_reject: Interval


def _numbers(good: Sequence[Scores], bad: Sequence[Scores], seed: int) -> _Numbers:
    return _Numbers(
        voc=mean_interval([*_orders(good)], seed=seed),
        pair_accuracy=auroc(_finals(good), _finals(bad)),
        false_success=wilson(sum(s.success for s in bad), len(bad)),
        false_reject=wilson(sum(not s.success for s in good), len(good)),
    )
