"""Answers are appended and never changed, whoever else answers, undoes or sends twice."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.preferences.answers import Answer
from embodied.preferences.clipping import _starts, clips_of
from embodied.preferences.dashboard import DOUBTED, dashboard
from embodied.preferences.database import Database
from embodied.preferences.export import export_rows, frame_rows, parquet_of
from embodied.preferences.films import Films, film_of
from embodied.preferences.labels import LabelBook, standing
from embodied.preferences.mix import Mix
from embodied.preferences.records import Direction, NewQuery, Session, Showing, Submission
from embodied.preferences.schedule import LEFT_S, REPEAT_AFTER, Schedule
from embodied.preferences.service import Service, open_service
from embodied.preferences.store import PreferenceStore
from embodied.preferences.tables import (
    DIRECTION,
    LABEL,
    MIGRATIONS,
    SCHEMA_VERSION,
    bring_up_to_date,
)
from embodied.testing.episodes import random_episode
from embodied.testing.postgres import PostgresServer
from embodied.testing.preferences import FPS, pushing_dataset


def mixed(**shares: float) -> Mix:
    """Of these kinds alone."""
    return Mix(**{**dict.fromkeys([*Mix().shares, "second_rater"], 0.0), **shares})


UNIFORM = mixed(uniform=1.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return pushing_dataset(tmp_path_factory.mktemp("data") / "pushing", episodes=4)


URLS: dict[Path, str] = {}
"""Where the database of a test is, by the test's folder, if it is not a file in it."""
OPENED: list[Service] = []


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a new database of either kind; what asks for it, or for `service`, runs on both."""
    URLS[tmp_path] = f"sqlite:///{tmp_path / 'p.sqlite'}"
    if request.param == "postgresql":
        URLS[tmp_path] = request.getfixturevalue("postgres").new_database()
    yield URLS[tmp_path]
    while OPENED:
        OPENED.pop().close()


on_both = pytest.mark.usefixtures("url")


@pytest.fixture
def service(dataset: EpisodeStore, tmp_path: Path, url: str) -> Service:
    return opened(dataset, tmp_path)


def opened(dataset: EpisodeStore, folder: Path, mix: Mix = UNIFORM, seed: int = 0) -> Service:
    place = URLS.get(folder, f"sqlite:///{folder / 'p.sqlite'}")
    OPENED.append(open_service(dataset, place, folder / "films", clip_s=1.0, seed=seed, mix=mix))
    return OPENED[-1]


def rater(service: Service, name: str = "ann", kind: str = "human") -> Session:
    return service.store.sign_in(name, kind)[1]


def say(
    service: Service, who: Session, choice: str = "left", uuid: str = "", **more: object
) -> int:
    showing = service.schedule.next(who, 1)[0]
    number = len(service.store.labels())
    return service.book.answer(
        who,
        Submission(
            uuid=uuid or f"uuid-{number:06d}",
            showing_id=showing.id,
            choice=choice,
            **more,  # type: ignore[arg-type]
        ),
    )


def shown_to(service: Service, who: Session) -> Showing:
    return service.schedule.next(who, 1)[0]


def test_an_episode_that_was_recorded_again_has_other_clips_and_another_film(
    tmp_path: Path,
) -> None:
    stores = [EpisodeStore(tmp_path / name / "data", fps=FPS) for name in ("first", "again")]
    for number, store in enumerate(stores):  # alike but for what is seen and done
        episode = random_episode(
            np.random.default_rng(number), 12, ("front",), size=16, with_features=False
        )
        store.append(replace(episode, episode_id="push", seed=3, fps=FPS,
                             timestamp=np.arange(13) / FPS))  # fmt: skip
    assert stores[0].summary(0) == stores[1].summary(0)
    first, again = (clips_of(store, 0.5) for store in stores)
    assert [replace(c, revision="") for c in first] == [replace(c, revision="") for c in again]
    assert first[0].revision != again[0].revision
    assert clips_of(EpisodeStore(stores[0].root), 0.5) == first


@on_both
def test_of_a_database_with_two_datasets_only_the_shown_ones_clips_are_asked_about(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    other = opened(pushing_dataset(tmp_path / "other", episodes=2), tmp_path)
    theirs = sorted(other.clips)
    queries = [
        NewQuery(clip_ids=theirs[:2], acquisition=kind, reason="", reward_version=version)
        for kind, version in (("disagreement", 1), ("branch", None))
    ]
    other.store.add_queries(queries)
    say(other, rater(other, "bob"))  # a second rater would be asked the same
    mix = mixed(disagreement=1.0, second_rater=1.0)
    service = opened(dataset, tmp_path, mix)
    for showing in service.schedule.next(rater(service), 4):
        assert service.clips.keys() >= set(showing.clip_ids)


@on_both
def test_of_two_datasets_in_a_database_each_has_its_own_open_queries_and_its_own_undo(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    other = opened(pushing_dataset(tmp_path / "other", episodes=2, steps=20), tmp_path)
    ann = rater(other)
    ahead = other.schedule.next(ann, 3)
    say(other, ann)
    service = opened(dataset, tmp_path)
    who = rater(service)
    assert who.rater_id == ann.rater_id
    for showing in service.schedule.next(who, 3):
        assert service.clips.keys() >= set(showing.clip_ids)
    assert service.book.undo(who, "undo-0001") is None
    say(service, who)
    undone = service.book.undo(who, "undo-0002")
    assert undone is not None
    assert service.clips.keys() >= set(undone.clip_ids)
    assert [row["query_id"] for row in standing(service.store.labels())] == [ahead[0].query_id]
    assert other.schedule.next(ann, 2) == ahead[1:]
    taken_back = other.book.undo(ann, "undo-0003")
    assert taken_back is not None
    assert taken_back.query_id == ahead[0].query_id
    assert service.book.undo(who, "undo-0003") is None  # sent again, and the other one is served
    assert other.schedule.next(ann, 1) == [taken_back]


@on_both
def test_what_cannot_be_shown_is_left_out_and_nothing_is_written(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    service = opened(dataset, tmp_path)
    ann, bob = rater(service), rater(service, "bob")
    first, second, _ = service.schedule.next(ann, 3)
    (others,) = service.schedule.next(bob, 1)
    found = service.schedule.next(ann, 3, aside=[first.id, others.id])
    assert service.schedule.set_aside() == {frozenset(first.clip_ids)}
    assert second == found[0]
    assert service.schedule.next(ann, 3) == found
    assert first not in found
    assert service.schedule.next(bob, 1) == [others]  # no business of hers
    assert service.store.labels() == []
    assert opened(dataset, tmp_path).schedule.next(ann, 1) == [first]  # it may have been repaired


def test_an_answer_names_the_clip_and_not_the_side_where_it_was_shown(service: Service) -> None:
    who, orders = rater(service), set()
    for _ in range(12):
        showing = shown_to(service, who)
        orders.add(showing.order)
        say(service, who, "left", attributes={"speed": "right"})
        label = service.store.labels()[-1]
        better = label["clip_ids"][0 if label["choice"] == "left" else 1]
        assert better == showing.clip_ids[0]
        assert label["swapped"] == (showing.order == (1, 0))
        faster = label["clip_ids"][0 if label["attributes"]["speed"] == "left" else 1]
        assert faster == showing.clip_ids[1]
    assert orders == {(0, 1), (1, 0)}


def test_the_database_refuses_to_change_or_delete_a_label_or_a_direction(service: Service) -> None:
    who = rater(service)
    say(service, who)
    service.store.keep_direction(who, Direction(sliders={"speed": 1.0}, floor=0.0))
    changes = (
        LABEL.update().values(choice="right"), LABEL.delete(),
        DIRECTION.update().values(floor=1.0), DIRECTION.delete(), *replacing(service.store),
    )  # fmt: skip
    before = service.store.labels()
    for change in changes:
        with pytest.raises(sa.exc.DatabaseError, match="append-only"):
            with service.store.database.writing() as connection:
                connection.execute(change)
    assert service.store.labels() == before
    say(service, who)
    service.store.keep_direction(who, Direction(sliders={"speed": 0.5}, floor=0.0))
    assert len(service.store.labels()) == 2


def replacing(store: PreferenceStore) -> list[sa.TextClause]:
    """Statements that get rid of the rows of a database with one label and one direction."""
    if store.database.engine.dialect.name == "postgresql":
        words = ["TRUNCATE label", "TRUNCATE direction", "TRUNCATE query CASCADE"]
        return [sa.text(statement) for statement in words]
    found = []
    for table, keys in ((LABEL, ("id", "uuid", "showing_id")), (DIRECTION, ("id",))):
        names = [column.name for column in table.columns]
        for key in keys:  # the same row, but for the other keys
            new = {"id": "99", "uuid": "'another-1'", "showing_id": "NULL"}
            taken = [name if name == key else new.get(name, f'"{name}"') for name in names]
            listed = ", ".join(f'"{name}"' for name in names)
            found.append(
                sa.text(
                    f"INSERT OR REPLACE INTO {table.name} ({listed}) "
                    f"SELECT {', '.join(taken)} FROM {table.name}"
                )
            )
    return found


def test_a_database_whose_labels_could_be_replaced_is_brought_up(service: Service) -> None:
    who, database = rater(service), service.store.database
    say(service, who)
    service.store.keep_direction(who, Direction(sliders={"speed": 1.0}, floor=0.0))
    before, sqlite = service.store.labels(), database.engine.dialect.name == "sqlite"
    with database.writing() as connection:  # as the fourth version had it
        for table in ("label", "direction"):
            trigger = f"{table}_no_insert" if sqlite else f"{table}_no_truncate ON {table}"
            connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
        connection.execute(SCHEMA_VERSION.update().values(version=4))
    again = PreferenceStore(Database(database.engine.url.render_as_string(hide_password=False)))
    for change in replacing(again):
        with pytest.raises(sa.exc.DatabaseError, match="append-only"):
            with again.database.writing() as connection:
                connection.execute(change)
    assert again.labels() == before
    again.database.close()


def test_an_undo_is_a_row_and_the_query_is_open_again(service: Service) -> None:
    who = rater(service)
    say(service, who, "left")
    say(service, who, "tie")
    again = service.book.undo(who, "undo-0001")
    assert again is not None
    assert service.book.undo(who, "undo-0001") == again  # heard twice, done once
    assert [label["choice"] for label in standing(service.store.labels())] == [
        service.store.labels()[0]["choice"]
    ]
    service.book.answer(who, Submission(uuid="uuid-again", showing_id=again.id, choice="both_bad"))
    rows = service.store.labels()
    assert len(rows) == 4
    assert [row["choice"] for row in standing(rows)][1:] == ["both_bad"]
    assert rows[2]["supersedes"] == rows[1]["id"]
    assert service.book.undo(who, "undo-0002") is not None
    assert service.book.undo(who, "undo-0003") is not None
    assert service.book.undo(who, "undo-0004") is None
    assert standing(service.store.labels()) == []


def test_an_answer_sent_twice_is_kept_once_and_a_second_answer_is_refused(service: Service) -> None:
    who = rater(service)
    showing = shown_to(service, who)
    sent = Submission(uuid="the-same-1", showing_id=showing.id, choice="left")
    assert service.book.answer(who, sent) == service.book.answer(who, sent)
    other = Submission(uuid="another-1", showing_id=showing.id, choice="right")
    with pytest.raises(BadInput, match="is answered; undo first"):
        service.book.answer(who, other)
    with pytest.raises(BadInput, match="not yours"):
        service.book.answer(rater(service, "bob"), other)


@on_both
def test_two_raters_on_one_query_at_the_same_moment_keep_both_answers(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    service = opened(dataset, tmp_path, mixed(uniform=1.0, second_rater=1.0))
    ann, bob = rater(service), rater(service, "bob")
    say(service, ann)
    query = service.store.labels()[0]["query_id"]
    assert shown_to(service, bob).query_id == query
    (number,) = service.store.add_queries(
        [NewQuery(clip_ids=[1, 2], acquisition="disagreement", reason="r")]
    )
    with service.store.database.writing() as connection:
        from embodied.preferences.labels import show

        places = [show(connection, number, who.rater_id, [0, 1], 0.0) for who in (ann, bob)]
    barrier = threading.Barrier(2)

    def answer(who: Session, place: int) -> None:
        barrier.wait()
        service.book.answer(
            who, Submission(uuid=f"both-{who.rater_id:04d}", showing_id=place, choice="left")
        )

    threads = [
        threading.Thread(target=answer, args=pair) for pair in zip((ann, bob), places, strict=True)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    kept = [row["rater"] for row in service.store.labels() if row["query_id"] == number]
    assert sorted(kept) == ["ann", "bob"]


def test_what_is_shown_stays_until_it_is_answered_also_after_a_restart(
    service: Service, dataset: EpisodeStore, tmp_path: Path
) -> None:
    secret, who = service.store.sign_in("ann")
    ahead = service.schedule.next(who, 2)
    service.close()
    service = opened(dataset, tmp_path, seed=9)
    again = service.store.session_of(secret)
    assert again == who
    assert service.schedule.next(again, 2) == ahead
    assert service.store.session_of(secret[:-1]) is None


def test_a_server_that_is_started_again_draws_other_pairs(
    service: Service, dataset: EpisodeStore, tmp_path: Path
) -> None:
    drawn = [tuple(s.clip_ids) for s in service.schedule.next(rater(service), 4)]
    service.close()
    service = opened(dataset, tmp_path)
    assert [tuple(s.clip_ids) for s in service.schedule.next(rater(service, "bob"), 4)] != drawn


@on_both
def test_queued_queries_come_first_and_say_why(dataset: EpisodeStore, tmp_path: Path) -> None:
    service = opened(dataset, tmp_path, mixed(disagreement=1.0))
    why = "The members of the ensemble disagree most."
    service.store.add_queries(
        [NewQuery(clip_ids=[1, 3], acquisition="disagreement", reason=why, score=0.4)]
    )
    ann, bob = rater(service), rater(service, "bob")
    assert shown_to(service, ann).reason == why
    assert shown_to(service, bob).acquisition == "random"  # the queue is empty: somebody has it


@on_both
def test_a_query_that_somebody_left_unanswered_comes_to_others_after_those_nobody_saw(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    service = opened(dataset, tmp_path, mixed(disagreement=1.0))
    sought = [
        NewQuery(clip_ids=pair, acquisition="disagreement", reason="")
        for pair in ([1, 3], [1, 4], [2, 4])
    ]
    answered, left, unseen = service.store.add_queries(sought)
    ann, bob = rater(service), rater(service, "bob")
    assert [s.query_id for s in service.schedule.next(ann, 2)] == [answered, left]
    say(service, ann)
    now = service.book.clock
    service.book.clock = lambda: now() + LEFT_S - 30
    assert [s.query_id for s in service.schedule.next(bob, 1)] == [unseen]
    service.book.clock = lambda: now() + LEFT_S + 30
    later = {s.query_id for s in service.schedule.next(bob, 3)}
    assert later & {answered, left, unseen} == {left, unseen}
    assert shown_to(service, ann).query_id == left  # she still may
    for who in (ann, bob, bob):
        say(service, who)
    kept = [row["rater"] for row in service.store.labels() if row["query_id"] == left]
    assert sorted(kept) == ["ann", "bob"]


@on_both
def test_what_was_taken_back_and_what_is_of_another_dataset_is_not_repeated(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    other = opened(pushing_dataset(tmp_path / "other", episodes=2, steps=20), tmp_path)
    for _ in range(REPEAT_AFTER + 2):
        say(other, rater(other))
    service = opened(dataset, tmp_path)
    who = rater(service)
    say(service, who)
    service.book.undo(who, "undo-0001")
    undone = service.store.labels()[-1]["query_id"]
    say(service, who, "skip")
    for _ in range(REPEAT_AFTER):
        say(service, who)
    again = opened(dataset, tmp_path, mixed(repeat=1.0))
    assert shown_to(again, who).acquisition == "random"  # of so many answers none is a while ago
    say(again, who)
    repeat = shown_to(again, who)
    assert repeat.acquisition == "repeat"
    first = again.store.labels()[-REPEAT_AFTER - 1]
    query = next(q for q in again.store.queries() if q["id"] == repeat.query_id)
    assert query["repeat_of"] == first["query_id"] != undone


@on_both
def test_repeats_swap_the_sides_and_gold_pairs_know_their_answer(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    service = opened(dataset, tmp_path, mixed(uniform=0.4, repeat=0.3, gold=0.3))
    who, first = rater(service), {}
    for _ in range(60):
        showing = shown_to(service, who)
        say(service, who, "left")
        row = service.store.labels()[-1]
        if row["repeat_of"] is not None:
            assert showing.order == tuple(reversed(first[row["repeat_of"]].order))
        if row["gold"]:
            won, lost = service.store.clips(row["clip_ids"])
            assert (won.success, lost.success) == (True, False)
        first[showing.query_id] = showing
    kinds = {row["acquisition"] for row in service.store.labels()}
    assert kinds == {"uniform", "repeat", "gold", "random"}
    (found,) = dashboard(service.store, service.clips)["raters"]
    assert found["side"]["biased"]  # always left: flagged within 60 labels
    assert found["consistency"]["mean"] == 0.0


def test_what_the_dashboard_says_of_answers_is_of_people_and_scripted_raters_have_rows(
    service: Service,
) -> None:
    script, ann, bob = (
        rater(service, "take-over", "scripted"),
        rater(service),
        rater(service, "bob"),
    )
    for choice in ("left", "right"):
        say(service, script, choice)
    alone = dashboard(service.store, service.clips)
    assert (alone["labels"], alone["scripted"], alone["alpha"]) == (0, 2, None)
    assert (alone["answers"], alone["asked_because"], alone["per_hour"]) == ({}, [], [])
    assert [(row["rater"], row["kind"], row["labels"]) for row in alone["raters"]] == [
        ("take-over", "scripted", 2)
    ]
    pairs = [label["query_id"] for label in service.store.labels()]
    for who, choices in ((ann, ("left", "left")), (bob, ("left", "right"))):
        for query, choice in zip(pairs, choices, strict=True):
            service.book.answer_at_once(who, query, Answer(choice), mirrored=False, note="")
    found = dashboard(service.store, service.clips)
    assert found["alpha"]["mean"] == pytest.approx(1 - (1 / 2) / (2 * 3 * 1 / (4 * 3)))
    assert found["alpha"]["n"] == 2
    assert (found["labels"], found["answers"]) == (4, {"left": 3, "right": 1})
    assert sum(hour["answers"] for hour in found["per_hour"]) == 4
    assert [row["rater"] for row in found["raters"]] == ["ann", "bob", "take-over"]


def test_the_dashboard_counts_what_could_not_be_told_against_why_it_was_asked(
    service: Service,
) -> None:
    who = rater(service)
    for why, choices in (
        ("picked", ["left"]),
        ("branch", ["cant_tell", "cant_tell", "skip", "tie"]),
    ):
        for choice in choices:
            (query,) = service.store.add_queries(
                [NewQuery(clip_ids=[1, 2], acquisition=why, reason="r")]
            )
            service.book.answer_at_once(who, query, Answer(choice), mirrored=False, note="")
    branch, picked = dashboard(service.store, service.clips)["asked_because"]
    assert (branch["acquisition"], branch["answers"]) == ("branch", 4)
    assert (branch["cant_tell"]["mean"], branch["skip"]["mean"]) == (0.5, 0.25)
    assert (branch["cant_tell"]["n"], branch["cant_tell"]["low"]) == (
        4,
        pytest.approx(0.15, abs=5e-3),
    )
    assert (picked["answers"], picked["cant_tell"]["mean"]) == (1, 0.0)


def test_hours_without_answers_are_shown_and_the_last_week_at_most(service: Service) -> None:
    who = rater(service)
    hours = (0, 1, 400, 403)
    for hour in hours:
        service.book.clock = lambda: 3600.0 * (1000 + hour) + 5  # noqa: B023
        say(service, who)
    drawn = dashboard(service.store, service.clips)["per_hour"]
    assert [row["utc_s"] // 3600 - 1000 for row in drawn] == [*range(403 - 167, 404)]
    assert {row["utc_s"] // 3600 - 1000 for row in drawn if row["answers"]} == {400, 403}
    assert sum(row["answers"] for row in drawn) == 2


def test_the_dashboard_lists_no_clips_of_another_dataset(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    other = opened(pushing_dataset(tmp_path / "other", episodes=2, steps=20), tmp_path)
    service = opened(dataset, tmp_path)
    scores = [{"clip_id": n, "value": 0.0, "uncertainty": 1.0} for n in other.clips]
    service.store.add_reward_version({"labels": 1, "pairs": 0}, scores)
    assert dashboard(service.store, service.clips)["doubted"] == []
    doubted = dashboard(other.store, other.clips)["doubted"]
    assert {row["clip_id"] for row in doubted} <= {*other.clips}
    assert len(doubted) == min(DOUBTED, len(other.clips))


def test_a_model_proposes_and_cannot_label(service: Service) -> None:
    model, who = rater(service, "judge", "model"), rater(service)
    showing = shown_to(service, model)
    with pytest.raises(BadInput, match="never a label"):
        service.book.answer(
            model, Submission(uuid="a-model-1", showing_id=showing.id, choice="left")
        )
    service.store.propose(showing.query_id, "judge", 0.7)
    say(service, who)
    assert [row["rater"] for row in service.store.labels()] == ["ann"]
    assert service.store.proposals()[0]["probability_first"] == 0.7
    with pytest.raises(BadInput, match="choose another"):
        service.store.sign_in("judge")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"choice": "lef"}, "did you mean left"),
        ({"strength": "huge"}, "slight"),
        ({"attributes": {"beauty": "left"}}, "no attribute named 'beauty'"),
        ({"intervals": [{"side": 2, "start": 0, "stop": 3, "good": True}]}, "an interval is"),
        ({"intervals": [{"side": 0, "start": 3, "stop": 3, "good": True}]}, "an interval is"),
        ({"intervals": [{"side": 0, "start": 0, "stop": 3, "good": "yes"}]}, "true or false"),
        ({"note": "x" * 2001}, "2000 characters"),
        ({"uuid": "short"}, "uuid"),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(
    service: Service, wrong: dict[str, object], told: str
) -> None:
    who = rater(service)
    values = {"uuid": "right-uuid", "showing_id": shown_to(service, who).id, "choice": "left"}
    with pytest.raises(Exception, match=told):
        service.book.answer(who, Submission(**values | wrong))  # type: ignore[arg-type]
    assert service.store.labels() == []


def test_rankings_and_progress_marks_name_clips_and_frames_of_the_episode(service: Service) -> None:
    who = rater(service)
    sides = set()
    for number in range(12):
        ranked = service.schedule.next(who, 1, "rank")[0]
        sides.add(len(ranked.clip_ids))
        places = [2, 0, 3, 1] if len(ranked.clip_ids) == 4 else [2, 0, 1]
        ranking = Submission(
            uuid=f"ranking-{number}", showing_id=ranked.id, choice="ranked", ranking=places
        )
        service.book.answer(who, ranking)
        label = service.store.labels()[-1]
        assert [label["clip_ids"][i] for i in label["ranking"]] == [
            ranked.clip_ids[i] for i in places
        ]
    assert sides == {3, 4}
    single = service.schedule.next(who, 1, "progress")[0]
    marks = [[0.0, 0.0], [2.0, 0.5]]
    marked = Submission(uuid="marking-1", showing_id=single.id, choice="marked", progress=marks)
    service.book.answer(who, marked)
    clip = service.clips[single.clip_ids[0]]
    found = [
        (row["episode_index"], row["frame_index"], row["preference.progress"])
        for row in frame_rows(service.store, service.clips)
    ]
    assert [row for row in found if row[2] is not None] == [
        (clip.episode, clip.start + frame, frame / 4) for frame in range(3)
    ]
    again = service.schedule.next(who, 1, "rank")[0]
    with pytest.raises(BadInput, match=f"each of the {len(again.clip_ids)} clips once"):
        service.book.answer(
            who,
            Submission(
                uuid="ranking-twice", showing_id=again.id, choice="ranked", ranking=[0, 0, 1, 2]
            ),
        )


def test_the_export_has_one_row_per_label_ever_and_is_the_same_twice(service: Service) -> None:
    who = rater(service)
    for choice in ("left", "both_bad", "skip"):
        say(service, who, choice)
    service.book.undo(who, "undo-0001")
    rows = export_rows(service.store)
    assert [row["choice"] for row in rows][1:] == ["both_bad", "skip", "undone"]
    assert [row["stands"] for row in rows] == [True, True, False, False]
    assert [row["target"] for row in rows][1:] == [0.5, None, None]
    assert parquet_of(service.store) == parquet_of(service.store)


def test_films_hold_every_frame_of_every_camera_and_the_cache_keeps_its_size(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    import io
    import json

    from PIL import Image

    service = opened(dataset, tmp_path)
    clip = service.clips[2]
    film = Path(service.films.path(clip)).read_bytes()  # type: ignore[arg-type]
    size = int.from_bytes(film[4:8], "little")
    header = json.loads(film[8 : 8 + size])
    assert (header["fps"], header["cameras"]) == (10.0, ["front", "wrist"])
    assert header["sizes"] == [[96, 96], [96, 96]]
    images = dataset.read(clip.episode).images
    assert len(header["pictures"]) == clip.stop - clip.start
    for number, (offset, length) in enumerate(header["pictures"]):
        start = 8 + size + offset
        seen = np.asarray(Image.open(io.BytesIO(film[start : start + length])), float)
        true = np.concatenate([images[c][clip.start + number] for c in clip.cameras])
        assert np.abs(seen - true).mean() < 3
    small = Films(dataset, tmp_path / "small", 5 * len(film))
    for each in service.clips.values():
        small.path(each)
    kept = list((tmp_path / "small").glob("*.film"))
    assert 0 < sum(path.stat().st_size for path in kept) <= 6 * len(film)
    with pytest.raises(BadInput, match="no videos"):
        film_of({}, 10.0)


@given(st.integers(1, 60), st.integers(2, 20))
def test_clips_cover_an_episode_and_are_equally_long(frames: int, length: int) -> None:
    starts = _starts(frames, length)
    covered = {f for start in starts for f in range(start, min(start + length, frames))}
    assert covered == set(range(frames))
    if frames >= length:
        assert all(start + length <= frames for start in starts)


def test_a_dataset_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    lonely = pushing_dataset(tmp_path / "one", episodes=1, steps=4)
    with pytest.raises(BadInput, match="needs two"):
        clips_of(lonely, 4.0)
    blind = pushing_dataset(tmp_path / "blind", episodes=2, steps=4, cameras=())
    with pytest.raises(BadInput, match="no videos"):
        clips_of(blind, 4.0)


def test_an_older_database_is_brought_up_and_a_newer_one_is_refused(url: str) -> None:
    database = Database(url)

    def add_shoes(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE rater ADD COLUMN shoes INTEGER")

    with database.writing() as connection:
        steps = [*MIGRATIONS, add_shoes]
        bring_up_to_date(connection, "p", steps)
        bring_up_to_date(connection, "p", steps)  # not twice
        assert connection.execute(sa.select(SCHEMA_VERSION)).scalar_one() == len(steps) + 1
        names = [column["name"] for column in sa.inspect(connection).get_columns("rater")]
        assert names.count("shoes") == 1
    with pytest.raises(CorruptFile, match="newer version"):
        Database(url)


def test_a_postgresql_database_of_the_first_version_gets_the_columns_that_it_lacks(
    postgres: PostgresServer,
) -> None:  # of SQLite's, see `test_branches`
    url, lacking = postgres.new_database(), {"clip": ("parent_clip_id", "branch_step")}
    lacking |= {"reward_version": ("accuracy_before", "attributes"), "clip_score": ("attributes",)}
    first = Database(url)
    with first.writing() as connection:
        connection.exec_driver_sql("DROP TABLE direction")
        for table, columns in lacking.items():
            for column in columns:
                connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute(SCHEMA_VERSION.update().values(version=1))
    first.close()
    store = PreferenceStore(Database(url))
    with store.database.reading() as connection:
        for table, columns in lacking.items():
            found = {column["name"] for column in sa.inspect(connection).get_columns(table)}
            assert found.issuperset(columns)
    store.add_reward_version({"labels": 1, "pairs": 0, "accuracy_before": 0.5}, [])
    assert store.reward_versions()[0]["accuracy_before"] == 0.5
    wanted = Direction(sliders={"speed": -0.5}, floor=0.25)
    store.keep_direction(store.sign_in("ann")[1], wanted)
    assert store.direction("ann") == wanted
    with pytest.raises(sa.exc.DatabaseError, match="append-only"):
        with store.database.writing() as connection:
            connection.execute(DIRECTION.update().values(floor=0.0))
    store.database.close()


def test_a_database_that_cannot_be_opened_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no database" * 500)
    with pytest.raises(CorruptFile, match="no SQLite database"):
        Database(f"sqlite:///{tmp_path / 'text'}")
    with pytest.raises(BadConfig, match="sqlite:///FILE"):
        Database("labels.sqlite")
    with pytest.raises(BadConfig, match="cannot open"):
        Database(f"sqlite:///{tmp_path}")
    with pytest.raises(BadConfig, match=r"cannot open the database postgresql.*:\*\*\*@"):
        Database("postgresql+psycopg://me:secret@127.0.0.1:1/none")


def test_concurrent_books_in_two_processes_worth_of_connections_lose_nothing(
    service: Service, url: str
) -> None:
    other = LabelBook(Database(url))
    schedule = Schedule(other, service.groups, 3, UNIFORM)

    def work(book: LabelBook, chooses: Schedule, who: Session) -> None:
        for number in range(10):
            showing = chooses.next(who, 2)[0]
            book.answer(
                who,
                Submission(uuid=f"{who.rater}-{number:04d}", showing_id=showing.id, choice="tie"),
            )

    places = [(service.book, service.schedule), (other, schedule)] * 2
    threads = [
        threading.Thread(target=work, args=(*place, rater(service, f"rater-{i}")))
        for i, place in enumerate(places)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(service.store.labels()) == 40
