"""Best so far, and roll-back: which version of the policy is the run's result.

Judged by validation episodes alone, each rolled out by one fixed version without exploration and
scored by the learned reward; the simulator is never asked. A later version has seen more, and ten
episodes cannot tell 70 % from 90 %: the newest version is the best one, unless Fisher's exact test
says that it does worse than the one with the highest share of accepted episodes so far.
The version that the run started from counts as the best until another was judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import scipy.stats

Judgement = Literal["best", "kept", "rolled back", "unjudged"]
"""What comes of a validation. Unjudged: the reward could not be asked; neither better nor worse."""

DOUBT = 0.2
"""A version does worse if as few accepted episodes were less likely than this by chance."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What validation found of one version."""

    version: int
    accepted: int
    episodes: int

    @property
    def mean(self) -> float:
        """Share of accepted episodes; 0 without any."""
        return self.accepted / self.episodes if self.episodes else 0.0

    def worse_than(self, other: "Record") -> bool:
        """Whether it was accepted less often than chance explains."""
        table = [[record.accepted, record.episodes - record.accepted] for record in (self, other)]
        return bool(scipy.stats.fisher_exact(table, alternative="less").pvalue < DOUBT)


class BestSoFar:
    """Remembers the best judged version.

    Args:
        collapse: A judged version whose share of accepted episodes lies this far below the highest
            one's is rolled back.
    """

    def __init__(self, collapse: float, version: int = 0) -> None:
        self._collapse = collapse
        self.best = Record(version=version, accepted=0, episodes=0)
        self.peak = self.best
        """The judged version of which the highest share was accepted."""

    def judge(self, version: int, accepted: Sequence[bool]) -> Judgement:
        """Compare a version with all before it.

        A version of which nothing was accepted never wins.
        """
        record = Record(version=version, accepted=sum(accepted), episodes=len(accepted))
        if record.mean >= self.peak.mean:
            self.peak = record
        if record.accepted and not record.worse_than(self.peak):
            self.best = record
            return "best"
        return "rolled back" if record.mean < self.peak.mean - self._collapse else "kept"

    def state_dict(self) -> dict[str, Any]:
        """The best version, its evidence, and the peak."""
        return {"best": asdict(self.best), "peak": asdict(self.peak)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.best, self.peak = Record(**state["best"]), Record(**state["peak"])
