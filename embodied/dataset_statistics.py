"""Statistics of columns and images, as LeRobot's normalisers expect them in ``stats.json``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from embodied.types import IMAGES, Episode

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
FRAMES_SAMPLED = 10
"""Frames per episode that the statistics of colours are computed from."""

Columns = Mapping[str, Shaped[np.ndarray, "time ..."]]
Statistics = dict[str, dict[str, Any]]


def episode_statistics(episode: Episode, columns: Columns) -> Statistics:
    """Minimum, maximum, mean, deviation, count and quantiles, as LeRobot keeps them.

    Rows with NaN are left out; a column without any other row gets zeros and the count 0.
    """
    statistics = {name: column_statistics(values) for name, values in columns.items()}
    for camera, frames in episode.images.items():
        step = max(1, len(frames) // FRAMES_SAMPLED)
        statistics[IMAGES + camera] = _image_statistics(frames[::step])
    return statistics


def merge_statistics(total: Statistics, new: Statistics) -> Statistics:
    """Statistics of both together; quantiles are averaged by count, as LeRobot does."""
    return {key: _merge(total[key], new[key]) if key in total else new[key] for key in new}


def statistics_in(row: dict[str, Any]) -> Statistics:
    """The ``stats/<feature>/<name>`` columns of a row of metadata."""
    statistics: Statistics = {}
    for column, value in row.items():
        if column.startswith("stats/"):
            feature, name = column.removeprefix("stats/").rsplit("/", 1)
            statistics.setdefault(feature, {})[name] = value
    return statistics


def column_statistics(values: Shaped[np.ndarray, "time ..."]) -> dict[str, Any]:
    """Statistics of one column; rows with NaN are left out."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    return _describe(rows[np.isfinite(rows).all(axis=1)])


def _image_statistics(frames: UInt8[np.ndarray, "frame height width 3"]) -> dict[str, Any]:
    """Per channel, in [0, 1], with LeRobot's shape (3, 1, 1); the count is of frames."""
    pixels = frames.reshape(-1, 3)
    values = np.arange(256) / 255
    found = {}
    for name in ("min", "max", "mean", "std", *QUANTILES):
        found[name] = np.empty((3, 1, 1))
    for channel in range(3):
        share = np.bincount(pixels[:, channel], minlength=256) / len(pixels)
        mean = float(share @ values)
        present = np.flatnonzero(share)
        found["min"][channel] = values[present[0]]
        found["max"][channel] = values[present[-1]]
        found["mean"][channel] = mean
        found["std"][channel] = np.sqrt(share @ (values - mean) ** 2)
        for name, quantile in QUANTILES.items():
            found[name][channel] = values[np.searchsorted(np.cumsum(share), quantile - 1e-9)]
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(frames)]}


def _describe(rows: Float[np.ndarray, "row column"]) -> dict[str, Any]:
    count = len(rows)
    if count == 0:
        rows = np.zeros((1, rows.shape[1]))
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0).tolist(),
        "max": rows.max(axis=0).tolist(),
        "mean": rows.mean(axis=0).tolist(),
        "std": rows.std(axis=0).tolist(),
        "count": [count],
        **{name: q.tolist() for name, q in zip(QUANTILES, quantiles, strict=True)},
    }


def _merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    (n_a,), (n_b,) = a["count"], b["count"]
    if n_a == 0 or n_b == 0:
        return a if n_b == 0 else b
    share = n_b / (n_a + n_b)
    a, b = ({k: np.asarray(v) for k, v in side.items()} for side in (a, b))
    mean = (1 - share) * a["mean"] + share * b["mean"]
    variance = (1 - share) * (a["std"] ** 2 + (a["mean"] - mean) ** 2)
    variance += share * (b["std"] ** 2 + (b["mean"] - mean) ** 2)
    merged = {
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        **{name: (1 - share) * a[name] + share * b[name] for name in QUANTILES},
    }
    return {name: value.tolist() for name, value in merged.items()} | {"count": [n_a + n_b]}
