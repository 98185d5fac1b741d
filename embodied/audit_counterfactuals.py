"""Instructions that would undo the task: the hardest to tell apart, for the scene is the right one.

Words decide, by the list in `embodied.opposites`.
"""

from collections.abc import Iterable, Mapping

from embodied.envs.catalogue import instructions, suites
from embodied.opposites import UNDOES, opposites, reserved
from embodied.statistics import Interval

MOST = 2
"""So many known tasks are looked up and asked besides, and so many sentences."""


def counterfactuals(own: Iterable[str], asked: Iterable[str]) -> list[str]:
    """What would undo one of our own: known tasks, and sentences that no reward is taught."""
    mine, already = set(own), set(asked)
    known = [text for text in instructions(suites()) if text not in already | mine]
    related = opposites(sorted(mine), known)
    found = [text for text, kind in related.items() if kind == UNDOES][:MOST]
    made = [text for text in reserved(sorted(mine)) if text not in already][:MOST]
    return list(dict.fromkeys([*found, *made]))


def least_margin(
    related: Mapping[str, str], margins: Mapping[str, Interval]
) -> dict[str, Interval]:
    """Margin over the instruction that undoes the task and is rewarded most; a gate's value."""
    undoing = [margins[text] for text, kind in related.items() if kind == UNDOES]
    return {"opposite": min(undoing, key=lambda margin: margin.mean)} if undoing else {}


def hardly_told_apart(
    related: Mapping[str, str], margins: Mapping[str, Interval], least: float
) -> tuple[str, ...]:
    """A sentence for each instruction that undoes the task and yet is rewarded nearly as much.

    Args:
        related: What each instruction does with our own task.
        margins: How much lower successes end under each.
        least: Margin below which the two are hardly told apart.
    """
    return tuple(
        f"Asked to “{text}”, which would undo the task, successes end "
        f"{margins[text].mean:.2f} below their progress under their own instruction: the reward "
        "hardly tells the two apart."
        for text, kind in related.items()
        if kind == UNDOES and margins[text].mean < least
    )
