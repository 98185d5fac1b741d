"""The operator's part in a run: how much of the work it was, and what came of it.

The share of steps is of *all* online episodes, validations included, although nobody may intervene
in those: the operator's budget (`hardware/scripted.py`) and `summary.json` count the same way.
"""

import math
from dataclasses import dataclass

from embodied.run_record import RunRecord


@dataclass(frozen=True, kw_only=True)
class OperatorPart:
    """Counts over the online episodes of a run."""

    episodes: int
    """Validations included."""
    validations: int
    steps: int
    """Of all these episodes."""
    human_steps: int
    seconds: float
    """That the operator acted for."""
    helped: int
    """Episodes in which the operator acted at least once."""
    helped_accepted: int
    """Of these, how many the learned reward takes for successes."""
    helped_true: int | None
    """Of these, how many are successes in truth; None if nobody said so of any."""

    @property
    def share(self) -> float:
        """The operator's share of the steps, in [0, 1]."""
        return self.human_steps / max(1, self.steps)

    @property
    def successes_per_minute(self) -> float | None:
        """Accepted episodes with help, per minute that the operator acted; None without help.

        Successes that the policy had on its own cost the operator nothing, and are left out.
        """
        return 60.0 * self.helped_accepted / self.seconds if self.seconds else None

    def gain_per_minute(self, gain: float) -> float | None:
        """What success on unseen seeds gained, per minute that the operator acted."""
        return 60.0 * gain / self.seconds if self.seconds else None


def operator_part(record: RunRecord) -> OperatorPart:
    """The operator's part in a run, as far as it got."""
    every = (*record.episodes, *record.validations)
    helped = [episode for episode in every if episode.intervention_steps > 0]
    known = [episode.true_success for episode in helped if episode.true_success is not None]
    return OperatorPart(
        episodes=len(every),
        validations=len(record.validations),
        steps=sum(episode.steps for episode in every),
        human_steps=sum(episode.intervention_steps for episode in every),
        seconds=math.fsum(episode.operator_seconds for episode in every),
        helped=len(helped),
        helped_accepted=sum(episode.learned_success for episode in helped),
        helped_true=sum(known) if known else None,
    )
