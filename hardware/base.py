"""Operators: who may take over from the policy, at any step."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

Verdict = Literal["success", "failure", "discard"]


@dataclass(frozen=True, kw_only=True)
class Account:
    """Steps of the run so far, and how many of them a human acted in. Budgets are kept on it."""

    steps: int
    human_steps: int


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What an operator sees before a step is executed."""

    step: int
    progress: float
    """Estimated share of the task that is done, in [0, 1]; NaN if nobody estimates it."""
    done: float = float("nan")
    """Estimated probability that the task is complete; NaN if nobody estimates it."""
    policy_action: Float32[np.ndarray, " action"]
    expert_action: Callable[[], Float32[np.ndarray, " action"]]
    """Asks the environment's scripted expert; raises `BadInput` where there is none."""


class Operator(abc.ABC):
    """May replace the policy's action at each step. Its own effort is counted against a budget."""

    needs_progress: bool
    """Whether `Moment.progress` must be estimated, at the cost of encoding every frame at once."""

    @abc.abstractmethod
    def begin_episode(self, account: Account) -> None:
        """Forget the last episode; ``account`` is the run's so far, also after a resume."""

    @abc.abstractmethod
    def decide(self, moment: Moment) -> Float32[np.ndarray, " action"] | None:
        """The operator's action for this step, or None to leave the policy in control."""

    @abc.abstractmethod
    def verdict(self) -> Verdict | None:
        """Ends the episode as the operator judges it; None lets it go on. Asked after each step."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let devices go."""
