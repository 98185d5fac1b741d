"""The sliders of the page in a real Chromium: what is learnt there, in which order, and kept."""

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from embodied.preferences.attributes import AttributeVector
from embodied.preferences.raters import RaterClient
from embodied.preferences.records import Direction
from embodied.testing.browser import START_S, TOKEN, ServedPage, signed_in, until

RETRAIN_EVERY = 10
pytestmark = pytest.mark.timeout(1200)


def opened(page: Page) -> None:
    """The view, once the server has told what is learnt."""
    page.keyboard.press("l")
    page.wait_for_function("() => document.getElementById('order').textContent")


def answer(served: ServedPage) -> None:
    """Nearer is faster and less safe; until the trainer has made a version of it."""
    with RaterClient(served.url, TOKEN, "oracle", patience_s=START_S) as oracle:
        for _ in range(RETRAIN_EVERY):
            showing = oracle.following()[0]
            left, right = (served.nearness(clip) for clip in showing["clip_ids"])
            near, far = ("left", "right") if left > right else ("right", "left")
            oracle.answer(showing, near, attributes={"speed": near, "safety": far})
    until(lambda: len(served.store.reward_versions()) == 1, START_S)


def expected(served: ServedPage, direction: Direction) -> list[int]:
    """The order of the newest version's scores, by the code that `embodied align` uses."""
    rows = served.store.clip_scores()
    names = rows[0]["attributes"]
    scores = {name: np.array([row["attributes"][name] for row in rows]) for name in names}
    reward = AttributeVector(scores=scores, answers={}).reward(direction)
    return [rows[place]["clip_id"] for place in np.argsort(-reward, kind="stable")]


def order(page: Page) -> list[int]:
    return [int(n) for n in str(page.get_attribute("#sliders", "data-order") or "").split(",") if n]


def test_without_an_answer_the_view_says_what_is_missing(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "early")
    opened(page)
    assert page.text_content("#order") == "There are no sliders yet: no attribute is learnt."
    assert "speed (0 answers). From 5 answers on" in str(page.text_content("#lacking"))
    assert page.is_disabled("#keep")
    assert page.locator("#sliders figure").count() == 0


def test_sliders_order_the_clips_by_keyboard_and_what_is_kept_comes_back(
    context: BrowserContext, served: ServedPage
) -> None:
    answer(served)
    page = signed_in(context, served, "slider")
    opened(page)
    assert "success (0 answers), smoothness (0 answers)" in str(page.text_content("#lacking"))
    assert page.text_content("#order") == "Move a slider: then the clips are put in order."
    page.keyboard.press("End")  # the first slider has the focus
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    wanted = Direction(sliders={"speed": 1.0}, floor=0.3)
    until(lambda: order(page) == expected(served, wanted))
    shown = page.locator("#sliders figure")
    places = [int(str(shown.nth(i).get_attribute("data-clip"))) for i in range(6)]
    assert places == [*order(page)[:3], *order(page)[-3:]]
    assert page.locator("#worst figure.unsafe").count() == 3
    assert page.locator("#best figure.unsafe").count() == 0
    assert "too unsafe" in str(page.text_content("#worst"))
    drawn = """() => [...document.querySelectorAll('#sliders canvas')].map(
        (canvas) => canvas.toDataURL()).join()"""
    first = page.evaluate(drawn)
    until(lambda: page.evaluate(drawn) != first)  # the films play
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(lambda: served.store.direction("slider") == wanted)
    page.goto(served.url)
    page.wait_for_selector("body[data-showing]")
    opened(page)
    assert page.input_value("input[name=speed]") == "1"
    until(lambda: order(page) == expected(served, wanted))


def test_by_touch_on_a_tablet(browser: Browser, served: ServedPage) -> None:
    context = browser.new_context(viewport={"width": 820, "height": 1180}, has_touch=True)
    context.set_default_timeout(1000 * START_S)
    page = signed_in(context, served, "toucher")
    page.tap("nav button[data-view=sliders]")
    box = page.locator("input[name=speed]").bounding_box()
    assert box is not None
    assert box["height"] >= 44
    page.touchscreen.tap(box["x"] + 1, box["y"] + box["height"] / 2)
    slow = Direction(sliders={"speed": -1.0}, floor=0.25)
    until(lambda: order(page) == expected(served, slow))
    assert page.evaluate("document.documentElement.scrollWidth") <= 820
    page.tap("#keep")
    until(lambda: served.store.direction("toucher") == slow)
    assert served.store.direction("slider") != slow
    context.close()
