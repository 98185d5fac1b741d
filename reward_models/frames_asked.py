"""About which frames a costly model is asked, and which answer stands for each frame.

Every so many frames, and the last ones always, as many as must agree before a clip counts as
complete: else a success at the clip's end would be seen only if the clip had the right length. An
answer stands for its own frame and the ones after it, never for an earlier one. So no later frame
changes a score; but the last frames are known better than if the clip went on, and the scores of a
clip's beginning are not those of the beginning as a clip. Such a reward is not `causal`, unless
every frame is asked about.
"""

import numpy as np
from jaxtyping import Int

from embodied.reward_models.calibration import CONSECUTIVE


def frames_asked(length: int, every: int) -> list[int]:
    """Numbers of the frames that are asked about, rising from 0.

    Args:
        length: Frames of the clip.
        every: Frames between two of them, but for the last ones.
    """
    last = range(max(length - CONSECUTIVE, 0), length)
    return sorted({*range(0, length, every), *last})


def frames_held(length: int, every: int) -> Int[np.ndarray, " time"]:
    """Which of `frames_asked` stands for each frame: the newest that is no later."""
    asked = frames_asked(length, every)
    return np.searchsorted(asked, np.arange(length), side="right") - 1
