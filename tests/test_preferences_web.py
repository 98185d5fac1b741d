"""Over HTTP: nothing without a session, no change without its token, no file beyond the list."""

import json
import math
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient

from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.preferences.answers import Answer
from embodied.preferences.export import frame_columns, frame_rows, write_exports
from embodied.preferences.guard import CSRF_HEADER, FREE_TRIES, MAX_BODY, PAUSE_S, Guard
from embodied.preferences.labels import standing
from embodied.preferences.mix import Mix
from embodied.preferences.raters import RaterClient, answer_as
from embodied.preferences.records import Direction, Submission
from embodied.preferences.serve import listen, server_of
from embodied.preferences.service import Service, open_service
from embodied.preferences.teachers import TEACHERS
from embodied.preferences.web import build_app
from embodied.testing.preferences import distances_of, pushing_dataset, say

TOKEN = "a-token-for-tests-only"
URL = "http://testserver"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return pushing_dataset(tmp_path_factory.mktemp("data") / "pushing", episodes=4)


@pytest.fixture
def service(dataset: EpisodeStore, tmp_path: Path) -> Iterator[Service]:
    others = ("disagreement", "information", "repeat", "gold", "second_rater")
    mix = Mix(uniform=1.0, **dict.fromkeys(others, 0.0))
    url = f"sqlite:///{tmp_path / 'p.sqlite'}"
    found = open_service(dataset, url, tmp_path / "films", clip_s=1.0, mix=mix)
    yield found
    found.close()


@pytest.fixture
def page(service: Service) -> TestClient:
    return TestClient(build_app(service, TOKEN), raise_server_exceptions=False)


def sign_in(page: TestClient, rater: str = "ann", kind: str = "human") -> None:
    found = page.post("/api/session", json={"token": TOKEN, "rater": rater, "kind": kind})
    page.headers[CSRF_HEADER] = found.json()["csrf"]


def post(page: TestClient, path: str, body: object) -> httpx.Response:
    """Also what httpx would not send: numbers that are none."""
    return page.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})


def client_of(page: TestClient, rater: str, kind: str = "scripted") -> RaterClient:
    return RaterClient(URL, TOKEN, rater, kind=kind, transport=page._transport)


READS = ["/api/session", "/api/news", "/api/dashboard", "/api/map", "/api/sliders",
         "/api/clips/1/film", "/api/export.parquet", "/api/frames.parquet"]  # fmt: skip
WRITES = ["/api/next", "/api/pick", "/api/labels", "/api/undo", "/api/proposals", "/api/sliders"]


def test_nothing_is_told_and_nothing_changes_without_a_session(page: TestClient) -> None:
    assert [page.get(path).status_code for path in READS] == [401] * len(READS)
    assert {page.post(path, json={}).status_code for path in WRITES} <= {401, 422}
    wrong = page.post("/api/session", json={"token": TOKEN + "x", "rater": "eve"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    assert "token is wrong" in wrong.json()["detail"]


def test_after_some_wrong_tokens_an_address_waits_a_moment_also_with_the_right_one(
    service: Service,
) -> None:
    now = 0.0
    guard = Guard(service.store, TOKEN, lambda: now)
    here, there = (
        Request({"type": "http", "client": (address, 1)}) for address in ("10.0.0.1", "10.0.0.2")
    )

    def status(token: str, request: Request = here) -> int:
        try:
            guard.admit(token, request)
        except HTTPException as refused:
            return refused.status_code
        return 200

    assert [status("guess") for _ in range(FREE_TRIES + 1)] == [401] * FREE_TRIES + [429]
    assert (status(TOKEN), status(TOKEN, there)) == (429, 200)
    now = PAUSE_S  # as many more tries do not make it longer
    assert [status("guess"), status("guess"), status(TOKEN)] == [401, 429, 429]
    now += PAUSE_S
    assert [status(TOKEN), status("guess"), status(TOKEN)] == [200, 401, 200]


def test_the_page_says_that_tokens_may_not_be_guessed_for_ever(page: TestClient) -> None:
    wrong = {"token": "\ud800" + TOKEN, "rater": "eve"}  # half a character of UTF-16
    sent = [post(page, "/api/session", wrong) for _ in range(FREE_TRIES + 1)]
    assert [found.status_code for found in sent] == [401] * FREE_TRIES + [429]
    assert sent[-1].json()["detail"] == "too many wrong tokens from here; try again in 10 s."


def test_an_address_that_a_client_claims_to_have_gives_no_more_tries(service: Service) -> None:
    listening = listen("127.0.0.1", 0)
    server = server_of(build_app(service, TOKEN))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api/session"
        wrong = {"token": "guess", "rater": "eve"}
        sent = [
            httpx.post(url, json=wrong, headers={"X-Forwarded-For": f"10.0.0.{number}"}, timeout=60)
            for number in range(FREE_TRIES + 1)
        ]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
    assert [found.status_code for found in sent] == [401] * FREE_TRIES + [429]


def test_a_change_needs_the_csrf_token_and_may_not_come_from_another_page(page: TestClient) -> None:
    sign_in(page)
    cookie = page.cookies.jar
    assert [
        (c.has_nonstandard_attr("HttpOnly"), c.get_nonstandard_attr("SameSite")) for c in cookie
    ] == [(True, "strict")]
    assert page.post("/api/next", json={}).status_code == 200
    assert (
        page.post("/api/next", json={}, headers={"Origin": "http://evil.example"}).status_code
        == 403
    )
    assert page.post("/api/next", json={}, headers={CSRF_HEADER: "guess"}).status_code == 403
    del page.headers[CSRF_HEADER]
    assert page.post("/api/next", json={}).status_code == 403


def test_a_direction_is_kept_for_who_is_signed_in_and_safety_is_no_slider(
    page: TestClient, service: Service
) -> None:
    sign_in(page)
    wanted = {"sliders": {"speed": -0.5, "smoothness": 1.0}, "floor": 0.25}
    assert page.post("/api/sliders", json=wanted).status_code == 200
    refused = page.post("/api/sliders", json={"sliders": {"safety": 1.0}, "floor": 0.0})
    assert (refused.status_code, "no slider" in refused.json()["detail"]) == (400, True)
    assert page.get("/api/sliders").json()["kept"] == wanted
    assert page.post("/api/sliders", json=wanted, headers={CSRF_HEADER: "x"}).status_code == 403
    del page.headers[CSRF_HEADER]
    assert page.post("/api/sliders", json={**wanted, "floor": 1.0}).status_code == 403
    sign_in(page, "bob")
    assert page.get("/api/sliders").json()["kept"] is None
    assert service.store.direction("ann") == Direction(**wanted)


@pytest.mark.parametrize(
    "path",
    ["/page/..%2fweb.py", "/page/%2e%2e/web.py", "/page/../../errors.py", "/page/page", "/page/",
     "/api/clips/..%2f..%2f1/film", "/api/clips/99/film", "//etc/passwd", "/docs"],
)  # fmt: skip
def test_only_the_pages_files_and_the_datasets_clips_are_served(
    page: TestClient, path: str
) -> None:
    sign_in(page)
    assert page.get(path).status_code in (404, 422)


def test_every_answer_is_hardened_and_large_requests_are_refused(page: TestClient) -> None:
    front = page.get("/")
    assert front.status_code == 200
    assert "default-src 'none'" in front.headers["content-security-policy"]
    assert front.headers["x-frame-options"] == "DENY"
    large = page.post("/api/session", content=b"x" * (MAX_BODY + 1))
    assert large.status_code == 413
    unsized = page.post("/api/session", content=iter([b"{}"]))
    assert unsized.status_code == 413


def test_a_clip_comes_whole_or_by_range_and_names_no_policy(page: TestClient) -> None:
    sign_in(page)
    whole = page.get("/api/clips/1/film")
    part = page.get("/api/clips/1/film", headers={"Range": "bytes=4-99"})
    assert (part.status_code, part.content) == (206, whole.content[4:100])
    assert whole.headers["cache-control"] == "private, no-cache"
    shown = page.post("/api/next", json={}).json()["showings"][0]
    assert set(shown) == {
        "id", "query_id", "mode", "clip_ids", "acquisition", "reason", "instruction", "fps",
    }  # fmt: skip


def test_unknown_keys_and_senseless_answers_are_told_in_words(page: TestClient) -> None:
    sign_in(page)
    shown = page.post("/api/next", json={}).json()["showings"][0]
    body = {"uuid": str(uuid.uuid4()), "showing_id": shown["id"], "choice": "lef"}
    refused = page.post("/api/labels", json=body)
    assert (refused.status_code, refused.json()["detail"]) == (
        400, "no choice named 'lef'; did you mean left?",
    )  # fmt: skip
    assert page.post("/api/labels", json={**body, "polcy": 1}).status_code == 422


@pytest.mark.parametrize(
    ("path", "wrong", "told"),
    [
        ("/api/labels", {"replays": 10**30}, "replays: "),
        ("/api/labels", {"showing_id": 10**30}, "showing_id: "),
        ("/api/labels", {"response_ms": math.nan}, "response_ms: Input should be a finite number"),
        ("/api/labels", {"response_ms": -1.0}, "response_ms a time"),
        ("/api/labels", {"note": "half \ud800"}, "a note is text in UTF-8, without NUL."),
        ("/api/labels", {"note": "nothing \0"}, "a note is text in UTF-8, without NUL."),
        ("/api/labels", {"choice": "\ud800"}, r"no choice named '\ud800'"),
        ("/api/labels", {"attributes": {"\ud800": "left"}}, "no attribute named"),
        ("/api/labels", {"uuid": "12345678\0"}, "a uuid has"),
        ("/api/labels", {"ranking": [10**30]}, "only a ranking has places"),
        ("/api/labels", {"progress": [[math.inf, 0.5]]}, "progress.0.0: Input should be a finite"),
        ("/api/labels", {"intervals": [{"side": 0, "start": 0, "stop": 10**30, "good": True}]},
         "an interval is"),
        ("/api/labels", {"intervals": [{"side": 0, "start": 0, "stop": 2, "good": True,
                                        "more": math.nan}]}, "an interval is"),
        ("/api/labels", {"\ud800": 1}, "the request: Input should be a valid string"),
        ("/api/undo", {"uuid": "u" * 37}, "a uuid has"),
        ("/api/pick", {"clip_ids": [1, 10**30]}, "clip_ids.1: "),
        ("/api/next", {"aside": [10**30]}, "aside.0: "),
        ("/api/sliders", {"sliders": {"speed": math.nan}, "floor": 0.0}, "finite number"),
    ],
)  # fmt: skip
def test_numbers_and_texts_that_no_database_keeps_are_refused_in_words(
    page: TestClient, service: Service, path: str, wrong: dict[str, object], told: str
) -> None:
    sign_in(page)
    body: dict[str, object] = {}
    if path == "/api/labels":
        shown = page.post("/api/next", json={}).json()["showings"][0]
        body = {"uuid": str(uuid.uuid4()), "showing_id": shown["id"], "choice": "left"}
    refused = post(page, path, body | wrong)
    assert refused.status_code in (400, 422)
    assert told in refused.json()["detail"]
    assert service.store.labels() == []


def test_marks_of_frames_that_no_clip_has_are_refused(page: TestClient, service: Service) -> None:
    sign_in(page)
    shown = page.post("/api/next?mode=progress", json={}).json()["showings"][0]
    body = {"uuid": str(uuid.uuid4()), "showing_id": shown["id"], "choice": "marked"}
    for frame in (1e300, 10**400):
        sent = post(page, "/api/labels", {**body, "progress": [[frame, 0.5]]})
        assert sent.status_code in (400, 422)
        assert isinstance(sent.json()["detail"], str)
    marks = Submission(**body, progress=[[math.inf, 0.5]])
    with pytest.raises(BadInput, match="progress needs marks"):
        service.book.answer(service.store.sign_in("ann")[1], marks)
    assert page.get("/api/frames.parquet").status_code == 200


def test_a_name_with_other_capitals_or_spaces_is_the_same_person(
    page: TestClient, service: Service
) -> None:
    names = ["Zoë Ann", "  zoë   ann ", "ZOE\u0308 ANN", "Zoë Anne", "zoë anne"]
    told = [
        page.post("/api/session", json={"token": TOKEN, "rater": name}).json()["rater"]
        for name in names
    ]
    assert told == ["Zoë Ann"] * 3 + ["Zoë Anne"] * 2
    ids = [service.store.sign_in(name)[1].rater_id for name in names]
    assert [ids.index(number) for number in ids] == [0, 0, 0, 3, 3]
    mixed = page.post("/api/session", json={"token": TOKEN, "rater": "ZOË ANN", "kind": "model"})
    assert (mixed.status_code, "human rater" in mixed.json()["detail"]) == (400, True)


def test_the_number_of_answers_goes_down_with_an_undo(page: TestClient) -> None:
    sign_in(page)
    counts = [page.get("/api/news").json()["labels"]]
    for _ in range(2):
        shown = page.post("/api/next", json={}).json()["showings"][0]
        body = {"uuid": str(uuid.uuid4()), "showing_id": shown["id"], "choice": "left"}
        page.post("/api/labels", json=body)
        counts.append(page.get("/api/news").json()["labels"])
    page.post("/api/undo", json={"uuid": str(uuid.uuid4())})
    assert [*counts, page.get("/api/news").json()["labels"]] == [0, 1, 2, 1]


def test_signing_out_ends_the_session(page: TestClient) -> None:
    sign_in(page)
    assert page.delete("/api/session").status_code == 200
    assert page.get("/api/news").status_code == 401


def test_scripted_raters_answer_as_their_teacher_would(page: TestClient, service: Service) -> None:
    def rewards(number: int) -> np.ndarray:
        clip = service.clips[number]
        return 60.0 - distances_of(clip.episode, 25)[clip.start : clip.stop]

    with client_of(page, "oracle") as client:
        answer_as(
            client, TEACHERS["oracle"], rewards, labels=15, typical=1.0,
            rng=np.random.default_rng(0),
        )  # fmt: skip
    for label in standing(service.store.labels()):
        first, second = (rewards(number).sum() for number in label["clip_ids"])
        if not np.isclose(first, second):
            assert label["choice"] == (Answer.LEFT if first > second else Answer.RIGHT)


def test_a_scripted_rater_goes_on_with_another_dataset_in_the_same_database(
    page: TestClient, service: Service, tmp_path: Path
) -> None:
    other = pushing_dataset(tmp_path / "other", episodes=2, steps=20)
    theirs = open_service(
        other, str(service.store.database.engine.url), tmp_path / "films", clip_s=1.0
    )
    answered = []
    for one, on_it in ((service, page), (theirs, TestClient(build_app(theirs, TOKEN)))):
        rewards = {number: np.array([float(number)]) for number in one.clips}
        with client_of(on_it, "oracle") as client:
            given = answer_as(
                client, TEACHERS["oracle"], rewards.__getitem__, labels=3, typical=1.0,
                rng=np.random.default_rng(0),
            )  # fmt: skip
        answered += given
    assert len(theirs.store.labels()) == len(answered) >= 6
    theirs.close()


def test_a_model_proposes_over_http_and_people_may_not(page: TestClient, service: Service) -> None:
    with client_of(page, "judge", "model") as judge:
        showing = judge.following()[0]
        judge.propose(showing["query_id"], 0.8)
        with pytest.raises(BadInput, match="never a label"):
            judge.answer(showing, "left")
    page.cookies.clear()
    with client_of(page, "ann", "human") as ann, pytest.raises(BadInput, match="only a model"):
        ann.propose(showing["query_id"], 0.2)
    assert (len(service.store.proposals()), service.store.labels()) == (1, [])


def test_the_export_reads_back_and_the_map_knows_what_the_model_doubts(
    page: TestClient, service: Service, tmp_path: Path
) -> None:
    sign_in(page)
    shown = page.post("/api/next", json={}).json()["showings"][0]
    body = {"uuid": str(uuid.uuid4()), "showing_id": shown["id"], "choice": "both_bad"}
    page.post("/api/labels", json=body)
    (tmp_path / "labels.parquet").write_bytes(page.get("/api/export.parquet").content)
    (row,) = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert (row["choice"], row["target"], row["both_negative"]) == ("both_bad", 0.5, True)
    scores = [{"clip_id": 1, "value": 0.1, "uncertainty": 0.9, "x": 0.0, "y": 1.0}]
    reached = {"labels": 1, "accuracy": 0.7, "low": 0.5, "high": 0.8, "pairs": 20}
    assert service.store.add_reward_version(reached, scores) == 1
    better = {**reached, "accuracy": 0.8, "accuracy_before": 0.7}
    assert service.store.add_reward_version(better, scores) == 2
    news = page.get("/api/news").json()
    assert (news["labels"], news["model"]["version"], news["improved"]) == (1, 2, True)
    points = {point["clip_id"]: point for point in page.get("/api/map").json()["points"]}
    assert (points[1]["uncertainty"], points[2]["uncertainty"]) == (0.9, None)
    picked = page.post("/api/pick", json={"clip_ids": [2, 1]}).json()
    assert sorted(picked["clip_ids"]) == [1, 2]
    assert page.post("/api/pick", json={"clip_ids": [2, 2]}).status_code == 400
    assert page.post("/api/pick", json={"clip_ids": [2, 999]}).status_code == 400
    overview = page.get("/api/dashboard").json()
    assert overview["versions"][1]["accuracy"] == 0.8
    assert overview["training"] is None  # nothing learns here
    assert overview["doubted"][0]["clip_id"] == 1


def test_marks_and_spans_join_with_the_rows_of_the_dataset(
    page: TestClient, service: Service, tmp_path: Path
) -> None:
    sign_in(page)
    marked = page.post("/api/next?mode=progress", json={}).json()["showings"][0]
    marks = {"choice": "marked", "progress": [[3, 0.25], [5, 0.75]]}
    shown = page.post("/api/next", json={}).json()["showings"][0]
    span = {"side": 1, "start": 2, "stop": 5, "good": True}
    spans = {"choice": "right", "intervals": [span]}
    for showing, said in ((marked, marks), (shown, spans)):
        body = {"uuid": str(uuid.uuid4()), "showing_id": showing["id"], **said}
        assert page.post("/api/labels", json=body).status_code == 200
    answered = page.get("/api/frames.parquet")
    assert 'filename="frames.parquet"' in answered.headers["content-disposition"]
    (tmp_path / "frames.parquet").write_bytes(answered.content)
    root = service.films.store.root
    rows = pd.concat(pd.read_parquet(path) for path in sorted(root.glob("data/**/*.parquet")))
    said = pd.read_parquet(tmp_path / "frames.parquet")
    joined = rows.merge(said, "left", ["episode_index", "frame_index"], validate="one_to_one")
    assert len(joined) == len(rows)
    found = {(row["episode_index"], round(row["timestamp"] * 10)): row
             for row in joined.to_dict("records")}  # fmt: skip
    clip, liked = (service.clips[n] for n in (marked["clip_ids"][0], shown["clip_ids"][1]))
    told = {key: row["preference.progress"] for key, row in found.items()}
    assert {key: value for key, value in told.items() if value == value} == {
        (clip.episode, clip.start + 3 + steps): 0.25 + steps / 4 for steps in range(3)
    }
    assert [key for key, row in found.items() if row["preference.good"] == 1] == [
        (liked.episode, liked.start + frame) for frame in (2, 3, 4)
    ]


def test_frames_of_another_dataset_with_the_same_numbers_are_left_out(
    page: TestClient, service: Service, tmp_path: Path
) -> None:
    other = pushing_dataset(tmp_path / "other", episodes=4, steps=30)
    url = str(service.store.database.engine.url)
    theirs = open_service(other, url, tmp_path / "films", clip_s=1.0)
    for each, progress in ((service, 0.0), (theirs, 1.0)):
        say(each, [min(each.clips)], "marked", progress=[[3.0, progress]])
    sign_in(page)
    write_exports(theirs.store, theirs.clips, tmp_path)
    theirs.close()
    told = pq.read_table(tmp_path / "frames.parquet").to_pylist()
    assert [(row["frame_index"], row["preference.progress"]) for row in told] == [(3, 1.0)]
    (tmp_path / "frames.parquet").write_bytes(page.get("/api/frames.parquet").content)
    told = pq.read_table(tmp_path / "frames.parquet").to_pylist()
    assert [(row["frame_index"], row["preference.progress"]) for row in told] == [(3, 0.0)]


def test_marks_and_spans_end_with_their_clip(service: Service) -> None:
    clip = service.clips[min(service.clips)]
    say(service, [clip.id], "marked", progress=[[2.0, 0.5], [100_000.0, 1.0]])
    span = {"side": 0, "start": 8, "stop": 100_000, "good": True}
    say(service, sorted(service.clips)[:2], "left", intervals=[span])
    rows = frame_rows(service.store, service.clips)
    marked = [row["frame_index"] for row in rows if row["preference.progress"] is not None]
    assert marked == [clip.start + 2]
    good = [row["frame_index"] for row in rows if row["preference.good"] is not None]
    assert good == [clip.stop - 2, clip.stop - 1]


def test_frames_have_the_mean_of_what_people_said_and_nothing_beside(service: Service) -> None:
    one, other, third = sorted(service.clips)[:3]
    clip = service.clips[one]
    say(service, [one], "marked", progress=[[2.0, 0.0], [6.0, 1.0]])
    say(service, [one], "marked", rater="bob", progress=[[6.0, 0.5], [8.0, 0.5]])
    say(service, [one, other], "left", strength="slight")
    say(service, [other, one], "both_bad", rater="bob")
    say(service, [third, other, one], "ranked", ranking=[2, 1, 0])
    say(service, [one, third], "cant_tell")
    frames = {0: 30, 1: 30}
    found = frame_columns(service.store.labels(), service.clips, frames)
    told = found[clip.episode]
    drawn = [0.0, 0.25, 0.5, 0.75, 0.75, 0.5, 0.5]
    marked = np.flatnonzero(np.isfinite(told["preference.progress"]))
    assert marked.tolist() == list(range(clip.start + 2, clip.start + 9))
    np.testing.assert_allclose(told["preference.progress"][marked], drawn)
    middle = clip.start + 5  # of no other clip
    assert told["preference.won"][middle] == pytest.approx((0.75 + 0.5 + 1 + 1) / 4)
    assert told["preference.both_bad"][middle] == pytest.approx(1 / 4)
    assert np.isnan(told["preference.good"]).all()
    assert not np.isfinite(np.stack([*found[1].values()])).any()
    robots = frame_columns(service.store.labels(), service.clips, frames, ["scripted"])
    assert not np.isfinite(np.stack([*robots[0].values()])).any()


def test_a_damaged_clip_is_told_in_a_sentence(page: TestClient, service: Service) -> None:
    sign_in(page)
    root = service.films.store.root
    (video, *_) = sorted((root / "videos").rglob("*.mp4"))
    whole = video.read_bytes()
    try:
        video.write_bytes(whole[: len(whole) // 2])
        refused = page.get("/api/clips/1/film")
    finally:
        video.write_bytes(whole)
    assert refused.status_code == 400
    assert "damaged" in refused.json()["detail"]
    assert page.get("/api/clips/1/film").status_code == 200


def test_a_client_that_finds_no_server_says_so() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    with pytest.raises(Exception, match="waited 0 s for the preference server"):
        RaterClient(URL, TOKEN, "ann", patience_s=0.1, transport=httpx.MockTransport(refuse))
