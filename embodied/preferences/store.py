"""Raters, sessions, clips and queries of a preference database; labels are in `labels`."""

import hashlib
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, final, get_args

import sqlalchemy as sa

from embodied.errors import BadInput, UnknownName
from embodied.preferences.database import Database, insert, select_one
from embodied.preferences.mix import BRANCH, TAKE_OVER
from embodied.preferences.records import Clip, Direction, Kind, NewClip, NewQuery, Session
from embodied.preferences.tables import (
    CLIP,
    CLIP_SCORE,
    DIRECTION,
    LABEL,
    PROPOSAL,
    QUERY,
    RATER,
    REWARD_VERSION,
    SESSION,
    SHOWING,
)

MAX_NAME = 80


@final
class PreferenceStore:
    """Everything of a preference database but the answers.

    Args:
        database: Where it is kept.
        clock: Seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database, self.clock = database, clock

    def sign_in(self, name: str, kind: str = "human") -> tuple[str, Session]:
        """A new session of a rater, who is made if there is none of that name.

        Spaces around a name, and whether its letters are capitals, make nobody another person.

        Returns:
            The session's secret, of which only a digest is kept, and the session.

        Raises:
            BadInput: for an empty or overlong name, or one that another kind of rater has.
        """
        name = unicodedata.normalize("NFC", " ".join(name.split()))
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise BadInput(f"a rater's name has 1 to {MAX_NAME} printable characters.")
        if kind not in get_args(Kind):
            raise UnknownName("kind of rater", kind, get_args(Kind))
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        now = self.clock()
        with self.database.writing() as connection:
            known = _known(connection, name)
            if known is not None and known.kind != kind:
                raise BadInput(f"'{name}' is the name of a {known.kind} rater; choose another.")
            if known is None:
                values = {"name": name, "kind": kind, "utc_s": now}
                rater_id = insert(connection, RATER, values)
            else:
                rater_id, name = known.id, known.name
            values = {
                "rater_id": rater_id, "secret_digest": _digest(secret), "csrf": csrf, "utc_s": now,
            }  # fmt: skip
            key = insert(connection, SESSION, values)
        return secret, Session(id=key, rater_id=rater_id, rater=name, kind=kind, csrf=csrf)

    def session_of(self, secret: str) -> Session | None:
        """Who has this secret; None for nobody, or after signing out."""
        query = (
            sa.select(SESSION.c.id, SESSION.c.rater_id, RATER.c.name, RATER.c.kind, SESSION.c.csrf)
            .join(RATER)
            .where(SESSION.c.secret_digest == _digest(secret), SESSION.c.closed_s.is_(None))
        )
        with self.database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return Session(id=row[0], rater_id=row[1], rater=row[2], kind=row[3], csrf=row[4])

    def sign_out(self, session: Session) -> None:
        """End a session."""
        with self.database.writing() as connection:
            connection.execute(
                SESSION.update().where(SESSION.c.id == session.id).values(closed_s=self.clock())
            )

    def add_clips(self, clips: Iterable[NewClip]) -> list[int]:
        """Ids of clips; those that are known keep theirs."""
        with self.database.writing() as connection:
            rows = connection.execute(sa.select(CLIP)).all()
            known = {_identity(row._asdict()): row.id for row in rows}
            ids = []
            for clip in clips:
                values = {**asdict(clip), "cameras": list(clip.cameras)}
                key = _identity(values)
                if key not in known:
                    known[key] = insert(connection, CLIP, values)
                ids.append(known[key])
        return ids

    def clips(self, ids: Sequence[int] | None = None) -> list[Clip]:
        """All clips, or these in this order.

        Raises:
            BadInput: for an id that does not exist.
        """
        query = sa.select(CLIP).order_by(CLIP.c.id)
        if ids is not None:
            query = query.where(CLIP.c.id.in_(list(ids)))
        with self.database.reading() as connection:
            found = {row.id: Clip(**row._asdict()) for row in connection.execute(query)}
        missing = [number for number in ids or () if number not in found]
        if missing:
            raise BadInput(f"there is no clip {missing[0]}.")
        return [found[number] for number in (found if ids is None else ids)]

    def add_queries(self, queries: Iterable[NewQuery]) -> list[int]:
        """Queue questions; whatever chooses pairs hands them over here, best first."""
        with self.database.writing() as connection:
            return [add_query(connection, query, self.clock()) for query in queries]

    def queries(self) -> list[dict[str, Any]]:
        """Every query ever, in order."""
        return self._rows(sa.select(QUERY).order_by(QUERY.c.id))

    def propose(self, query_id: int, source: str, probability_first: float) -> None:
        """Keep what a model thinks of a query. It is never a label.

        Raises:
            BadInput: for a query that does not exist, or what is no probability.
        """
        if not 0 <= probability_first <= 1:
            raise BadInput(f"{probability_first} is no probability.")
        with self.database.writing() as connection:
            if select_one(connection, QUERY, QUERY.c.id == query_id) is None:
                raise BadInput(f"there is no query {query_id}.")
            values = {
                "query_id": query_id, "source": source[:MAX_NAME],
                "probability_first": probability_first, "utc_s": self.clock(),
            }  # fmt: skip
            connection.execute(PROPOSAL.insert().values(values))

    def add_reward_version(
        self, values: Mapping[str, Any], scores: Iterable[Mapping[str, Any]]
    ) -> int:
        """Keep what a newly trained model reached, and what it thinks of the clips.

        Args:
            values: Columns of ``reward_version`` but the version and the time.
            scores: Columns of ``clip_score`` but the version, for the clips that it scored.

        Returns:
            The version: 1, 2, and so on.
        """
        with self.database.writing() as connection:
            last = connection.execute(sa.select(sa.func.max(REWARD_VERSION.c.version))).scalar()
            version = (last or 0) + 1
            row = {**values, "version": version, "utc_s": self.clock()}
            connection.execute(REWARD_VERSION.insert().values(row))
            connection.execute(CLIP_SCORE.delete())
            rows = [{**score, "reward_version": version} for score in scores]
            if rows:
                connection.execute(CLIP_SCORE.insert(), rows)
        return version

    def reward_versions(self) -> list[dict[str, Any]]:
        """Every version, the first one first."""
        query = sa.select(REWARD_VERSION).order_by(REWARD_VERSION.c.version)
        return self._rows(query)

    def clip_scores(self) -> list[dict[str, Any]]:
        """What the last version thinks of the clips."""
        return self._rows(sa.select(CLIP_SCORE).order_by(CLIP_SCORE.c.clip_id))

    def keep_direction(self, session: Session, direction: Direction) -> None:
        """Keep what a rater wants of each attribute; the newest stands."""
        values = {
            "rater_id": session.rater_id, "sliders": dict(direction.sliders),
            "floor": direction.floor, "utc_s": self.clock(),
        }  # fmt: skip
        with self.database.writing() as connection:
            connection.execute(DIRECTION.insert().values(values))

    def direction(self, rater: str | None = None) -> Direction | None:
        """The newest that this rater kept, or that anybody did; None if there is none."""
        query = sa.select(DIRECTION.c.sliders, DIRECTION.c.floor)
        if rater is not None:
            with self.database.reading() as connection:
                known = _known(connection, rater)
            if known is None:
                return None
            query = query.where(DIRECTION.c.rater_id == known.id)
        rows = self._rows(query.order_by(DIRECTION.c.id.desc()).limit(1))
        return Direction(**rows[0]) if rows else None

    def proposals(self) -> list[dict[str, Any]]:
        """What models think of queries."""
        return self._rows(sa.select(PROPOSAL).order_by(PROPOSAL.c.id))

    def newest_label(self) -> int:
        """Id of the last label row, 0 for none: changes when there is something new to learn."""
        with self.database.reading() as connection:
            return int(connection.execute(sa.select(sa.func.max(LABEL.c.id))).scalar() or 0)

    def shown_pairs(self) -> set[frozenset[int]]:
        """Pairs of clips that somebody was asked about."""
        query = sa.select(QUERY.c.clip_ids).where(
            QUERY.c.mode == "pair", QUERY.c.id.in_(sa.select(SHOWING.c.query_id))
        )
        with self.database.reading() as connection:
            return {frozenset(clips) for clips in connection.execute(query).scalars()}

    def branched(self) -> set[int]:
        """Clips of branches and take-overs, which are as long as they are."""
        query = sa.select(QUERY.c.clip_ids).where(QUERY.c.acquisition.in_((BRANCH, TAKE_OVER)))
        with self.database.reading() as connection:
            return {clip for clips in connection.execute(query).scalars() for clip in clips}

    def unproposed(self, source: str) -> list[tuple[int, list[int]]]:
        """Pairs that this model has not proposed for: the newest queue, then what was shown."""
        newest = sa.select(sa.func.max(QUERY.c.reward_version)).scalar_subquery()
        queued = QUERY.c.reward_version == newest
        shown = QUERY.c.id.in_(sa.select(SHOWING.c.query_id))
        done = sa.select(PROPOSAL.c.query_id).where(PROPOSAL.c.source == source[:MAX_NAME])
        query = sa.select(QUERY.c.id, QUERY.c.clip_ids).where(
            QUERY.c.mode == "pair", QUERY.c.id.not_in(done), queued | shown
        )
        query = query.order_by(sa.case((queued, 0), else_=1), QUERY.c.id)
        with self.database.reading() as connection:
            return [(row.id, row.clip_ids) for row in connection.execute(query)]

    def labels(self) -> list[dict[str, Any]]:
        """Every label row ever, with its query and rater; superseded ones included, in order."""
        query = (
            sa.select(
                LABEL,
                QUERY.c.mode,
                QUERY.c.clip_ids,
                QUERY.c.acquisition,
                QUERY.c.reason,
                QUERY.c.score,
                QUERY.c.reward_version,
                QUERY.c.gold,
                QUERY.c.repeat_of,
                RATER.c.name.label("rater"),
                RATER.c.kind.label("rater_kind"),
            )
            .join(QUERY, LABEL.c.query_id == QUERY.c.id)
            .join(RATER, LABEL.c.rater_id == RATER.c.id)
            .order_by(LABEL.c.id)
        )
        return self._rows(query)

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self.database.reading() as connection:
            return [row._asdict() for row in connection.execute(query)]


def add_query(connection: sa.Connection, query: NewQuery, now: float) -> int:
    """Insert one query within a transaction."""
    values = {**asdict(query), "clip_ids": list(query.clip_ids), "utc_s": now}
    return insert(connection, QUERY, values)


def _known(connection: sa.Connection, name: str) -> Any:
    """The rater of this name, or else of one that differs in capitals only."""
    alike = [
        row
        for row in connection.execute(sa.select(RATER).order_by(RATER.c.id))
        if row.name.casefold() == name.casefold()
    ]
    return next((row for row in alike if row.name == name), alike[0] if alike else None)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _identity(clip: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(clip[name] for name in ("dataset", "revision", "episode", "start", "stop"))
