"""Operators that misbehave, by configuration."""

from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Float32

from embodied.hardware.base import Account, Moment, Operator, Verdict


@final
class FixedOperator(Operator):
    """Commands the same at one step of every episode.

    Args:
        command: What it commands; may be no action at all.
        step: When.
    """

    needs_progress = False

    def __init__(self, command: Sequence[float], step: int) -> None:
        self._command, self._step = np.array(command, np.float32), step

    def begin_episode(self, account: Account) -> None:
        """Nothing to forget."""

    def decide(self, moment: Moment) -> Float32[np.ndarray, " action"] | None:
        """The command, at its step."""
        return self._command if moment.step == self._step else None

    def verdict(self) -> Verdict | None:
        """Let the episode go on."""
        return None

    def close(self) -> None:
        """Nothing to let go."""
