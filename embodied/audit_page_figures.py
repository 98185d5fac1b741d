"""Figures of the page of several rewards: the same clips, with a curve or a row for each reward."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from embodied.audit import AuditResult
from embodied.audit_metrics import final_progress
from embodied.card_figures import FILM, Said, looks, plain_axes, value_axis
from embodied.html import INK, film
from embodied.reward_models.base import Scores
from embodied.types import Clip

WIDE = 7.2
"""Of a figure with all rewards, in inches."""


def said_by(audited: Mapping[str, AuditResult]) -> Said:
    """What each reward said of the held-out successes and failures."""
    return {
        name: (result.evidence.successes, result.evidence.failures)
        for name, result in audited.items()
    }


def most_disputed(said: Sequence[Sequence[Scores]]) -> int:
    """Number of the clip about whose end the rewards differ most; the middle one of a single.

    Args:
        said: Per reward, what it says of each clip.
    """
    ends = np.array([[final_progress(scores) for scores in own] for own in said])
    if len(ends) < 2:
        return int(np.argsort(ends[0], kind="stable")[(ends.shape[1] - 1) // 2])
    return int(np.argmax(ends.max(0) - ends.min(0)))


def curves_figure(clip: Clip, said: Mapping[str, Scores]) -> Figure:
    """Every reward's progress below the clip's frames; a dot where it counts it as complete."""
    drawing = Figure(figsize=(WIDE, 3.6), layout="constrained")
    if clip.frames:
        above, axes = drawing.subplots(2, 1, height_ratios=[1, 2.6])
        strip = film(next(iter(clip.frames.values())), FILM)
        above.imshow(strip, interpolation="nearest", aspect="auto")
        above.set_axis_off()
    else:
        axes = drawing.subplots()
    for look, (name, scores) in zip(looks(len(said)), said.items(), strict=True):
        word = "accepted" if scores.success else "not accepted"
        axes.plot(scores.progress, label=f"{name}: {word}", **look)
        if scores.done_index < len(scores.progress):
            done = scores.done_index
            axes.plot([done], [scores.progress[done]], "o", color=look["color"])
    axes.set_xlim(0, max(len(clip) - 1, 1))
    axes.set_xlabel("frame", fontsize=9)
    value_axis(axes)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return drawing


def under_instructions(
    audited: Mapping[str, AuditResult],
) -> tuple[list[str], Float[np.ndarray, "reward asked"]]:
    """Instructions asked, and each reward's mean final progress of the successes under them.

    The clips' own instruction is the first column, and is not named.
    """
    asked = list(dict.fromkeys(text for r in audited.values() for text in r.evidence.asked))
    found = np.full((len(audited), 1 + len(asked)), np.nan)
    for row, result in enumerate(audited.values()):
        found[row, 0] = np.mean([final_progress(s) for s in result.evidence.successes])
        for column, text in enumerate(asked, start=1):
            scores = result.evidence.asked.get(text, ())
            ends = [final_progress(s) for s in scores if s is not None]
            if ends:
                found[row, column] = np.mean(ends)
    return asked, found


def instructions_figure(names: Sequence[str], found: Float[np.ndarray, "reward asked"]) -> Figure:
    """A row for each reward, a cell for each instruction; their own is the first."""
    drawing = Figure(figsize=(WIDE + 1, 0.8 + 0.45 * len(names)), layout="constrained")
    axes = drawing.subplots()
    axes.imshow(found, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for (row, column), value in np.ndenumerate(found):
        said = "" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, said, ha="center", va="center", fontsize=9, color=INK)
    columns = ["own", *map(str, range(1, found.shape[1]))]
    axes.set_xticks(range(found.shape[1]), columns, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlabel("asked about instruction", fontsize=9)
    plain_axes(axes)
    axes.grid(visible=False)
    return drawing
