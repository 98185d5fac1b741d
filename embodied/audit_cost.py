"""What asking a reward costs: time per frame, and memory."""

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from embodied.audit_evidence import score_all
from embodied.audit_pins import stored_tensors
from embodied.reward_models.base import RewardModel
from embodied.types import Clip, FrameEncoder

PROCESS = Path("/proc/self")
"""Where Linux says, and forgets, how much memory this process has taken at most."""
MB = 2**20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of scoring one clip at a time, and of encoding its pictures."""

    latency_ms: Mapping[str, float]
    memory_mb: Mapping[str, float]
    """``model``; and, where the system says it, ``added`` and ``peak``."""


def cost_of(model: RewardModel, clips: Sequence[Clip], encoder: FrameEncoder) -> Cost:
    """Milliseconds per frame (p50, p99 over clips), and megabytes.

    Memory is that of the longest clip, which is scored once before: what is built on first use, and
    then kept, does not count as added.
    """
    longest = max(clips, key=len)
    score_all(model, [longest])
    memory = {"model": size_mb(model), **_peak_mb(partial(model.score, [longest]))}
    scored = [_timed(partial(model.score, [clip])) / len(clip) for clip in clips]
    encoded = [
        _timed(partial(encoder.encode, frames)) / len(frames)
        for frames in (
            clip.frames[camera][:16]
            for clip in clips[:8]
            for camera in model.cameras
            if camera in clip.frames
        )
    ]
    latency = dict(zip(("score_p50", "score_p99"), _percentiles(scored), strict=True))
    if encoded:
        latency |= dict(zip(("encode_p50", "encode_p99"), _percentiles(encoded), strict=True))
    return Cost(latency_ms=latency, memory_mb=memory)


def size_mb(model: nn.Module) -> float:
    """Megabytes of the model's parameters, and of the other tensors in its state.

    A frozen encoder that only makes its features is not part of it.
    """
    return sum(tensor.nbytes for _, tensor in stored_tensors(model.state_dict())) / MB


def _peak_mb(call: Callable[[], object]) -> dict[str, float]:
    """What the process takes at most during a call, and how much of that the call added.

    Freed memory that the allocator still holds is given back first. Otherwise a call that finds
    enough of it seems to need nothing: after hours of work, every call does.
    """
    if not _give_back():
        return {}
    before = _forget_peak()
    call()
    peak = _memory_mb("VmHWM")
    return {} if before is None or peak is None else {"peak": peak, "added": peak - before}


def _give_back() -> bool:
    """Return freed memory to the system; False where the C library is not GNU's."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        return False
    return True


def _forget_peak() -> float | None:
    """Megabytes taken now; from here on the peak is counted anew."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return None
    return _memory_mb("VmHWM")


def _memory_mb(field: str) -> float | None:
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) / 1024 if found else None


def _percentiles(values: Sequence[float]) -> list[float]:
    return [float(value) for value in np.percentile(values, [50, 99])]


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)
