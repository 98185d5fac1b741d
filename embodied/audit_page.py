"""Several rewards side by side: one page that says which to trust, with a card for each."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from embodied.audit import AuditResult
from embodied.audit_gates import Outcome
from embodied.audit_losses import worst
from embodied.audit_metrics import final_progress
from embodied.audit_page_figures import (
    curves_figure,
    instructions_figure,
    most_disputed,
    said_by,
    under_instructions,
)
from embodied.audit_simulator import Distance
from embodied.card_figures import reliability_figure, selective_figure
from embodied.card_parts import (
    judged,
    latency_told,
    memory_told,
    named,
    notes_told,
    spread,
    two,
)
from embodied.card_tables import confusion_parts
from embodied.durable import write_atomically
from embodied.html import (
    Html,
    badge,
    element,
    figure,
    join,
    page,
    section,
    side_by_side,
    table,
)

Results = Mapping[str, AuditResult | str]
"""By the rewards' names; a sentence for one that could not be audited."""


def write_page(results: Results, cards: Mapping[str, str], path: Path) -> None:
    """Write the page, and the same as JSON beside it.

    Args:
        results: In the order of the columns.
        cards: File name of each reward's own page, beside this one.
        path: Of the page.
    """
    write_atomically(path, render_page(results, cards).encode())
    content = {
        name: {"error": result} if isinstance(result, str) else result.to_dict()
        for name, result in results.items()
    }
    written = json.dumps(content, indent=1) + "\n"
    write_atomically(path.with_suffix(".json"), written.encode())


def render_page(results: Results, cards: Mapping[str, str]) -> str:
    """The page as HTML; it makes no request."""
    audited = {name: each for name, each in results.items() if isinstance(each, AuditResult)}
    return page(
        "Rewards side by side",
        element("h1", "Rewards side by side"),
        *([_told(audited)] if audited else []),
        *([_table(audited, cards)] if audited else []),
        *([_clips(audited), _separation(audited), _instructions(audited)] if audited else []),
        *_reasons(results, cards),
    )


def _told(audited: Mapping[str, AuditResult]) -> Html:
    accepted = [name for name, result in audited.items() if result.accepted]
    said = (
        f"{', '.join(accepted)} may be trained on; {len(audited) - len(accepted)} of "
        f"{len(audited)} rejected."
        if accepted
        else f"None of these {len(audited)} rewards should be trained on."
    )
    first = next(iter(audited.values()))
    judged_on = f"Judged on {first.pins['successes']} successes and {first.pins['failures']} "
    return join(
        [
            element("div", element("p", element("b", said)),
                    class_=f"verdict {'good' if accepted else 'bad'}"),
            element("p", judged_on + "failures, the same clips for all. Value and 95 % interval "
                    "over clips.", class_="note"),
        ]
    )  # fmt: skip


def _table(audited: Mapping[str, AuditResult], cards: Mapping[str, str]) -> Html:
    first = next(iter(audited.values()))
    rows: list[list[object]] = [["verdict", *map(_verdict, audited.values())]]
    for number, gate in enumerate(first.gates):
        cells = [_gate(result.gates[number]) for result in audited.values()]
        rows.append([named(gate.title, gate.needed), *cells])
    for number, far in enumerate(first.distances):
        told = [_far(result.distances[number]) for result in audited.values()]
        rows.append([named(far.title, far.meaning), *told])
    shown: dict[str, Callable[[AuditResult], object]] = {
        "worst camera": _worst_camera,
        "worst perturbation": _worst_perturbation,
        "milliseconds per frame": latency_told,
        "memory": memory_told,
        "trained on": lambda result: result.pins.get("episodes") or "-",
    }
    rows += [[title, *map(tell, audited.values())] for title, tell in shown.items()]
    heads = [Html(element("a", name, href=cards[name])) for name in audited]
    return section("Gates and costs", table(["", *heads], rows))


def _verdict(result: AuditResult) -> Html:
    return badge("accepted", "good") if result.accepted else badge("rejected", "bad")


def _gate(gate: Outcome) -> object:
    if gate.value is None:
        return judged(gate)
    return join(
        [
            element("b", two(gate.value.mean)),
            judged(gate),
            element("div", spread(gate.value), class_="note"),
        ]
    )


def _far(distance: Distance) -> Html:
    note = element("div", spread(distance.own), class_="note")
    return join([element("b", two(distance.own.mean)), note])


def _worst_camera(result: AuditResult) -> object:
    hidden = [row for row in result.cameras if row.name.startswith("without_")]
    if not hidden:
        return f"only {result.pins['cameras'][0]}" if result.pins["cameras"] else "-"
    hardest = worst(hidden)
    return _drop(hardest.title, hardest.drop.mean)


def _worst_perturbation(result: AuditResult) -> object:
    hardest = worst(result.robustness)
    return _drop(hardest.title, hardest.drop.mean)


def _drop(title: str, drop: float) -> Html:
    return join([title, element("div", f"loses {two(drop)}", class_="note")])


def _clips(audited: Mapping[str, AuditResult]) -> Html:
    """One success and one failure, with all rewards' curves."""
    first = next(iter(audited.values()))
    said = said_by(audited)
    shown = []
    for side, (outcome, clips) in enumerate(
        (("Success", first.held_out.successes), ("Failure", first.held_out.failures))
    ):
        number = most_disputed([both[side] for both in said.values()])
        curves = {name: both[side][number] for name, both in said.items()}
        ends = ", ".join(f"{name} {two(final_progress(s))}" for name, s in curves.items())
        drawing = curves_figure(clips[number], curves)
        shown += [
            element("h3", f"{outcome} {number}"),
            figure(drawing, f"{outcome} {number}: progress ends at {ends}."),
        ]
    return section(
        "The same clip, as each reward sees it",
        *shown,
        note="Progress of the success and of the failure about whose end the rewards differ most; "
        "a dot marks the frame from which a reward counts the task as complete.",
    )


def _separation(audited: Mapping[str, AuditResult]) -> Html:
    said = said_by(audited)
    errors = ", ".join(f"{name} {two(r.metrics['ece'].mean)}" for name, r in audited.items())
    return section(
        "Whose probability is honest, and whose mistakes are its doubts?",
        side_by_side(
            figure(reliability_figure(said), f"Reliability plot; calibration error: {errors}."),
            figure(
                selective_figure(said),
                "Share of wrong decisions against the share of clips decided, surest first.",
            ),
        ),
        note="Left: on the diagonal, what is called 80 % succeeds in 80 %. Right: each reward "
        "decides ever more clips, its surest first; dotted is its share of mistakes in all.",
    )


def _instructions(audited: Mapping[str, AuditResult]) -> Html:
    asked, found = under_instructions(audited)
    if not asked:
        return Html("")
    return section(
        "Which of them read the instruction?",
        figure(
            instructions_figure(list(audited), found),
            "Final progress of successes under each instruction, reward by reward.",
        ),
        element("ol", *(element("li", f"“{text}”") for text in asked), class_="note"),
        note="Mean final progress of the successes under their own instruction, then under each of "
        "the others, numbered as below. A reward that reads is dark in the first column alone.",
    )


def _reasons(results: Results, cards: Mapping[str, str]) -> list[Html]:
    """Why each was judged as it was, with a way to its card."""
    return [
        section(
            name,
            element("p", result if isinstance(result, str) else result.headline),
            ""
            if isinstance(result, str)
            else join(
                [
                    element("ul", *(element("li", reason) for reason in result.reasons))
                    if result.reasons
                    else "",
                    notes_told(result),
                    *confusion_parts(result),
                    element("p", element("a", "its reward card", href=cards[name])),
                ]
            ),
        )
        for name, result in results.items()
    ]
