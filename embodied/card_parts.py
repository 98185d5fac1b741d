"""What the reward card and the page of several rewards have in common."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.audit import AuditResult
from embodied.audit_gates import Outcome
from embodied.html import Html, badge, details, element, section, table, text
from embodied.statistics import Interval


def named(title: str, meaning: str) -> Html:
    """A name, with what it means below it."""
    return element("div", title, element("div", meaning, class_="note"), class_="named")


def judged(gate: Outcome) -> Html:
    """How a gate was judged, as a coloured word."""
    if gate.value is None:
        return badge(gate.label, "unsure")
    sure = gate.decided and not gate.warned
    kind = "bad" if not gate.passed else "good" if sure else "unsure"
    return badge(gate.label, kind)


def notes_told(result: AuditResult) -> Html:
    """What the clips cannot show, folded away."""
    if not result.notes:
        return Html("")
    return details(
        f"What these clips cannot show ({len(result.notes)})",
        element("ul", *(element("li", note) for note in result.notes)),
    )


def two(value: float) -> str:
    """Two decimals, or a dash for what is not known."""
    return "-" if np.isnan(value) else f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def spread(value: Interval) -> str:
    """An interval's ends."""
    return f"{two(value.low)} … {two(value.high)}"


def count(share: Interval) -> str:
    """A share of clips as a count."""
    return f"{round(share.mean * share.n)} of {share.n}"


def memory_told(result: AuditResult) -> str:
    """The model's size and what scoring adds to it, in megabytes."""
    model = f"model {result.memory_mb['model']:.2f} MB"
    if "peak" not in result.memory_mb:
        return f"{model}; scoring not measured on this system"
    peak, added = result.memory_mb["peak"], result.memory_mb["added"]
    return f"{model}; scoring adds {added:.1f} MB; {peak:.0f} MB of the whole process"


def latency_told(result: AuditResult) -> str:
    """Milliseconds per frame."""
    return "; ".join(
        f"{what} {result.latency_ms[f'{key}_p50']:.2g} (p50), "
        f"{result.latency_ms[f'{key}_p99']:.2g} (p99)"
        for key, what in (("score", "scoring"), ("encode", "encoding"))
        if f"{key}_p50" in result.latency_ms
    )


def pins_section(rows: list[list[str | Html]], provenance: Mapping[str, Any]) -> Html:
    """What the numbers depend on.

    Args:
        rows: A name and its value each, of the page.
        provenance: As `embodied.provenance` gives it.
    """
    git, machine = provenance["git"], provenance["machine"]
    every: list[list[str | Html]] = [
        *rows,
        ["command", element("code", provenance["command"])],
        ["commit", "none" if git is None else git["commit"][:12] + " changed" * git["dirty"]],
        ["machine", f"{machine['cpu']}, {machine['cores']} cores"],
        ["versions", ", ".join(f"{k} {v}" for k, v in provenance["versions"].items())],
        ["date", provenance["date"]],
    ]
    return section(
        "What the numbers depend on",
        table(["", ""], [[element("span", key, class_="note"), text(v)] for key, v in every]),
    )
