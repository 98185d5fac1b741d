"""Several rewards side by side: one page that says which to trust, with a card for each."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from embodied.audit import AuditResult
from embodied.audit_gates import Outcome
from embodied.audit_losses import worst
from embodied.card_parts import judged, latency_told, memory_told, named, spread, two
from embodied.durable import write_atomically
from embodied.html import Html, badge, element, join, page, section, table

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
                    element("p", element("a", "its reward card", href=cards[name])),
                ]
            ),
        )
        for name, result in results.items()
    ]
