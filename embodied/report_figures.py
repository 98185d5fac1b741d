"""The figures of a run's report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embodied.html import ACCENT, BAD, GOOD, GRID, INK, MUTED, SECOND, UNSURE, film
from embodied.run_record import OnlineEpisode
from embodied.types import Actor, Episode, Labels

WINDOW = 20
"""Episodes that a running mean covers."""


def success_curve(episodes: Sequence[OnlineEpisode], summary: Mapping[str, Any]) -> Figure:
    """Success over online episodes: of versions on unseen seeds, as learned, and in truth."""
    drawing, axes = _axes()
    curve = summary.get("success_curve") or []
    if curve:
        mean = np.array([point["mean"] for point in curve])
        reach = np.abs([[p["low"] for p in curve], [p["high"] for p in curve]] - mean)
        said = f"versions alone, {curve[0]['n']} unseen seeds each"
        axes.errorbar([p["episodes"] for p in curve], mean, reach, color=SECOND, lw=1.6,
                      marker="o", ms=4, elinewidth=0.8, label=said)  # fmt: skip
    number = np.array([e.number for e in episodes])
    learned = np.array([float(e.learned_success) for e in episodes])
    truth = np.array([np.nan if e.true_success is None else float(e.true_success)
                      for e in episodes])  # fmt: skip
    axes.plot(number, running_mean(learned), color=ACCENT, lw=2, label="learned reward's estimate")
    if not np.isnan(truth).all():
        label = "simulator's truth (the learner never sees it)"
        axes.plot(number, running_mean(truth), color=INK, lw=1.4, ls="--", label=label)
    for name, colour in (("before", BAD), ("after", GOOD)):
        estimate = summary.get(f"success_{name}")
        if estimate:
            axes.axhspan(estimate["low"], estimate["high"], color=colour, alpha=0.10, lw=0)
            said = f"evaluated {name}: {100 * estimate['mean']:.0f} %"
            axes.axhline(estimate["mean"], color=colour, lw=1.2, label=said)
    axes.set(xlabel="online episode", ylabel=f"success, mean of {WINDOW} episodes", ylim=(0, 1.02))
    axes.set_xlim(1, max([2, *number, *(p["episodes"] for p in curve)]) + 1)
    _legend(axes)
    return drawing


def interventions(episodes: Sequence[OnlineEpisode]) -> Figure:
    """Share of steps that the operator took, and successes with help over the operator's time."""
    drawing = Figure(figsize=(8.4, 2.9), layout="constrained")
    left, right = drawing.subplots(1, 2)
    number = np.array([e.number for e in episodes])
    share = np.array([e.intervention_steps / max(e.steps, 1) for e in episodes])
    left.bar(number, share, width=1.0, color=GRID)
    left.plot(number, running_mean(share), color=SECOND, lw=2)
    left.set(xlabel="online episode", ylabel="operator's share of steps", ylim=(0, None))
    minutes = np.cumsum([e.operator_seconds for e in episodes]) / 60.0
    helped = [e.learned_success and e.intervention_steps > 0 for e in episodes]
    successes = np.cumsum(np.array(helped, dtype=float))
    right.plot(minutes, successes, color=SECOND, lw=2)
    right.set(xlabel="operator's time, minutes", ylabel="accepted episodes with help")
    right.set_ylim(0, None)
    right.set_xlim(0, None)
    for axes in (left, right):
        plain(axes)
    return drawing


def returns(episodes: Sequence[OnlineEpisode]) -> Figure:
    """Learned return of each episode, apart for the simulator's successes and failures."""
    drawing, axes = _axes()
    for truth, colour, label in ((True, GOOD, "success in truth"), (False, BAD, "failure")):
        chosen = [(e.number, e) for e in episodes if e.true_success is truth]
        for accepted, marker in ((True, "o"), (False, "x")):
            shown = [(i, e.learned_return) for i, e in chosen if e.learned_success is accepted]
            said = f"{label}, {'accepted' if accepted else 'rejected'} ({len(shown)})"
            if shown:
                x, y = zip(*shown, strict=True)
                axes.scatter(x, y, s=18, marker=marker, color=colour, alpha=0.75, label=said)
    axes.set(xlabel="online episode", ylabel="learned return")
    _legend(axes)
    return drawing


def progress(episode: Episode, labels: Labels, camera: str) -> Figure:
    """A film strip, and below it what the reward saw in it."""
    drawing = Figure(figsize=(8.4, 2.7), layout="constrained")
    above, below = drawing.subplots(2, 1, height_ratios=(1.0, 1.6))
    above.imshow(film(episode.images[camera]), interpolation="nearest")
    above.set_aspect("equal")
    above.axis("off")
    time = episode.timestamp
    low, high = labels.progress - labels.uncertainty, labels.progress + labels.uncertainty
    below.fill_between(time, low, high, color=ACCENT, alpha=0.15, lw=0)
    below.plot(time, labels.progress, color=ACCENT, lw=2, label="progress")
    below.plot(time, labels.done, color=UNSURE, lw=1.2, label="done")
    for index, step in enumerate(np.flatnonzero(episode.actor == Actor.HUMAN)):
        label = "operator acts" if index == 0 else None
        below.axvspan(time[step], time[step + 1], color=SECOND, alpha=0.14, lw=0, label=label)
    below.set(xlabel="seconds", ylim=(-0.05, 1.05), xlim=(time[0], time[-1]))
    plain(below)
    _legend(below)
    return drawing


def running_mean(
    values: Float[np.ndarray, " episodes"], window: int = WINDOW
) -> Float[np.ndarray, " episodes"]:
    """Mean of up to ``window`` values so far; NaN values are left out."""
    means = np.full(len(values), np.nan)
    for end in range(1, len(values) + 1):
        held = values[max(0, end - window) : end]
        if not np.isnan(held).all():
            means[end - 1] = np.nanmean(held)
    return means


def _axes() -> tuple[Figure, Axes]:
    drawing = Figure(figsize=(8.4, 3.2), layout="constrained")
    axes = drawing.subplots()
    plain(axes)
    return drawing, axes


def plain(axes: Axes) -> None:
    """A light grid, and no frame above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED)


def _legend(axes: Axes) -> None:
    """Below the drawing, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(
            handles, labels, frameon=False, fontsize=8.5, loc="outside lower center", ncols=3
        )
