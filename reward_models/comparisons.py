"""Answers about pairs of clips as tensors, and the Bradley-Terry model that explains them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from embodied.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Who preferred which of two clips; clips are numbered in a table of embeddings."""

    first: Int[Tensor, " pair"]
    second: Int[Tensor, " pair"]
    target: Float[Tensor, " pair"]
    """Probability that the first clip is the better one: 1, 0, or 0.5 for a tie."""
    rater: Int[Tensor, " pair"]
    """Number of the person who answered, from 0."""

    def __post_init__(self) -> None:
        """Refuse answers that nothing can be learnt from.

        Raises:
            BadInput: saying what is wrong.
        """
        sizes = {len(self.first), len(self.second), len(self.target), len(self.rater)}
        if len(sizes) != 1 or 0 in sizes:
            raise BadInput(
                "comparisons need one first clip, second clip, target and rater each, and at least "
                f"one; their numbers are {sorted(sizes)}."
            )
        if not ((self.target >= 0) & (self.target <= 1)).all():
            raise BadInput("a comparison's target is a probability; it must lie in [0, 1].")
        if int(torch.stack([self.first, self.second]).min()) < 0 or int(self.rater.min()) < 0:
            raise BadInput("clips and raters are numbered from 0.")

    @classmethod
    def from_numbers(
        cls,
        first: Int[np.ndarray, " pair"],
        second: Int[np.ndarray, " pair"],
        target: Float[np.ndarray, " pair"],
        rater: Int[np.ndarray, " pair"],
    ) -> "Comparisons":
        """The same as arrays, as `embodied.preferences.comparing` has them."""
        return cls(
            first=torch.from_numpy(first),
            second=torch.from_numpy(second),
            target=torch.from_numpy(target).float(),
            rater=torch.from_numpy(rater),
        )

    def __len__(self) -> int:
        return len(self.target)

    def take(self, pick: Tensor) -> "Comparisons":
        """Some of the answers, by their numbers or by a mask."""
        return Comparisons(
            first=self.first[pick],
            second=self.second[pick],
            target=self.target[pick],
            rater=self.rater[pick],
        )

    def of(self, rater: int) -> "Comparisons":
        """One person's answers.

        Raises:
            BadInput: if there are none.
        """
        return self.take(self.rater == rater)

    def check(self, clips: int, raters: int | None = None) -> None:
        """Refuse numbers beyond what there is.

        Raises:
            BadInput: naming the number.
        """
        most = int(torch.stack([self.first, self.second]).max())
        if most >= clips:
            raise BadInput(f"a comparison names clip {most}; there are embeddings of {clips}.")
        if raters is not None and int(self.rater.max()) >= raters:
            raise BadInput(
                f"a comparison names rater {int(self.rater.max())}; the model has {raters} raters."
            )


def bradley_terry(
    advantage: Float[Tensor, "*pair"], target: Float[Tensor, "*pair"], mistake: float
) -> Float[Tensor, "*pair"]:
    """Cross-entropy with P(first) = (1 - mistake) sigmoid(advantage) + mistake / 2.

    The mixture bounds what one wrong answer can cost.

    Args:
        advantage: Reward of the first clip minus that of the second.
        target: Probability that the first clip is preferred.
        mistake: Share of answers that are thought to be drawn by chance, in [0, 1).
    """
    probability = (1.0 - mistake) * torch.sigmoid(advantage) + mistake / 2.0
    return functional.binary_cross_entropy(
        probability.clamp(1e-6, 1.0 - 1e-6), target, reduction="none"
    )


def surprise(weights: Iterable[Tensor]) -> Float[Tensor, ""]:
    """Minus the logarithm of a standard normal prior of these weights, but for a constant.

    Divided by the number of answers it belongs to their mean error. AdamW's decay is no prior: it
    does not yield as answers get more, and networks so trained learnt mistakes by heart.
    """
    return 0.5 * torch.stack([weight.square().sum() for weight in weights]).sum()
