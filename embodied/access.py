"""Who reaches a server: the token that clients bring, and whether it is for this machine alone."""

import logging
import os
import secrets
import socket
from pathlib import Path

from embodied.durable import write_atomically
from embodied.errors import BadConfig

logger = logging.getLogger(__name__)

SHORTEST = 16
"""Characters of a token."""


def read_token(path: Path, variable: str) -> str:
    """The token of the environment's ``variable``, else of the file, which is made if missing.

    Raises:
        BadConfig: for a token that is too short.
    """
    if given := os.environ.get(variable):
        return long_enough(given, variable)
    if not path.exists():
        before = os.umask(0o077)
        try:
            write_atomically(path, secrets.token_urlsafe(32).encode() + b"\n")
        finally:
            os.umask(before)
    token = long_enough(path.read_text().strip(), str(path))
    if path.stat().st_mode & 0o077:
        logger.warning("%s can be read by other users of this machine; chmod 600 it.", path)
    return token


def long_enough(token: str, holder: str) -> str:
    """The token, if it cannot be guessed.

    Raises:
        BadConfig: naming who holds it.
    """
    if len(token) < SHORTEST:
        raise BadConfig(
            f"{holder} holds a token of {len(token)} characters; it needs {SHORTEST} or more."
        )
    return token


def reach(host: str) -> str:
    """What is said after the address of a server: nothing, if only this machine can reach it."""
    return "" if is_loopback(host) else ", to every machine that reaches it"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return socket.gethostbyname(host).startswith("127.")
    except OSError as error:
        raise BadConfig(f"the host '{host}' is no address of this machine: {error}.") from error
