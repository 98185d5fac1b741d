"""Reward-weighted regression: clone one's own roll-outs, the better ones more.

Peters & Schaal (2007); on diffusion policies the DRWR baseline of DPPO (arXiv 2409.00588): the
denoising error of each chunk counts min(exp(R / temperature), ceiling), with the rewards R brought
to mean 0 and deviation 1. Filtered cloning is the same loss with weights 0 and 1
(`accepted_weights`); `filtered.py` does it online.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from embodied.errors import BadInput
from embodied.policies.alignment import Objective
from embodied.policies.base import DenoisingPolicy, Examples, effective_samples


@final
class RewardWeighted(Objective):
    """Weighted denoising error on batches drawn uniformly.

    Args:
        examples: Chunks of roll-outs.
        weights: At least 0, one per chunk.
        batch_size: Chunks per update.
        floor: Least effective number of chunks, (sum w)^2 / sum w^2.

    Raises:
        BadInput: if so few chunks carry the weight.
    """

    def __init__(
        self,
        examples: Examples,
        weights: Float[Tensor, " chunk"],
        *,
        batch_size: int = 128,
        floor: float = 8.0,
    ) -> None:
        if len(weights) != len(examples) or not weights.isfinite().all() or weights.min() < 0:
            raise BadInput(
                f"{len(examples)} chunks need as many weights, finite and at least 0; there are "
                f"{len(weights)}, the least is {float(weights.min()):.3g}."
            )
        self.effective = effective_samples(weights)
        if self.effective < floor:
            raise BadInput(
                f"{self.effective:.1f} chunks carry the whole weight, of {len(weights)}; at least "
                f"{floor:g} must. Raise the temperature, or accept more roll-outs."
            )
        self._examples, self._weights = examples, weights / weights.mean()
        self._batch_size = batch_size

    def loss(
        self, policy: DenoisingPolicy, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Loss on a batch of chunks; ``effective_samples`` is that of all chunks together."""
        pick = torch.randint(len(self._examples), (self._batch_size,), generator=generator)
        error = policy.loss(self._examples.take(pick), generator)
        return (self._weights[pick] * error).mean(), {"effective_samples": self.effective}


def exponential_weights(
    reward: Float[Tensor, " chunk"], *, temperature: float = 0.5, ceiling: float = 20.0
) -> Float[Tensor, " chunk"]:
    """exp(R / temperature) of the standardised rewards, cut off at the ceiling.

    Raises:
        BadInput: for a temperature that is not positive.
    """
    if temperature <= 0:
        raise BadInput(f"the temperature is {temperature}; it must be above 0.")
    standard = (reward - reward.mean()) / reward.std(correction=0).clamp(min=1e-6)
    return (standard / temperature).exp().clamp(max=ceiling)


def accepted_weights(reward: Float[Tensor, " chunk"], *, share: float) -> Float[Tensor, " chunk"]:
    """1 for the best share of the chunks by reward, 0 for the others.

    Raises:
        BadInput: for a share outside of (0, 1].
    """
    if not 0 < share <= 1:
        raise BadInput(f"the share of accepted chunks is {share}; it must lie in (0, 1].")
    return (reward >= reward.quantile(1.0 - share)).float()
