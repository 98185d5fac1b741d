"""All chunks of some episodes, as examples to imitate."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from embodied.errors import BadInput
from embodied.policies.base import Examples
from embodied.types import Episode


def examples_from(episodes: Sequence[Episode], chunk: int) -> Examples:
    """Every step's observation and the chunk that followed it, padded at the episode's end.

    Args:
        episodes: With features.
        chunk: Steps per chunk.

    Raises:
        BadInput: if there is no episode, or one without features.
    """
    if not episodes or not all(episode.features for episode in episodes):
        raise BadInput("imitation needs at least one episode, each with encoded frames.")
    actions, valid = zip(
        *(action_chunks(episode.action, chunk) for episode in episodes), strict=True
    )
    features = {
        camera: torch.from_numpy(np.concatenate([e.features[camera][:-1] for e in episodes]))
        for camera in episodes[0].features
    }
    return Examples(
        features={camera: maps.float() for camera, maps in features.items()},
        state=torch.from_numpy(np.concatenate([e.state[:-1] for e in episodes])),
        action=torch.from_numpy(np.concatenate(actions)),
        valid=torch.from_numpy(np.concatenate(valid)),
    )


def action_chunks(
    action: Float[np.ndarray, "step action"], chunk: int
) -> tuple[Float32[np.ndarray, "step {chunk} action"], Bool[np.ndarray, "step {chunk}"]]:
    """The actions that follow each step, padded with 0 at the end; and which are no padding."""
    steps = np.arange(len(action))[:, None] + np.arange(chunk)
    valid = steps < len(action)
    padded = np.where(valid[..., None], action[np.minimum(steps, len(action) - 1)], 0.0)
    return padded.astype(np.float32), valid
