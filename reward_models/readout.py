"""Reads a signal without a scale as progress, completion and reward.

Similarity to a sentence, distance to a goal, cost of an alignment: many rewards are one number per
frame whose unit means nothing. On clips whose outcome is known the readout learns where a success
begins and ends (progress 0 and 1), and how much of that separates success from failure.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit
from torch import nn

from embodied.errors import BadInput
from embodied.reward_models.base import Scores
from embodied.reward_models.calibration import platt, safe_logit, scores_from, sustained

Signal = Float[np.ndarray, " time"]


@final
class Readout(nn.Module):
    """Progress, completion and reward of signals in which more is better.

    Args:
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.
        pessimism: Deviations of the progress that it is lowered by in the reward.
    """

    def __init__(
        self, *, discount: float = 0.99, bonus: float = 1.0, pessimism: float = 1.0
    ) -> None:
        super().__init__()
        self.discount, self.bonus, self.pessimism = discount, bonus, pessimism
        self.begin = nn.Buffer(torch.tensor(0.0))
        """Signal of the first frame of a typical success."""
        self.end = nn.Buffer(torch.tensor(1.0))
        """Signal of its last frame."""
        self.success = nn.Buffer(torch.tensor([1.0, 0.0]))
        """Slope and offset from the logit of sustained progress to that of success."""

    def fit(
        self,
        successes: Sequence[Float[np.ndarray, " _"]],
        failures: Sequence[Float[np.ndarray, " _"]],
    ) -> dict[str, float]:
        """Learn the scale, from clips that the signal itself was not fitted to.

        Returns:
            ``readout_begin``, ``readout_end``, and ``readout_false_accepts`` and
            ``readout_false_rejects`` (shares of the clips given).

        Raises:
            BadInput: without a success, or for a signal of NaN.
        """
        if not successes or not all(np.isfinite(s).all() for s in (*successes, *failures)):
            raise BadInput("a readout needs a success, and signals that are numbers.")
        self.begin.fill_(float(np.median([signal[0] for signal in successes])))
        self.end.fill_(float(np.median([signal[-1] for signal in successes])))
        reached = [self._best(signal) for signal in successes]
        failed = [self._best(signal) for signal in failures]
        self.success.copy_(torch.from_numpy(platt(np.array(reached), np.array(failed))))
        accepted = [[self.scores(s).success for s in signals] for signals in (successes, failures)]
        return {
            "readout_begin": float(self.begin),
            "readout_end": float(self.end),
            "readout_false_accepts": float(np.mean(accepted[1])) if failures else 0.0,
            "readout_false_rejects": 1.0 - float(np.mean(accepted[0])),
        }

    def progress(self, signal: Signal) -> Signal:
        """Share of the way from a typical beginning to a typical end, in [0, 1].

        Where successes do not raise the signal, there is no progress to speak of: 0.
        """
        way = float(self.end - self.begin)
        if way <= 0:
            return np.zeros(len(signal))
        return np.clip((signal - float(self.begin)) / way, 0.0, 1.0)

    def scores(self, signal: Signal, uncertainty: Signal | None = None) -> Scores:
        """Scores of a clip.

        Args:
            signal: One number per frame.
            uncertainty: Standard deviation of each, in units of the signal; 0 by default.
        """
        progress = self.progress(signal)
        way = max(float(self.end - self.begin), 1e-9)
        doubt = np.zeros(len(signal)) if uncertainty is None else uncertainty / way
        slope, offset = self.success.tolist()
        success = expit(slope * safe_logit(progress) + offset)
        return scores_from(
            progress=progress,
            done=success,
            uncertainty=doubt,
            potential=np.clip(progress - self.pessimism * doubt, 0.0, 1.0),
            success=success,
            discount=self.discount,
            bonus=self.bonus,
        )

    def _best(self, signal: Signal) -> float:
        return float(sustained(self.progress(signal)).max())
