"""The figures of an aligned run's report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embodied.html import ACCENT, BAD, GOOD, MUTED, SECOND
from embodied.report_figures import plain

SIDES = ("before", "after")


def before_and_after(summary: Mapping[str, Any]) -> Figure:
    """Bars with 95 % intervals: task success and, where a way is known, its metric and liking."""
    way = summary.get("way")
    panels = [("task success, %", [summary[f"success_{side}"] for side in SIDES], 100.0)]
    if way:
        panels.insert(0, (_wrapped(way["unit"]), [way[f"metric_{side}"] for side in SIDES], 1.0))
    drawing = Figure(figsize=(3.2 * len(panels) + 1.6, 3.3), layout="constrained")
    for axes, (said, values, times) in zip(
        np.atleast_1d(drawing.subplots(1, len(panels))), panels, strict=True
    ):
        _bars(axes, values, times)
        axes.set_ylabel(said)
        if said.startswith("task"):
            axes.set_ylim(0, 104)
    return drawing


def by_start(before: Sequence[float], after: Sequence[float], unit: str, better: str) -> Figure:
    """One line per unseen start, from before to after; green where it became better."""
    drawing = Figure(figsize=(5.2, 3.3), layout="constrained")
    axes = drawing.subplots()
    plain(axes)
    for first, second in zip(before, after, strict=True):
        gained = second > first if better == "higher" else second < first
        axes.plot([0, 1], [first, second], color=GOOD if gained else BAD, lw=1, alpha=0.6)
    axes.plot([0, 1], [np.mean(before), np.mean(after)], color=ACCENT, lw=3, marker="o")
    axes.set_xticks([0, 1], SIDES)
    axes.set(xlim=(-0.15, 1.15), ylabel=_wrapped(unit))
    return drawing


def checks(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """What was watched at each check: errors, implicit accuracy, drift and task success."""
    drawing = Figure(figsize=(8.4, 3.0), layout="constrained")
    left, right = drawing.subplots(1, 2)
    step = [row["step"] for row in rows]
    errors = {
        "winner_error": ("winners", GOOD), "loser_error": ("losers", BAD),
        "reference_error": ("winners, by the policy before", MUTED),
        "alignment_loss": ("loss", SECOND),
    }  # fmt: skip
    named = [name for name in errors if name in rows[0]]
    for name in named if len(named) < 4 else named[:3]:
        label, colour = errors[name]
        left.plot(step, [row.get(name) for row in rows], color=colour, marker="o", ms=4,
                  label=label)  # fmt: skip
    left.set(xlabel="updates", ylabel="denoising error", ylim=(0, None))
    shares = {
        "implicit_accuracy": ("pairs whose winner gained", ACCENT),
        "kl_proxy": ("drift: rise of the error", BAD), "success": ("task success", GOOD),
    }  # fmt: skip
    for name, (label, colour) in shares.items():
        if name in rows[0]:
            values = [np.nan if row[name] is None else row[name] for row in rows]
            right.plot(step, values, color=colour, marker="o", ms=4, label=label)
    right.set(xlabel="updates", ylabel="share")
    for axes in (left, right):
        plain(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8.5)
    return drawing


def _bars(axes: Axes, values: Sequence[Mapping[str, float]], times: float) -> None:
    plain(axes)
    for place, (side, value, colour) in enumerate(zip(SIDES, values, (MUTED, ACCENT), strict=True)):
        mean, low, high = (times * value[key] for key in ("mean", "low", "high"))
        digits = 0 if times == 100.0 else 2
        reach = np.abs([[low - mean], [high - mean]])
        axes.bar(place, mean, 0.6, yerr=reach, color=colour, capsize=4, label=side)
        axes.annotate(f"{mean:.{digits}f}", (place, high if mean >= 0 else mean), ha="center",
                      xytext=(0, 3), textcoords="offset points", fontsize=9)  # fmt: skip
    axes.set_xticks([0, 1], SIDES)
    axes.axhline(0, color=MUTED, lw=0.8)


def _wrapped(text: str) -> str:
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 30:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
