"""Instructions about the same thing: what would undo the task, or do something else with it.

They are the hardest to tell apart, because the scene is the right one. Words decide, by a small
list: it finds "push the drawer closed" for "open the drawer", not every paraphrase.
"""

import re
from collections.abc import Iterable, Mapping

from embodied.envs.catalogue import instructions, suites
from embodied.statistics import Interval

UNDOES, SAME = "would undo it", "same thing, another task"
OPPOSITES = (
    ({"open", "opened"}, {"close", "closed", "shut"}),
    ({"lock"}, {"unlock"}),
    ({"up", "lift", "raise", "pick"}, {"down", "lower", "press", "put", "place", "drop"}),
    (
        {"pull", "out", "off", "remove", "unplug", "away"},
        {"push", "into", "onto", "insert", "plug"},
    ),
    ({"left"}, {"right"}),
    ({"on"}, {"off"}),
)
ABOUT = (
    "drawer door window faucet lid box handle lever ring peg plate block puck ball mug cup button "
    "dial cube nut can bread cereal milk carton switch stove microwave cabinet fridge lamp light "
    "towel cloth bottle pot pan bowl jar valve tap plug cable gate"
).split()  # fmt: skip
"""Things that tasks are about; of the words of an instruction, the first of these counts."""
MOST = 2
"""So many are looked up and asked besides."""
HARDLY = 0.25
"""Successes that end by less than this below their own instruction are hardly told apart."""


def opposites(own: Iterable[str], asked: Iterable[str]) -> dict[str, str]:
    """Those of the instructions asked that are about the same thing as one of our own."""
    found: dict[str, str] = {}
    for other in asked:
        relations = {relation(each, other) for each in own if each != other}
        for kind in (UNDOES, SAME):
            if kind in relations:
                found.setdefault(other, kind)
    return found


def counterfactuals(own: Iterable[str], asked: Iterable[str]) -> list[str]:
    """Known tasks that would undo one of our own, if that is not asked already."""
    mine, already = set(own), set(asked)
    if UNDOES in opposites(mine, already).values():
        return []
    known = instructions(suites())
    related = opposites(mine, [text for text in known if text not in already | mine])
    return [text for text, kind in related.items() if kind == UNDOES][:MOST]


def hardly_told_apart(
    related: Mapping[str, str], margins: Mapping[str, Interval]
) -> tuple[str, ...]:
    """A sentence for each instruction that undoes the task and yet is rewarded nearly as much."""
    return tuple(
        f"Asked to “{text}”, which would undo the task, successes end "
        f"{margins[text].mean:.2f} below their progress under their own instruction: the reward "
        "hardly tells the two apart."
        for text, kind in related.items()
        if kind == UNDOES and margins[text].mean < HARDLY
    )


def relation(own: str, other: str) -> str | None:
    """What the other instruction does with the thing that our own is about."""
    ours, theirs = _words(own), _words(other)
    about = next((word for word in ours if word in ABOUT), None)
    if about is None or about != next((word for word in theirs if word in ABOUT), None):
        return None
    for first, second in OPPOSITES:
        for here, there in ((first, second), (second, first)):
            if here & set(ours) and there & set(theirs) and not there & set(ours):
                return UNDOES
    return SAME


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())
