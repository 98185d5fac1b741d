"""A real Chromium on the real preference page: for tests and benchmarks."""

import shutil

from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""Its program; None where there is none."""


def sign_in(page: Page, url: str, rater: str, token: str) -> None:
    """Open the preference page, and sign in; returns when the first query is shown."""
    page.goto(url)
    page.fill("#rater", rater)
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-showing]")
