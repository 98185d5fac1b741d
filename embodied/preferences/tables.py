"""The tables of a preference database, on SQLite or PostgreSQL, and how old ones are brought up.

Labels are append-only, and the database itself refuses to change or delete one: an undo and a
correction are rows of their own that say what they supersede.
"""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy import event

from embodied.errors import CorruptFile

Migration = Callable[[sa.Connection], None]
"""Turns a database of one version into one of the next."""


def _add_accuracy_before(connection: sa.Connection) -> None:
    """Whether a version is better is seen on the same answers."""
    connection.exec_driver_sql("ALTER TABLE reward_version ADD COLUMN accuracy_before FLOAT")


MIGRATIONS: Sequence[Migration] = (_add_accuracy_before,)
"""Number k makes version k + 2 of version k + 1. A new database has the last version at once."""

METADATA = sa.MetaData()

SCHEMA_VERSION = sa.Table(
    "schema_version", METADATA, sa.Column("version", sa.Integer, nullable=False)
)


def _key() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _refers(name: str, to: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.ForeignKey(f"{to}.id"), nullable=nullable, index=True)


def _when() -> sa.Column[float]:
    """Seconds since 1970, UTC."""
    return sa.Column("utc_s", sa.Float, nullable=False)


RATER = sa.Table(
    "rater",
    METADATA,
    _key(),
    sa.Column("name", sa.String(80), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),  # human, scripted or model
    _when(),
)

SESSION = sa.Table(
    "session",
    METADATA,
    _key(),
    _refers("rater_id", "rater"),
    sa.Column("secret_digest", sa.String(64), nullable=False, unique=True),
    sa.Column("csrf", sa.String(64), nullable=False),
    sa.Column("closed_s", sa.Float),
    _when(),
)

CLIP = sa.Table(
    "clip",
    METADATA,
    _key(),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("revision", sa.String(64), nullable=False),  # of the episode's description
    sa.Column("episode", sa.Integer, nullable=False),
    sa.Column("episode_id", sa.Text, nullable=False),
    sa.Column("cameras", sa.JSON, nullable=False),
    sa.Column("start", sa.Integer, nullable=False),  # frames, stop not included
    sa.Column("stop", sa.Integer, nullable=False),
    sa.Column("fps", sa.Float, nullable=False),
    sa.Column("instruction", sa.Text, nullable=False),
    sa.Column("success", sa.Boolean),  # of the episode, where the dataset says so
    sa.UniqueConstraint("dataset", "revision", "episode", "start", "stop"),
)

QUERY = sa.Table(
    "query",
    METADATA,
    _key(),
    sa.Column("mode", sa.String(16), nullable=False),  # pair, rank or progress
    sa.Column("clip_ids", sa.JSON, nullable=False),
    sa.Column("acquisition", sa.String(32), nullable=False, index=True),  # why it was asked
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("score", sa.Float),  # of the acquisition
    sa.Column("reward_version", sa.Integer),
    sa.Column("gold", sa.String(16)),  # the answer that is known to be right
    _refers("repeat_of", "query", nullable=True),
    sa.Column("created_by", sa.String(80), nullable=False),
    _when(),
)

SHOWING = sa.Table(
    "showing",
    METADATA,
    _key(),
    _refers("query_id", "query"),
    _refers("rater_id", "rater"),
    sa.Column("order", sa.JSON, nullable=False),  # positions in clip_ids, as they are shown
    _when(),
)

LABEL = sa.Table(
    "label",
    METADATA,
    _key(),
    sa.Column(
        "uuid", sa.String(36), nullable=False, unique=True
    ),  # the client's: sent twice, kept once
    _refers("query_id", "query"),
    sa.Column("showing_id", sa.ForeignKey("showing.id"), unique=True),  # none for an undo
    _refers("rater_id", "rater"),
    _refers("session_id", "session"),
    sa.Column("choice", sa.String(16), nullable=False),  # an answer, ranked, marked or undone
    sa.Column("strength", sa.String(16)),
    sa.Column("attributes", sa.JSON, nullable=False),
    sa.Column("intervals", sa.JSON, nullable=False),
    sa.Column("ranking", sa.JSON),
    sa.Column("progress", sa.JSON),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("order", sa.JSON, nullable=False),
    sa.Column("swapped", sa.Boolean, nullable=False),
    sa.Column("response_ms", sa.Float),
    sa.Column("replays", sa.Integer, nullable=False),
    sa.Column("app_version", sa.String(32), nullable=False),
    sa.Column("supersedes", sa.ForeignKey("label.id"), index=True),
    _when(),
)

PROPOSAL = sa.Table(
    "proposal",
    METADATA,
    _key(),
    _refers("query_id", "query"),
    sa.Column("source", sa.String(80), nullable=False),
    sa.Column("probability_first", sa.Float, nullable=False),
    _when(),
)

REWARD_VERSION = sa.Table(
    "reward_version",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("labels", sa.Integer, nullable=False),  # it learned from
    sa.Column("accuracy", sa.Float),  # on answers that were held out
    sa.Column("low", sa.Float),
    sa.Column("high", sa.Float),
    sa.Column("pairs", sa.Integer, nullable=False),  # of these answers
    sa.Column("accuracy_before", sa.Float),  # of the version before, on the same answers
    _when(),
)

CLIP_SCORE = sa.Table(
    "clip_score",
    METADATA,
    sa.Column("clip_id", sa.ForeignKey("clip.id"), primary_key=True),
    sa.Column("reward_version", sa.Integer, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("uncertainty", sa.Float, nullable=False),
    sa.Column("x", sa.Float),  # on the map
    sa.Column("y", sa.Float),
)

for _event in ("UPDATE", "DELETE"):
    event.listen(
        LABEL,
        "after_create",
        sa.DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER label_no_{_event.lower()} BEFORE {_event} ON label BEGIN "
            "SELECT RAISE(ABORT, 'labels are append-only'); END"
        ).execute_if(dialect="sqlite"),
    )
    event.listen(
        LABEL,
        "after_create",
        sa.DDL(  # type: ignore[no-untyped-call]
            "CREATE OR REPLACE FUNCTION label_refuse() RETURNS trigger AS $$ BEGIN "
            "RAISE EXCEPTION 'labels are append-only'; END $$ LANGUAGE plpgsql; "
            f"CREATE TRIGGER label_no_{_event.lower()} BEFORE {_event} ON label "
            "FOR EACH ROW EXECUTE FUNCTION label_refuse()"
        ).execute_if(dialect="postgresql"),
    )


def bring_up_to_date(
    connection: sa.Connection, name: str, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Make the tables of a new database, or those of an older version current, in one transaction.

    Args:
        connection: Within a transaction that nobody else's can overlap.
        name: Of the database, for errors.
        migrations: Tests have their own.

    Raises:
        CorruptFile: for tables of a newer version, or of something else.
    """
    latest = len(migrations) + 1
    tables = set(sa.inspect(connection).get_table_names())
    if "schema_version" not in tables:
        if tables & set(METADATA.tables):
            raise CorruptFile(f"{name} has other tables than ours; choose another database.")
        METADATA.create_all(connection)
        connection.execute(SCHEMA_VERSION.insert().values(version=latest))
        return
    found = int(connection.execute(sa.select(SCHEMA_VERSION.c.version)).scalar_one())
    if found > latest:
        raise CorruptFile(
            f"{name} was written by a newer version of this program (schema {found}; this one "
            f"knows {latest}); update embodied-rewards."
        )
    for migration in migrations[found - 1 :]:
        migration(connection)
    connection.execute(SCHEMA_VERSION.update().values(version=latest))
