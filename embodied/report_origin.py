"""The part of a report that says where its numbers come from: commands, provenance, settings."""

from typing import Any

import yaml

from embodied import html
from embodied.html import Html
from embodied.run_record import RunRecord


def origin(record: RunRecord) -> Html:
    """How the run was begun and resumed, and folded away all that it was told and found."""
    shown = {k: v for k, v in record.summary.items() if not k.startswith("success_")}
    parts = [
        html.details(what, html.element("pre", yaml.safe_dump(content, sort_keys=False)))
        for what, content in (("Summary and provenance", shown), ("Configuration", record.config))
    ]
    return html.section("Where it comes from", *_commands(record), *parts)


def _commands(record: RunRecord) -> list[Html]:
    """How the run was begun, how often it was resumed, and how it goes on if it has not ended."""
    begun = [row for row in record.commands if row.get("what") == "begun"]
    resumed = [row for row in record.commands if row.get("what") == "resumed"]
    shown = []
    if begun:
        shown.append(html.element("pre", begun[0]["command"]))
        shown.append(html.element("p", f"Begun {_when(begun[0])}.", class_="note"))
    elif record.summary:
        shown.append(html.element("pre", record.summary.get("command", "")))
        shown.append(html.element("p", "The command that wrote the summary.", class_="note"))
    if resumed:
        times = "once" if len(resumed) == 1 else f"{len(resumed)} times"
        rows = [(_when(row), html.element("code", row["command"])) for row in resumed]
        shown.append(html.details(f"Resumed {times}", html.table(["when", "command"], rows)))
    if not record.summary:
        name = record.run_dir.name
        shown.append(html.element("p", f"To continue: embodied resume {name}", class_="note"))
    return shown


def _when(row: dict[str, Any]) -> str:
    commit = f" at commit {row['commit'][:12]}" if row.get("commit") else ""
    return f"{row.get('date')}{commit}"
