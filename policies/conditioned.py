"""AlignDiff (arXiv 2310.02054) on a policy's own roll-outs: to do as it is told.

The policy is an `AttributeDiffusion`: of how well a roll-out is liked, or of each attribute that
people said something of. It learns strong roll-outs and weak ones, each under its own strength;
what it does is then the target's matter.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from embodied.policies.alignment import Objective
from embodied.policies.base import DenoisingPolicy, Examples


@final
class Conditioned(Objective):
    """Denoising error of one's own roll-outs, each told how strong its attributes are.

    Args:
        examples: Chunks of roll-outs, with the attributes of the roll-out that each is from.
        batch_size: Chunks per update.
    """

    def __init__(self, examples: Examples, *, batch_size: int = 128) -> None:
        self._examples, self._batch_size = examples, batch_size

    def loss(
        self, policy: DenoisingPolicy, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Mean error of a batch; no metrics."""
        pick = torch.randint(len(self._examples), (self._batch_size,), generator=generator)
        return policy.loss(self._examples.take(pick), generator).mean(), {}
