"""Temporal cycle-consistency (Dwibedi et al. 2019), as XIRL uses it (arXiv 2106.03911).

A frame of one video is sent to its soft nearest neighbour in another, and from there back; it
should arrive at its own time. This is the variant that XIRL calls ``regression_mse``: the squared
error of the expected time of arrival, over all ordered pairs of videos in the batch.
"""

from collections.abc import Sequence

import numpy as np
import scipy.stats
import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor


def cycle_loss(
    embedded: Float[Tensor, "video frame dim"],
    time: Float[Tensor, "video frame"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean squared error of the time at which frames come back.

    Similarity is minus the squared distance, divided by ``dim`` and the temperature.

    Args:
        embedded: Frames of two videos or more, in order.
        time: Of each frame, as a share of its video.
        temperature: Of both softmaxes.
    """
    scale = embedded.shape[2] * temperature
    between = _squared_distance(
        rearrange(embedded, "v f d -> v 1 f d"), rearrange(embedded, "w f d -> 1 w f d")
    )
    there = (-between / scale).softmax(3)
    neighbour = einsum(there, embedded, "v w i j, w j d -> v w i d")
    back = _squared_distance(neighbour, rearrange(embedded, "v f d -> v 1 f d"))
    arrival = einsum((-back / scale).softmax(3), time, "v w i k, v k -> v w i")
    error = reduce((arrival - rearrange(time, "v i -> v 1 i")).square(), "v w i -> v w", "mean")
    others = ~torch.eye(len(embedded), dtype=torch.bool)
    return error[others].mean()


def _squared_distance(
    first: Float[Tensor, "#video #other frame dim"],
    second: Float[Tensor, "#video #other target dim"],
) -> Float[Tensor, "video other frame target"]:
    """By the binomial formula: the differences themselves would not fit into the cache."""
    squares = rearrange(first.square().sum(3), "v w i -> v w i 1")
    others = rearrange(second.square().sum(3), "v w j -> v w 1 j")
    product = first @ rearrange(second, "v w j d -> v w d j")
    return (squares + others - 2 * product).clamp_min(0)


def nearest(
    embedded: Float[np.ndarray, "frame dim"], target: Float[np.ndarray, "other dim"]
) -> Int[np.ndarray, " frame"]:
    """The frame of the target video that is nearest to each frame."""
    squares = np.square(target).sum(1) - 2 * embedded @ target.T
    return np.asarray(squares.argmin(1))


def alignment(
    videos: Sequence[Float[np.ndarray, "_ dim"]], others: Sequence[Float[np.ndarray, "_ dim"]]
) -> dict[str, float]:
    """How well an embedding aligns videos with others in time, over all pairs.

    Returns:
        ``kendall_tau``: rank correlation of the nearest neighbours' order with time;
        ``cycle_consistency``: share of frames that come back to within one frame of themselves.
    """
    tau, back = [], []
    for video in videos:
        for other in others:
            there = nearest(video, other)
            order = float(scipy.stats.kendalltau(there, np.arange(len(video))).statistic)
            tau.append(order if np.isfinite(order) else 0.0)
            returned = nearest(other, video)[there]
            back.append(float(np.mean(np.abs(returned - np.arange(len(video))) <= 1)))
    return {"kendall_tau": float(np.mean(tau)), "cycle_consistency": float(np.mean(back))}
