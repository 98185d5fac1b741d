"""A LeRobotDataset that a command was given, whoever recorded it, read as the parts need it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.first_checks import check_dataset
from embodied.types import Episode


def open_given(root: Path, cameras: Sequence[str]) -> EpisodeStore:
    """The dataset of a folder, whose cameras must include those that are looked at.

    Raises:
        BadInput: if there is no dataset or no episode, or if it lacks a camera.
    """
    check_dataset(root)
    store = EpisodeStore(root)
    if len(store) == 0:
        raise BadInput(f"{root} holds no episodes.")
    missing = [camera for camera in cameras if camera not in store.cameras]
    if missing:
        raise BadInput(
            f"the reward looks at camera '{missing[0]}'; {root} has "
            f"{', '.join(store.cameras) or 'none'}. Choose with env.cameras=[...]."
        )
    return store


def read_given(store: EpisodeStore, index: int, cfg: DictConfig, cameras: Sequence[str]) -> Episode:
    """An episode with these cameras alone, in the size that the configuration expects.

    Raises:
        BadInput: for an episode of fewer than two frames.
        CorruptFile: naming the file that cannot be read.
    """
    summary = store.summary(index)
    if summary.steps < 1:
        raise BadInput(
            f"episode {summary.episode_id} of {store.root} has one frame; "
            "a reward needs two or more to see anything happen."
        )
    episode = store.read(index, cameras)
    return replace(episode, images=resized(episode.images, image_size(cfg)))


def image_size(cfg: DictConfig) -> int | None:
    """Height and width of the pictures that the encoder takes, where the configuration says so."""
    size = OmegaConf.select(cfg, "env.image_size")
    return None if size is None else int(size)


def resized(
    images: Mapping[str, UInt8[np.ndarray, "time height width 3"]], size: int | None
) -> dict[str, UInt8[np.ndarray, "time row column 3"]]:
    """Pictures made square by stretching, so that nothing at the edge is lost."""
    return {camera: _squared(frames, size) for camera, frames in images.items()}


def _squared(
    frames: UInt8[np.ndarray, "time height width 3"], size: int | None
) -> UInt8[np.ndarray, "time row column 3"]:
    if size is None or frames.shape[1:3] == (size, size):
        return frames
    small = (Image.fromarray(f).resize((size, size), Image.Resampling.BOX) for f in frames)
    return np.stack([np.asarray(frame) for frame in small])
