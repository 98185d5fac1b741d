"""A database by its URL, SQLite unless PostgreSQL is named, opened so that a commit is durable."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa
from sqlalchemy import event, exc

from embodied.errors import BadConfig, CorruptFile, DatabaseLost, EmbodiedError, OutOfSpace
from embodied.preferences.tables import bring_up_to_date

WAIT_MS = 20_000
"""For another process that is writing."""
CONNECT_S = 10
"""For a PostgreSQL server to answer."""
UNREACHABLE = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_IOERR")
WRITERS = 7_211_019
"""PostgreSQL's advisory lock, held by who writes."""


@final
class Database:
    """Transactions on one database, from any number of threads and processes.

    SQLite runs in WAL mode with full syncing: what is committed survives kill -9 and a power cut,
    and readers do not wait for a writer. Writers take turns, also those of other processes: what
    one has read stays true until it has written, and a row's id says when it was committed.
    PostgreSQL has a lock for it. Writers of this process take turns here, so that none has to guess
    how long to wait. A server that was restarted is found again.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://USER@HOST/NAME``.

    Raises:
        BadConfig: for a URL that names no database that can be opened.
        CorruptFile: if it holds tables of a newer version, or is no database.
    """

    def __init__(self, url: str) -> None:
        self.name, self._opened = _shown(url), False
        try:
            self.engine = sa.create_engine(
                url, pool_size=8, max_overflow=32, pool_pre_ping=True, connect_args=_patience(url)
            )
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            raise BadConfig(
                f"preferences.database is {self.name}: {error}. Write sqlite:///FILE, or "
                "postgresql+psycopg://USER@HOST/NAME with `pip install embodied-rewards[postgres]`."
            ) from error
        self._writer = threading.Lock()
        self._sqlite = self.engine.dialect.name == "sqlite"
        if self._sqlite:
            if self.engine.url.database:
                Path(self.engine.url.database).parent.mkdir(parents=True, exist_ok=True)
            event.listen(self.engine, "connect", _set_up)
            event.listen(self.engine, "begin", _begin)
        with self.writing() as connection:
            bring_up_to_date(connection, self.name)
        self._opened = True

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is committed, and on disk, when the block ends well."""
        with self._told(), self._writer:
            with self.engine.connect() as connection:
                connection = connection.execution_options(writes=True)
                with connection.begin():
                    if not self._sqlite:
                        _take_turn(connection)
                    yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A view of the database that does not change within the block."""
        with self._told(), self.engine.connect() as connection:
            if not self._sqlite:  # whose statements would each see what is new
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Says in one sentence what the database objects to."""
        try:
            yield
        except exc.DBAPIError as error:
            sentence = self._as_sentence(error)
            if sentence is None:
                raise
            raise sentence from error

    def _as_sentence(self, error: exc.DBAPIError) -> EmbodiedError | None:
        code = getattr(error.orig, "sqlite_errorname", "")
        if code == "SQLITE_FULL":
            return OutOfSpace(
                f"no space to write {self.name}; nothing written before is lost. Free some space, "
                "and go on."
            )
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return CorruptFile(f"{self.name} is no SQLite database, or is damaged.")
        if code.startswith(UNREACHABLE) or (
            not self._sqlite and isinstance(error, exc.OperationalError)
        ):
            why = " ".join(str(error.orig).split())
            if self._opened:
                return DatabaseLost(f"the database {self.name} does not answer: {why}.")
            return BadConfig(f"cannot open the database {self.name}: {why}.")
        return None


def insert(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> int:
    """Add a row; returns its id."""
    key = connection.execute(table.insert().values(**values)).inserted_primary_key
    assert key is not None  # one row gives one key
    return int(key[0])


def _shown(url: str) -> str:
    """Without its password."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except exc.ArgumentError:
        return repr(url)


def _patience(url: str) -> dict[str, Any]:
    """How long PostgreSQL may take to answer, unless the URL says so itself."""
    asked = sa.make_url(url)
    if asked.get_backend_name() != "postgresql" or "connect_timeout" in asked.query:
        return {}
    return {"connect_timeout": CONNECT_S}


def _take_turn(connection: sa.Connection) -> None:
    """Wait for whoever writes into a PostgreSQL database; the lock ends with the transaction."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {WAIT_MS}")
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS)))


def _set_up(connection: Any, _: Any) -> None:
    """Of a new connection. pysqlite's own transactions are off: `_begin` says how one begins."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    """A writer takes its turn at once; one that read first could be refused half-way."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def select_one(
    connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]
) -> Any:
    """The row for which a condition holds, or None."""
    return connection.execute(sa.select(table).where(condition)).first()
