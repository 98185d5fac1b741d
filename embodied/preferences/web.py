"""The preference page's HTTP API, the same for people and for scripted raters.

Nothing that is served says which policy acted: a showing has the clips' ids, their instruction and
their frames. Every change needs a session and its CSRF token; files are served by names from a
fixed list, clips by number.
"""

from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from embodied.dataset_layout import digest_of
from embodied.errors import DatabaseLost, EmbodiedError, OutOfSpace
from embodied.preferences.attributes import sliders_view
from embodied.preferences.dashboard import dashboard, news
from embodied.preferences.export import frames_parquet_of, parquet_of
from embodied.preferences.guard import COOKIE, Guard, Limited, refuse_foreign_origin
from embodied.preferences.labels import APP_VERSION
from embodied.preferences.mix import TAKE_OVER
from embodied.preferences.records import LARGEST, Direction, Session, Showing, Submission
from embodied.preferences.schedule import MAX_AHEAD
from embodied.preferences.service import Service
from embodied.preferences.trainer_process import TrainerProcess

PAGE = {
    path.name: path.read_bytes()
    for path in files("embodied.preferences").joinpath("page").iterdir()
    if path.name.endswith((".html", ".js", ".css"))
}
"""The page's files, read once; nothing else of the disk can be asked for."""
MEDIA = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
WEEK_S = 7 * 24 * 3600


Id = Annotated[int, Field(ge=1, le=LARGEST)]


class Strict(BaseModel):
    """A request's body, in which unknown keys are refused, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SignIn(Strict):
    """Who wants in."""

    token: str
    rater: str
    kind: str = "human"


class Wanted(Strict):
    """The next queries."""

    aside: list[Id] = []


class Answered(Strict):
    """`Submission`, as JSON."""

    uuid: str
    showing_id: Id
    choice: str
    strength: str | None = None
    attributes: dict[str, str] = {}
    intervals: list[dict[str, Any]] = []
    ranking: list[int] | None = None
    progress: list[list[float]] | None = None
    note: str = ""
    response_ms: float | None = None
    replays: Annotated[int, Field(ge=0, le=LARGEST)] = 0


class Undone(Strict):
    """An undo; sent twice, it undoes once."""

    uuid: str


class Picked(Strict):
    """Two clips of the map."""

    clip_ids: list[Id]


class Kept(Strict):
    """`Direction`, as JSON."""

    sliders: dict[str, float]
    floor: float


class Proposed(Strict):
    """What a model thinks of a query."""

    query_id: Id
    probability_first: float


def build_app(service: Service, token: str, trainer: TrainerProcess | None = None) -> FastAPI:
    """The whole application.

    Args:
        service: What it serves.
        token: What a rater must bring to sign in.
        trainer: Learns meanwhile; the dashboard shows what it does.
    """
    app = FastAPI(title="preferences", docs_url=None, redoc_url=None, openapi_url=None)
    guard = Guard(service.store, token)
    app.add_middleware(Limited)
    app.add_exception_handler(EmbodiedError, _as_sentence)
    app.add_exception_handler(RequestValidationError, _as_first)
    _add_page(app)
    _add_sessions(app, service, guard)
    _add_queries(app, service, guard)
    _add_results(app, service, guard, trainer)
    _add_sliders(app, service, guard, trains=trainer is not None)
    return app


def _as_sentence(request: Request, error: Exception) -> Response:
    """The page keeps an answer that cannot be kept *now*, and sends it again."""
    later = isinstance(error, DatabaseLost | OutOfSpace)
    return _told(503 if later else 400, str(error))


def _as_first(request: Request, error: Exception) -> Response:
    """The first thing that is wrong with a body, without the body: it may not be UTF-8."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"][1:])) or "the request"
    return _told(422, f"{where}: {first['msg']}.")


def _told(status: int, sentence: str) -> Response:
    sentence = sentence.encode(errors="backslashreplace").decode()
    return JSONResponse({"detail": sentence}, status)


def _add_page(app: FastAPI) -> None:
    def page(name: str) -> Response:
        if name not in PAGE:
            raise HTTPException(404, "there is no such file.")
        media = MEDIA[name.rpartition(".")[2]]
        return Response(PAGE[name], media_type=media, headers={"Cache-Control": "no-cache"})

    app.get("/")(lambda: page("index.html"))
    app.get("/page/{name}")(page)


def _add_sessions(app: FastAPI, service: Service, guard: Guard) -> None:
    reader, writer = Depends(guard.reader), Depends(guard.writer)

    def described(session: Session) -> dict[str, Any]:
        where = digest_of(service.store.database.name.encode())
        return {
            "rater": session.rater, "csrf": session.csrf, "version": APP_VERSION,
            "database": where,
        }  # fmt: skip

    @app.post("/api/session")
    def sign_in(body: SignIn, request: Request, response: Response) -> dict[str, Any]:
        refuse_foreign_origin(request)
        guard.admit(body.token, request)
        secret, session = service.store.sign_in(body.rater, body.kind)
        response.set_cookie(COOKIE, secret, max_age=WEEK_S, httponly=True, samesite="strict")
        return described(session)

    @app.get("/api/session")
    def who(session: Session = reader) -> dict[str, Any]:
        return described(session)

    @app.delete("/api/session")
    def sign_out(response: Response, session: Session = writer) -> dict[str, Any]:
        service.store.sign_out(session)
        response.delete_cookie(COOKIE)
        return {}


def _add_queries(app: FastAPI, service: Service, guard: Guard) -> None:
    reader, writer = Depends(guard.reader), Depends(guard.writer)

    @app.post("/api/next")
    def following(
        body: Wanted,
        count: Annotated[int, Query(ge=1, le=MAX_AHEAD)] = 2,
        mode: str = "pair",
        session: Session = writer,
    ) -> dict[str, Any]:
        shown = service.schedule.next(session, count, mode, body.aside)
        return {"showings": [_shown(service, showing) for showing in shown]}

    @app.post("/api/pick")
    def pick(body: Picked, session: Session = writer) -> dict[str, Any]:
        return _shown(service, service.schedule.pick(session, body.clip_ids))

    @app.get("/api/clips/{number}/film")
    def film(number: int, session: Session = reader) -> Response:
        if number not in service.clips:
            raise HTTPException(404, f"there is no clip {number}.")
        found = service.films.path(service.clips[number])
        # Another dataset at this address has other clips with these numbers: ask every time.
        headers = {"Cache-Control": "private, no-cache"}
        kind = "application/octet-stream"
        if isinstance(found, bytes):
            return Response(found, media_type=kind, headers=headers)
        return FileResponse(found, media_type=kind, headers=headers)  # answers Range by itself

    @app.post("/api/labels")
    def answer(body: Answered, session: Session = writer) -> dict[str, Any]:
        return {"label_id": service.book.answer(session, Submission(**body.model_dump()))}

    @app.post("/api/undo")
    def undo(body: Undone, session: Session = writer) -> dict[str, Any]:
        showing = service.book.undo(session, body.uuid)
        return {"showing": None if showing is None else _shown(service, showing)}

    @app.post("/api/proposals")
    def propose(body: Proposed, session: Session = writer) -> dict[str, Any]:
        if session.kind != "model":
            raise HTTPException(403, "only a model proposes; people answer.")
        service.store.propose(body.query_id, session.rater, body.probability_first)
        return {}


def _add_results(
    app: FastAPI, service: Service, guard: Guard, trainer: TrainerProcess | None
) -> None:
    reader = Depends(guard.reader)

    @app.get("/api/news")
    def latest(session: Session = reader) -> dict[str, Any]:
        return news(service.store, session.rater_id)

    @app.get("/api/dashboard")
    def overview(session: Session = reader) -> dict[str, Any]:
        status = None if trainer is None else asdict(trainer.status)
        return {**dashboard(service.store, service.clips), "training": status}

    @app.get("/api/map")
    def clip_map(session: Session = reader) -> dict[str, Any]:
        scores = {row["clip_id"]: row for row in service.store.clip_scores()}
        points = [{"clip_id": n, **_point(scores.get(n, {}))} for n in service.clips]
        return {"points": points}

    @app.get("/api/export.parquet")
    def export(session: Session = reader) -> Response:
        return _attached("labels.parquet", parquet_of(service.store))

    @app.get("/api/frames.parquet")
    def frames(session: Session = reader) -> Response:
        said = frames_parquet_of(service.store, service.clips, service.kinds)
        return _attached("frames.parquet", said)


def _add_sliders(app: FastAPI, service: Service, guard: Guard, *, trains: bool) -> None:
    reader, writer = Depends(guard.reader), Depends(guard.writer)

    @app.get("/api/sliders")
    def sliders(session: Session = reader) -> dict[str, Any]:
        view = sliders_view(service.store, service.clips, session.rater, service.kinds)
        return {**view, "trains": trains}

    @app.post("/api/sliders")
    def keep(body: Kept, session: Session = writer) -> dict[str, Any]:
        service.store.keep_direction(session, Direction(**body.model_dump()))
        return {}


def _attached(name: str, table: bytes) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(table, media_type="application/vnd.apache.parquet", headers=disposition)


def _point(score: dict[str, Any]) -> dict[str, Any]:
    return {name: score.get(name) for name in ("x", "y", "value", "uncertainty")}


def _shown(service: Service, showing: Showing) -> dict[str, Any]:
    """A showing for the page; what the reason would give away stays hidden."""
    clip = service.clips.get(showing.clip_ids[0]) or service.store.clips(showing.clip_ids[:1])[0]
    told = asdict(showing)
    if showing.acquisition in ("gold", "repeat", TAKE_OVER):
        told |= {"acquisition": "control", "reason": "Part of the quality control."}
    del told["order"]
    return {**told, "instruction": clip.instruction, "fps": clip.fps}
