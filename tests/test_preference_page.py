"""The page in a real Chromium: keys, touch, two raters, undo, a lost network, a killed server."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from embodied.preferences.labels import standing
from embodied.preferences.raters import RaterClient
from embodied.testing.browser import (
    CHOICES,
    PATIENCE_MS,
    START_S,
    TOKEN,
    ServedPage,
    all_sent,
    answer,
    as_shown,
    in_view,
    loaded_ahead,
    press,
    showing,
    signed_in,
    until,
)

RETRAIN_EVERY = 10
pytestmark = pytest.mark.timeout(1200)


def test_a_whole_session_by_keyboard(context: BrowserContext, served: ServedPage) -> None:
    page = signed_in(context, served, "keys")
    assert page.text_content("#instruction") == "push the block into the ring"
    for _ in range(10):
        page.keyboard.press(",")
    page.keyboard.press(".")
    page.wait_for_function("() => document.getElementById('frame').textContent === '2 / 10'")
    page.keyboard.press("1")
    page.keyboard.press("t")
    page.keyboard.press("g")
    page.keyboard.press(".")
    page.keyboard.press("g")
    page.keyboard.press("n")
    page.keyboard.type("the left one scrapes")
    page.keyboard.press("Enter")
    keys = {
        "ArrowLeft": "left", "ArrowRight": "right", "ArrowDown": "tie", "ArrowUp": "both_bad",
        "s": "cant_tell", "x": "skip",
    }  # fmt: skip
    for key in keys:
        press(page, key)
    until(lambda: len(served.given("keys")) == len(keys))
    labels = served.given("keys")
    assert [as_shown(label) for label in labels] == [*keys.values()]
    assert labels[0]["note"] == "the left one scrapes"
    assert labels[0]["strength"] == "slight"
    assert len(labels[0]["attributes"]) == 1
    (interval,) = labels[0]["intervals"]
    assert (interval["good"], interval["stop"] - interval["start"]) == (True, 2)
    assert all(label["response_ms"] > 0 for label in labels)


@pytest.mark.parametrize("mode", CHOICES)
def test_an_undo_asks_the_same_again(
    context: BrowserContext, served: ServedPage, mode: str
) -> None:
    rater = f"undoer of {mode}"
    page = in_view(context, served, rater, mode)
    clips = page.evaluate("document.querySelectorAll('.clip').length")
    answer(page, mode)
    all_sent(page)
    press(page, "u")
    assert page.evaluate("document.querySelectorAll('.clip').length") == clips
    press(page, "s")
    until(lambda: len(served.given(rater)) == 3)
    first, undone, again = served.given(rater)
    assert first["choice"] == CHOICES[mode]
    assert (undone["choice"], undone["supersedes"]) == ("undone", first["id"])
    assert (again["choice"], again["query_id"]) == ("cant_tell", first["query_id"])
    assert again["order"] == first["order"]
    assert [label["id"] for label in standing(served.given(rater))] == [again["id"]]


def test_by_touch_on_a_tablet(browser: Browser, served: ServedPage) -> None:
    tablet = browser.new_context(viewport={"width": 800, "height": 1100}, has_touch=True)
    tablet.set_default_timeout(PATIENCE_MS)
    page = signed_in(tablet, served, "touch")
    for choice in ("left", "both_bad"):
        before = showing(page)
        page.tap(f"button[data-answer={choice}]")
        page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)
    until(lambda: len(served.given("touch")) == 2)
    assert [as_shown(label) for label in served.given("touch")] == ["left", "both_bad"]
    wide = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert wide, "the page scrolls sideways"
    small = page.evaluate(
        "[...document.querySelectorAll('button')]"
        ".filter(b => b.offsetParent && b.offsetHeight < 44).map(b => b.textContent)"
    )
    assert small == []
    tablet.close()


def test_two_raters_at_once_keep_both(browser: Browser, served: ServedPage) -> None:
    contexts = [browser.new_context() for _ in range(2)]
    for context in contexts:
        context.set_default_timeout(PATIENCE_MS)
    pages = [signed_in(c, served, f"pair-{i}") for i, c in enumerate(contexts)]
    for _ in range(4):
        for page in pages:
            press(page, "ArrowRight")
    until(lambda: [len(served.given(f"pair-{i}")) for i in range(2)] == [4, 4])
    assert [page.text_content("#who") for page in pages] == ["pair-0", "pair-1"]
    for context in contexts:
        context.close()


@pytest.mark.parametrize("mode", CHOICES)
def test_answers_given_without_a_network_arrive_when_it_is_back(
    context: BrowserContext, served: ServedPage, mode: str
) -> None:
    rater = f"offline, {mode}"
    page = in_view(context, served, rater, mode)
    given = [answer(page, mode)]
    all_sent(page)
    loaded_ahead(page)
    context.set_offline(True)
    given += [answer(page, mode) for _ in range(2)]
    page.wait_for_function(
        "() => document.getElementById('net').textContent.includes('2 answers kept here')"
    )
    assert len(served.given(rater)) == 1
    context.set_offline(False)
    all_sent(page)
    labels = served.given(rater)
    assert [(each["choice"], each["showing_id"]) for each in labels] == [
        (CHOICES[mode], number) for number in given
    ]


def test_a_server_killed_and_started_again_loses_nothing_of_several_raters(
    browser: Browser, served: ServedPage
) -> None:
    pages, given = {}, {}
    for mode in CHOICES:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        pages[mode] = in_view(context, served, f"killer, {mode}", mode)
        given[mode] = [answer(pages[mode], mode)]
        loaded_ahead(pages[mode])
    served.kill()
    for mode, page in pages.items():
        given[mode].append(answer(page, mode))
    served.start()
    for mode, page in pages.items():
        all_sent(page)
        given[mode].append(answer(page, mode))  # without signing in again
        all_sent(page)
        labels = served.given(f"killer, {mode}")
        assert [(each["choice"], each["showing_id"]) for each in labels] == [
            (CHOICES[mode], number) for number in given[mode]
        ]
        page.context.close()


def test_clips_can_be_ranked_and_progress_marked_by_keyboard(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "modes")
    press(page, "r")
    for key in "3142":
        page.keyboard.press(key)
    press(page, "Enter")
    until(lambda: len(served.given("modes")) == 1)
    press(page, "o")
    page.keyboard.press("ArrowUp")
    page.keyboard.press(".")
    page.keyboard.press("ArrowUp")
    press(page, "Enter")
    until(lambda: len(served.given("modes")) == 2)
    ranked, marked = served.given("modes")
    places = [*range(len(ranked["clip_ids"]))]
    assert (ranked["choice"], sorted(ranked["ranking"])) == ("ranked", places)
    values = [value for _, value in marked["progress"]]
    assert values == pytest.approx([0.1, 0.2])


def test_the_page_says_when_the_model_improved_and_the_dashboard_how_it_went(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "watcher")
    page.wait_for_function("() => document.getElementById('count').textContent")  # news came once
    with RaterClient(served.url, TOKEN, "oracle", patience_s=START_S) as oracle:
        for _ in range(2):
            known = len(served.store.reward_versions())
            for _ in range(RETRAIN_EVERY):
                showing = oracle.following()[0]
                left, right = (served.nearness(clip) for clip in showing["clip_ids"])
                oracle.answer(showing, "left" if left > right else "right")
            until(lambda: len(served.store.reward_versions()) > known, START_S)  # noqa: B023
        doubted = {label["acquisition"] for label in served.given("oracle")}
    assert doubted & {"disagreement", "information"}, "what the model doubts was not asked"
    page.wait_for_function("() => !document.getElementById('news').hidden")
    said = str(page.text_content("#news"))
    assert re.match(
        r"The model (learned|improved|did not improve) \(version \d+, \d+ answers\)", said
    )
    page.keyboard.press("d")
    page.wait_for_selector("#dashboard .curve .now")
    versions = served.store.reward_versions()
    judged = [version for version in versions if version["accuracy"] is not None]
    joined = [version for version in judged if version["accuracy_before"] is not None]
    assert page.locator("#dashboard .curve .now").count() == len(judged)
    assert page.locator("#dashboard .curve .before").count() == len(joined)
    assert page.locator("#dashboard .curve polyline").count() == 0  # their tests differ
    (newest,) = (version for version in versions if version["version"] == len(versions))
    told = str(page.text_content("#dashboard"))
    assert f"{round(100 * newest['low'])} % to {round(100 * newest['high'])} %" in told
    assert "the next" in told  # what the trainer does now
    assert "oracle (scripted)" in told
    film = "#dashboard .films figure:nth-child(2)"
    page.locator(film).scroll_into_view_if_needed()
    page.wait_for_selector(f"{film} canvas")  # not hidden: its end is drawn
    drawn = "() => document.querySelector('FILM canvas').toDataURL()".replace("FILM", film)
    end = page.evaluate(drawn)
    page.click(f"{film} button")
    page.wait_for_function(f"end => ({drawn})() !== end", arg=end)  # it plays


def test_the_trainer_ends_with_a_server_that_is_killed(served: ServedPage) -> None:
    server = served.process.pid
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    assert children
    served.kill()
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    served.start()


def test_the_map_gives_a_pair_and_the_dashboard_counts(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "mapper")
    page.keyboard.press("m")
    page.wait_for_selector("#map circle")
    before = showing(page)
    for key in ("ArrowRight", "Enter", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)
    press(page, "ArrowLeft")
    until(lambda: len(served.given("mapper")) == 1)
    assert served.given("mapper")[0]["acquisition"] == "picked"
    page.keyboard.press("d")
    page.wait_for_selector("#dashboard table")
    assert "Krippendorff" in page.text_content("#dashboard")
    assert "mapper" in page.text_content("#dashboard")
    with page.expect_download() as download:
        page.click("text=what was said of each frame")
    assert download.value.suggested_filename == "frames.parquet"
