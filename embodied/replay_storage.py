"""How the replay holds an episode: in memory of its own, in the smallest types; and as tensors."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.types import LabelledEpisode, Labels


def compact(episode: LabelledEpisode) -> LabelledEpisode:
    """The same episode in memory of its own, so that no larger buffer is kept alive."""
    features = {c: maps.astype(np.float16, copy=False) for c, maps in episode.features.items()}
    values = {f.name: getattr(episode, f.name) for f in fields(episode)} | {"features": features}
    return replace(episode, **{name: _owned(value) for name, value in values.items()})


def _owned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _owned(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and not (value.base is None and value.flags.c_contiguous):
        return value.copy()
    return value


def nbytes_of(value: Any) -> int:
    """Bytes of all arrays within an episode."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(nbytes_of, value.values()))
    if isinstance(value, LabelledEpisode | Labels):
        return sum(nbytes_of(getattr(value, f.name)) for f in fields(value))
    return 0


def to_state(value: Any) -> Any:
    """An episode as dicts of tensors, strings and numbers; shares memory with it."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {key: to_state(item) for key, item in value.items()}
    if isinstance(value, LabelledEpisode | Labels):
        return {f.name: to_state(getattr(value, f.name)) for f in fields(value)}
    return value


def from_state(state: dict[str, Any]) -> LabelledEpisode:
    """Inverse of `to_state`."""
    arrays = {k: _arrays(v) for k, v in state.items() if k != "labels"}
    return LabelledEpisode(**arrays, labels=Labels(**_arrays(state["labels"])))


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: _arrays(item) for key, item in value.items()}
    return value
