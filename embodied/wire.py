"""Clips and scores as bytes, for a reward that is asked over a network.

A message is a safetensors file: arrays, and JSON among them. Its sizes are checked before anything
is made of it, and nothing in it can be code. Frames travel as they are, uint8.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embodied.errors import BadInput
from embodied.reward_models.base import Scores
from embodied.types import Clip

MEDIA_TYPE = "application/x-safetensors"
IDENTITY_PATH = "/v1/reward"
SCORE_PATH = "/v1/score"
DEADLINE_HEADER = "X-Deadline-S"
TOKEN_VARIABLE = "EMBODIED_REWARD_TOKEN"
HEADER = "header"
CURVES = ("reward", "progress", "done", "uncertainty")
MAX_TEXT = 4000
"""Characters of an instruction."""
Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


def clips_to_bytes(clips: Sequence[Clip]) -> bytes:
    """A request: frames and instructions. Features stay behind: the server has its own encoder.

    Raises:
        BadInput: for a clip without frames.
    """
    arrays: dict[str, Any] = {}
    header = {"clips": [_describe(clip, arrays) for clip in clips]}
    return _message(header, arrays)


def clips_from_bytes(body: bytes) -> list[Clip]:
    """Inverse of `clips_to_bytes`.

    Raises:
        BadInput: if the body is anything else.
    """
    header, arrays = _parts(body)
    described = header.get("clips")
    if not isinstance(described, list):
        raise BadInput("the request holds no list of clips.")
    return [_clip(entry, arrays, deep=True) for entry in described]


def scores_to_bytes(identity: Mapping[str, Any], scores: Sequence[Scores]) -> bytes:
    """An answer: who scored, and what it said."""
    said = [{"success": bool(s.success), "done_index": int(s.done_index)} for s in scores]
    curves = {
        str(number): np.stack([getattr(score, name) for name in CURVES]).astype(np.float32)
        for number, score in enumerate(scores)
    }
    return _message({"reward": dict(identity), "scores": said}, curves)


def scores_from_bytes(
    body: bytes, lengths: Sequence[int]
) -> tuple[Mapping[str, Any], list[Scores]]:
    """Inverse of `scores_to_bytes`, for clips of these lengths.

    Raises:
        BadInput: if the body is anything but finite scores of such clips.
    """
    header, arrays = _parts(body)
    identity, said = header.get("reward"), header.get("scores")
    if not isinstance(identity, dict) or not isinstance(said, list) or len(said) != len(lengths):
        raise BadInput(f"the answer holds no scores of {len(lengths)} clips.")
    return identity, [
        _scores(entry, arrays.get(str(number)), length)
        for number, (entry, length) in enumerate(zip(said, lengths, strict=True))
    ]


def _describe(clip: Clip, arrays: dict[str, Any]) -> dict[str, Any]:
    if not clip.frames:
        raise BadInput("a served reward looks at pictures; this clip has none, only features.")
    cameras = {}
    for camera, frames in clip.frames.items():
        cameras[camera] = str(len(arrays))
        arrays[cameras[camera]] = frames
    references = [_describe(reference, arrays) for reference in clip.references]
    return {"instruction": clip.instruction, "cameras": cameras, "references": references}


def _clip(entry: Any, arrays: Arrays, *, deep: bool) -> Clip:
    cameras = entry.get("cameras") if isinstance(entry, dict) else None
    if not isinstance(cameras, dict) or not cameras:
        raise BadInput("a clip of the request names no camera.")
    instruction, references = entry.get("instruction"), entry.get("references", [])
    if not isinstance(instruction, str) or len(instruction) > MAX_TEXT:
        raise BadInput(f"an instruction is text of at most {MAX_TEXT} characters.")
    if not isinstance(references, list) or (references and not deep):
        raise BadInput("references are clips, without references of their own.")
    frames = {str(camera): arrays.get(str(name)) for camera, name in cameras.items()}
    checked = {camera: _frames(camera, found) for camera, found in frames.items()}
    return Clip(
        frames=checked,
        features={},
        instruction=instruction,
        references=tuple(_clip(reference, arrays, deep=False) for reference in references),
    )


def _frames(camera: str, found: Shaped[np.ndarray, "..."] | None) -> Shaped[np.ndarray, "..."]:
    if found is None or found.dtype != np.uint8 or found.ndim != 4 or found.shape[-1] != 3:
        told = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
        raise BadInput(
            f"frames of camera '{camera}' are uint8, time x height x width x 3, not {told}."
        )
    return found


def _scores(entry: Any, curves: Shaped[np.ndarray, "..."] | None, length: int) -> Scores:
    if curves is None or curves.dtype != np.float32 or curves.shape != (len(CURVES), length):
        raise BadInput(f"the answer lacks the curves of a clip of {length} frames.")
    if not np.isfinite(curves).all():
        raise BadInput("the answer holds NaN or infinity.")
    named = dict(zip(CURVES, curves, strict=True))
    if any(named[n].min() < 0 or named[n].max() > 1 for n in ("progress", "done")):
        raise BadInput("the answer holds progress or done outside of [0, 1].")
    said = entry if isinstance(entry, dict) else {}
    success, done_index = said.get("success"), said.get("done_index")
    if not isinstance(success, bool) or not isinstance(done_index, int):
        raise BadInput("the answer does not say whether and where the clips succeed.")
    if not 0 <= done_index <= length or success != (done_index < length):
        raise BadInput(f"the answer's success ({success}) and done_index ({done_index}) disagree.")
    return Scores(**named, success=success, done_index=done_index)


def _message(header: Mapping[str, Any], arrays: Arrays) -> bytes:
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    return save({HEADER: text, **whole})


def _parts(body: bytes) -> tuple[dict[str, Any], Arrays]:
    try:
        arrays = load(body)
        header = json.loads(arrays[HEADER].tobytes())
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"the message cannot be read: {error}.") from error
    if not isinstance(header, dict):
        raise BadInput("the message's header is no JSON object.")
    return header, arrays
