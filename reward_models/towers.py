"""Two towers: pictures and sentences in one space, where the cosine says how well they fit.

`Towers` is all that a text-image reward needs of CLIP (Radford et al. 2021), SigLIP or a model of
one's own. Implementations: `towers_open_clip.py`, `towers_transformers.py`, `towers_aligned.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from embodied.errors import BadConfig, BadInput
from embodied.types import Clip

BLOCK = 32
"""Pictures per forward pass."""


@runtime_checkable
class Towers(Protocol):
    """A frozen pair of encoders with a common space."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would."""
        ...

    def look(self, clip: Clip, camera: str) -> Float32[np.ndarray, "time embedding"]:
        """A unit vector for each frame of one camera.

        Raises:
            BadInput: if the clip holds nothing of that camera that the towers can look at.
        """
        ...

    def read(self, text: str) -> Float32[np.ndarray, " embedding"]:
        """The unit vector of a sentence."""
        ...


def pictures(clip: Clip, camera: str) -> UInt8[np.ndarray, "time height width 3"]:
    """The frames of a camera.

    Raises:
        BadInput: if the clip holds features alone, which these towers cannot look at.
    """
    if camera not in clip.frames:
        raise BadInput(
            f"the towers look at pictures; the clip has features of camera '{camera}' alone, of "
            f"shape {clip.features[camera].shape[1:]} per frame."
        )
    return clip.frames[camera]


def look_at(
    frames: UInt8[np.ndarray, "time height width 3"],
    see: Callable[[UInt8[np.ndarray, "block height width 3"]], Float[Tensor, "block embedding"]],
) -> Float32[np.ndarray, "time embedding"]:
    """A unit vector for each frame, from ``see``, which is given `BLOCK` frames at a time."""
    with torch.inference_mode():
        blocks = [frames[start : start + BLOCK] for start in range(0, len(frames), BLOCK)]
        return np.concatenate([unit(see(block)) for block in blocks])


def unit(vectors: Float[Tensor, "batch embedding"]) -> Float32[np.ndarray, "batch embedding"]:
    """The vectors at length 1."""
    normed = torch.nn.functional.normalize(vectors.float(), dim=-1)
    return np.asarray(normed.cpu().numpy(), np.float32)


@contextmanager
def loading(name: str, advice: str) -> Iterator[None]:
    """Tells in one sentence if a model that is being loaded is not there.

    Raises:
        BadConfig: naming the model and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadConfig(f"{name} cannot be loaded ({first}). {advice}") from error
