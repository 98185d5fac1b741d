"""What an audit's numbers depend on: clips, cameras, instructions, reward, encoder, code."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from embodied.audit_gates import Gates
from embodied.provenance import provenance
from embodied.reward_models.base import RewardModel
from embodied.types import Clip, FrameEncoder


def pins_of(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    encoder: FrameEncoder,
    *,
    other_instructions: Sequence[str],
    fps: float,
    seed: int,
    gates: Gates,
) -> dict[str, Any]:
    """All of it, by name."""
    clips = [*successes, *failures]
    lengths = [len(clip) for clip in clips]
    return {
        "reward": fingerprint(model),
        "causal": model.causal,
        "encoder": encoder.fingerprint,
        "instructions": sorted({clip.instruction for clip in clips}),
        "other_instructions": list(other_instructions),
        "successes": len(successes),
        "failures": len(failures),
        "frames_per_clip": {"min": min(lengths), "max": max(lengths), "total": sum(lengths)},
        "frame_order": "oldest first",
        "fps": fps,
        "resolution": {
            camera: f"{frames.shape[2]} x {frames.shape[1]}"
            for camera, frames in clips[0].frames.items()
        },
        "cameras": list(model.cameras),
        "seed": seed,
        "gates": asdict(gates),
        "provenance": provenance(),
    }


def fingerprint(model: RewardModel) -> str:
    """Changes whenever the model's class, parameters or buffers do; settings are not in it."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"{type(model).__name__}-{digest.hexdigest()[:12]}"
