"""Diffusion-DPO, with RPRO's anchor: a policy learns from pairs of chunks, without a reward.

Diffusion-DPO (Wallace et al., arXiv 2311.12908), equation 14, on action chunks. With e the
denoising error summed over a chunk's numbers, r(a) = beta / 2 (e_ref(a) - e(a)) is an implicit
reward, and -log sigmoid(r(winner) - r(loser)) is minimised. RPRO (as in FlowPRO, 2606.05468) adds
-1/2 (log sigmoid(r(a)) + log sigmoid(-r(a))) for the winner and the loser, which is least at r = 0:
plain DPO drifts away from both. A share of plain cloning of winners keeps the task.
"""

import copy
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from embodied.errors import BadConfig
from embodied.policies.alignment import ChunkPairs, Objective, error_of
from embodied.policies.base import DenoisingPolicy


@final
class PreferenceDpo(Objective):
    """Raises the likelihood of winners over that of losers, near a frozen reference.

    Args:
        reference: The policy before alignment; copied.
        pairs: To learn from.
        beta_per_dim: Per number of a chunk: errors count as sums. (Papers that average over D
            numbers write beta = beta_per_dim x D.)
        anchor: Weight of RPRO's second term; 0 is plain Diffusion-DPO.
        imitation: Weight of the winners' own denoising error.
        batch_size: Pairs per update.

    Raises:
        BadConfig: for a beta that is not positive, or a negative weight.
    """

    def __init__(
        self,
        reference: DenoisingPolicy,
        pairs: ChunkPairs,
        *,
        beta_per_dim: float = 2.0,
        anchor: float = 1.0,
        imitation: float = 1.0,
        batch_size: int = 128,
    ) -> None:
        if beta_per_dim <= 0 or anchor < 0 or imitation < 0:
            raise BadConfig(
                "beta_per_dim must be positive, anchor and imitation at least 0; they are "
                f"{beta_per_dim}, {anchor} and {imitation}."
            )
        self._reference = copy.deepcopy(reference).requires_grad_(False)
        self._pairs, self._batch_size = pairs, batch_size
        self._beta = beta_per_dim * pairs.winner.action[0].numel()
        self._anchor, self._imitation = anchor, imitation

    def loss(
        self, policy: DenoisingPolicy, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Loss on a batch of pairs.

        Returns:
            The loss, and ``implicit_accuracy`` (share of pairs whose winner gained on its loser;
            no gain counts half), ``winner_error``, ``loser_error`` and ``reference_error`` (of the
            winners, by the reference): if both errors rise, the accuracy deceives.
        """
        pick = torch.randint(len(self._pairs), (self._batch_size,), generator=generator)
        pairs = self._pairs.take(pick)
        seed = int(torch.randint(2**31, (), generator=generator))
        winner, loser = (error_of(policy, own, seed) for own in (pairs.winner, pairs.loser))
        with torch.no_grad():
            reference = [error_of(self._reference, o, seed) for o in (pairs.winner, pairs.loser)]
        gained = self._beta / 2.0 * (reference[0] - winner)
        lost = self._beta / 2.0 * (reference[1] - loser)
        preference = preference_loss(gained, lost, self._anchor).mean()
        ahead = (gained - lost).detach()
        return preference + self._imitation * winner.mean(), {
            "implicit_accuracy": float((ahead.sign() + 1.0).mean()) / 2.0,
            "winner_error": float(winner.detach().mean()),
            "loser_error": float(loser.detach().mean()),
            "reference_error": float(reference[0].mean()),
        }


def preference_loss(
    winner: Float[Tensor, " pair"], loser: Float[Tensor, " pair"], anchor: float
) -> Float[Tensor, " pair"]:
    """RPRO of implicit rewards; with an anchor of 0, DPO."""
    both = torch.stack([winner, loser])
    drift = (functional.softplus(both) + functional.softplus(-both)).sum(0)
    return functional.softplus(loser - winner) + anchor / 2.0 * drift
