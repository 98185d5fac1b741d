"""Which query a rater is asked next, and why: what the model wants to know, mixed with controls."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, cast, final

import numpy as np
import sqlalchemy as sa

from embodied.errors import BadInput
from embodied.preferences.answers import Answer
from embodied.preferences.database import select_one
from embodied.preferences.labels import LabelBook, not_superseded, open_showings, show
from embodied.preferences.mix import BRANCH, FILLER, SOUGHT, Mix
from embodied.preferences.pairing import Groups, draw, group_numbers
from embodied.preferences.records import SIDES, Mode, NewQuery, Session, Showing
from embodied.preferences.store import add_query
from embodied.preferences.tables import CLIP, LABEL, QUERY, SHOWING

MAX_AHEAD = 4
"""Queries that a rater is shown ahead of time."""
REPEAT_AFTER = 8
"""Labels of a rater between a pair and its repeat."""
LEFT_S = 600.0
"""Seconds after which a query that a rater was shown and did not answer is there for others."""


@final
class Schedule:
    """Chooses queries for raters.

    Args:
        book: Where showings are noted.
        groups: Clips that may be compared.
        seed: Of what is left to chance. Another server on the same database, or the same one
            started again, draws other pairs: a test of the same ones would not grow.
        mix: Shares.
    """

    def __init__(self, book: LabelBook, groups: Groups, seed: int, mix: Mix | None = None) -> None:
        self.book, self.groups, self.mix = book, groups, mix or Mix()
        self._group = group_numbers(groups)
        with book.database.reading() as connection:
            asked = connection.execute(sa.select(sa.func.count()).select_from(QUERY)).scalar_one()
        self._rng = np.random.default_rng([seed, asked])
        self._aside: dict[int, frozenset[int]] = {}

    def next(
        self, session: Session, count: int, mode: str = "pair", aside: Collection[int] = ()
    ) -> list[Showing]:
        """The rater's next queries; the same ones until they are answered.

        Args:
            session: Of the rater.
            count: How many, `MAX_AHEAD` at most.
            mode: Kind of query.
            aside: Showings of the rater that cannot be shown, or answered, now. They are left out
                from here on; another server on the database, or this one started again, does not
                know of them.

        Raises:
            BadInput: if there are too few clips for one query.
        """
        if mode not in SIDES:
            raise BadInput(f"there is no mode '{mode}'; choose one of {', '.join(SIDES)}.")
        count = min(count, MAX_AHEAD)
        with self.book.database.reading() as connection:
            opened = self._opened(connection, session, mode, aside)
        if len(opened) >= count:
            return opened[:count]
        with self.book.database.writing() as connection:
            opened = self._opened(connection, session, mode)
            for _ in range(count - len(opened)):
                self._show_another(connection, session, mode)
            return self._opened(connection, session, mode)[:count]

    def set_aside(self) -> set[frozenset[int]]:
        """Clips of each query that could not be shown to somebody here."""
        return {*self._aside.values()}

    def _opened(
        self, connection: sa.Connection, session: Session, mode: str, aside: Collection[int] = ()
    ) -> list[Showing]:
        opened = open_showings(connection, session.rater_id, mode, self.book.served)
        self._aside |= {s.id: frozenset(s.clip_ids) for s in opened if s.id in aside}
        return [showing for showing in opened if showing.id not in self._aside]

    def pick(self, session: Session, clip_ids: Sequence[int]) -> Showing:
        """Ask about clips that the rater picked from the map.

        Raises:
            BadInput: for clips that there are not, or that may not be compared.
        """
        if len({self._group.get(clip, -clip) for clip in clip_ids}) > 1:
            raise BadInput(
                f"the clips {list(clip_ids)} cannot be compared: they differ in instruction, start "
                "or length."
            )
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
            opened = self._opened(connection, session, "pair")
        return next(showing for showing in opened if showing.query_id == number)

    def _show_another(self, connection: sa.Connection, session: Session, mode: str) -> None:
        if mode != "pair":
            number = self._random(connection, mode)
        elif self._rng.random() < self.mix.second_rater and (
            second := self._answered_once(connection, session)
        ):
            number = second
        else:
            shares = np.array([*self.mix.shares.values()])
            kind = [*self.mix.shares][self._rng.choice(len(shares), p=shares / shares.sum())]
            if kind == "repeat" and self._repeat(connection, session):
                return
            found = None
            if kind in SOUGHT:
                wanted = (_branches(), _sought(kind), _sought(*SOUGHT, FILLER))
                firsts = (self._first(connection, session, which) for which in wanted)
                found = next(filter(None, firsts), None)
            elif kind == "gold":
                found = self._gold(connection)
            elif kind == "uniform":
                found = self._random(connection, mode, test=True)
            number = found or self._random(connection, mode)
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
                not_superseded(),
                LABEL.c.choice.in_([Answer.LEFT, Answer.RIGHT, Answer.TIE, Answer.BOTH_BAD]),
                QUERY.c.repeat_of.is_(None),
                QUERY.c.gold.is_(None),
                QUERY.c.id.not_in(repeated),
            )
            .order_by(LABEL.c.id.desc())
        )
        earlier = next(islice(self._served(connection, query), REPEAT_AFTER, None), None)
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

    def _gold(self, connection: sa.Connection) -> int | None:
        """The end of a success beside the end of a failure, which may be compared."""
        last = (
            sa.select(
                CLIP.c.id,
                CLIP.c.success,
                sa.func.row_number()
                .over(partition_by=(CLIP.c.dataset, CLIP.c.episode), order_by=CLIP.c.stop.desc())
                .label("from_end"),
            )
            .where(CLIP.c.id.in_([*self._group]))
            .subquery()
        )
        ends = connection.execute(
            sa.select(last).where(last.c.from_end == 1, last.c.success.is_not(None))
        ).all()
        failed = {self._group[row.id] for row in ends if not row.success}
        good = [row.id for row in ends if row.success and self._group[row.id] in failed]
        if not good:
            return None
        won = good[self._rng.integers(len(good))]
        bad = [r.id for r in ends if not r.success and self._group[r.id] == self._group[won]]
        query = NewQuery(
            clip_ids=(won, bad[self._rng.integers(len(bad))]), acquisition="gold", gold=Answer.LEFT,
            reason="The answer is known: one attempt succeeded, the other failed.",
        )  # fmt: skip
        return add_query(connection, query, self.book.clock())

    def _random(self, connection: sa.Connection, mode: str, *, test: bool = False) -> int:
        """Clips drawn at random; what is drawn as a test is not learnt from."""
        fewest, most = SIDES[mode]
        sides = int(self._rng.integers(fewest, most + 1))
        chosen = draw(self.groups, sides, self._rng) or draw(self.groups, fewest, self._rng)
        if chosen is None:
            raise BadInput(
                f"a {mode} query needs {fewest} clips that may be compared; there are fewer."
            )
        reason = "the unbiased test of the model." if test else "there is nothing else to ask."
        query = NewQuery(
            clip_ids=chosen, mode=cast(Mode, mode), acquisition="uniform" if test else FILLER,
            reason=f"Drawn at random: {reason}",
        )  # fmt: skip
        return add_query(connection, query, self.book.clock())

    def _first(
        self, connection: sa.Connection, session: Session, which: sa.ColumnElement[bool]
    ) -> int | None:
        """The best of these pairs that nobody was shown, else one that others left unanswered."""
        mine = SHOWING.c.rater_id == session.rater_id
        recent = SHOWING.c.utc_s > self.book.clock() - LEFT_S
        taken = sa.select(SHOWING.c.query_id).where(mine | recent)
        query = sa.select(QUERY.c.id, QUERY.c.clip_ids).where(
            QUERY.c.mode == "pair", which, QUERY.c.id.not_in(taken),
            QUERY.c.id.not_in(sa.select(LABEL.c.query_id)),
        )  # fmt: skip
        left = sa.case((QUERY.c.id.in_(sa.select(SHOWING.c.query_id)), 1), else_=0)
        return self._first_served(connection, query.order_by(left, QUERY.c.id))

    def _answered_once(self, connection: sa.Connection, session: Session) -> int | None:
        """A pair that this rater was not shown and exactly one other has answered."""
        answers: sa.ColumnElement[int] = (
            sa.select(sa.func.count(sa.distinct(LABEL.c.rater_id)))
            .where(LABEL.c.query_id == QUERY.c.id)
            .scalar_subquery()
        )
        mine = sa.select(SHOWING.c.query_id).where(SHOWING.c.rater_id == session.rater_id)
        query = sa.select(QUERY.c.id, QUERY.c.clip_ids).where(
            QUERY.c.mode == "pair", QUERY.c.repeat_of.is_(None), QUERY.c.id.not_in(mine),
            answers == 1,
        )  # fmt: skip
        return self._first_served(connection, query.order_by(QUERY.c.id.desc()))

    def _first_served(self, connection: sa.Connection, query: sa.Select[Any]) -> int | None:
        return next((int(row.id) for row in self._served(connection, query)), None)

    def _served(self, connection: sa.Connection, query: sa.Select[Any]) -> Iterator[Any]:
        """Those of these pairs whose clips are of this dataset: a database may hold several."""
        for row in connection.execute(query):
            if self._group.keys() >= set(row.clip_ids):
                yield row


def _branches() -> sa.ColumnElement[bool]:
    return QUERY.c.acquisition == BRANCH


def _sought(*kinds: str) -> sa.ColumnElement[bool]:
    """Of the newest queue.

    Where there is no trainer, whoever knows which pairs may be asked has queued random ones.
    """
    newest = sa.select(sa.func.max(QUERY.c.reward_version)).where(QUERY.c.acquisition.in_(SOUGHT))
    return sa.and_(
        QUERY.c.acquisition.in_(kinds),
        QUERY.c.reward_version.is_not_distinct_from(newest.scalar_subquery()),
    )
