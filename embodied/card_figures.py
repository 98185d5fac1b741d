"""The reward card's figures: each narrow enough to be read on a phone."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from embodied.audit_metrics import Confusion, final_progress, success_probability
from embodied.audit_perturbations import tent
from embodied.audit_plans import Laid, on_diagonal
from embodied.html import ACCENT, BAD, GOOD, GRID, INK, MUTED, SECOND, UNSURE, film
from embodied.reward_models.base import Scores
from embodied.statistics import Interval, reliability, roc_curve, selective_risk
from embodied.types import Clip

WIDTH = 4.6
"""Of every figure, in inches."""
FILM = 7
"""Frames above a curve."""

Said = Mapping[str, tuple[Sequence[Scores], Sequence[Scores]]]
"""By the names of rewards: what each said of successes, and of failures."""
Truth = Literal["up", "down", "tent", "flat"]


def clip_figure(clip: Clip, scores: Scores) -> Figure:
    """Progress, its uncertainty and the done probability below the clip's frames."""
    steps = np.arange(len(scores.progress))
    drawing = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    if clip.frames:
        strip = film(next(iter(clip.frames.values())), FILM)
        above, axes = drawing.subplots(2, 1, height_ratios=[1, 2.8])
        above.imshow(strip, interpolation="nearest", aspect="auto")
        above.set_axis_off()
    else:
        axes = drawing.subplots()
    spread = scores.uncertainty
    low, high = np.clip([scores.progress - spread, scores.progress + spread], 0, 1)
    axes.fill_between(steps, low, high, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(steps, scores.progress, color=ACCENT, label="progress")
    axes.plot(steps, scores.done, color=SECOND, linestyle="--", linewidth=1, label="done")
    if scores.done_index < len(steps):
        axes.axvline(scores.done_index, color=GOOD, linewidth=2)
    word = "accepted" if scores.success else "not accepted"
    axes.set_title(
        f"{word}, progress {final_progress(scores):.2f} ± {spread[-1]:.2f}",
        loc="left", fontsize=9, color=GOOD if scores.success else INK,
    )  # fmt: skip
    axes.set_xlim(0, max(len(steps) - 1, 1))
    value_axis(axes)
    axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)
    return drawing


def order_figure(title: str, scores: Sequence[Scores], truth: Truth) -> Figure:
    """Progress of every clip over its own time, and the true order."""
    drawing = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = drawing.subplots()
    for score in scores:
        clock = np.linspace(0, 1, len(score.progress))
        axes.plot(clock, score.progress, color=ACCENT, alpha=max(0.15, 1.5 / len(scores)))
    clock = np.linspace(0, 1, 101)
    if truth != "flat":
        axes.plot(clock, _true_order(truth, clock), color=INK, linestyle="--", linewidth=1)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 1], ["first frame", "last frame"], fontsize=8)
    value_axis(axes)
    return drawing


def _true_order(truth: Truth, clock: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    if truth == "tent":
        return 2 * tent(len(clock)) / (len(clock) - 1)
    return clock if truth == "up" else 1 - clock


def progress_figure(good: Sequence[Scores], bad: Sequence[Scores]) -> Figure:
    """One mark per clip: where its progress ends."""
    drawing = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = drawing.subplots()
    for row, (scores, colour) in enumerate(((bad, BAD), (good, GOOD))):
        ends = [final_progress(score) for score in scores]
        height = row + np.linspace(-0.25, 0.25, len(ends))
        taken = [score.success for score in scores]
        fill = [colour if accepted else "white" for accepted in taken]
        axes.scatter(ends, height, s=28, c=fill, edgecolors=colour)
    axes.set_title("Final progress (filled: accepted)", loc="left", fontsize=10)
    axes.set_yticks([0, 1], ["failures", "successes"])
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.6, 1.6)
    plain_axes(axes)
    return drawing


def roc_figure(good: Sequence[Scores], bad: Sequence[Scores], area: Interval) -> Figure:
    """True against false acceptance at every threshold of the success probability."""
    drawing = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = drawing.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    axes.plot(*roc_curve(*_probabilities(good, bad)), color=ACCENT, drawstyle="default")
    axes.set_title(
        f"ROC: area {area.mean:.2f} [{area.low:.2f}, {area.high:.2f}]", loc="left", fontsize=10
    )
    axes.set_xlabel("failures accepted", fontsize=9)
    axes.set_ylabel("successes accepted", fontsize=9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    plain_axes(axes)
    return drawing


def reliability_figure(said: Said) -> Figure:
    """Observed share of successes against the stated probability; area counts clips."""
    drawing = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = drawing.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    for look, (name, (good, bad)) in zip(looks(len(said)), said.items(), strict=True):
        positives, negatives = _probabilities(good, bad)
        truth = np.arange(len(positives) + len(negatives)) < len(positives)
        stated, observed, count = reliability(np.concatenate([positives, negatives]), truth)
        axes.plot(stated, observed, linewidth=1, label=name, **look)
        area = 20 + 200 * count / count.sum()
        axes.scatter(stated, observed, s=area, color=look["color"], alpha=0.7)
    axes.set_title("Is the probability honest?", loc="left", fontsize=10)
    axes.set_xlabel("stated probability of success", fontsize=9)
    axes.set_ylabel("observed share", fontsize=9)
    axes.set_xlim(-0.06, 1.06)
    axes.set_ylim(-0.06, 1.06)
    plain_axes(axes)
    _names(axes, said)
    return drawing


def selective_figure(said: Said) -> Figure:
    """Wrong decisions among the surest clips, against how many are decided."""
    drawing = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = drawing.subplots()
    highest = 0.2
    for look, (name, (good, bad)) in zip(looks(len(said)), said.items(), strict=True):
        scores = [*good, *bad]
        certainty = np.array([abs(success_probability(score) - 0.5) for score in scores])
        wrong = np.array([score.success != (i < len(good)) for i, score in enumerate(scores)])
        share, risk = selective_risk(certainty, wrong)
        axes.axhline(wrong.mean(), color=look["color"], linestyle=":", linewidth=0.8)
        axes.plot(share, risk, marker="o", markersize=3, label=name, **look)
        highest = max(highest, 1.1 * float(risk.max()))
    axes.set_title("Are its mistakes its doubts?", loc="left", fontsize=10)
    axes.set_xlabel("share of clips decided, surest first", fontsize=9)
    axes.set_ylabel("share decided wrongly", fontsize=9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, highest)
    plain_axes(axes)
    _names(axes, said)
    return drawing


def confusion_figure(found: Confusion) -> Figure:
    """A cell for each task and instruction, the task's own framed."""
    rows, columns = found.progress.shape
    drawing = Figure(figsize=(2 * WIDTH, 0.7 + 0.45 * rows), layout="constrained")
    axes = drawing.subplots()
    axes.imshow(found.progress, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for (row, column), value in np.ndenumerate(found.progress):
        said = "" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, said, ha="center", va="center", fontsize=9, color=INK)
    for row in range(rows):
        axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK))
    axes.set_xticks(range(columns), [str(i + 1) for i in range(columns)], fontsize=9)
    axes.set_yticks(range(rows), [str(i + 1) for i in range(rows)], fontsize=9)
    axes.set_xlabel("asked about instruction", fontsize=9)
    axes.set_ylabel("clips of task", fontsize=9)
    axes.tick_params(length=0)
    return drawing


def plan_figure(laid: Laid) -> Figure:
    """A plan as a heat map: frames of the clip downwards, of its reference to the right."""
    mass = laid.plan.mass
    drawing = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = drawing.subplots()
    # relative to uniform mass; the few cells that hold most would leave the others white
    density = mass * mass.size / mass.sum()
    shown = axes.imshow(
        density, cmap="Blues", vmin=0, vmax=max(1.0, float(np.quantile(density, 0.99))),
        aspect="auto", interpolation="nearest",
    )  # fmt: skip
    outline = on_diagonal(*mass.shape).astype(float)
    axes.contour(outline, levels=[0.5], colors=[SECOND], linewidths=0.8, linestyles="--")
    axes.set_title(
        f"diagonal {laid.diagonal:.2f}, uniform {laid.uniform:.2f}", loc="left", fontsize=10
    )
    axes.set_xlabel(f"frame of reference {laid.plan.reference}", fontsize=9)
    axes.set_ylabel("frame of the clip", fontsize=9)
    axes.tick_params(labelsize=8)
    drawing.colorbar(shown, label="mass, of uniform").ax.tick_params(labelsize=8)
    return drawing


def margin_figure(margins: Mapping[str, Interval]) -> Figure:
    """One bar per other instruction, with its interval."""
    drawing = Figure(figsize=(WIDTH, 0.5 + 0.45 * len(margins)), layout="constrained")
    axes = drawing.subplots()
    for row, (instruction, margin) in enumerate(reversed(list(margins.items()))):
        colour = GOOD if margin.low > 0 else BAD if margin.mean <= 0 else MUTED
        axes.barh(row, margin.mean, height=0.3, color=colour)
        axes.plot([margin.low, margin.high], [row, row], color=INK, linewidth=1)
        axes.text(0, row + 0.22, f"“{instruction}”", fontsize=9, va="bottom", color=INK)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_ylim(-0.4, len(margins) - 0.3)
    axes.set_xlim(min(-0.1, *(m.low for m in margins.values())), 1)
    axes.set_yticks([])
    plain_axes(axes)
    return drawing


def _probabilities(
    good: Sequence[Scores], bad: Sequence[Scores]
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " n"]]:
    positives = np.array([success_probability(score) for score in good])
    return positives, np.array([success_probability(score) for score in bad])


def looks(count: int) -> list[dict[str, Any]]:
    """How each of several lines is drawn: another colour, then another dash."""
    colours = (ACCENT, BAD, GOOD, SECOND, UNSURE, INK)
    dashes = ("-", "--", "-.", ":")
    return [
        {"color": colours[i % len(colours)], "linestyle": dashes[i // len(colours) % len(dashes)]}
        for i in range(count)
    ]


def _names(axes: Axes, said: Said) -> None:
    if len(said) > 1:
        axes.legend(fontsize=8, frameon=False)


def value_axis(axes: Axes) -> None:
    """From nothing to the whole task."""
    axes.set_ylim(-0.05, 1.05)
    axes.set_yticks([0, 0.5, 1])
    plain_axes(axes)


def plain_axes(axes: Axes) -> None:
    """Only what carries information."""
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color=GRID)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
