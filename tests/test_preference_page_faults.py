"""What must not go wrong in a real Chromium: answers to the wrong pair, lost or given twice."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import BrowserContext, Dialog, Page, Route

from embodied.testing.browser import (
    TOKEN,
    ServedPage,
    all_sent,
    answer,
    as_shown,
    loaded_ahead,
    press,
    showing,
    sign_in,
    signed_in,
    until,
)
from embodied.testing.preferences import pushing_dataset

FILMS = "**/api/clips/*/film"
UNDO = "**/api/undo"
LEAVE_S = 5.0
"""The page itself waits half a second; what it waits for elsewhere takes 20."""
TOO_FEW = {"detail": "a rank query needs 3 clips that may be compared; there are fewer."}
STALL_MS = 20_000
"""Without a byte, after which the page gives a film up."""
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


def sign_out(page: Page, *, sure: bool) -> str:
    """Sign out, and answer what the page asks: it asks, and is left, without long waits."""
    asked = []

    def reply(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept() if sure else dialog.dismiss()

    page.once("dialog", reply)
    page.click("#leave")
    start = time.monotonic()
    while not asked:
        page.wait_for_timeout(10)
    if sure:
        page.wait_for_selector("#sign-in:not([hidden])")
    assert time.monotonic() - start < LEAVE_S
    return asked[0]


@contextmanager
def half_a_film() -> Iterator[str]:
    """Address of a server that sends half of what it promises, and then nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"x" * 100)
            gone.wait()
            connection.close()

        gone = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            gone.set()
            thread.join()


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
    page.wait_for_load_state("networkidle")  # a film that is not here yet would ask to sign in
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
    answer(page, "rank")  # it goes on where it was
    until(lambda: len(served.given("film-401")) > 0)
    assert choices(served, "film-401") == ["ranked"]


def test_a_query_whose_film_is_refused_is_left_out_and_nothing_is_written(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "film-404")
    press(page, "ArrowLeft")
    loaded_ahead(page)
    fail_once(page, 404)
    with page.expect_response("**/api/next*mode=progress") as response:
        page.keyboard.press("o")
    refused = response.value.json()["showings"][0]["id"]
    page.wait_for_function(
        "() => document.getElementById('trouble').textContent.startsWith('the film is torn.')"
    )
    page.wait_for_selector("#clips.progress .clip")
    assert int(showing(page)) != refused
    loaded_ahead(page)
    page.reload()  # the server knows
    page.wait_for_selector("#clips.progress .clip")
    assert int(showing(page)) != refused
    press(page, "s")
    all_sent(page)
    page.keyboard.press("u")  # takes back what was answered, not what could not be shown
    until(lambda: len(served.given("film-404")) > 2)
    assert choices(served, "film-404") == ["left", "cant_tell", "undone"]


def test_an_answer_for_which_the_server_fails_is_set_aside_and_sent_again_later(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "failing")
    loaded_ahead(page)
    failing, tried = int(showing(page)), []

    def fail(route: Route) -> None:
        if route.request.post_data_json["showing_id"] != failing:
            return route.continue_()
        tried.append(route.request)
        return route.fulfill(status=500, body="Internal Server Error")

    page.route("**/api/labels", fail)
    press(page, "ArrowLeft")
    press(page, "ArrowDown")
    page.wait_for_function(
        "() => document.getElementById('net').textContent.startsWith('1 answer set aside here')"
    )
    assert "tell who runs it" in str(page.text_content("#trouble"))
    page.keyboard.press("u")  # not the answer that was given before it
    page.wait_for_function(
        "() => document.getElementById('trouble').textContent.includes('nothing can be undone')"
    )
    for _ in range(4):  # those behind it are neither kept back nor ever used up
        press(page, "ArrowDown")
    page.wait_for_function("() => localStorage.length === 1")
    assert len(tried) == 4
    page.unroute("**/api/labels")
    page.reload()
    all_sent(page)
    assert choices(served, "failing") == ["tie"] * 5 + ["left"]
    assert page.text_content("#net") == ""
    press(page, "u")
    assert served.given("failing")[-1]["supersedes"] == served.given("failing")[-2]["id"]


def test_the_same_rater_on_another_dataset_of_the_database_answers_about_that_one_alone(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "both")
    press(page, "ArrowLeft")
    all_sent(page)
    page.close()
    dataset = pushing_dataset(served.folder / "other", episodes=4, steps=20).root
    other = ServedPage(served.folder, dataset=dataset)
    try:
        page = context.new_page()
        page.goto(other.url)  # the session is kept in the database
        page.wait_for_selector("body[data-showing]")
        loaded_ahead(page)
        page.keyboard.press("u")
        page.wait_for_function(
            "() => document.getElementById('trouble').textContent === 'There is nothing to undo.'"
        )
        press(page, "ArrowDown")
        all_sent(page)
        first, second = served.given("both")
        assert (as_shown(first), as_shown(second)) == ("left", "tie")
        seen = [{clip.dataset for clip in served.store.clips(row["clip_ids"])}
                for row in (first, second)]  # fmt: skip
        assert seen == [{"pushing"}, {"other"}]
    finally:
        other.kill()


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


def test_a_film_that_stops_coming_is_given_up_told_and_asked_for_again(
    context: BrowserContext, served: ServedPage
) -> None:
    page = context.new_page()
    page.clock.install()
    sign_in(page, served.url, "stall", TOKEN)
    page.evaluate(
        "new MutationObserver(([change]) => (window.told = change.target.textContent))"
        ".observe(document.getElementById('trouble'), {childList: true})"
    )
    with half_a_film() as url:
        page.route(FILMS, lambda route: route.continue_(url=url), times=1)
        before = showing(page)
        with page.expect_response(url):
            page.keyboard.press("r")
        page.wait_for_selector("#clips.waiting")
        assert "being loaded" in str(page.text_content("#reason"))
        page.clock.fast_forward(STALL_MS)
        page.wait_for_function("() => window.told === 'No connection; trying again.'")
        page.wait_for_function("before => document.body.dataset.showing !== before", arg=before)
    assert page.locator("#clips.rank:not(.waiting) .clip").count() in (3, 4)


def test_who_signs_out_without_a_network_is_asked_first_and_out_at_once(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "leaver")
    loaded_ahead(page)
    context.set_offline(True)
    press(page, "ArrowLeft")
    page.wait_for_function("() => document.getElementById('net').textContent.includes('kept here')")
    assert "1 answer could not be sent" in sign_out(page, sure=False)
    press(page, "ArrowDown")
    assert "2 answers could not be sent" in sign_out(page, sure=True)
    assert "2 answers kept for leaver will be sent" in str(page.text_content("#trouble"))
    assert not page.is_visible("#who")
    context.set_offline(False)
    page.wait_for_function("() => !localStorage.getItem('leaving')")
    page.reload()
    page.wait_for_selector("#sign-in:not([hidden])")  # the server knows that nobody is signed in
    assert served.given("leaver") == []
    enter(page, "leaver")
    all_sent(page)
    assert choices(served, "leaver") == ["left", "tie"]


def test_who_signs_out_while_the_server_is_silent_is_asked_first_and_out_at_once(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "silent")
    loaded_ahead(page)
    with held(page, "**/api/labels"):
        page.keyboard.press("ArrowLeft")
        assert "1 answer could not be sent" in sign_out(page, sure=True)
        enter(page, "another")
    press(page, "ArrowDown")
    until(lambda: len(served.given("another")) > 0)
    assert (choices(served, "silent"), choices(served, "another")) == ([], ["tie"])
    page.wait_for_function("() => localStorage.length === 1")  # kept for who gave it


def test_a_page_that_stopped_since_no_film_could_be_shown_goes_on_in_another_view(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "torn")
    loaded_ahead(page)
    page.route(FILMS, lambda route: route.fulfill(status=400, json={"detail": "it is torn."}))
    page.keyboard.press("o")
    page.wait_for_function(
        "() => document.getElementById('trouble').textContent.includes('tell who runs')"
    )
    all_sent(page)
    page.unroute(FILMS)
    fail_once(page, 404)  # one more is no reason to stop again
    press(page, "r")
    press(page, "s")
    all_sent(page)
    assert choices(served, "torn") == ["cant_tell"]


def test_a_reload_stays_in_the_view_and_the_back_button_leaves_it(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "back")
    press(page, "r")
    page.keyboard.press("d")
    page.wait_for_selector("#dashboard h1")
    page.reload()
    page.wait_for_selector("#dashboard h1")
    page.go_back()
    page.wait_for_selector("#clips.rank .clip")
    press(page, "s")
    page.go_back()
    page.wait_for_selector("#clips.pair .clip")
    press(page, "ArrowDown")
    all_sent(page)
    assert choices(served, "back") == ["cant_tell", "tie"]


def test_what_another_tab_has_answered_is_told_and_kept_once(
    context: BrowserContext, served: ServedPage
) -> None:
    page, other = signed_in(context, served, "twice"), context.new_page()
    other.goto(served.url)
    other.wait_for_selector("body[data-showing]")
    assert showing(page) == showing(other)
    press(page, "ArrowLeft")
    all_sent(page)
    other.keyboard.press("ArrowRight")
    all_sent(other)
    press(other, "ArrowDown")
    all_sent(other)
    labels = served.given("twice")
    assert choices(served, "twice") == ["left", "tie"]
    assert len({label["showing_id"] for label in labels}) == 2


def test_a_view_that_has_nothing_to_ask_says_so_and_shows_no_other_clips(
    context: BrowserContext, served: ServedPage
) -> None:
    page = signed_in(context, served, "nothing")
    page.route("**/api/next*mode=rank", lambda route: route.fulfill(status=400, json=TOO_FEW))
    page.keyboard.press("r")
    page.wait_for_function("() => !document.querySelector('.clip')")
    assert page.text_content("#trouble") == TOO_FEW["detail"]
    page.keyboard.press("p")
    page.wait_for_selector("#clips.pair .clip")
    press(page, "ArrowDown")
    all_sent(page)
    assert choices(served, "nothing") == ["tie"]
