"""A real Chromium on the real preference page: for tests and benchmarks."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import httpx
from playwright.sync_api import BrowserContext, Page

from embodied.preferences.answers import Answer
from embodied.preferences.database import Database
from embodied.preferences.store import PreferenceStore
from embodied.testing.preferences import distances_of, pushing_dataset

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""Its program; None where there is none."""
TOKEN = "a-token-for-tests-only"
PATIENCE_MS = 180_000
START_S = 600.0
"""Others may share the machine."""


@final
class ServedPage:
    """`embodied serve-preferences` as a process of its own, which a test may kill.

    Args:
        folder: For its dataset, labels and films.
        episodes: Of its dataset, in which a block is pushed.
        dataset: Another one, instead.
        clip_s: Seconds of a clip.
    """

    def __init__(
        self, folder: Path, episodes: int = 6, *, dataset: Path | None = None, clip_s: float = 1.0
    ) -> None:
        self.folder, self.clip_s = folder, clip_s
        self.dataset = dataset or pushing_dataset(folder / "pushing", episodes=episodes).root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = PreferenceStore(Database(f"sqlite:///{folder / 'labels.sqlite'}"))
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        words = [
            f"dataset={self.dataset}", f"preferences.port={self.port}",
            f"preferences.database=sqlite:///{self.folder / 'labels.sqlite'}",
            f"runs_dir={self.folder / 'runs'}", f"preferences.clip_s={self.clip_s}",
        ]  # fmt: skip
        environment = {**os.environ, "EMBODIED_PREFERENCES_TOKEN": TOKEN}
        embodied = Path(sys.executable).with_name("embodied")
        self.process = subprocess.Popen([embodied, "serve-preferences", *words], env=environment)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(self.url)
                return
            except httpx.TransportError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """End the server with -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def nearness(self, clip: int) -> float:
        """Of the block to the ring, summed over a clip: what the oracle likes."""
        (found,) = self.store.clips([clip])
        distances = distances_of(found.episode, 25)[found.start : found.stop]
        return float((60.0 - distances).sum())

    def given(self, rater: str) -> list[dict[str, Any]]:
        """The rater's labels, undos included."""
        return [label for label in self.store.labels() if label["rater"] == rater]


def sign_in(page: Page, url: str, rater: str, token: str) -> None:
    """Open the preference page, and sign in; returns when the first query is shown."""
    page.goto(url)
    page.fill("#rater", rater)
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-showing]")


def signed_in(context: BrowserContext, served: ServedPage, name: str) -> Page:
    """A new tab, in which this rater is shown the first query."""
    page = context.new_page()
    sign_in(page, served.url, name, TOKEN)
    return page


def showing(page: Page) -> str:
    """Which showing is on the screen."""
    return str(page.evaluate("document.body.dataset.showing"))


def press(page: Page, key: str) -> None:
    """A key that ends a query; returns when another one is shown."""
    before = showing(page)
    page.keyboard.press(key)
    page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)


ANSWER_KEYS = {"pair": ("ArrowDown",), "rank": (*"3142", "Enter"), "progress": ("ArrowUp", "Enter")}
"""What answers a query of each mode: a tie, a ranking of four clips, one mark."""
CHOICES = {"pair": "tie", "rank": "ranked", "progress": "marked"}
VIEW_KEYS = {"rank": "r", "progress": "o"}


def in_view(context: BrowserContext, served: ServedPage, name: str, mode: str) -> Page:
    """A new tab of this rater, with the first query of a mode and the next two loaded."""
    page = signed_in(context, served, name)
    if mode in VIEW_KEYS:
        press(page, VIEW_KEYS[mode])
    loaded_ahead(page)
    return page


def answer(page: Page, mode: str) -> int:
    """Answer with `ANSWER_KEYS`; the answered showing, when another one is shown."""
    answered = int(showing(page))
    *first, last = ANSWER_KEYS[mode]
    for key in first:
        page.keyboard.press(key)
    press(page, last)
    return answered


def loaded_ahead(page: Page) -> None:
    """Wait until the next two queries are loaded."""
    page.wait_for_function("() => document.body.dataset.ahead >= 2")


def all_sent(page: Page) -> None:
    """Wait until the page knows that the server has every answer."""
    page.wait_for_function("() => !localStorage.length")


def until(condition: Callable[[], bool], seconds: float = PATIENCE_MS / 1000) -> None:
    """Wait for what the browser or the server does by itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def as_shown(label: Mapping[str, Any]) -> str:
    """What was pressed: a label's choice in terms of the sides of the screen."""
    choice = str(label["choice"])
    return str(Answer(choice).mirrored) if label["swapped"] and choice in {*Answer} else choice
