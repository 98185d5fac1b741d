"""Best so far, and roll-back: which version of the policy is the run's result.

Judged by validation episodes alone, each rolled out by one fixed version without exploration and
scored by the learned reward; the simulator is never asked. A version's score is the lower bound of
Wilson's interval of its share of accepted episodes, so that a lucky few do not beat a solid many.
The version that the run started from counts as the best until another was judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from embodied.statistics import wilson

Judgement = Literal["best", "kept", "rolled back"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What validation found of one version."""

    version: int
    accepted: int
    episodes: int

    @property
    def score(self) -> float:
        """Lower bound of the share of accepted episodes; 0 without any."""
        return wilson(self.accepted, self.episodes).low if self.episodes else 0.0

    @property
    def mean(self) -> float:
        """Share of accepted episodes; 0 without any."""
        return self.accepted / self.episodes if self.episodes else 0.0


class BestSoFar:
    """Remembers the best judged version.

    Args:
        collapse: A judged version whose share of accepted episodes lies this far below the best
            one's is rolled back.
    """

    def __init__(self, collapse: float, version: int = 0) -> None:
        self._collapse = collapse
        self.best = Record(version=version, accepted=0, episodes=0)

    def judge(self, version: int, accepted: Sequence[bool]) -> Judgement:
        """Compare a version with the best; of equals, the newer one wins: it has seen more.

        A version of which nothing was accepted never wins.
        """
        record = Record(version=version, accepted=sum(accepted), episodes=len(accepted))
        if record.accepted and record.score >= self.best.score:
            self.best = record
            return "best"
        return "rolled back" if record.mean < self.best.mean - self._collapse else "kept"

    def state_dict(self) -> dict[str, Any]:
        """The best version and its evidence."""
        return asdict(self.best)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.best = Record(**state)
