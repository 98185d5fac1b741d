"""The page in a real Chromium on what is not as usual: many cameras, long words, single frames."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page

from embodied.dataset import EpisodeStore
from embodied.preferences.films import film_of
from embodied.testing.browser import ServedPage, all_sent, in_view, press
from embodied.testing.episodes import random_episode, random_frames

SIZES = {"front": 96, "left": 96, "right": 96, "wrist": 48}
STEPS = 12
INSTRUCTION = "put the second-largest cup on the shelf without touching the others, " * 20
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    folder = tmp_path_factory.mktemp("odd")
    found = ServedPage(folder, dataset=four_cameras(folder / "data"))
    yield found
    found.kill()


def four_cameras(root: Path) -> Path:
    """Four short episodes, of which the wrist camera's pictures are smaller."""
    store = EpisodeStore(root, fps=20.0)
    for number in range(4):
        rng = np.random.default_rng(number)
        episode = random_episode(
            rng, STEPS, tuple(SIZES), episode_id=f"odd-{number}", with_features=False
        )
        images = {name: random_frames(rng, STEPS + 1, size) for name, size in SIZES.items()}
        store.append(replace(episode, images=images, instruction=INSTRUCTION))
    return root


def columns(page: Page) -> float:
    """Cameras beside each other in the first clip."""
    return float(page.evaluate("document.querySelector('#clips canvas').width / 96"))


def test_four_cameras_stand_where_they_become_largest(
    context: BrowserContext, odd: ServedPage
) -> None:
    page = in_view(context, odd, "four", "pair")
    assert columns(page) == 2
    press(page, "r")
    assert columns(page) == 1
    press(page, "o")
    page.wait_for_function("() => document.querySelector('#clips canvas').width === 4 * 96")
    page.set_viewport_size({"width": 500, "height": 1000})
    page.wait_for_function("() => document.querySelector('#clips canvas').width === 2 * 96")
    smaller = page.evaluate(
        "(() => { const c = document.querySelector('#clips canvas'), s = 96;"
        " const d = c.getContext('2d').getImageData(s, s, s, s).data;"
        " return d.filter((v, i) => i % 4 === 3 && v === 0).length })()"
    )
    assert smaller == 0, "the wrist camera does not fill its place"


@pytest.mark.parametrize("size", [(1100, 900), (768, 1024), (390, 844)])
def test_a_long_instruction_hides_no_answer_and_nothing_scrolls_sideways(
    context: BrowserContext, odd: ServedPage, size: tuple[int, int]
) -> None:
    page = in_view(context, odd, f"long {size[0]}", "pair")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for key in ("", "r", "o"):
        if key:
            press(page, key)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("p")
    page.wait_for_selector("#clips.pair .clip")
    box = page.locator("#answers").bounding_box()
    assert box is not None
    if size[0] > 500:
        assert box["y"] + box["height"] <= size[1]


def test_a_clip_of_one_frame_is_shown_and_answered(
    context: BrowserContext, odd: ServedPage
) -> None:
    page = in_view(context, odd, "one", "pair")
    picture = {"front": random_frames(np.random.default_rng(0), 1, 96)}
    page.route("**/film", lambda route: route.fulfill(body=film_of(picture, 20.0)))
    press(page, "r")
    assert page.text_content("#frame") == "1 / 1"
    for key in ",. 3142":
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    press(page, "Enter")
    all_sent(page)
    (label,) = odd.given("one")
    assert (label["choice"], label["replays"]) == ("ranked", 0)
