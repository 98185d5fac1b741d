"""Operators: who may take over from the policy, at any step."""

import abc
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What an operator sees before a step is executed."""

    step: int
    progress: float
    """Estimated share of the task that is done, in [0, 1]; NaN if nobody estimates it."""
    policy_action: Float32[np.ndarray, " action"]


class Operator(abc.ABC):
    """May replace the policy's action at each step. Its own effort is counted against a budget."""

    @abc.abstractmethod
    def begin_episode(self) -> None:
        """Forget the last episode."""

    @abc.abstractmethod
    def decide(self, moment: Moment) -> Float32[np.ndarray, " action"] | None:
        """The operator's action for this step, or None to leave the policy in control."""
