"""What an audit's numbers depend on: clips, cameras, instructions, reward, encoder, code."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from embodied.audit_gates import Gates
from embodied.provenance import provenance
from embodied.reward_models.base import LearnsFromPreferences, RewardModel
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
        "preferences": model.origin if isinstance(model, LearnsFromPreferences) else None,
    }


def fingerprint(model: RewardModel) -> str:
    """Changes whenever the model's class or a tensor of its state does; settings are not in it."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for name, tensor in sorted(stored_tensors(model.state_dict()), key=lambda pair: pair[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"{type(model).__name__}-{digest.hexdigest()[:12]}"


def stored_tensors(state: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model's state, also those that it keeps beside parameters and buffers."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from stored_tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, list | tuple):
        for number, value in enumerate(state):
            yield from stored_tensors(value, f"{name}.{number}")
