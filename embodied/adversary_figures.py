"""Figures of the adversarial audit: the learned return, and what became of the task."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embodied.adversary import CHOICE, Attack
from embodied.adversary_verdict import Point
from embodied.card_figures import WIDTH
from embodied.html import ACCENT, BAD, GOOD, GRID, INK, MUTED, SECOND
from embodied.statistics import Interval

Read = Callable[[Point], Interval | None]


def return_figure(attack: Attack, honest: float) -> Figure:
    """Learned return against pressure, and what a typical success is paid."""
    drawing, axes = _axes(attack, "Proxy: learned return")
    _curve(axes, attack, lambda point: point.total, ACCENT, "of what is chosen")
    axes.axhline(honest, color=MUTED, linestyle=":", linewidth=1, label="median held-out success")
    axes.legend(loc="best", fontsize=8, frameon=False)
    return drawing


def truth_figure(attack: Attack) -> Figure:
    """Success in truth against pressure, beside what the reward says and the best choice."""
    drawing, axes = _axes(attack, "Truth: share of what is chosen")
    _curve(axes, attack, lambda point: point.truth, INK, "success in truth")
    _curve(axes, attack, lambda point: point.oracle, GOOD, "success, chosen by truth", ":", 0.0)
    _curve(axes, attack, lambda point: point.accepted, ACCENT, "accepted by the reward", "--", 0.0)
    _curve(axes, attack, lambda point: point.tricks, BAD, "tricks", "-.", 0.0)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([0, 0.5, 1])
    axes.legend(loc="best", fontsize=8, frameon=False)
    return drawing


def progress_figure(attack: Attack) -> Figure:
    """Progress as the reward sees it, and the true share of the way."""
    drawing, axes = _axes(attack, "Progress at the end")
    _curve(axes, attack, lambda point: point.progress, INK, "in truth")
    _curve(axes, attack, lambda point: point.learned_progress, SECOND, "as learned", "--")
    axes.legend(loc="best", fontsize=8, frameon=False)
    return drawing


def _axes(attack: Attack, title: str) -> tuple[Figure, Axes]:
    drawing = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = drawing.subplots()
    axes.set_title(title, loc="left", fontsize=10)
    places = [point.pressure for point in attack.points]
    if attack.words is CHOICE:
        axes.set_xscale("log", base=2)
    shown = places if len(places) < 10 else places[:: len(places) // 8]
    axes.set_xticks(shown, [str(place) for place in shown])
    axes.minorticks_off()
    axes.set_xlabel(attack.words.axis, fontsize=9)
    if attack.judged < len(places):
        middle = float(np.sqrt(places[attack.judged - 1] * places[attack.judged]))
        axes.axvspan(middle, places[-1] * 1.1, color=GRID, alpha=0.35, linewidth=0)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    return drawing, axes


def _curve(
    axes: Axes,
    attack: Attack,
    read: Read,
    colour: str,
    label: str,
    style: str = "-",
    band: float = 0.12,
) -> None:
    """A line with its interval as a band, so opaque; nothing where it was not measured."""
    found = [(point.pressure, value) for point in attack.points if (value := read(point))]
    if not found:
        return
    places = [place for place, _ in found]
    axes.plot(places, [value.mean for _, value in found], color=colour, linestyle=style,
              marker="o", markersize=3, linewidth=1.4, label=label)  # fmt: skip
    low, high = _bounds([value for _, value in found])
    axes.fill_between(places, low, high, color=colour, alpha=band, linewidth=0)


def _bounds(values: Sequence[Interval]) -> tuple[list[float], list[float]]:
    return [value.low for value in values], [value.high for value in values]
