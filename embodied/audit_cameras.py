"""Several cameras: what a reward loses without one, and when they are swapped."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embodied.audit_evidence import Evidence, score_all
from embodied.audit_losses import Robustness, edited_row
from embodied.audit_perturbations import swap_cameras
from embodied.reward_models.base import RewardModel
from embodied.types import Clip, FrameEncoder


def swapped_row(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    evidence: Evidence,
    seed: int,
) -> list[Robustness]:
    """Cameras that were plugged in the wrong way round, where there are several alike."""
    clips = [*successes, *failures]
    if len(model.cameras) < 2 or any(not _alike(clip, model.cameras) for clip in clips):
        return []
    after = score_all(model, [swap_cameras(clip, model.cameras) for clip in clips])
    good, bad = after[: len(successes)], after[len(successes) :]
    return [edited_row("swapped_cameras", "cameras swapped", seed, evidence, good, bad)]


def _alike(clip: Clip, cameras: Sequence[str]) -> bool:
    held = [{c: m.shape for c, m in kept.items()} for kept in (clip.frames, clip.features)]
    return all(len({shapes[c] for c in cameras if c in shapes}) <= 1 for shapes in held)


def camera_rows(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    evidence: Evidence,
    encoder: FrameEncoder,
    *,
    seed: int,
) -> tuple[Robustness, ...]:
    """What a reward of several cameras loses without each of them, and with each alone.

    A camera that is left out shows black.
    """
    cameras = model.cameras
    if len(cameras) < 2:
        return ()
    views = {f"without_{c}": (f"without {c}", [c]) for c in cameras}
    if len(cameras) > 2:
        alone = {f"only_{c}": (f"only {c}", [o for o in cameras if o != c]) for c in cameras}
        views |= alone
    rows = []
    for name, (title, hidden) in views.items():
        good, bad = (
            score_all(model, [_darkened(clip, hidden, encoder) for clip in clips])
            for clips in (successes, failures)
        )
        rows.append(edited_row(name, title, seed, evidence, good, bad))
    return tuple(rows)


def _darkened(clip: Clip, cameras: Sequence[str], encoder: FrameEncoder) -> Clip:
    """The clip with these cameras black; one black frame is encoded for all."""
    frames, features = dict(clip.frames), dict(clip.features)
    for camera in cameras:
        if camera in frames:
            frames[camera] = np.zeros_like(frames[camera])
            if camera in features:
                black = encoder.encode(frames[camera][:1])
                features[camera] = np.repeat(black, len(clip), axis=0)
        else:
            features[camera] = np.zeros_like(features[camera])
    return replace(clip, frames=frames, features=features)
