"""The page in a real Chromium by mouse and touch: what is dragged, clicked twice, or picked."""

from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from embodied.testing.browser import (
    ServedPage,
    all_sent,
    as_shown,
    loaded_ahead,
    press,
    showing,
    signed_in,
    until,
)

pytestmark = pytest.mark.timeout(1200)


def drag(page: Page, hand: str, start: tuple[str, float], stop: tuple[str, float]) -> None:
    """From a share of one thing's width to a share of another's."""
    (x, y), (to_x, to_y) = (place(page, *each) for each in (start, stop))
    if hand == "mouse":
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(to_x, to_y)
        page.mouse.up()
        return
    finger = page.context.new_cdp_session(page)
    moves = {
        "touchStart": [{"x": x, "y": y}],
        "touchMove": [{"x": to_x, "y": to_y}],
        "touchEnd": [],
    }
    for move, points in moves.items():
        finger.send("Input.dispatchTouchEvent", {"type": move, "touchPoints": points})


def place(page: Page, selector: str, share: float) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


def cancel(page: Page, selector: str) -> None:
    """A finger that goes down there, which the browser then takes for something else."""
    x, y = place(page, selector, 0.5)
    finger = page.context.new_cdp_session(page)
    finger.send(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    )
    finger.send("Input.dispatchTouchEvent", {"type": "touchCancel", "touchPoints": []})


def sides(label: Mapping[str, Any]) -> list[tuple[int, int, int, bool]]:
    """A label's intervals, with the sides of the screen."""
    return [
        (label["order"].index(each["side"]), each["start"], each["stop"], each["good"])
        for each in label["intervals"]
    ]


@pytest.mark.parametrize("hand", ["mouse", "touch"])
def test_clips_are_ranked_by_dragging_them(
    context: BrowserContext, served: ServedPage, hand: str
) -> None:
    rater = f"dragger by {hand}"
    page = signed_in(context, served, rater)
    press(page, "r")
    last = page.locator(".place").count() - 1
    drag(page, hand, ("[data-side='0'] canvas", 0.5), (f"[data-side='{last}'] canvas", 0.9))
    drag(page, hand, ("[data-side='2'] canvas", 0.5), ("[data-side='1'] canvas", 0.1))
    places = [f"place {n + 1}" for n in range(last + 1)]
    assert page.locator(".place").all_text_contents() == places
    press(page, "Enter")
    until(lambda: len(served.given(rater)) == 1)
    (label,) = served.given(rater)
    ranked = [label["order"].index(clip) for clip in label["ranking"]]
    assert ranked == [2, 1, *range(3, last + 1), 0]


@pytest.mark.parametrize("hand", ["mouse", "touch"])
def test_intervals_are_scribbled_on_the_strips(
    context: BrowserContext, served: ServedPage, hand: str
) -> None:
    rater = f"scribbler by {hand}"
    page = signed_in(context, served, rater)
    drag(page, hand, ("[data-side='0'] .strip", 0.22), ("[data-side='0'] .strip", 0.78))
    page.click("summary")
    page.click("#paint")
    drag(page, hand, ("[data-side='1'] .strip", 0.42), ("[data-side='1'] .strip", -0.5))
    press(page, "ArrowDown")
    until(lambda: len(served.given(rater)) == 1)
    assert sides(served.given(rater)[0]) == [(0, 2, 8, False), (1, 0, 5, True)]


@pytest.mark.parametrize("hand", ["mouse", "touch"])
def test_progress_is_drawn_on_the_graph(
    context: BrowserContext, served: ServedPage, hand: str
) -> None:
    rater = f"drawer by {hand}"
    page = signed_in(context, served, rater)
    press(page, "o")
    drag(page, hand, ("#graph", 0.25), ("#graph", 0.65))
    assert page.locator("#graph .dot").count() == 2
    press(page, "Enter")
    until(lambda: len(served.given(rater)) == 1)
    marks = served.given(rater)[0]["progress"]
    assert [frame for frame, _ in marks] == [2, 6]
    assert [value for _, value in marks] == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_finger_that_the_browser_takes_away_marks_and_ranks_nothing(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "cancelled")
    cancel(page, "[data-side='0'] .strip")
    page.mouse.click(*place(page, "#frame", 0.5))
    press(page, "ArrowDown")
    press(page, "r")
    cancel(page, "[data-side='0'] canvas")
    page.mouse.click(*place(page, "#frame", 0.5))
    told = page.locator(".place").all_text_contents()
    assert told == [f"clip {n + 1}" for n in range(len(told))]
    press(page, "o")
    cancel(page, "#graph")
    page.mouse.move(*place(page, "#graph", 0.9))
    assert page.locator("#graph .dot").count() == 1  # where the finger was
    until(lambda: len(served.given("cancelled")) == 1)
    assert served.given("cancelled")[0]["intervals"] == []


def test_a_key_that_is_held_and_a_second_click_answer_no_pair_that_just_came(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "holder")
    loaded_ahead(page)
    page.keyboard.down("ArrowLeft")
    for _ in range(5):
        page.keyboard.down("ArrowLeft")  # a key that is down already repeats
    page.keyboard.up("ArrowLeft")
    all_sent(page)
    before = showing(page)
    page.dblclick("button[data-answer=right]")
    page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)
    press(page, "ArrowDown")
    until(lambda: len(served.given("holder")) > 2)
    assert [as_shown(label) for label in served.given("holder")] == ["left", "right", "tie"]


def test_a_key_removes_the_intervals(context: BrowserContext, served: ServedPage) -> None:
    page = signed_in(context, served, "wiper")
    page.keyboard.press(",")
    for key in "gwbb":  # the start of a good one, removed, and a bad one
        page.keyboard.press(key)
    press(page, "ArrowDown")
    for key in "ggw":
        page.keyboard.press(key)
    press(page, "ArrowDown")
    until(lambda: len(served.given("wiper")) == 2)
    bad, nothing = (sides(label) for label in served.given("wiper"))
    assert ([good for *_, good in bad], nothing) == ([False], [])
    page.keyboard.press("?")
    assert page.locator("tr:has(kbd:text-is('W'))").text_content() == "Wremove the intervals"


def test_two_clicks_answer_on_a_picture_and_not_on_its_strip(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "clicker")
    page.keyboard.press(",")  # pauses
    strip = page.locator("[data-side='0'] .strip").bounding_box()
    assert strip is not None
    middle = strip["x"] + strip["width"] / 2
    for number, x in enumerate((middle - 2, middle + 2)):  # the frames left and right of it
        page.mouse.move(x, strip["y"] + strip["height"] / 2)
        page.mouse.down(click_count=number + 1)
        page.mouse.up(click_count=number + 1)
    press(page, "ArrowDown")
    before = showing(page)
    page.dblclick("[data-side='1'] canvas")
    page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)
    until(lambda: len(served.given("clicker")) > 1)
    labels = served.given("clicker")
    assert [as_shown(label) for label in labels] == ["tie", "right"]
    assert sides(labels[0]) == [(0, 4, 5, False), (0, 5, 6, False)]


def test_two_clips_are_picked_from_the_map_by_clicking(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "picker")
    page.keyboard.press("m")
    page.wait_for_selector("#map circle")
    titles = [str(each) for each in page.locator("#map circle title").all_text_contents()]
    before = showing(page)
    page.locator("#map circle").first.click()
    page.wait_for_selector("#map canvas:not([hidden])")
    assert titles[0] in str(page.text_content("#map figcaption"))
    page.locator("#map circle", has_text=titles[-1]).click()
    page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)
    press(page, "ArrowLeft")
    until(lambda: len(served.given("picker")) == 1)
    (label,) = served.given("picker")
    assert label["acquisition"] == "picked"
    picked = [int(title.split(",")[0].removeprefix("clip ")) for title in (titles[0], titles[-1])]
    assert sorted(label["clip_ids"]) == sorted(picked)


def test_no_clip_stands_out_before_intervals_are_marked(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "unbiased")
    borders = "[...document.querySelectorAll('.clip')].map(c => getComputedStyle(c).borderColor)"
    left, right = page.evaluate(borders)
    assert left == right
    page.keyboard.press("c")
    left, right = page.evaluate(borders)
    assert left != right
