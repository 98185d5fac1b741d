"""Errors that a user can cause: each says what was wrong, where, and what would be right.

The command line prints an `EmbodiedError` as one sentence, without a traceback; anything else is a
bug of ours.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any


class EmbodiedError(Exception):
    """Base of every error that a user can cause. Its text is a complete sentence."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels between processes with its text, whatever its constructor takes."""
        return _arrived, (type(self), str(self), self.__dict__)


def _arrived(kind: type[EmbodiedError], text: str, fields: dict[str, Any]) -> EmbodiedError:
    error = kind.__new__(kind, text)
    error.__dict__.update(fields)
    return error


class UnknownName(EmbodiedError):
    """A name that is not one of the known choices; the near ones are listed first."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        near = get_close_matches(name, choices, n=5, cutoff=0.5)
        hint = (
            f"did you mean {', '.join(near)}?" if near else f"choose one of {', '.join(choices)}."
        )
        super().__init__(f"no {kind} named '{name}'; {hint}")
        self.near = near


class BadInput(EmbodiedError):
    """Data that cannot be used: wrong shape, missing camera, NaN, and the like."""


class BadConfig(EmbodiedError):
    """A configuration that cannot work, found before anything is started."""


class CorruptFile(EmbodiedError):
    """A file that exists but cannot be read back whole."""


@contextmanager
def remedy(advice: str) -> Iterator[None]:
    """Adds to a `CorruptFile` raised within what the user can do about it: a sentence."""
    try:
        yield
    except CorruptFile as error:
        raise CorruptFile(f"{error} {advice}") from error


class OutOfSpace(EmbodiedError):
    """The disk is full, or nearly so; nothing already written is lost."""


class WaitTimeout(EmbodiedError):
    """Something that was waited for did not happen in time."""

    def __init__(self, waited_for: str, timeout_s: float) -> None:
        super().__init__(f"waited {timeout_s:.0f} s for {waited_for}; giving up.")


class WorkerLost(EmbodiedError):
    """A worker process died, and starting it again did not help."""


class RunPaused(EmbodiedError):
    """The monitor stopped a run, at a checkpoint, for a person to look at it."""


class RewardUnavailable(EmbodiedError):
    """A reward on another machine gave no usable answer; it may give one later."""


class DatabaseLost(EmbodiedError):
    """A database that was open cannot be reached now; it may answer later."""


class RewardRejected(EmbodiedError):
    """The audit found a reward that should not drive reinforcement learning on this task."""
