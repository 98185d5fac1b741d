"""Checkpoints: atomic, checked, and free of code.

A file is PyTorch's own format followed by a digest, so that a flipped bit is found before anything
is restored. The file that a new one replaces stays beside it, as ``<name>.previous``.
"""

import hashlib
import io
import logging
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from embodied.durable import written_atomically
from embodied.errors import BadInput, CorruptFile

DIGEST_BYTES = 32
_PLAIN = (bool, int, float, str, bytes, type(None), torch.Size, torch.dtype, torch.device)
_logger = logging.getLogger(__name__)


def save(path: Path, state: Mapping[str, Any], *, keep_previous: bool = True) -> None:
    """Replace the checkpoint at ``path``; a crash leaves the old one or the new one.

    Args:
        path: Of the checkpoint.
        state: Tensors, numbers, strings and None, in dicts, lists and tuples: nothing that needs
            code to be loaded. `embodied.seeding` turns generators into such values.
        keep_previous: Whether the former checkpoint is kept as `previous` of ``path``.

    Raises:
        BadInput: naming what in ``state`` is none of these.
        OutOfSpace: The old checkpoint is untouched.
    """
    _check_plain(state, "state")
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    former = previous(path) if keep_previous else None
    # Released whatever happens: Python 3.12 dies at its end of a buffer that still has a view.
    with buffer.getbuffer() as content, written_atomically(path, former) as file:
        file.write(content)
        file.write(_digest(content))


def load(path: Path) -> dict[str, Any]:
    """The checkpoint at ``path``, or the one before it if that cannot be read (with a warning).

    Raises:
        BadInput: There is no checkpoint.
        CorruptFile: Neither can be read.
    """
    candidates = [p for p in (path, previous(path)) if p.exists()]
    if not candidates:
        raise BadInput(f"there is no checkpoint at {path}.")
    problems = []
    for candidate in candidates:
        try:
            state = _read(candidate)
        except CorruptFile as error:
            problems.append(str(error))
            continue
        if candidate != path:
            problem = problems[0] if problems else f"{path} is missing."
            _logger.warning("%s Using the checkpoint before it, %s.", problem, candidate)
        return state
    raise CorruptFile(" ".join(problems))


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(path.name + ".previous")


def _read(path: Path) -> dict[str, Any]:
    content = memoryview(path.read_bytes())
    payload, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if _digest(payload) != digest:
        raise CorruptFile(f"{path} is damaged: its digest does not match its content.")
    try:
        return cast(dict[str, Any], torch.load(io.BytesIO(payload), weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CorruptFile(f"{path} cannot be loaded: {error}") from error


def _digest(data: memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, torch.Tensor) or type(value) in _PLAIN:
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for position, item in enumerate(value):
            _check_plain(item, f"{where}[{position}]")
    else:
        raise BadInput(
            f"{where} is a {type(value).__name__}, which a checkpoint cannot hold: use tensors, "
            "numbers and strings, in dicts and lists."
        )
