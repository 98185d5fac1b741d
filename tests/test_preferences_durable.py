"""What was confirmed is kept, whoever is killed: on SQLite, and on a live PostgreSQL server."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from embodied.dataset import EpisodeStore
from embodied.errors import DatabaseLost
from embodied.preferences.database import Database
from embodied.preferences.export import frames_parquet_of, parquet_of
from embodied.preferences.guard import CSRF_HEADER
from embodied.preferences.raters import RaterClient
from embodied.preferences.records import Submission
from embodied.preferences.service import Service, open_service
from embodied.preferences.tables import LABEL
from embodied.preferences.web import build_app
from embodied.testing.postgres import PostgresServer
from embodied.testing.preferences import pushing_dataset

TOKEN = "a-token-for-tests-only"
ANSWERING = """
import sys
from pathlib import Path
from embodied.dataset import EpisodeStore
from embodied.preferences.records import Submission
from embodied.preferences.service import open_service
root, url, name = sys.argv[1:]
service = open_service(EpisodeStore(Path(root)), url, Path(root + "-films"), clip_s=1.0)
_, who = service.store.sign_in(name)
for number in range(10_000):
    (showing,) = service.schedule.next(who, 1)
    sent = Submission(uuid=f"{name}-{number:06d}", showing_id=showing.id, choice="tie")
    print(service.book.answer(who, sent), sent.uuid, flush=True)
"""
"""A client in a process of its own, which says what was confirmed."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return pushing_dataset(tmp_path_factory.mktemp("data") / "pushing", episodes=4)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'p.sqlite'}"
    made: str = request.getfixturevalue("postgres").new_database()
    return made


@pytest.fixture
def service(dataset: EpisodeStore, tmp_path: Path, url: str) -> Iterator[Service]:
    found = open_service(dataset, url, tmp_path / "films", clip_s=1.0)
    yield found
    found.close()


def client(dataset: EpisodeStore, url: str, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ANSWERING, str(dataset.root), url, name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer(service: Service, name: str, uuid: str) -> int:
    _, who = service.store.sign_in(name)
    (showing,) = service.schedule.next(who, 1)
    return service.book.answer(who, Submission(uuid=uuid, showing_id=showing.id, choice="left"))


def test_a_client_in_another_process_that_is_killed_loses_nothing_and_stops_nobody(
    service: Service, dataset: EpisodeStore, url: str
) -> None:
    victim = client(dataset, url, "victim")
    said = [victim.stdout.readline() for _ in range(5)]  # type: ignore[union-attr]
    mine = [answer(service, "other", f"other-{number:04d}") for number in range(8)]
    victim.kill()
    said += victim.communicate()[0].rpartition("\n")[0].splitlines()  # the last may be cut short
    mine.append(answer(service, "other", "afterwards"))
    rows = service.store.labels()
    assert {line.split()[1] for line in said} <= {row["uuid"] for row in rows}
    assert {*mine} <= {row["id"] for row in rows}
    times = [row["utc_s"] for row in rows]
    assert times == sorted(times)  # ids are in the order in which labels came


def test_a_reader_sees_one_state_whatever_is_written_meanwhile(service: Service) -> None:
    answer(service, "ann", "before-01")
    count = sa.select(sa.func.count()).select_from(LABEL)
    with service.store.database.reading() as connection:
        assert connection.execute(count).scalar_one() == 1
        writing = threading.Thread(target=answer, args=(service, "ann", "meanwhile"))
        writing.start()
        writing.join()
        assert connection.execute(count).scalar_one() == 1
    assert len(service.store.labels()) == 2


def test_a_writer_waits_for_the_one_before_also_on_another_connection(
    service: Service, url: str
) -> None:
    other, order = Database(url), []

    def second() -> None:
        with other.writing():
            order.append("second")

    waiting = threading.Thread(target=second)
    with service.store.database.writing():
        waiting.start()
        time.sleep(0.3)
        order.append("first")
    waiting.join()
    other.close()
    assert order == ["first", "second"]


def test_answers_go_on_after_the_database_server_was_killed(
    dataset: EpisodeStore, tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.new_database()
    service = open_service(dataset, url, tmp_path / "films", clip_s=1.0)
    page = TestClient(build_app(service, TOKEN), raise_server_exceptions=False)
    found = page.post("/api/session", json={"token": TOKEN, "rater": "ann", "kind": "human"})
    page.headers[CSRF_HEADER] = found.json()["csrf"]
    answer(service, "bob", "confirmed")
    exported = parquet_of(service.store), frames_parquet_of(service.store, service.clips)
    showing = page.post("/api/next", json={}).json()["showings"][0]
    sent = {"uuid": "sent-again", "showing_id": showing["id"], "choice": "left"}
    scripted = RaterClient("http://testserver", TOKEN, "robot", transport=page._transport)
    postgres.kill()
    try:
        with pytest.raises(DatabaseLost, match="does not answer"):
            service.store.labels()
        lost = page.post("/api/labels", json=sent)
        assert lost.status_code == 503  # the page keeps it and sends it again; 4xx would drop it
        assert "does not answer" in lost.json()["detail"]
        patient = threading.Thread(target=scripted.get, args=("/api/session",))
        patient.start()
    finally:
        postgres.start()
    patient.join(30)
    assert not patient.is_alive()
    assert [row["uuid"] for row in service.store.labels()] == ["confirmed"]
    assert (parquet_of(service.store), frames_parquet_of(service.store, service.clips)) == exported
    assert page.post("/api/labels", json=sent).status_code == 200
    assert [row["uuid"] for row in service.store.labels()] == ["confirmed", "sent-again"]
    service.close()
