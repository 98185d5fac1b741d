"""A reward behind HTTP: `GET /v1/reward` says which one, `POST /v1/score` asks it.

Every request needs the token. What cannot be served at once is refused at once, with the time after
which to ask again: nothing here grows with the number or the size of requests.
"""

import hmac
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, final

from embodied.errors import BadConfig, BadInput, EmbodiedError, WaitTimeout
from embodied.scorer import Scorer
from embodied.wire import (
    DEADLINE_HEADER,
    IDENTITY_PATH,
    MEDIA_TYPE,
    SCORE_PATH,
    clips_from_bytes,
    scores_to_bytes,
)

logger = logging.getLogger(__name__)

PIECE = 65536
DISCARDED_BYTES = 64 * 2**20
"""Of a request that is too large: so much is read on, so that the refusal is heard."""
LAST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes on."""

    max_bytes: int = 256 * 2**20
    """Of a request's body."""
    connections: int = 32
    """Open at a time."""
    silence_s: float = 10.0
    """Longest pause of a client in the middle of its request."""
    request_s: float = 60.0
    """Longest time for a request to arrive."""
    deadline_s: float = 60.0
    """Longest time for an answer, whatever the client says."""


@final
class RewardServer(socketserver.ThreadingTCPServer):
    """Listens from its construction on; `serve_forever` answers.

    Args:
        scorer: The reward.
        identity: Says which reward it is; sent with every answer.
        token: What every request must bring.
        host: Address to listen on. IPv4.
        port: 0 takes a free one.
        limits: What it takes on.

    Raises:
        BadConfig: if it cannot listen there.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(
        self,
        scorer: Scorer,
        identity: Mapping[str, Any],
        *,
        token: str,
        host: str,
        port: int,
        limits: Limits | None = None,
    ) -> None:
        self.scorer, self.token = scorer, token.encode()
        self.limits = limits or Limits()
        self.identity = {**identity, "max_bytes": self.limits.max_bytes}
        self._connections = threading.BoundedSemaphore(self.limits.connections)
        if not 0 <= port <= LAST_PORT:
            raise BadConfig(f"serve.port is {port}; a port is a number from 0 to {LAST_PORT}.")
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadConfig(
                f"cannot listen at {host}:{port} ({reason}); choose another serve.port or "
                "serve.host."
            ) from error

    @property
    def url(self) -> str:
        """What clients are told."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, unless there are too many."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        busy = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
        try:
            request.settimeout(0.1)
            request.sendall(busy)
            request.shutdown(socket.SHUT_WR)
            request.recv(PIECE)  # what stays unread would cut the connection before it is heard
        except OSError:
            pass  # gone already
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in a thread; then there is room for another connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or a bug of ours: neither ends the server."""
        logger.info("a connection ended early", exc_info=True)


class Refused(Exception):
    """A request gets this status and sentence for an answer."""

    def __init__(self, status: HTTPStatus, sentence: str, retry_after_s: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.retry_after_s = status, retry_after_s


@final
class Handler(BaseHTTPRequestHandler):
    """One request; the connection is closed after it."""

    server: RewardServer
    server_version, sys_version = "embodied", ""

    def setup(self) -> None:
        """A client that falls silent is given up."""
        super().setup()
        self.connection.settimeout(self.server.limits.silence_s)
        self._unread = 0

    def do_GET(self) -> None:
        """Which reward this is."""
        self._answer(self._identify)

    def do_POST(self) -> None:
        """Score."""
        self._answer(self._score)

    def log_message(self, format: str, *args: Any) -> None:
        """To the log, instead of to stderr."""
        logger.debug(format, *args)

    def _answer(self, work: Any) -> None:
        self._unread = self._length() or 0
        try:
            self._check_token()
            kind, body = work()
            self._send(HTTPStatus.OK, kind, body)
        except Refused as refused:
            self._discard()
            body = json.dumps({"error": str(refused)}).encode()
            self._send(refused.status, "application/json", body, refused.retry_after_s)

    def _identify(self) -> tuple[str, bytes]:
        self._check_path(IDENTITY_PATH)
        return "application/json", json.dumps(self.server.identity).encode()

    def _score(self) -> tuple[str, bytes]:
        self._check_path(SCORE_PATH)
        arrived = time.monotonic()
        with self.server.scorer.place() as free:
            if not free:
                again = self.server.scorer.retry_after_s
                sentence = "the queue is full; ask again later."
                raise Refused(HTTPStatus.TOO_MANY_REQUESTS, sentence, again)
            patience = self._deadline_s()
            body = self._body(arrived)
            try:
                clips = clips_from_bytes(body)
            except BadInput as error:
                raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
            left = patience - (time.monotonic() - arrived)
            return MEDIA_TYPE, self._scored(clips, left)

    def _scored(self, clips: Any, patience_s: float) -> bytes:
        try:
            scores = self.server.scorer.score(clips, max(0.0, patience_s))
        except WaitTimeout as error:
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, str(error)) from error
        except EmbodiedError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        except Exception as error:  # logged where it was raised
            sentence = f"the reward failed with {type(error).__name__}; see the server's log."
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, sentence) from error
        return scores_to_bytes(self.server.identity, scores)

    def _check_token(self) -> None:
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, b"Bearer " + self.server.token):
            raise Refused(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong.")

    def _check_path(self, path: str) -> None:
        if self.path != path:
            sentence = f"there are only GET {IDENTITY_PATH} and POST {SCORE_PATH}."
            raise Refused(HTTPStatus.NOT_FOUND, sentence)

    def _deadline_s(self) -> float:
        most = self.server.limits.deadline_s
        try:
            wanted = float(self.headers.get(DEADLINE_HEADER, most))
        except ValueError as error:
            sentence = f"{DEADLINE_HEADER} is a number of seconds."
            raise Refused(HTTPStatus.BAD_REQUEST, sentence) from error
        return min(wanted, most) if wanted > 0 else 0.0  # NaN is not above 0

    def _body(self, arrived: float) -> bytes:
        length, most = self._length(), self.server.limits.max_bytes
        if length is None:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a request needs its Content-Length.")
        if length > most:
            sentence = f"the request has {length} bytes; the server takes {most} (serve.max_mb)."
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
        parts = []
        while self._unread > 0:
            parts.append(self._piece(arrived))
        return b"".join(parts)

    def _length(self) -> int | None:
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    def _piece(self, since: float) -> bytes:
        """The next part of the body.

        Raises:
            Refused: if the client takes too long, or has left.
        """
        piece = b""
        if time.monotonic() - since <= self.server.limits.request_s:
            try:
                piece = self.rfile.read1(min(PIECE, self._unread))
            except OSError:
                piece = b""
        if not piece:
            self._unread = 0
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time.")
        self._unread -= len(piece)
        return piece

    def _discard(self) -> None:
        """Read on for a while: a client that is still sending hears no answer."""
        self._unread = min(self._unread, self.server.limits.max_bytes + DISCARDED_BYTES)
        begun = time.monotonic()
        try:
            while self._unread > 0:
                self._piece(begun)
        except Refused:
            pass  # it is being refused already

    def _send(self, status: HTTPStatus, kind: str, body: bytes, retry_after_s: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if retry_after_s:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body)
