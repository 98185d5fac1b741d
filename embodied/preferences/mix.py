"""Why queries are asked, and how often: one list of shares for the schedule and the acquisition.

What the model wants to know (`acquisition`) takes most of them. A uniform share is the only
unbiased test of a model; repeats with the sides swapped show whether a rater is consistent; gold
pairs have an answer that is certain; and some queries go to a second rater.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from embodied.errors import BadInput

SOUGHT = ("disagreement", "information")
"""Acquisitions: a trainer puts such queries into the queue."""
DRAWN = ("uniform", "repeat", "gold")
"""What the schedule makes when it is asked."""
BRANCH = "branch"
"""Queued by `embodied branch`, for people to answer: asked before what a model wants to know."""
TAKE_OVER = "take-over"
"""A correction beside what it replaced, answered by a rater of this name: see `embodied branch`."""
FILLER = "random"
"""What could not be filled. Kept apart from ``uniform``, which the trainer never learns from:
before there is a model that knows what to ask, these are what it learns from."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of queries by why they are asked; what a kind cannot fill is drawn at random."""

    disagreement: float = 0.2
    """From the queue: members of the ensemble contradict each other, and the pairs differ."""
    information: float = 0.4
    """From the queue: the answers tell most of the reward."""
    uniform: float = 0.2
    repeat: float = 0.1
    gold: float = 0.1
    second_rater: float = 0.2
    """Chance that a query is one which exactly one other rater has answered."""

    def __post_init__(self) -> None:
        """Refuse shares that are none.

        Raises:
            BadInput: naming them.
        """
        shares = self.shares.values()
        if min(shares) < 0 or sum(shares) <= 0 or not 0 <= self.second_rater <= 1:
            raise BadInput(f"shares of queries must be at least 0 and not all 0: {self}.")

    @classmethod
    def configured(cls, wanted: Mapping[str, Any]) -> "Mix":
        """Of ``preferences.mix``; keys of earlier versions are left out."""
        return cls(**{field.name: wanted[field.name] for field in fields(cls)})

    @property
    def shares(self) -> Mapping[str, float]:
        """Of each kind, as they were given."""
        return {kind: getattr(self, kind) for kind in (*SOUGHT, *DRAWN)}

    @property
    def sought(self) -> Mapping[str, float]:
        """Those that a trainer puts into the queue."""
        return {kind: getattr(self, kind) for kind in SOUGHT}
