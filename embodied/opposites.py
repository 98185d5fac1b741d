"""What would undo a task, in words: to teach a reward what to refuse, and to ask whether it does.

A small list of words decides. It knows that "push the drawer closed" undoes "open the drawer", but
not every paraphrase, and says nothing about a task whose words or things are not on it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

UNDOES, SAME = "would undo it", "same thing, another task"
ABOUT = (
    "drawer door window faucet lid box handle lever ring peg plate block puck ball mug cup button "
    "dial cube nut can bread cereal milk carton switch stove microwave cabinet fridge lamp light "
    "towel cloth bottle pot pan bowl jar valve tap plug cable gate"
).split()  # fmt: skip
"""Things that tasks are about; of the words of an instruction, the first of these counts."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two ways to treat a thing, of which each undoes the other."""

    words: frozenset[str]
    """Any of these tells it."""
    taught: tuple[str, ...]
    """Sentences that a reward learns to refuse when its task is the other side."""
    asked: tuple[str, ...]
    """Sentences that are never taught: the audit asks these."""


def _side(words: str, taught: tuple[str, ...], asked: tuple[str, ...]) -> Side:
    return Side(words=frozenset(words.split()), taught=taught, asked=asked)


SIDES = (
    (
        _side("open opened", ("open the {}", "pull the {} open"), ("get the {} open",)),
        _side("close closed shut", ("close the {}", "shut the {}"), ("slide the {} shut",)),
    ),
    (
        _side("lock bolt", ("lock the {}",), ("bolt the {}",)),
        _side("unlock unbolt", ("unlock the {}",), ("unbolt the {}",)),
    ),
    (
        _side("up lift raise pick", ("lift the {}", "pick the {} up"), ("raise the {}",)),
        _side(
            "down lower press put place drop",
            ("lower the {}", "put the {} down"),
            ("set the {} down",),
        ),
    ),
    (
        _side(
            "pull out off remove unplug away",
            ("pull the {} out", "take the {} away"),
            ("remove the {}",),
        ),
        _side(
            "push into onto insert plug",
            ("push the {} in", "push the {} back"),
            ("insert the {}",),
        ),
    ),
    (
        _side("left", ("move the {} to the left",), ("shift the {} left",)),
        _side("right", ("move the {} to the right",), ("shift the {} right",)),
    ),
    (_side("on", (), ()), _side("off", (), ())),
)
"""Pairs, those first that say what becomes of the thing rather than how the hand moves; "on" is too
common a word to make sentences of."""


def relation(own: str, other: str) -> str | None:
    """What the other instruction does with the thing that our own is about.

    The first of `SIDES` that both speak of decides: "push the door open" is not the opposite of
    "pull the door open", "push the drawer open" is that of "push the drawer closed".
    """
    about = thing(own)
    if about is None or about != thing(other):
        return None
    for pair in SIDES:
        ours, theirs = _said(own, pair), _said(other, pair)
        if ours is not None and theirs is not None:
            return SAME if ours is theirs else UNDOES
    return SAME


def opposites(own: Iterable[str], asked: Iterable[str]) -> dict[str, str]:
    """Those of the instructions asked that are about the same thing as one of our own."""
    mine = list(own)
    found: dict[str, str] = {}
    for other in asked:
        relations = {relation(each, other) for each in mine if each != other}
        for kind in (UNDOES, SAME):
            if kind in relations:
                found.setdefault(other, kind)
    return found


def taught(own: Iterable[str], others: Iterable[str]) -> list[str]:
    """Instructions that a reward learns to refuse: the others, and what would undo its own."""
    mine = list(own)
    made = _undone(mine, lambda side: side.taught)
    return [text for text in dict.fromkeys([*others, *made]) if text not in mine]


def reserved(own: Iterable[str]) -> list[str]:
    """What would undo a task, in sentences that `taught` never makes."""
    return list(dict.fromkeys(_undone(list(own), lambda side: side.asked)))


def thing(text: str) -> str | None:
    """What an instruction is about, if it is on the list."""
    return next((word for word in re.findall(r"[a-z]+", text.lower()) if word in ABOUT), None)


def _undoing(own: str) -> list[Side]:
    """Sides that undo what an instruction says."""
    return [
        there for pair in SIDES for here, there in (pair, pair[::-1]) if _said(own, pair) is here
    ]


def _said(text: str, pair: tuple[Side, Side]) -> Side | None:
    """The side that an instruction is on; none where it says both, as "pick ... and put"."""
    sides = [side for side in pair if side.words & _words(text)]
    return sides[0] if len(sides) == 1 else None


def _undone(own: Sequence[str], says: Callable[[Side], Iterable[str]]) -> list[str]:
    """Sentences that undo those of our instructions that are about the same thing, all of them."""
    made = [
        sentence.format(thing(each))
        for each in own
        if thing(each) is not None
        for side in _undoing(each)
        for sentence in says(side)
    ]
    return [text for text in made if all(relation(each, text) != SAME for each in own)]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))
