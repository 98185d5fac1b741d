"""What asking a reward costs: time per frame, and memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from embodied.audit_evidence import score_all
from embodied.reward_models.base import RewardModel
from embodied.types import Clip, FrameEncoder

PROCESS = Path("/proc/self")
"""Where Linux says, and forgets, how much memory this process has taken at most."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of scoring one clip at a time, and of encoding its pictures."""

    latency_ms: Mapping[str, float]
    memory_mb: Mapping[str, float]
    """Empty where the system does not say."""


def cost_of(model: RewardModel, clips: Sequence[Clip], encoder: FrameEncoder) -> Cost:
    """Milliseconds per frame (p50, p99 over clips), and megabytes."""
    score_all(model, clips[:1])
    before = _forget_peak()
    scored = [_timed(partial(model.score, [clip])) / len(clip) for clip in clips]
    peak = _memory_mb("VmHWM")
    memory = {} if before is None or peak is None else {"peak": peak, "added": peak - before}
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


def _forget_peak() -> float | None:
    """Megabytes taken now; from here on the peak is counted anew."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return None
    return _memory_mb("VmRSS")


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
