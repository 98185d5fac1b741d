"""One HTTP request that ends when its time is over, whatever the other side does."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from embodied.errors import BadConfig, RewardUnavailable

MOST_ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back of a request."""

    status: int
    retry_after_s: float
    body: bytes

    @property
    def sentence(self) -> str:
        """What the server says is wrong."""
        try:
            return str(json.loads(self.body)["error"])[:300]
        except (ValueError, KeyError, TypeError):
            return f"HTTP status {self.status}."


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server is."""

    url: str
    host: str
    port: int
    path: str
    secure: bool


def address_of(url: str) -> Address:
    """The parts of a URL.

    Raises:
        BadConfig: if it is none that can be asked.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        raise BadConfig(f"reward.url '{url}' is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise BadConfig("reward.url must be like http://127.0.0.1:7711, without user or password.")
    secure = parts.scheme == "https"
    port = port or (443 if secure else 80)
    return Address(url=url, host=host, port=port, path=parts.path.rstrip("/"), secure=secure)


def request(
    address: Address,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    patience_s: float,
) -> Reply:
    """Ask once. Redirections are not followed, and proxies not used.

    Raises:
        RewardUnavailable: if no whole answer is there in time.
    """
    with _connected(address, patience_s) as connection:
        connection.request(method, address.path + path, body, dict(headers))
        response = connection.getresponse()
        answer = response.read(MOST_ANSWER_BYTES + 1)
        if len(answer) > MOST_ANSWER_BYTES or response.length:
            raise http.client.IncompleteRead(answer)
        wait = _seconds(response.getheader("Retry-After"))
        return Reply(status=response.status, retry_after_s=wait, body=answer)


@contextlib.contextmanager
def _connected(address: Address, patience_s: float) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut when the time is over, however slowly anything trickles in.

    Raises:
        RewardUnavailable: for everything that goes wrong on the way.
    """
    begun, over = time.monotonic(), threading.Event()
    kind = http.client.HTTPSConnection if address.secure else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=patience_s)
    timer: threading.Timer | None = None
    try:
        connection.connect()
        timer = _cut(connection.sock, patience_s - (time.monotonic() - begun), over)
        yield connection
    except (OSError, http.client.HTTPException) as error:
        if over.is_set() or isinstance(error, TimeoutError):
            sentence = f"{address.url} did not answer within {patience_s:.1f} s."
            raise RewardUnavailable(sentence) from error
        reason = str(error) or type(error).__name__
        raise RewardUnavailable(f"{address.url} does not answer ({reason}).") from error
    finally:
        if timer is not None:
            timer.cancel()
        connection.close()


def _cut(channel: socket.socket, after_s: float, over: threading.Event) -> threading.Timer:
    def end() -> None:
        over.set()
        with contextlib.suppress(OSError):
            channel.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, after_s), end)
    timer.daemon = True
    timer.start()
    return timer


def _seconds(text: str | None) -> float:
    """Of a Retry-After header; 1 where it is missing, a date, or nonsense."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else 1.0
