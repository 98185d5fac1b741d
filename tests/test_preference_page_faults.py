"""What must not go wrong in a real Chromium: answers to the wrong pair, lost or given twice."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from embodied.testing.browser import (
    TOKEN,
    ServedPage,
    all_sent,
    as_shown,
    loaded_ahead,
    press,
    showing,
    signed_in,
    until,
)

FILMS = "**/api/clips/*/film"
UNDO = "**/api/undo"
pytestmark = pytest.mark.timeout(1200)


@contextmanager
def held(page: Page, requests: str) -> Iterator[None]:
    """None of these is answered meanwhile. At the end they are, and another query is shown."""
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    before = showing(page)
    page.route(requests, hold)
    yield
    for route in waiting:
        route.continue_()
    page.unroute(requests, hold)
    page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)


def fail_once(page: Page, status: int) -> None:
    """The next film that is asked for is refused, with a reason."""

    def refuse(route: Route) -> None:
        route.fulfill(status=status, json={"detail": "the film is torn."})

    page.route(FILMS, refuse, times=1)


def lose_the_next_undo(page: Page) -> None:
    """The server hears it, and the page does not hear the server."""

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route(UNDO, lose, times=1)


def enter(page: Page, rater: str) -> None:
    """Sign in where the page asks for it; returns when a query is shown."""
    page.wait_for_selector("#sign-in:not([hidden])")
    page.evaluate("delete document.body.dataset.showing")
    page.fill("#rater", rater)
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-showing]")


def choices(served: ServedPage, rater: str) -> list[str]:
    return [as_shown(label) for label in served.given(rater)]


@pytest.mark.parametrize("requests", [UNDO, FILMS], ids=["request", "films"])
def test_nothing_is_answered_while_an_undo_is_under_way(
    context: BrowserContext, served: ServedPage, requests: str
) -> None:
    rater = f"undo-{len(requests)}"
    page = signed_in(context, served, rater)
    press(page, "ArrowLeft")
    loaded_ahead(page)
    all_sent(page)
    with held(page, requests):
        with page.expect_request(requests):
            page.keyboard.press("u")
        page.keyboard.press("ArrowLeft")
    press(page, "ArrowDown")
    until(lambda: len(served.given(rater)) > 2)
    assert choices(served, rater) == ["left", "undone", "tie"]


def test_nothing_is_answered_while_the_films_of_another_view_load(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "view")
    loaded_ahead(page)
    with held(page, FILMS):
        with page.expect_request(FILMS):
            page.keyboard.press("r")
        page.keyboard.press("s")
    press(page, "x")
    until(lambda: len(served.given("view")) > 0)
    assert choices(served, "view") == ["skip"]


def test_nothing_is_answered_while_the_films_of_a_picked_pair_load(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "picked")
    loaded_ahead(page)
    page.keyboard.press("m")
    page.wait_for_selector("#map circle")
    with held(page, FILMS):
        with page.expect_request(FILMS):
            for key in ("ArrowRight", "Enter", "ArrowRight", "Enter"):
                page.keyboard.press(key)
        page.keyboard.press("ArrowLeft")
    press(page, "ArrowDown")
    until(lambda: len(served.given("picked")) > 0)
    assert choices(served, "picked") == ["tie"]


def test_an_answer_waits_for_who_gave_it_when_another_rater_signs_in(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "ann")
    other = context.new_page()
    other.goto(served.url)
    other.click("#leave")
    enter(other, "ben")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#sign-in:not([hidden])")
    assert "1 answer kept for ann" in str(page.text_content("#trouble"))
    enter(page, "ben")
    press(page, "ArrowDown")
    until(lambda: len(served.given("ben")) > 0)
    assert (choices(served, "ann"), choices(served, "ben")) == ([], ["tie"])
    page.click("#leave")
    enter(page, "ann")
    until(lambda: len(served.given("ann")) > 0)
    assert (choices(served, "ann"), choices(served, "ben")) == (["left"], ["tie"])


@pytest.mark.parametrize("status", [503, 429])
def test_a_film_that_fails_for_a_moment_is_asked_for_again(
    context: BrowserContext, served: ServedPage, status: int
) -> None:
    rater = f"film-{status}"
    page = signed_in(context, served, rater)
    fail_once(page, status)
    press(page, "r")
    press(page, "s")
    until(lambda: len(served.given(rater)) > 0)
    assert choices(served, rater) == ["cant_tell"]


def test_a_film_that_needs_a_session_asks_to_sign_in(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "film-401")
    fail_once(page, 401)
    page.keyboard.press("r")
    page.wait_for_selector("#sign-in:not([hidden])")
    enter(page, "film-401")
    press(page, "ArrowDown")
    until(lambda: len(served.given("film-401")) > 0)
    assert choices(served, "film-401") == ["tie"]


def test_a_film_that_is_refused_is_skipped_with_the_reason(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "film-404")
    fail_once(page, 404)
    press(page, "o")
    until(lambda: len(served.given("film-404")) > 0)
    (label, *_) = served.given("film-404")
    assert (label["choice"], label["note"]) == ("skip", "the film is torn.")


def test_an_undo_is_refused_while_answers_wait(context: BrowserContext, served: ServedPage) -> None:
    page = signed_in(context, served, "waiting")
    loaded_ahead(page)
    context.set_offline(True)
    press(page, "ArrowLeft")
    page.keyboard.press("u")
    page.wait_for_function(
        "() => document.getElementById('trouble').textContent.includes('waits to be sent')"
    )
    press(page, "ArrowDown")
    context.set_offline(False)
    all_sent(page)
    press(page, "u")
    press(page, "ArrowUp")
    until(lambda: len(served.given("waiting")) > 3)
    assert choices(served, "waiting") == ["left", "tie", "undone", "both_bad"]


def test_an_undo_whose_answer_was_lost_undoes_once(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "lost-undo")
    press(page, "ArrowLeft")
    press(page, "ArrowDown")
    all_sent(page)
    lose_the_next_undo(page)
    page.keyboard.press("u")
    page.wait_for_selector("#trouble:not([hidden])")
    press(page, "u")
    press(page, "ArrowUp")
    until(lambda: len(served.given("lost-undo")) > 3)
    assert choices(served, "lost-undo") == ["left", "tie", "undone", "both_bad"]


def test_an_undo_after_a_lost_one_is_of_the_answer_between(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "between")
    press(page, "ArrowLeft")
    all_sent(page)
    lose_the_next_undo(page)
    page.keyboard.press("u")
    page.wait_for_selector("#trouble:not([hidden])")
    press(page, "ArrowDown")
    all_sent(page)
    press(page, "u")
    press(page, "ArrowUp")
    until(lambda: len(served.given("between")) > 4)
    first, undone, between, again, last = served.given("between")
    assert choices(served, "between") == ["left", "undone", "tie", "undone", "both_bad"]
    assert (undone["supersedes"], again["supersedes"]) == (first["id"], between["id"])
    assert last["query_id"] == between["query_id"]


def test_two_tabs_of_a_rater_keep_each_others_answers(
    context: BrowserContext, served: ServedPage
) -> None:
    pairs = signed_in(context, served, "tabs")
    ranks = context.new_page()
    ranks.goto(served.url)
    ranks.wait_for_selector("body[data-showing]")
    press(ranks, "r")
    for page in (pairs, ranks):
        loaded_ahead(page)
    context.set_offline(True)
    press(pairs, "ArrowLeft")
    press(ranks, "s")
    pairs.close()
    ranks.close()
    assert served.given("tabs") == []
    context.set_offline(False)
    context.new_page().goto(served.url)
    until(lambda: len(served.given("tabs")) > 1)
    assert choices(served, "tabs") == ["left", "cant_tell"]
