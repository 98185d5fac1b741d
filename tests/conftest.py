"""Settings of every test."""

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from embodied.testing.postgres import PostgresServer

if TYPE_CHECKING:
    from embodied.testing.browser import ServedPage

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    from embodied.testing.browser import CHROMIUM  # here: what is imported above is not checked

    if CHROMIUM is None:
        pytest.skip("there is no chromium; .ci/system-browser installs it on Debian.")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A window of it, in which nobody is signed in."""
    from embodied.testing.browser import PATIENCE_MS

    found = browser.new_context(viewport={"width": 1100, "height": 900})
    found.set_default_timeout(PATIENCE_MS)
    yield found
    found.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ServedPage]":
    """The preference page of a small dataset, served by a process of its own."""
    from embodied.testing.browser import ServedPage

    found = ServedPage(tmp_path_factory.mktemp("page"))
    yield found
    found.kill()
