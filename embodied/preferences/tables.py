"""The tables of a preference database, on SQLite or PostgreSQL, and how old ones are brought up.

Labels are append-only, and the database itself refuses to change or delete one: an undo and a
correction are rows of their own that say what they supersede. So are directions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from embodied.errors import CorruptFile

Migration = Callable[[sa.Connection], None]
"""Turns a database of one version into one of the next."""


def _add_accuracy_before(connection: sa.Connection) -> None:
    """Version 2: whether a reward became better is seen on the same answers."""
    connection.exec_driver_sql("ALTER TABLE reward_version ADD COLUMN accuracy_before FLOAT")


def _add_branches(connection: sa.Connection) -> None:
    """Version 3: a clip may be another course of a clip, from some frame on."""
    connection.exec_driver_sql(
        "ALTER TABLE clip ADD COLUMN parent_clip_id INTEGER REFERENCES clip (id)"
    )
    connection.exec_driver_sql("ALTER TABLE clip ADD COLUMN branch_step INTEGER")
    connection.exec_driver_sql("CREATE INDEX ix_clip_parent_clip_id ON clip (parent_clip_id)")


def _add_attributes(connection: sa.Connection) -> None:
    """Version 4: what was learnt of attributes, and the directions that people keep."""
    connection.exec_driver_sql("ALTER TABLE reward_version ADD COLUMN attributes JSON")
    connection.exec_driver_sql("ALTER TABLE clip_score ADD COLUMN attributes JSON")
    DIRECTION.create(connection, checkfirst=True)


def _refuse_replacing(connection: sa.Connection) -> None:
    """Version 5: what is append-only can be neither replaced nor truncated."""
    for table in APPEND_ONLY:
        _refuse_changes(table, connection)


MIGRATIONS: Sequence[Migration] = (
    _add_accuracy_before, _add_branches, _add_attributes, _refuse_replacing,
)  # fmt: skip
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
    _refers("parent_clip_id", "clip", nullable=True),  # what this is another course of,
    sa.Column("branch_step", sa.Integer),  # and the frame of the episode at which they part
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
    sa.Column("attributes", sa.JSON),  # answers that prefer a clip, of each attribute that it knows
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
    sa.Column("attributes", sa.JSON),  # score of each that the version knows, in [0, 1]
)

DIRECTION = sa.Table(
    "direction",
    METADATA,
    _key(),
    _refers("rater_id", "rater"),
    sa.Column("sliders", sa.JSON, nullable=False),
    sa.Column("floor", sa.Float, nullable=False),
    _when(),
)

APPEND_ONLY = (LABEL, DIRECTION)


def _refuse_changes(table: sa.Table, connection: sa.Connection, **_: Any) -> None:
    """Let the database itself refuse to change or delete a row.

    An INSERT OR REPLACE of SQLite deletes the row with the same key, and runs no trigger of a
    deletion; a TRUNCATE of PostgreSQL runs its own alone.
    """
    name, refusal = table.name, f"'{table.name}s are append-only'"
    if connection.dialect.name == "sqlite":
        keys = [column.name for column in table.columns if column.primary_key or column.unique]
        same = " OR ".join(f"{key} = NEW.{key}" for key in keys)
        there = f"WHEN EXISTS (SELECT 1 FROM {name} WHERE {same})"
        for happening, when in (("UPDATE", ""), ("DELETE", ""), ("INSERT", there)):
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {name}_no_{happening.lower()} BEFORE {happening} "
                f"ON {name} {when} BEGIN SELECT RAISE(ABORT, {refusal}); END"
            )
        return
    connection.exec_driver_sql(
        f"CREATE OR REPLACE FUNCTION {name}_refuse() RETURNS trigger AS $$ BEGIN "
        f"RAISE EXCEPTION {refusal}; END $$ LANGUAGE plpgsql"
    )
    for happening, each in (("UPDATE", "ROW"), ("DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        trigger = f"{name}_no_{happening.lower()}"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger} ON {name}")
        connection.exec_driver_sql(
            f"CREATE TRIGGER {trigger} BEFORE {happening} ON {name} FOR EACH {each} "
            f"EXECUTE FUNCTION {name}_refuse()"
        )


for _table in APPEND_ONLY:
    event.listen(_table, "after_create", _refuse_changes)


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
