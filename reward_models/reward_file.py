"""How a reward's learned state lies on disk: one file, whole or not there, that names its maker."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from embodied.durable import written_atomically
from embodied.errors import BadConfig, CorruptFile


def write_reward(
    path: Path, *, kind: str, identity: Mapping[str, Any], content: Mapping[str, Any]
) -> None:
    """Write what a reward has learned.

    Args:
        path: Where.
        kind: What the reward is called in messages; another kind is not read back.
        identity: Settings that the content fits, and no other.
        content: Tensors, numbers, texts, and lists and mappings of them.
    """
    with written_atomically(path) as file:
        torch.save({"kind": kind, "identity": dict(identity), "content": dict(content)}, file)


def read_reward(path: Path, *, kind: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file that `write_reward` wrote.

    Raises:
        CorruptFile: if the file cannot be read back whole, or is of another kind.
        BadConfig: if one of the settings is another one now.
    """
    try:
        stored = torch.load(path, weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise CorruptFile(f"{path} is no readable {kind}: {error}") from error
    if not isinstance(stored, dict) or stored.get("kind") != kind:
        raise CorruptFile(f"{path} holds something else than a {kind}.")
    for name, ours in identity.items():
        theirs = stored["identity"].get(name)
        if theirs != ours:
            raise BadConfig(f"{path} was trained with {name} {theirs}, not with {ours}.")
    return dict(stored["content"])
