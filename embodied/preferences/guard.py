"""Who may do what over HTTP: a session for everything, and its CSRF token for every change."""

import hmac
from collections.abc import Mapping
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
    """

    def __init__(self, store: PreferenceStore, token: str) -> None:
        self.store, self._token = store, token.encode()

    def admits(self, token: str) -> bool:
        """Whether somebody may sign in; takes as long for a wrong token as for a right one."""
        return hmac.compare_digest(token.encode(), self._token)

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
