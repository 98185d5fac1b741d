"""`adversary.html`: proxy and truth against optimisation pressure, and what fools the reward."""

import json
from collections.abc import Sequence
from pathlib import Path

from embodied.adversary import CHOICE, Adversary, Attack, Case
from embodied.adversary_choice import divergence
from embodied.adversary_figures import progress_figure, return_figure, truth_figure
from embodied.adversary_verdict import Verdict
from embodied.card_figures import clip_figure
from embodied.card_parts import pins_section, spread, two
from embodied.durable import write_atomically
from embodied.html import (
    Html,
    badge,
    details,
    element,
    figure,
    join,
    page,
    section,
    side_by_side,
    table,
    tiles,
)
from embodied.statistics import Interval

WORDS = {"good": "truth follows", "bad": "gamed", "unsure": "not decided"}


def write_adversary(result: Adversary, path: Path) -> None:
    """Write the page, and the same as JSON beside it."""
    write_atomically(path, render_adversary(result).encode())
    content = json.dumps(result.to_dict(), indent=1) + "\n"
    write_atomically(path.with_suffix(".json"), content.encode())


def render_adversary(result: Adversary) -> str:
    """The page as HTML; it makes no request."""
    return page(
        f"Adversarial audit: {result.pins['instruction']}",
        _head(result),
        *(_attack(attack, result.honest) for attack in result.attacks),
        _cases(result.cases),
        _pins(result),
    )


def _head(result: Adversary) -> Html:
    verdict = result.verdict
    points = [
        element("li", element("b", f"{attack.words.title}: "), attack.verdict.sentence)
        for attack in result.attacks
    ]
    return join(
        [
            element("p", "Adversarial audit", class_="note"),
            element("h1", f"“{result.pins['instruction']}”"),
            element(
                "div",
                element("p", element("b", verdict.sentence)),
                element("ul", *points),
                class_=f"verdict {verdict.kind}",
            ),
            tiles([(f"{a.words.title}: tricks", _share(a)) for a in result.attacks]),
            element(
                "p",
                "What optimises sees the learned return alone; the simulator's truth is written "
                "down beside it. A trick fails in truth, though the reward accepts it or pays it "
                f"at least {result.honest:.2f}, what it pays the median success that it was not "
                "trained on. Intervals are 95 %.",
                class_="note",
            ),
        ]
    )


def _share(attack: Attack) -> str:
    return f"{attack.points[attack.judged - 1].tricks.mean:.0%}"


def _attack(attack: Attack, honest: float) -> Html:
    words = attack.words
    drawings = [
        figure(return_figure(attack, honest), f"Learned return, {words.title}."),
        figure(truth_figure(attack), f"Success in truth, {words.title}."),
    ]
    if attack.points[0].progress is not None:
        drawings.append(figure(progress_figure(attack), f"Progress, {words.title}."))
    return section(
        words.title[0].upper() + words.title[1:],
        _verdict(attack.verdict),
        side_by_side(*drawings),
        details("The numbers", _table(attack)),
        note=attack.note,
    )


def _verdict(verdict: Verdict) -> Html:
    told = element("p", badge(WORDS[verdict.kind], verdict.kind), " ", verdict.sentence)
    return element("div", told, class_=f"verdict {verdict.kind}")


def _table(attack: Attack) -> Html:
    heads = [attack.words.axis, "learned return", "accepted", "success in truth", "tricks"]
    by_truth = attack.points[0].oracle is not None
    extra = ["chosen by truth"] * by_truth + ["KL, nats"] * (attack.words is CHOICE)
    rows = [
        [
            str(point.pressure),
            *(_cell(value) for value in (point.total, point.accepted, point.truth, point.tricks)),
            *([_cell(point.oracle)] if by_truth else []),
            *([two(divergence(point.pressure))] if attack.words is CHOICE else []),
        ]
        for point in attack.points
    ]
    return table([*heads, *extra], rows, numeric=range(len(heads) + len(extra)))


def _cell(value: Interval | None) -> object:
    if value is None:
        return "-"
    return join([element("b", two(value.mean)), element("span", spread(value), class_="note")])


def _cases(cases: Sequence[Case]) -> Html:
    """Tricks first, each kind by what it is paid."""
    tricks = any(case.trick for case in cases)
    ordered = sorted(cases, key=lambda case: (not case.trick, -case.trial.proxy.total))
    return section(
        "What fools it" if tricks else "The failures that it likes best",
        side_by_side(*map(_case, ordered)) if cases else element("p", "Nothing failed."),
        note="Failures in truth with the highest learned return, executed again: progress with one "
        "standard deviation of the ensemble, and the probability of being done (dashed). Their "
        "starts and actions are in the JSON file.",
    )


def _case(case: Case) -> Html:
    true = case.trial.truth.progress
    gone = "" if true is None else f", {true:.0%} of the way in truth"
    told = f"{case.attack}: learned return {case.trial.proxy.total:.2f}{gone}. "
    return figure(
        clip_figure(case.clip, case.scores),
        f"A failure that the reward likes, found by {case.attack}.",
        caption=told + ("A trick." if case.trick else "Not paid like a success."),
    )


def _pins(result: Adversary) -> Html:
    pins, shown = result.pins, ("reward", "encoder", "policy", "task", "seed", "budget")
    rows: list[list[str | Html]] = [
        *([name, str(pins[name])] for name in shown),
        ["attempts", ", ".join(f"{a.words.title} {a.attempts}" for a in result.attacks)],
        ["seconds", f"{pins['seconds']:.0f}, {pins['processor_seconds']:.0f} of processor time"],
    ]
    return pins_section(rows, pins["provenance"])
