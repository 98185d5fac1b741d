"""Clips as short vectors for a reward on top: a frozen encoder, averaged over time, in components.

Mean feature map of each camera, positions kept, by the principal components of the dataset's clips;
`benchmarks/preference_training.py` compares it with others.
"""

import numpy as np
from jaxtyping import Float, UInt8

from embodied.dataset import EpisodeStore
from embodied.given_dataset import resized
from embodied.preferences.records import Clip
from embodied.types import FrameEncoder

FRAMES = 16
"""Of a clip that are looked at, evenly spaced; neighbours look alike."""
COMPONENTS = 16
"""Of an embedding."""
KNOWN = 1000
"""Clips that the components are taken from, at most: those of more cost minutes."""


def mean_map(
    dataset: EpisodeStore, encoder: FrameEncoder, clip: Clip, image_size: int | None
) -> Float[np.ndarray, " dim"]:
    """The mean feature map of a clip, all cameras one after the other.

    Args:
        dataset: Of the clip.
        encoder: Frozen; one with a cache encodes each frame once.
        clip: To be looked at.
        image_size: Height and width that the encoder takes, in pixels.

    Raises:
        CorruptFile: naming the file that cannot be read.
        BadInput: for frames that the encoder does not take.
    """
    images = dataset.read_frames(clip.episode, clip.cameras, clip.start, clip.stop)
    seen = resized({camera: _spaced(frames) for camera, frames in images.items()}, image_size)
    maps = [encoder.encode(frames).astype(np.float32).mean(0) for frames in seen.values()]
    return np.asarray(np.concatenate([each.ravel() for each in maps]))


def _spaced(
    frames: UInt8[np.ndarray, "time height width 3"],
) -> UInt8[np.ndarray, "some height width 3"]:
    places = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    return np.asarray(frames[places])


def components(
    maps: Float[np.ndarray, "clip dim"], size: int
) -> Float[np.ndarray, "clip component"]:
    """Principal components, the first one with a deviation of 1 over the clips they are taken from.

    The others keep their proportions: brought to one deviation, the last ones, which are noise,
    weigh as much as the first, and noise is learnt from few answers.

    Args:
        maps: Of all clips.
        size: Components; fewer if there are too few clips that differ.
    """
    known = maps[np.linspace(0, len(maps) - 1, min(KNOWN, len(maps))).round().astype(int)]
    return in_components(known, maps, size)


def in_components(
    known: Float[np.ndarray, "known dim"], maps: Float[np.ndarray, "clip dim"], size: int
) -> Float[np.ndarray, "clip component"]:
    """The same with components that are taken from other clips, the ``known`` ones."""
    middle = known.mean(0)
    _, deviation, component = np.linalg.svd(known - middle, full_matrices=False)
    size = max(1, min(size, int((deviation > 1e-4 * deviation[0]).sum())))
    scale = max(float(deviation[0]) / np.sqrt(len(known)), 1e-12)
    return np.asarray((maps - middle) @ component[:size].T / scale)
