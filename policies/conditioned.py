"""AlignDiff (arXiv 2310.02054) on a policy's own roll-outs: to be liked as well as one is told.

The policy is an `AttributeDiffusion` with one attribute, how well a roll-out is liked. It learns
liked roll-outs and others, each under its own strength; what it does is then the target's matter.
"""

from dataclasses import replace
from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from embodied.policies.alignment import Objective
from embodied.policies.attribute_diffusion import percentile
from embodied.policies.base import DenoisingPolicy, Examples


@final
class Conditioned(Objective):
    """Denoising error of one's own roll-outs, each told where it stands among them.

    Args:
        examples: Chunks of roll-outs.
        strength: Of the roll-out that each chunk is from, in any unit.
        batch_size: Chunks per update.
    """

    def __init__(
        self, examples: Examples, strength: Float[Tensor, " chunk"], *, batch_size: int = 128
    ) -> None:
        told = rearrange(strength, "chunk -> chunk 1")
        self._examples = replace(examples, attributes=percentile(told, among=told))
        self._batch_size = batch_size

    def loss(
        self, policy: DenoisingPolicy, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Mean error of a batch; no metrics."""
        pick = torch.randint(len(self._examples), (self._batch_size,), generator=generator)
        return policy.loss(self._examples.take(pick), generator).mean(), {}
