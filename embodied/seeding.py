"""Seeds that do not collide, and generators that can be stored and continued."""

import json
import random
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from embodied.errors import BadInput

Generator = np.random.Generator | torch.Generator | random.Random
"""A source of randomness whose state can be kept."""


def spawn_seeds(seed: int, names: Sequence[str]) -> dict[str, int]:
    """One independent seed per name; a new name changes none of the others.

    Args:
        seed: Of the run, not negative.
        names: Who needs a seed; all different.

    Returns:
        Seeds in [0, 2**63).
    """
    return {
        name: int(
            np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint64)[
                0
            ]
            >> 1
        )
        for name in names
    }


def small_seed(seed: int, purpose: str) -> int:
    """One of `spawn_seeds`, for parts that take small ones: in [0, 2**20)."""
    return spawn_seeds(seed, [purpose])[purpose] % 2**20


def generator_state(generator: Generator) -> Tensor | str:
    """The state of a generator as a checkpoint can hold it: a tensor for PyTorch, else JSON."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return json.dumps(generator.getstate())
    return json.dumps(generator.bit_generator.state, default=_plain)


def set_generator_state(generator: Generator, state: Tensor | str) -> None:
    """Continue where a generator of the same kind was.

    Raises:
        BadInput: The state is of another kind of generator.
    """
    try:
        if isinstance(generator, torch.Generator):
            generator.set_state(state)  # type: ignore[arg-type]
        elif isinstance(generator, random.Random):
            version, words, gauss = json.loads(state)  # type: ignore[arg-type]
            generator.setstate((version, tuple(words), gauss))
        else:
            generator.bit_generator.state = json.loads(state)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"this is not the state of a {type(generator).__name__}: {error}") from error


def _plain(value: object) -> object:
    """NumPy numbers and arrays inside the state of some bit generators."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in the state of a generator")
