"""The reward card: one page that says whether to trust a reward, and shows why."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.audit import AuditResult
from embodied.audit_metrics import DEFINITIONS
from embodied.card_figures import (
    Truth,
    clip_figure,
    order_figure,
    progress_figure,
    reliability_figure,
    roc_figure,
    selective_figure,
)
from embodied.card_parts import (
    count,
    judged,
    latency_told,
    memory_told,
    named,
    notes_told,
    pins_section,
    spread,
    two,
)
from embodied.card_plans import plans_section
from embodied.card_tables import cameras_section, instructions_section, robustness_section
from embodied.durable import write_atomically
from embodied.html import (
    Html,
    element,
    figure,
    join,
    page,
    section,
    side_by_side,
    table,
    tiles,
)
from embodied.reward_models.base import Scores
from embodied.types import Clip

SHOWN = 3
"""Successes, and failures, whose curves are drawn."""


def write_card(result: AuditResult, path: Path) -> None:
    """Write the page, in one piece."""
    write_atomically(path, render(result).encode())


def render(result: AuditResult) -> str:
    """The page as HTML; it makes no request."""
    instructions = result.pins["instructions"]
    return page(
        f"Reward card: {instructions[0]}",
        _verdict(result, instructions),
        _gates(result),
        *_settings(result),
        _clips(result),
        _order(result),
        *plans_section(result),
        _separation(result),
        instructions_section(result),
        robustness_section(result),
        cameras_section(result),
        _numbers(result),
        _pins(result),
    )


def _verdict(result: AuditResult, instructions: Sequence[str]) -> Html:
    unsure = any(gate.warned or not gate.decided for gate in result.gates)
    kind = "bad" if not result.accepted else "unsure" if unsure else "good"
    metrics, pins = result.metrics, result.pins
    few = ", ".join(f"“{instruction}”" for instruction in instructions[:3])
    return join(
        [
            element("p", "Reward card", class_="note"),
            element("h1", few + (" …" if len(instructions) > 3 else "")),
            element(
                "div",
                element("p", element("b", result.headline)),
                element("ul", *(element("li", reason) for reason in result.reasons))
                if result.reasons
                else "",
                class_=f"verdict {kind}",
            ),
            tiles(
                [
                    ("pairs ranked rightly", f"{metrics['pair_accuracy'].mean:.0%}"),
                    ("success AUROC", f"{metrics['auroc'].mean:.2f}"),
                    ("follows doing and undoing", f"{metrics['cycle_voc'].mean:.2f}"),
                    ("failures accepted", count(metrics["false_success"])),
                ]
            ),
            element(
                "p",
                pins.get("episodes")
                or f"Judged on {pins['successes']} successes and {pins['failures']} failures that "
                "the reward has not seen.",
                " Intervals are 95 %, over clips.",
                class_="note",
            ),
            notes_told(result),
        ]
    )


def _gates(result: AuditResult) -> Html:
    rows = [
        [
            judged(gate),
            named(gate.title, MEANINGS.get(gate.name) or DEFINITIONS[gate.name].meaning),
            element("b", "-" if gate.value is None else two(gate.value.mean)),
            "" if gate.value is None else spread(gate.value),
            gate.needed,
            two(result.baseline[gate.name].mean) if gate.name in result.baseline else "",
        ]
        for gate in result.gates
    ]
    return section(
        "Gates",
        table(["verdict", "gate", "value", "interval", "needed", "clock"], rows, numeric=(2, 3, 5)),
        note="A clock knows how long a success takes and looks at nothing. “Not shown” means that "
        "the interval reaches to the other side of the threshold: more clips would tell.",
    )


def _settings(result: AuditResult) -> list[Html]:
    """Of a reward that could be set otherwise."""
    if result.choice is None:
        return []
    rows = [
        ["in use" if name == result.choice.chosen else "", name, two(value.mean), spread(value)]
        for name, value in result.choice.distances.items()
    ]
    return [
        section(
            "Which setting is nearest to the outcomes?",
            table(["", "setting", "EPIC distance", "interval"], rows, numeric=(2, 3)),
            note="Distance of the signal, in first and last frames of these clips, from 1 where "
            "the task is done and 0 elsewhere; 0.71 is unrelated. The setting in use was chosen on "
            "the clips that the reward was fitted to.",
        )
    ]


MEANINGS = {
    "camera_drop": "the larger of what VOC and pair accuracy lose",
    "opposite": "how much higher successes end than under the hardest instruction that would undo "
    "the task; only warns",
}
"""Of gates on what is measured elsewhere."""


def _numbers(result: AuditResult) -> Html:
    rows = [
        [
            named(definition.title, definition.meaning),
            element("b", two(result.metrics[name].mean)),
            spread(result.metrics[name]),
            two(result.baseline[name].mean),
        ]
        for name, definition in DEFINITIONS.items()
    ]
    for far in result.distances:
        told = named(far.title, far.meaning)
        rows.append([told, element("b", two(far.own.mean)), spread(far.own), two(far.clock)])
    return section(
        "All numbers",
        table(["number", "value", "interval", "clock"], rows, numeric=(1, 2, 3)),
    )


def _clips(result: AuditResult) -> Html:
    """A few clips of each outcome: the most typical, and the worst."""
    good = _chosen(result.held_out.successes, result.evidence.successes, lowest_is_worst=True)
    bad = _chosen(result.held_out.failures, result.evidence.failures, lowest_is_worst=False)
    return section(
        "What it says, frame by frame",
        side_by_side(
            element("div", element("h3", "Successes"), *good),
            element("div", element("h3", "Failures"), *bad),
        ),
        note="The worst clip first. Progress with one standard deviation of the ensemble, the "
        "probability of being done (dashed), and the frame from which the reward counts the task "
        "as complete (green line).",
    )


def _chosen(
    clips: Sequence[Clip], scores: Sequence[Scores], *, lowest_is_worst: bool
) -> list[Html]:
    order = np.argsort([s.progress[-1] + s.success for s in scores], kind="stable")
    order = order if lowest_is_worst else order[::-1]
    places = np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))
    return [
        figure(
            clip_figure(clips[i], scores[i]),
            f"Progress ends at {scores[i].progress[-1]:.2f}; "
            f"{'accepted' if scores[i].success else 'not accepted'}.",
        )
        for i in order[places]
    ]


def _order(result: AuditResult) -> Html:
    evidence = result.evidence
    drawings: tuple[tuple[str, Sequence[Scores], Truth], ...] = (
        ("Forward", evidence.successes, "up"),
        ("Played backwards", evidence.reversed, "down"),
        ("Done, then undone", evidence.undone, "tent"),
        ("One frame held", [held[1] for held in evidence.frozen], "flat"),
    )
    return section(
        "Does it see motion, or count frames?",
        side_by_side(
            *(
                figure(order_figure(title, scores, truth), f"{title}: progress of every success.")
                for title, scores, truth in drawings
            )
        ),
        note="Progress of each held-out success and of clips made from it; the true order is "
        "dashed. A clock would draw the first panel four times.",
    )


def _separation(result: AuditResult) -> Html:
    good, bad = result.evidence.successes, result.evidence.failures
    return section(
        "Does it tell success from failure?",
        side_by_side(
            figure(progress_figure(good, bad), "Final progress of successes and failures."),
            figure(
                roc_figure(good, bad, result.metrics["auroc"]),
                f"ROC curve with area {result.metrics['auroc'].mean:.2f}.",
            ),
            figure(
                reliability_figure({"": (good, bad)}),
                f"Reliability plot; calibration error {result.metrics['ece'].mean:.2f}.",
            ),
            figure(
                selective_figure({"": (good, bad)}),
                "Share of wrong decisions against the share of clips decided, surest first.",
            ),
        ),
        note="The success probability of a clip is the highest done probability that holds for two "
        "frames. In the last panel the reward decides ever more clips, those of which it is surest "
        "first: its mistakes should come last.",
    )


def _pins(result: AuditResult) -> Html:
    pins, frames = result.pins, result.pins["frames_per_clip"]
    rows: list[list[str | Html]] = [
        ["reward", f"{pins['reward']}, {'causal' if pins['causal'] else 'needs the whole clip'}"],
        ["encoder", pins["encoder"]],
        *([["people's answers", _told(told)]] if (told := pins["preferences"]) else []),
        ["milliseconds per frame", latency_told(result)],
        ["memory", memory_told(result)],
        ["cameras", ", ".join(f"{k} {v}" for k, v in pins["resolution"].items())],
        ["frames", f"{frames['min']} to {frames['max']} per clip, {pins['frame_order']}"],
        ["frames per second", f"{pins['fps']:g}"],
    ]
    return pins_section(rows, pins["provenance"])


def _told(origin: Mapping[str, Any]) -> str:
    """Which answers the reward learned from; of an earlier version, all kinds of raters were."""
    kinds = origin.get("rater_kinds", "human, scripted")
    return (
        f"{origin['labels']} labels of {', '.join(origin['answers'])} ({kinds} raters), up to "
        f"number {origin['last_label']} in {origin['database']}"
    )
