"""Pictures of the preference page in docs/images, on episodes of a real task.

    python benchmarks/preference_pictures.py [--folder docs/images]

Meta-World's expert opens a drawer, and fails to, in front of two cameras. Scripted raters answer
until a model has scored the clips, so that the map shows what it doubts; then a Chromium goes
through the views, and once through the first one on a tablet.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from embodied.dataset import EpisodeStore
from embodied.demonstrations import FAILURES, Assignment, demonstrate
from embodied.envs.metaworld import MetaWorld
from embodied.preferences.raters import RaterClient
from embodied.testing.browser import CHROMIUM, TOKEN, ServedPage, press, sign_in, until

TASK, CAMERAS, SIZE, CLIP_S = "drawer-open-v3", ("front", "wrist"), 240, 1.6
EACH = 6
"""Successes, and as many failures."""
RATERS, ANSWERS = ("Anna", "Ben", "Cem"), 24
PROGRESS = (0.05, 0.1, 0.3, 0.55, 0.8, 0.95)
WINDOW, TABLET = (1100, 900), (768, 1024)
WAIT_S = 300.0


def main() -> None:
    """Record, answer, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = recorded(Path(folder) / "drawer")
        served = ServedPage(Path(folder), dataset=dataset.root, clip_s=CLIP_S)
        try:
            answered(served, dataset)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--no-sandbox"]
                )
                on_a_desk(opened(browser, served, WINDOW), options.folder)
                on_a_tablet(opened(browser, served, TABLET, has_touch=True), options.folder)
                browser.close()
        finally:
            served.kill()


def recorded(root: Path) -> EpisodeStore:
    """Attempts at the task, good and failed by turns."""
    env = MetaWorld(TASK, cameras=CAMERAS, image_size=SIZE)
    store = EpisodeStore(root, env.fps)
    for number in range(EACH):
        good = Assignment(purpose="demo", number=number)
        failed = Assignment(
            purpose="failure", number=number, failure=FAILURES[number % len(FAILURES)]
        )
        for assignment in (good, failed):
            episode = demonstrate(env, assignment, run_seed=0, noise=0.1, chunk=4)
            if episode is not None:
                store.append(episode)
    env.close()
    return store


def answered(served: ServedPage, dataset: EpisodeStore) -> None:
    """Raters who prefer what comes of success, and err in one answer of ten."""
    rng = np.random.default_rng(0)
    for rater in RATERS:
        with RaterClient(served.url, TOKEN, rater, kind="human", patience_s=WAIT_S) as client:
            for _ in range(ANSWERS):
                shown = client.following()[0]
                clips = served.store.clips(shown["clip_ids"])
                worth = [
                    float(clip.success or 0) + clip.stop / dataset.frame_count(clip.episode)
                    for clip in clips
                ]
                best = "left" if worth[0] > worth[1] else "right"
                wrong = {"left": "right", "right": "left"}[best]
                said = wrong if rng.random() < 0.1 else best
                client.answer(shown, said, response_ms=rng.uniform(2000, 9000))
    until(lambda: len(served.store.clip_scores()) > 0, WAIT_S)


def opened(browser: Browser, served: ServedPage, size: tuple[int, int], **more: bool) -> Page:
    """A window of this width and height, in which Anna is signed in."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **more)
    page.set_default_timeout(1000 * WAIT_S)
    sign_in(page, served.url, RATERS[0], TOKEN)
    page.wait_for_function("() => document.getElementById('count').textContent")
    return page


def on_a_desk(page: Page, folder: Path) -> None:
    """All views."""
    at_frame(page, 20)
    page.screenshot(path=folder / "preferences.png")
    press(page, "r")
    at_frame(page, 20)
    for key in "31":
        page.keyboard.press(key)
    page.screenshot(path=folder / "preferences_rank.png")
    press(page, "o")
    box = page.locator("#graph").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] - 4)
    page.mouse.down()
    for number, height in enumerate(PROGRESS, 1):
        share = number / len(PROGRESS)
        x, y = box["x"] + share * (box["width"] - 8), box["y"] + (1 - height) * box["height"]
        page.mouse.move(x, y, steps=20)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "preferences_progress.png")
    page.keyboard.press("m")
    page.wait_for_selector("#map circle")
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_timeout(1000)
    page.screenshot(path=folder / "preferences_map.png")
    page.keyboard.press("d")
    page.wait_for_selector("#dashboard table")
    page.locator("#dashboard .films").scroll_into_view_if_needed()  # loads them
    page.wait_for_function(
        "() => ![...document.querySelectorAll('#dashboard canvas')].some(each => each.hidden)"
    )
    page.screenshot(path=folder / "preferences_dashboard.png", full_page=True)


def on_a_tablet(page: Page, folder: Path) -> None:
    """The first view, with all that can be said of a pair."""
    at_frame(page, 20)
    page.screenshot(path=folder / "preferences_tablet.png")


def at_frame(page: Page, number: int) -> None:
    """Pause there."""
    page.evaluate(
        "n => { const s = document.getElementById('scrubber'); s.value = n;"
        " s.dispatchEvent(new Event('input')); }",
        number,
    )
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
