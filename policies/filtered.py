"""Filtered regression: clone what the reward accepts and what people corrected.

The simplest member of the family of reward-weighted regression (Peters & Schaal 2007; as a baseline
of DPPO, arXiv 2409.00588): the denoising loss of each chunk is weighted by how much it should be
imitated. Weights are 1 for demonstrations, for steps in which a person helped, and for chunks up to
completion in episodes that the reward model accepts; chunks of rejected episodes weigh 0. Acting
uses an exponential moving average of the weights.
"""

import copy
from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from embodied.policies.base import (
    Algorithm,
    DenoisingPolicy,
    Weights,
    effective_samples,
    examples_of,
)
from embodied.types import Batch


@final
class FilteredRegression(Algorithm):
    """Improves a denoising policy by imitating its own accepted behaviour.

    Args:
        policy: The cloned policy; changed in place.
        seed: Of the noise.
        learning_rate: Constant.
        average: Share of the present weights that enters the moving average at each update.
        floor: Least effective number of samples in a batch; below it the update is skipped, so
            that no single chunk carries a step.
    """

    batches_per_update = 1

    def __init__(
        self,
        policy: DenoisingPolicy,
        *,
        seed: int = 0,
        learning_rate: float = 5e-4,
        average: float = 0.01,
        floor: float = 8.0,
    ) -> None:
        self._policy, self._average, self._floor = policy, average, floor
        self._acting = copy.deepcopy(policy).requires_grad_(False)
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.AdamW(
            policy.parameters(), learning_rate, weight_decay=1e-4, fused=True
        )

    def update(self, batches: list[Batch]) -> dict[str, float]:
        """One weighted denoising step.

        Returns:
            ``effective_samples`` (of the batch, (sum w)^2 / sum w^2), ``imitated_share`` (mean
            weight) and, unless the update is skipped, ``policy_loss``.
        """
        (batch,) = batches
        weight = imitation_weight(batch)
        effective = effective_samples(weight)
        metrics = {"effective_samples": effective, "imitated_share": float(weight.mean())}
        if effective < self._floor:
            return metrics
        loss = self._policy.loss(examples_of(batch), self._generator)
        loss = (loss * weight).sum() / weight.sum()
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._follow()
        return metrics | {"policy_loss": float(loss.detach())}

    def acting_policy(self) -> DenoisingPolicy:
        """The policy with the moving average as its weights."""
        return copy.deepcopy(self._acting)

    def weights(self) -> Weights:
        """The moving average."""
        return {name: value.detach().clone() for name, value in self._acting.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizer and generator."""
        return {
            "policy": self._policy.state_dict(),
            "acting": self._acting.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._policy.load_state_dict(state["policy"])
        self._acting.load_state_dict(state["acting"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])

    @torch.no_grad()
    def _follow(self) -> None:
        for slow, fast in zip(self._acting.parameters(), self._policy.parameters(), strict=True):
            slow.lerp_(fast, self._average)


def imitation_weight(batch: Batch) -> Float[Tensor, " batch"]:
    """How much each chunk should be imitated, in [0, 1].

    A chunk in which a person helped counts by that person's share of its steps, whatever became of
    the episode: corrections are given where the policy was about to fail.
    """
    valid = batch.valid.float()
    human = (batch.corrected * batch.valid).float().sum(1) / valid.sum(1).clamp(min=1.0)
    trusted = (batch.demo | batch.success).float()
    return torch.maximum(human, trusted)
