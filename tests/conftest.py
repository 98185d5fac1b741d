"""Settings of every test."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from embodied.testing.postgres import PostgresServer

os.environ.setdefault("MUJOCO_GL", "egl")
# whoever starts the tests in the background of a script has them ignore Ctrl-C, which some press
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("shared-machine", deadline=None, max_examples=50)
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A live server; a test that needs it fails where it cannot be started."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    yield server
    server.close()
