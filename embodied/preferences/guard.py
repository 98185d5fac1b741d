"""Who may do what over HTTP: a session for everything, and its CSRF token for every change."""

import hmac
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, final
from urllib.parse import urlsplit

from fastapi import Cookie, Header, HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embodied.preferences.records import Session
from embodied.preferences.store import PreferenceStore

COOKIE = "embodied_preferences"
CSRF_HEADER = "X-CSRF-Token"
MAX_BODY = 256 * 1024
"""Bytes of a request."""
FREE_TRIES = 5
"""Wrong tokens of an address before the next one must wait."""
PAUSE_S = 10.0
"""After each wrong one from then on."""
FORGET_S = 600.0
"""Without a wrong one, after which an address may try freely again."""
SECURITY: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


@final
class Guard:
    """Turns a request's cookie into a session.

    Args:
        store: Knows the sessions.
        token: What a rater must bring to sign in.
        clock: Seconds.
    """

    def __init__(
        self, store: PreferenceStore, token: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store, self._token, self._clock = store, token.encode(), clock
        self._wrong: dict[str, tuple[int, float]] = {}
        self._trying = threading.Lock()

    def admit(self, token: str, request: Request) -> None:
        """Let somebody sign in; takes as long for a wrong token as for a right one.

        Raises:
            HTTPException: 401 for a wrong token; 429, whatever the token, to an address that sent
                `FREE_TRIES` wrong ones and the last of them less than `PAUSE_S` ago.
        """
        address, now = request.client.host if request.client else "", self._clock()
        with self._trying:
            self._wrong = {k: v for k, v in self._wrong.items() if now - v[1] < FORGET_S}
            count, last = self._wrong.get(address, (0, -math.inf))
            left = last + PAUSE_S - now
            if count >= FREE_TRIES and left > 0:
                raise HTTPException(
                    429, f"too many wrong tokens from here; try again in {math.ceil(left)} s."
                )
            if not hmac.compare_digest(token.encode(errors="surrogatepass"), self._token):
                self._wrong[address] = count + 1, now
                raise HTTPException(401, "the token is wrong; the server said where it is.")
            self._wrong.pop(address, None)

    def reader(self, secret: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> Session:
        """The session of a request that changes nothing."""
        session = self.store.session_of(secret) if secret else None
        if session is None:
            raise HTTPException(401, "sign in first.")
        return session

    def writer(
        self,
        request: Request,
        secret: Annotated[str | None, Cookie(alias=COOKIE)] = None,
        csrf: Annotated[str, Header(alias=CSRF_HEADER)] = "",
    ) -> Session:
        """The session of a request that changes something, which only our own page can send."""
        session = self.reader(secret)
        refuse_foreign_origin(request)
        if not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
            raise HTTPException(403, f"the header {CSRF_HEADER} is missing or wrong; reload.")
        return session


def refuse_foreign_origin(request: Request) -> None:
    """A browser says where a request comes from; programs say nothing."""
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "requests from other pages are not taken.")


@final
class Limited:
    """Refuses bodies that are too large before they are read, and hardens every answer.

    Args:
        app: What is behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"]}
        length = headers.get(b"content-length", b"0")
        chunked = b"transfer-encoding" in headers
        if chunked or not length.isdigit() or int(length) > MAX_BODY:
            await _refuse(send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in SECURITY.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self.app(scope, receive, hardened)


async def _refuse(send: Send) -> None:
    body = b'{"detail": "a request has at most %d bytes, and says how many."}' % MAX_BODY
    headers: Any = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
