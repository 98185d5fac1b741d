"""What rewards that learn from people's answers share: hearing them, and saying which they were."""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.errors import BadInput
from embodied.reward_models.base import Preferences
from embodied.reward_models.stored_reward import StoredReward


class TaughtReward(StoredReward, abc.ABC):
    """A stored reward whose file says which answers it learned from."""

    def __init__(self) -> None:
        super().__init__()
        self.preferences: Preferences | None = None
        """What the next `fit` learns from; not stored."""
        self.origin: Mapping[str, Any] | None = None
        """Which answers it has learned from, and whose; None if it has learned from none."""

    def hear(self, preferences: Preferences) -> None:
        """Take note of what people said; the next `fit` learns from it.

        Raises:
            BadInput: if nobody said which of two clips is better.
        """
        if not preferences.decided():
            raise BadInput(
                f"{preferences.origin['database']} holds no answer that says which of two clips is "
                "better; a reward cannot learn from ties alone."
            )
        self.preferences = preferences

    def note_origin(self, preferences: Preferences, **more: Any) -> None:
        """Keep where the answers come from that were just learned from, and what else is known."""
        counts = np.bincount(preferences.rater, minlength=len(preferences.raters))
        answers = dict(zip(preferences.raters, counts.tolist(), strict=True))
        self.origin = {
            **preferences.origin, "pairs": len(preferences.target), "answers": answers, **more,
        }  # fmt: skip

    def learned(self) -> dict[str, Any]:
        """The tensors, and where the answers come from."""
        return {**super().learned(), "origin": self.origin}

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what `learned` gave; files of earlier versions name no answers."""
        super().restore(learned)
        self.origin = learned.get("origin")
