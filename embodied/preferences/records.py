"""What is put into a preference database, and what comes back: frozen, and checked when made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from embodied.errors import BadInput, UnknownName
from embodied.preferences.answers import Answer

Mode = Literal["pair", "rank", "progress"]
Kind = Literal["human", "scripted", "model"]
RANKED, MARKED, UNDONE = "ranked", "marked", "undone"
"""Choices beside the six answers: of a ranking, of marked progress, of a row that undoes one."""
STRENGTHS = ("slight", "clear")
ATTRIBUTES = ("success", "safety", "smoothness", "speed")
CONSTRAINED = "safety"
"""The attribute that is a constraint and has no slider."""
MAX_NOTE = 2000
MAX_INTERVALS = 100
SIDES = {"pair": (2, 2), "rank": (3, 4), "progress": (1, 1)}
"""Fewest and most clips of a query."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Who is signed in."""

    id: int
    rater_id: int
    rater: str
    kind: str
    csrf: str
    """Must come back with every request that changes something."""


@dataclass(frozen=True, kw_only=True)
class NewClip:
    """A range of frames of one episode."""

    dataset: str
    revision: str
    episode: int
    episode_id: str
    cameras: Sequence[str]
    start: int
    """First frame."""
    stop: int
    """The frame after the last."""
    fps: float
    instruction: str
    success: bool | None
    parent_clip_id: int | None = None
    """The clip that this one is another course of; both begin in the same state."""
    branch_step: int | None = None
    """Frame of the episode, and of the parent's, at which the two part."""


@dataclass(frozen=True, kw_only=True)
class Clip(NewClip):
    """A clip that the database knows."""

    id: int


@dataclass(frozen=True, kw_only=True)
class NewQuery:
    """A question, and why it is asked."""

    clip_ids: Sequence[int]
    acquisition: str
    reason: str
    mode: Mode = "pair"
    score: float | None = None
    reward_version: int | None = None
    gold: Answer | None = None
    repeat_of: int | None = None
    created_by: str = "schedule"

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            BadInput: for too few, too many or repeated clips.
        """
        if self.mode not in get_args(Mode):
            raise UnknownName("mode", str(self.mode), get_args(Mode))
        fewest, most = SIDES[self.mode]
        if not fewest <= len(self.clip_ids) <= most or len({*self.clip_ids}) != len(self.clip_ids):
            raise BadInput(
                f"a {self.mode} query has {fewest} to {most} different clips, not "
                f"{list(self.clip_ids)}."
            )


@dataclass(frozen=True, kw_only=True)
class Showing:
    """A query as one rater sees it: clips in the order shown, and nothing of who acted."""

    id: int
    query_id: int
    mode: str
    clip_ids: tuple[int, ...]
    """In the order shown, left to right."""
    order: tuple[int, ...]
    """Positions of these clips in the query."""
    acquisition: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Submission:
    """An answer as it arrives: sides and clips as they were *shown*."""

    uuid: str
    showing_id: int
    choice: str
    strength: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Of each attribute: left, right or tie."""
    intervals: Sequence[Mapping[str, Any]] = ()
    """``{side, start, stop, good}``; frames of that clip, stop not included."""
    ranking: Sequence[int] | None = None
    """Sides from best to worst."""
    progress: Sequence[Sequence[float]] | None = None
    """Marks ``[frame, progress]`` of a single clip."""
    note: str = ""
    response_ms: float | None = None
    replays: int = 0

    def check(self, mode: str, sides: int) -> None:
        """Whether this answers a query of that mode and so many clips.

        Raises:
            BadInput: saying what is wrong.
            UnknownName: for a choice, strength or attribute that does not exist.
        """
        if not 8 <= len(self.uuid) <= 36:
            raise BadInput("an answer's uuid has 8 to 36 characters.")
        _known("strength", self.strength or STRENGTHS[0], STRENGTHS)
        for attribute, side in self.attributes.items():
            _known("attribute", attribute, ATTRIBUTES)
            _known("side", side, (Answer.LEFT, Answer.RIGHT, Answer.TIE))
        if len(self.note) > MAX_NOTE or len(self.intervals) > MAX_INTERVALS:
            raise BadInput(
                f"an answer takes {MAX_NOTE} characters of note and {MAX_INTERVALS} intervals."
            )
        for interval in self.intervals:
            _check_interval(interval, sides)
        if mode == "pair":
            _known("choice", self.choice, [*Answer])
        elif self.choice not in (Answer.CANT_TELL, Answer.SKIP):
            self._check_mode(mode, sides)

    def _check_mode(self, mode: str, sides: int) -> None:
        if mode == "rank" and (
            self.choice != RANKED or sorted(self.ranking or ()) != list(range(sides))
        ):
            raise BadInput(f"a ranking names each of the {sides} clips once, best first.")
        if mode == "progress":
            marks = [tuple(mark) for mark in self.progress or ()]
            fine = all(len(m) == 2 and m[0] >= 0 and 0 <= m[1] <= 1 for m in marks)
            if self.choice != MARKED or not marks or not fine:
                raise BadInput("progress needs marks [frame, progress], progress from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class Direction:
    """How much a person wants of each attribute, and the least safety."""

    sliders: Mapping[str, float]
    """From -1 to 1, by attribute; one that is not named is 0."""
    floor: float
    """Share of the clips that a clip must be safer than, from 0 to 1; 0 asks for nothing."""

    def __post_init__(self) -> None:
        """Refuse what is no direction.

        Raises:
            UnknownName: for an attribute that there is not.
            BadInput: for a slider of safety, numbers out of range, or sliders that are all 0.
        """
        for name, value in self.sliders.items():
            _known("attribute", name, ATTRIBUTES)
            if name == CONSTRAINED:
                raise BadInput(
                    f"'{CONSTRAINED}' is a constraint and has no slider; set its floor instead."
                )
            if not -1 <= value <= 1:
                raise BadInput(f"the slider of {name} is {value}; it goes from -1 to 1.")
        if not any(self.sliders.values()):
            raise BadInput(f"the sliders {dict(self.sliders)} point nowhere; move one from 0.")
        if not 0 <= self.floor <= 1:
            raise BadInput(f"the floor of {CONSTRAINED} is {self.floor}; it goes from 0 to 1.")


def _known(kind: str, name: str, choices: Sequence[str]) -> None:
    if name not in choices:
        raise UnknownName(kind, name, [str(choice) for choice in choices])


def _check_interval(interval: Mapping[str, Any], sides: int) -> None:
    side, start, stop = (interval.get(name, -1) for name in ("side", "start", "stop"))
    whole = all(type(value) is int for value in (side, start, stop))
    if not whole or not 0 <= side < sides or not 0 <= start < stop:
        raise BadInput(
            f"an interval is {{side, start, stop, good}} in frames, not {dict(interval)}."
        )
    if type(interval.get("good")) is not bool:
        raise BadInput("an interval says good: true or false.")
