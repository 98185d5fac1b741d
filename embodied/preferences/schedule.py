"""Which query a rater is asked next, and why: what the model wants to know, mixed with controls.

Shares as in the design: most queries are those that an acquisition chose and queued; a uniform
share is the only unbiased test of a model; repeats with the sides swapped show whether a rater is
consistent; gold pairs have an answer that is certain; and some queries go to a second rater.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import numpy as np
import sqlalchemy as sa

from embodied.errors import BadInput
from embodied.preferences.answers import Answer
from embodied.preferences.database import select_one
from embodied.preferences.labels import LabelBook, open_showings, show
from embodied.preferences.records import SIDES, Mode, NewQuery, Session, Showing
from embodied.preferences.store import add_query
from embodied.preferences.tables import CLIP, LABEL, QUERY, SHOWING

MAX_AHEAD = 4
"""Queries that a rater is shown ahead of time."""
REPEAT_AFTER = 8
"""Labels of a rater between a pair and its repeat."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of queries by why they are asked; what a kind cannot fill is asked uniformly."""

    chosen: float = 0.6
    """By an acquisition, from the queue."""
    uniform: float = 0.2
    repeat: float = 0.1
    gold: float = 0.1
    second_rater: float = 0.2
    """Chance that a query is one which exactly one other rater has answered."""

    def __post_init__(self) -> None:
        """Refuse shares that are none.

        Raises:
            BadInput: naming them.
        """
        shares = (self.chosen, self.uniform, self.repeat, self.gold)
        if min(shares) < 0 or sum(shares) <= 0 or not 0 <= self.second_rater <= 1:
            raise BadInput(f"shares of queries must be at least 0 and not all 0: {self}.")


@final
class Schedule:
    """Chooses queries for raters.

    Args:
        book: Where showings are noted.
        seed: Of what is left to chance.
        mix: Shares.
    """

    def __init__(self, book: LabelBook, seed: int, mix: Mix | None = None) -> None:
        self.book, self.mix = book, mix or Mix()
        self._rng = np.random.default_rng(seed)

    def next(self, session: Session, count: int, mode: str = "pair") -> list[Showing]:
        """The rater's next queries; the same ones until they are answered.

        Args:
            session: Of the rater.
            count: How many, `MAX_AHEAD` at most.
            mode: Kind of query.

        Raises:
            BadInput: if there are too few clips for one query.
        """
        if mode not in SIDES:
            raise BadInput(f"there is no mode '{mode}'; choose one of {', '.join(SIDES)}.")
        opened = self.book.open_showings(session, mode)
        count = min(count, MAX_AHEAD)
        if len(opened) >= count:
            return opened[:count]
        with self.book.database.writing() as connection:
            opened = open_showings(connection, session.rater_id, mode)
            for _ in range(count - len(opened)):
                self._show_another(connection, session, mode)
            return open_showings(connection, session.rater_id, mode)[:count]

    def pick(self, session: Session, clip_ids: Sequence[int]) -> Showing:
        """Ask about clips that the rater picked from the map."""
        with self.book.database.writing() as connection:
            query = NewQuery(
                clip_ids=clip_ids, acquisition="picked", reason="Picked from the map.",
                created_by=session.rater,
            )  # fmt: skip
            known = connection.execute(sa.select(CLIP.c.id).where(CLIP.c.id.in_(list(clip_ids))))
            if len(known.all()) != len(clip_ids):
                raise BadInput(f"not all of the clips {list(clip_ids)} exist.")
            number = add_query(connection, query, self.book.clock())
            self._show(connection, number, session, len(clip_ids))
            opened = open_showings(connection, session.rater_id, "pair")
        return next(showing for showing in opened if showing.query_id == number)

    def _show_another(self, connection: sa.Connection, session: Session, mode: str) -> None:
        if mode != "pair":
            number = self._uniform(connection, mode)
        elif self._rng.random() < self.mix.second_rater and (
            second := _waiting(connection, session, answered_once=True)
        ):
            number = second
        else:
            kinds = ("chosen", "uniform", "repeat", "gold")
            shares = np.array([getattr(self.mix, kind) for kind in kinds])
            kind = kinds[self._rng.choice(4, p=shares / shares.sum())]
            if kind == "repeat" and self._repeat(connection, session):
                return
            found = None
            if kind == "chosen":
                found = _waiting(connection, session, answered_once=False)
            elif kind == "gold":
                found = self._gold(connection, session)
            number = found or self._uniform(connection, mode)
        sides = len(select_one(connection, QUERY, QUERY.c.id == number).clip_ids)
        self._show(connection, number, session, sides)

    def _show(self, connection: sa.Connection, query: int, session: Session, sides: int) -> None:
        order = [int(place) for place in self._rng.permutation(sides)]
        show(connection, query, session.rater_id, order, self.book.clock())

    def _repeat(self, connection: sa.Connection, session: Session) -> bool:
        """Show a pair that this rater answered a while ago again, as a query of its own."""
        repeated = sa.select(QUERY.c.repeat_of).where(QUERY.c.repeat_of.is_not(None))
        query = (
            sa.select(QUERY.c.id, QUERY.c.clip_ids, LABEL.c.order)
            .join(LABEL, LABEL.c.query_id == QUERY.c.id)
            .where(
                LABEL.c.rater_id == session.rater_id,
                LABEL.c.choice.in_([Answer.LEFT, Answer.RIGHT, Answer.TIE, Answer.BOTH_BAD]),
                QUERY.c.repeat_of.is_(None),
                QUERY.c.gold.is_(None),
                QUERY.c.id.not_in(repeated),
            )
            .order_by(LABEL.c.id.desc())
            .offset(REPEAT_AFTER)
            .limit(1)
        )
        earlier = connection.execute(query).first()
        if earlier is None:
            return False
        again = NewQuery(
            clip_ids=earlier.clip_ids, acquisition="repeat", repeat_of=earlier.id,
            reason="Asked again with the sides swapped: are answers consistent?",
        )  # fmt: skip
        number = add_query(connection, again, self.book.clock())
        order = list(reversed(earlier.order))
        show(connection, number, session.rater_id, order, self.book.clock())
        return True

    def _gold(self, connection: sa.Connection, session: Session) -> int | None:
        """The end of a success beside the end of a failure, of the same instruction."""
        last = sa.select(
            CLIP.c.id,
            CLIP.c.success,
            CLIP.c.instruction,
            sa.func.row_number()
            .over(partition_by=(CLIP.c.dataset, CLIP.c.episode), order_by=CLIP.c.stop.desc())
            .label("from_end"),
        ).subquery()
        ends = connection.execute(
            sa.select(last).where(last.c.from_end == 1, last.c.success.is_not(None))
        ).all()
        failed = {row.instruction for row in ends if not row.success}
        good = [row for row in ends if row.success and row.instruction in failed]
        if not good:
            return None
        won = good[self._rng.integers(len(good))]
        bad = [r for r in ends if not r.success and r.instruction == won.instruction]
        chosen = won.id, bad[self._rng.integers(len(bad))].id
        query = NewQuery(
            clip_ids=chosen, acquisition="gold", gold=Answer.LEFT,
            reason="The answer is known: one attempt succeeded, the other failed.",
        )  # fmt: skip
        return add_query(connection, query, self.book.clock())

    def _uniform(self, connection: sa.Connection, mode: str) -> int:
        ids = connection.execute(sa.select(CLIP.c.id).order_by(CLIP.c.id)).scalars().all()
        sides = min(SIDES[mode][1], len(ids))
        if sides < SIDES[mode][0]:
            raise BadInput(
                f"a {mode} query needs {SIDES[mode][0]} clips; the dataset gives {len(ids)}."
            )
        chosen = [ids[i] for i in self._rng.choice(len(ids), sides, replace=False)]
        query = NewQuery(
            clip_ids=chosen, mode=cast(Mode, mode),
            acquisition="uniform", reason="Drawn at random: the unbiased test of the model.",
        )  # fmt: skip
        return add_query(connection, query, self.book.clock())


def _waiting(connection: sa.Connection, session: Session, *, answered_once: bool) -> int | None:
    """A pair that this rater was not shown and nobody, or exactly one other, has answered."""
    answers: sa.ColumnElement[int] = (
        sa.select(sa.func.count(sa.distinct(LABEL.c.rater_id)))
        .where(LABEL.c.query_id == QUERY.c.id)
        .scalar_subquery()
    )
    mine = sa.select(SHOWING.c.query_id).where(SHOWING.c.rater_id == session.rater_id)
    query = sa.select(QUERY.c.id).where(
        QUERY.c.mode == "pair", QUERY.c.repeat_of.is_(None), QUERY.c.id.not_in(mine)
    )
    if answered_once:
        query = query.where(answers == 1).order_by(QUERY.c.id.desc())
    else:
        shown = sa.select(SHOWING.c.query_id)
        queued = QUERY.c.acquisition.not_in(("uniform", "repeat", "gold", "picked"))
        query = query.where(queued, QUERY.c.id.not_in(shown))
        query = query.order_by(QUERY.c.reward_version.desc(), QUERY.c.id)
    found = connection.execute(query.limit(1)).scalar()
    return None if found is None else int(found)
