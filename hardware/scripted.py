"""An operator in software: the environment's expert takes over when progress stalls.

It makes the whole human loop testable. The expert knows the simulator's state, as a person at the
arm would; *when* it takes over depends on the learned progress estimate alone.
"""

from typing import final

import numpy as np
from jaxtyping import Float32

from embodied.errors import BadConfig
from embodied.hardware.base import Account, Moment, Operator, Verdict


@final
class ScriptedOperator(Operator):
    """Takes over after ``patience`` steps without progress, for at most ``takeover`` steps.

    It hands back early when the progress has risen by ``recovery`` above where it stalled. It never
    starts unless a whole take-over fits the budget, so that at every moment of the run human steps
    are at most ``budget`` times all steps.

    Args:
        budget: Largest share of the run's steps in which the expert acts, in [0, 1].
        patience: Steps without improvement after which it takes over.
        takeover: Longest intervention in steps.
        improvement: Rise of the progress above its best so far that counts as improvement.
        recovery: Rise of the progress since the take-over that hands back early.
        finished: Probability of completion from which it leaves the policy alone. Progress would
            not do: after going through the motions and missing it is close to 1, and stays there.

    Raises:
        BadConfig: naming the argument that is out of its range.
    """

    needs_progress = True

    def __init__(
        self,
        *,
        budget: float,
        patience: int,
        takeover: int,
        improvement: float = 0.02,
        recovery: float = 0.2,
        finished: float = 0.5,
    ) -> None:
        if not 0.0 <= budget <= 1.0:
            raise BadConfig(f"operator.budget is {budget}; it is a share of steps, from 0 to 1.")
        for name, value in (("patience", patience), ("takeover", takeover)):
            if value < 1:
                raise BadConfig(f"operator.{name} is {value}; it needs at least 1 step.")
        self._budget, self._patience, self._takeover = budget, patience, takeover
        self._improvement, self._recovery = improvement, recovery
        self._finished = finished
        self.begin_episode(Account(steps=0, human_steps=0))

    def begin_episode(self, account: Account) -> None:
        """Start watching; the account is what the run has spent so far."""
        self._steps, self._human_steps = account.steps, account.human_steps
        self._best = -np.inf
        self._stalled = 0
        self._left = 0
        self._hand_back_at = np.inf

    def decide(self, moment: Moment) -> Float32[np.ndarray, " action"] | None:
        """The expert's action while it has taken over.

        Raises:
            BadInput: if the environment has no expert.
        """
        self._watch(moment)
        if self._left > 0 and moment.progress >= self._hand_back_at:
            self._hand_back()
        if self._left == 0 and self._stalled >= self._patience and self._affordable():
            self._left = self._takeover
            self._hand_back_at = moment.progress + self._recovery
        self._steps += 1
        if self._left == 0:
            return None
        self._left -= 1
        self._human_steps += 1
        if self._left == 0:
            self._hand_back()
        return moment.expert_action()

    def verdict(self) -> Verdict | None:
        """Let the episode go on: only the learned reward judges it."""
        return None

    def close(self) -> None:
        """Nothing to let go."""

    def _watch(self, moment: Moment) -> None:
        if moment.done >= self._finished:
            self._stalled = 0
        elif moment.progress > self._best + self._improvement:
            self._best = moment.progress
            self._stalled = 0
        else:
            self._stalled += 1

    def _affordable(self) -> bool:
        after = self._human_steps + self._takeover
        return after <= self._budget * (self._steps + self._takeover)

    def _hand_back(self) -> None:
        self._left = 0
        self._stalled = 0
        self._best = -np.inf
