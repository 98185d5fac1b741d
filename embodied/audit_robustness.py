"""What a reward loses when the same clips look, or run, a little differently."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from embodied.audit_cameras import swapped_row
from embodied.audit_evidence import Evidence, score_all, with_features
from embodied.audit_losses import Robustness, drop_of, edited_row, finals, numbers_of, row_of
from embodied.audit_perturbations import DETOURS, change_speed, drop_frames, take, thin
from embodied.audit_pictures import edit_images, image_perturbations
from embodied.reward_models.base import RewardModel, Scores
from embodied.statistics import voc
from embodied.types import Clip, FrameEncoder

IMAGE_CLIPS = 8
"""Successes, and failures, whose pictures are perturbed: each has to be encoded again."""
ELSEWHERE = {"camera_shift": "camera really shifted", "other_robot": "another robot"}
"""Clips of the same task that were recorded otherwise, and cannot be made from the given ones."""


def robustness(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    evidence: Evidence,
    encoder: FrameEncoder,
    *,
    seed: int,
    elsewhere: Mapping[str, tuple[Sequence[Clip], Sequence[Clip]]],
) -> tuple[Robustness, ...]:
    """Every perturbation's numbers. Pictures are left alone where the clips hold none.

    Args:
        model: The reward.
        successes: With features.
        failures: With features.
        evidence: What the model said of them unperturbed.
        encoder: Encodes perturbed pictures.
        seed: Of dropped frames and of the bootstrap.
        elsewhere: By a name of `ELSEWHERE`, successes and failures recorded otherwise; they need
            not be the same episodes, so their drop compares means.
    """
    rng = np.random.default_rng(seed)
    edits: dict[str, tuple[str, Callable[[Clip], Clip]]] = {
        "dropped_frames": ("30 % of frames lost", lambda clip: drop_frames(clip, 0.3, rng)),
        "half_speed": ("half the speed", lambda clip: change_speed(clip, 0.5)),
        "double_speed": ("twice the speed", lambda clip: change_speed(clip, 2.0)),
    }
    rows = [
        edited_row(
            name,
            title,
            seed,
            evidence,
            score_all(model, [*map(edit, successes)]),
            score_all(model, [*map(edit, failures)]),
        )
        for name, (title, edit) in edits.items()
    ]
    rows += _detours(model, successes, failures, evidence, seed)
    rows += swapped_row(model, successes, failures, evidence, seed)
    rows += _image_rows(model, successes, failures, encoder, seed)
    rows += [
        _elsewhere_row(name, model, evidence, clips, encoder, seed)
        for name, clips in elsewhere.items()
    ]
    return tuple(rows)


def _detours(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    evidence: Evidence,
    seed: int,
) -> list[Robustness]:
    """Clips that go back, stop or repeat themselves, judged against how far they really are."""
    rows = []
    for detour in DETOURS:
        good, bad = (
            score_all(model, [take(clip, detour.path(len(clip))) for clip in clips])
            for clips in (successes, failures)
        )
        truths = [detour.path(len(clip)).astype(float) for clip in successes]
        row = edited_row(detour.name, detour.title, seed, evidence, good, bad, truths)
        clock = [voc(np.arange(len(truth), dtype=float), truth) for truth in truths]
        rows.append(replace(row, clock=float(np.mean(clock))))
    return rows


def _image_rows(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    encoder: FrameEncoder,
    seed: int,
) -> list[Robustness]:
    if not all(set(model.cameras) <= set(clip.frames) for clip in [*successes, *failures]):
        return []
    chosen = [*successes[:IMAGE_CLIPS], *failures[:IMAGE_CLIPS]]
    good = len(successes[:IMAGE_CLIPS])
    rows = []
    unperturbed: dict[int, list[Scores]] = {}
    for perturbation in image_perturbations():
        kept = [thin(clip, perturbation.frames) for clip in chosen]
        if perturbation.frames not in unperturbed:
            unperturbed[perturbation.frames] = score_all(model, kept)
        edited = [
            edit_images(clip, perturbation.edit, i if i < good else i - good)
            for i, clip in enumerate(kept)
        ]
        after = score_all(model, with_features(edited, encoder, model.cameras))
        pairs = list(zip(unperturbed[perturbation.frames], after, strict=True))
        rows.append(row_of(perturbation.name, perturbation.title, seed, pairs[:good], pairs[good:]))
    return rows


def _elsewhere_row(
    name: str,
    model: RewardModel,
    evidence: Evidence,
    recorded: tuple[Sequence[Clip], Sequence[Clip]],
    encoder: FrameEncoder,
    seed: int,
) -> Robustness:
    good, bad = (
        score_all(model, with_features(clips, encoder, model.cameras)) for clips in recorded
    )
    moved = finals(good).mean() - finals(evidence.successes).mean()
    return Robustness(
        name=name,
        title=ELSEWHERE[name],
        drop=drop_of((evidence.successes, evidence.failures), (good, bad), seed, paired=False),
        moved=float(abs(moved)),
        **numbers_of(good, bad, seed),
    )
