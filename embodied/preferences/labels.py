"""Showing queries and keeping answers: each answer is a row, and so is each undo."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, final

import sqlalchemy as sa

from embodied.errors import BadInput
from embodied.preferences.answers import Answer
from embodied.preferences.database import Database, insert, select_one
from embodied.preferences.records import UNDONE, Session, Showing, Submission, check_uuid
from embodied.preferences.tables import LABEL, QUERY, SHOWING

APP_VERSION = "1"
"""Of the page; kept with each label, since what was seen depends on it."""


@final
class LabelBook:
    """Showings and labels, append-only.

    Args:
        database: Where they are kept.
        clock: Seconds since 1970.
        served: Clips that can be shown here. What was asked about others, of another dataset in
            the same database, is neither open here nor taken back from here. None for all.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        *,
        served: Collection[int] | None = None,
    ) -> None:
        self.database, self.clock = database, clock
        self.served = None if served is None else frozenset(served)

    def answer(self, session: Session, submission: Submission) -> int:
        """Keep an answer; when this returns, no crash can lose it. Sent twice, it is kept once.

        Returns:
            The label's id.

        Raises:
            BadInput: if it does not answer the showing, or the showing has another answer.
        """
        if session.kind == "model":
            raise BadInput("a model's opinion is a proposal, never a label.")
        with self.database.writing() as connection:
            sent = select_one(connection, LABEL, LABEL.c.uuid == submission.uuid)
            if sent is not None:
                return _same(sent, session, submission)
            showing = self._showing(connection, session, submission.showing_id)
            submission.check(showing.mode, len(showing.order))
            if select_one(connection, LABEL, LABEL.c.showing_id == showing.id) is not None:
                raise BadInput(
                    f"this was answered before, perhaps in another window: showing {showing.id} "
                    "is answered; undo first."
                )
            values = _turned_back(submission, showing.order)
            return self._append(
                connection,
                session,
                values
                | {
                    "uuid": submission.uuid,
                    "query_id": showing.query_id,
                    "showing_id": showing.id,
                    "order": list(showing.order),
                    "swapped": showing.order != tuple(sorted(showing.order)),
                },
            )

    def answer_at_once(
        self, session: Session, query_id: int, answer: Answer, *, mirrored: bool, note: str
    ) -> int:
        """Keep what a rater says of a pair who need not be shown it.

        Args:
            session: Of the rater.
            query_id: Of the pair.
            answer: In terms of the query's first and second clip.
            mirrored: Whether it counts as shown with the sides swapped.
            note: Why.

        Returns:
            The label's id.
        """
        order = (1, 0) if mirrored else (0, 1)
        with self.database.writing() as connection:
            showing = show(connection, query_id, session.rater_id, order, self.clock())
        said = answer.mirrored if mirrored else answer
        uuid = f"at-once-{showing}-{session.rater_id}"
        return self.answer(
            session, Submission(uuid=uuid, showing_id=showing, choice=said, note=note)
        )

    def undo(self, session: Session, uuid: str) -> Showing | None:
        """Take back the rater's last answer about clips that are shown here, and ask it again.

        Returns:
            The query as it is shown again, sides as before; None if there is nothing to undo.

        Raises:
            BadInput: for a uuid that is none, or another row's.
        """
        check_uuid(uuid)
        with self.database.writing() as connection:
            sent = select_one(connection, LABEL, LABEL.c.uuid == uuid)
            if sent is None:
                last = _last_standing(connection, session.rater_id, self.served)
                if last is None:
                    return None
                kept = {"query_id": last.query_id, "order": last.order, "swapped": last.swapped}
                undone = {"uuid": uuid, "choice": UNDONE, "supersedes": last.id}
                self._append(connection, session, {**BLANK, **kept, **undone})
                query_id, order = last.query_id, last.order
            elif sent.choice == UNDONE and sent.rater_id == session.rater_id:
                query_id, order = sent.query_id, sent.order  # heard before
            else:
                raise BadInput("this uuid is another row's.")
            query = select_one(connection, QUERY, QUERY.c.id == query_id)
            if not _all_of(self.served, query.clip_ids):  # heard by another dataset's server
                return None
            if not self._open(connection, session, query_id, query.mode):
                show(connection, query_id, session.rater_id, order, self.clock())
            return self._open(connection, session, query_id, query.mode)[0]

    def _open(
        self, connection: sa.Connection, session: Session, query_id: int, mode: str
    ) -> list[Showing]:
        """Of one query."""
        opened = open_showings(connection, session.rater_id, mode, self.served)
        return [showing for showing in opened if showing.query_id == query_id]

    def _showing(self, connection: sa.Connection, session: Session, number: int) -> Showing:
        query = _showings().where(SHOWING.c.id == number, SHOWING.c.rater_id == session.rater_id)
        row = connection.execute(query).first()
        if row is None:
            raise BadInput(f"showing {number} is not yours to answer.")
        return _as_showing(row)

    def _append(
        self, connection: sa.Connection, session: Session, values: Mapping[str, Any]
    ) -> int:
        row = {
            **values, "rater_id": session.rater_id, "session_id": session.id,
            "app_version": APP_VERSION, "utc_s": self.clock(),
        }  # fmt: skip
        return insert(connection, LABEL, row)


BLANK: Mapping[str, Any] = {
    "strength": None, "attributes": {}, "intervals": [], "ranking": None, "progress": None,
    "note": "", "response_ms": None, "replays": 0,
}  # fmt: skip
"""What an undo says beside itself."""


def show(
    connection: sa.Connection, query_id: int, rater_id: int, order: Sequence[int], now: float
) -> int:
    """Note that a rater is shown a query in this order."""
    values = {"query_id": query_id, "rater_id": rater_id, "order": list(order), "utc_s": now}
    return insert(connection, SHOWING, values)


def open_showings(
    connection: sa.Connection, rater_id: int, mode: str, served: frozenset[int] | None
) -> list[Showing]:
    """What a rater was shown of these clips and has not answered; what was undone comes first."""
    query = (
        _showings()
        .outerjoin(LABEL, LABEL.c.showing_id == SHOWING.c.id)
        .where(SHOWING.c.rater_id == rater_id, LABEL.c.id.is_(None), QUERY.c.mode == mode)
        .order_by(QUERY.c.id, SHOWING.c.id)
    )
    rows = connection.execute(query)
    return [_as_showing(row) for row in rows if _all_of(served, row.clip_ids)]


def standing(labels: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those rows that count: neither superseded nor an undo."""
    gone = {label["supersedes"] for label in labels}
    return [label for label in labels if label["id"] not in gone and label["choice"] != UNDONE]


def not_superseded() -> sa.ColumnElement[bool]:
    """Of labels: no later row takes it back."""
    later = LABEL.alias()
    return ~sa.exists().where(later.c.supersedes == LABEL.c.id)


def _showings() -> sa.Select[Any]:
    return sa.select(
        SHOWING.c.id,
        SHOWING.c.query_id,
        SHOWING.c.order,
        QUERY.c.mode,
        QUERY.c.clip_ids,
        QUERY.c.acquisition,
        QUERY.c.reason,
    ).join(QUERY, SHOWING.c.query_id == QUERY.c.id)


def _as_showing(row: Any) -> Showing:
    shown = tuple(row.clip_ids[place] for place in row.order)
    return Showing(
        id=row.id,
        query_id=row.query_id,
        mode=row.mode,
        clip_ids=shown,
        order=tuple(row.order),
        acquisition=row.acquisition,
        reason=row.reason,
    )


def _same(sent: Any, session: Session, submission: Submission) -> int:
    """Of a label that was sent before: its id, if it is that label."""
    if sent.rater_id != session.rater_id or sent.showing_id != submission.showing_id:
        raise BadInput("this uuid is another label's.")
    return int(sent.id)


def _last_standing(connection: sa.Connection, rater_id: int, served: frozenset[int] | None) -> Any:
    query = (
        sa.select(LABEL, QUERY.c.clip_ids)
        .join(QUERY, LABEL.c.query_id == QUERY.c.id)
        .where(LABEL.c.rater_id == rater_id, LABEL.c.choice != UNDONE, not_superseded())
        .order_by(LABEL.c.id.desc())
    )
    rows = connection.execute(query)
    return next((row for row in rows if _all_of(served, row.clip_ids)), None)


def _all_of(served: frozenset[int] | None, clip_ids: Sequence[int]) -> bool:
    return served is None or served.issuperset(clip_ids)


def _turned_back(submission: Submission, order: Sequence[int]) -> dict[str, Any]:
    """The answer in terms of the query's clips, wherever they were shown."""
    mirrored = tuple(order) == (1, 0)
    choice = submission.choice
    if mirrored and choice in {*Answer}:
        choice = Answer(choice).mirrored.value
    sides = {name: str(side) for name, side in submission.attributes.items()}
    if mirrored:
        sides = {name: Answer(side).mirrored.value for name, side in sides.items()}
    ranking = None if submission.ranking is None else [order[side] for side in submission.ranking]
    progress = None if submission.progress is None else [list(m) for m in submission.progress]
    return {
        "choice": str(choice),
        "strength": submission.strength,
        "attributes": sides,
        "intervals": [{**i, "side": order[i["side"]]} for i in submission.intervals],
        "ranking": ranking,
        "progress": progress,
        "note": submission.note,
        "response_ms": submission.response_ms,
        "replays": submission.replays,
        "supersedes": None,
    }
