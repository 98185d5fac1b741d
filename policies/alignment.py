"""What aligning a denoising policy with preferences has in common: data, objectives, roll-back.

An `Objective` is a loss on the policy and what it measures; `Aligner` descends it, watches, and
puts the last good weights back. The watch is needed because the loss of a preference may look
perfect while the policy unlearns the task: errors of winners and losers rise together, the losers'
faster (reported for diffusion models and for language models alike).
"""

import abc
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from embodied.errors import BadInput
from embodied.policies.base import DenoisingPolicy, Examples, Policy, Weights

ROUNDING = 1e-9
"""By which shares of success may differ and be the same."""


@dataclass(frozen=True, kw_only=True)
class ChunkPairs:
    """Row by row: a chunk of a better roll-out and one of a worse roll-out from the same start."""

    winner: Examples
    loser: Examples
    winner_start: Int[Tensor, " pair"]
    """Which initial state the winner's roll-out began in."""
    loser_start: Int[Tensor, " pair"]

    def __post_init__(self) -> None:
        """Refuse pairs that compare how lucky the start was.

        Raises:
            BadInput: saying why.
        """
        if not len(self.winner) == len(self.loser) == len(self.winner_start) > 0:
            raise BadInput(
                "pairs need as many winners as losers, and some; there are "
                f"{len(self.winner)} and {len(self.loser)}."
            )
        apart = int((self.winner_start != self.loser_start).sum())
        if apart:
            raise BadInput(
                f"{apart} of {len(self.winner)} pairs began in different states; pair roll-outs "
                "of the same start."
            )

    def __len__(self) -> int:
        return len(self.winner)

    def take(self, pick: Int[Tensor, " pick"]) -> "ChunkPairs":
        """Some of the pairs."""
        return ChunkPairs(
            winner=self.winner.take(pick),
            loser=self.loser.take(pick),
            winner_start=self.winner_start[pick],
            loser_start=self.loser_start[pick],
        )


def error_of(policy: DenoisingPolicy, examples: Examples, seed: int) -> Float[Tensor, " batch"]:
    """Denoising error of each chunk; the same seed gives the same noise and the same steps.

    So a winner and its loser, and the policy and its reference, are compared on equal terms.
    """
    return policy.loss(examples, torch.Generator().manual_seed(seed))


class Objective(abc.ABC):
    """What a policy is aligned by."""

    @abc.abstractmethod
    def loss(
        self, policy: DenoisingPolicy, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss on a batch that the generator draws, and metrics of it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Beyond what the policy is rolled back."""

    kl: float = 0.5
    """Most that the denoising error on the reference's own chunks may rise, as a share of it."""
    success: float = 0.1
    """Most that the task success may fall, where it is measured."""

    def keeps_success(self, before: float, now: float) -> bool:
        """Whether it has fallen by no more; a share is rounded: 0.8 - 0.6 is more than 0.2."""
        return before - now <= self.success + ROUNDING


@final
class Aligner:
    """Descends an objective, and keeps the last weights that were within the limits.

    Args:
        policy: Changed in place.
        objective: What to descend.
        kept: Chunks of the reference policy that the KL proxy is measured on.
        seed: Of batches and noise.
        learning_rate: Constant.
        limits: Beyond what weights are not good.
        success: Measures the task success of a policy, in [0, 1]; not watched if None.
    """

    def __init__(
        self,
        policy: DenoisingPolicy,
        objective: Objective,
        kept: Examples,
        *,
        seed: int = 0,
        learning_rate: float = 3e-4,
        limits: Limits | None = None,
        success: Callable[[Policy], float] | None = None,
    ) -> None:
        self._policy, self._objective, self._kept = policy, objective, kept
        self._limits, self._measure = limits or Limits(), success
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.AdamW(policy.parameters(), learning_rate, weight_decay=0.0)
        self._before = self._kept_error()
        self._success_before = success(policy) if success is not None else None
        self._good: Weights = copy.deepcopy(policy.state_dict())

    def run(
        self,
        steps: int,
        check_every: int = 25,
        report: Callable[[dict[str, float]], None] | None = None,
    ) -> list[dict[str, float]]:
        """Descend; stop at the first check that is beyond the limits, with the good weights back.

        Args:
            steps: Updates.
            check_every: Updates between checks.
            report: Is told each row at once.

        Returns:
            One row per check: ``step``, the objective's metrics (means since the check before),
            ``alignment_loss``, ``kl_proxy``, ``rolled_back`` (1 or 0) and, where it is measured,
            ``success``. A loss that is not finite ends the run and is not in the means.
        """
        rows: list[dict[str, float]] = []
        told: list[dict[str, float]] = []
        for step in range(1, steps + 1):
            loss, metrics = self._objective.loss(self._policy, self._generator)
            finite = math.isfinite(float(loss.detach()))
            if finite:
                self._optimizer.zero_grad()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(self._policy.parameters(), 1.0)
                self._optimizer.step()
                told.append({"alignment_loss": float(loss.detach())} | metrics)
            if not finite or step % check_every == 0 or step == steps:
                rows.append({"step": float(step)} | _means(told) | self._check(finite))
                told = []
                if report is not None:
                    report(rows[-1])
                if rows[-1]["rolled_back"]:
                    break
        return rows

    def _check(self, finite: bool) -> dict[str, float]:
        """Measure the policy, and keep its weights or put the good ones back."""
        risen = self._kept_error() / self._before - 1.0
        found = {"kl_proxy": risen}
        good = finite and math.isfinite(risen) and risen <= self._limits.kl
        if self._measure is not None and self._success_before is not None:
            found["success"] = self._measure(self._policy)
            good = good and self._limits.keeps_success(self._success_before, found["success"])
        if good:
            self._good = copy.deepcopy(self._policy.state_dict())
        else:
            self._policy.load_state_dict(self._good)
        return found | {"rolled_back": float(not good)}

    @torch.no_grad()
    def _kept_error(self) -> float:
        """On always the same noise."""
        return float(error_of(self._policy, self._kept, 0).mean())


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = {name for row in rows for name in row}
    return {
        name: math.fsum(row[name] for row in rows if name in row) / sum(name in row for row in rows)
        for name in sorted(names)
    }
