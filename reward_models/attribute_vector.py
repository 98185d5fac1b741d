"""A reward per attribute, and a direction of preference that sliders choose.

Directional Preference Alignment (Wang et al., arXiv 2402.18571): r(x) in R^k by regression on
attribute scores, and a person's reward is v . r with a unit vector v. Safety is a constraint here
and not traded: a clip below the floor ranks behind every clip above it, by how much it falls short.
"""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from embodied.errors import BadConfig, BadInput, UnknownName

ATTRIBUTES = ("success", "safety", "smoothness", "speed", "tidiness")


@final
class AttributeVector(nn.Module):
    """Predicts scores in [0, 1] of each attribute from a clip's embedding.

    Args:
        size: Length of a clip's embedding.
        attributes: Their names.
        constrained: The attribute that is a constraint; none if None.
        floor: Least score of the constrained attribute, in [0, 1].
        width: Of the hidden layer.
        seed: Of the start.

    Raises:
        UnknownName: if the constrained attribute is none of the attributes.
        BadConfig: for a floor outside of [0, 1].
    """

    def __init__(
        self,
        size: int,
        *,
        attributes: Sequence[str] = ATTRIBUTES,
        constrained: str | None = "safety",
        floor: float = 0.5,
        width: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if constrained is not None and constrained not in attributes:
            raise UnknownName("attribute", constrained, attributes)
        if not 0 <= floor <= 1:
            raise BadConfig(f"the floor of {constrained} is {floor}; it must lie in [0, 1].")
        self.attributes, self.constrained, self.floor = tuple(attributes), constrained, floor
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = nn.Sequential(
                nn.Linear(size, width), nn.SiLU(), nn.Linear(width, len(self.attributes))
            )

    def forward(self, clips: Float[Tensor, "clip dim"]) -> Float[Tensor, "clip attribute"]:
        """Score of each attribute of each clip, in [0, 1]."""
        return torch.sigmoid(self.network(clips))

    def direction(self, sliders: Mapping[str, float]) -> Float[Tensor, " attribute"]:
        """The unit vector that sliders in [-1, 1] mean; what is not named is 0.

        Raises:
            UnknownName: for an attribute that there is not.
            BadInput: if the constrained attribute has a slider, or all are 0.
        """
        for name in sliders:
            if name not in self.attributes:
                raise UnknownName("attribute", name, self.attributes)
        if self.constrained in sliders:
            raise BadInput(
                f"'{self.constrained}' is a constraint and has no slider; change its floor instead."
            )
        pointed = torch.tensor([float(sliders.get(name, 0.0)) for name in self.attributes])
        if not pointed.isfinite().all() or pointed.norm() == 0:
            raise BadInput(f"the sliders {dict(sliders)} point nowhere; move one from 0.")
        return functional.normalize(pointed, dim=0)

    @torch.no_grad()
    def reward(
        self, clips: Float[Tensor, "clip dim"], sliders: Mapping[str, float]
    ) -> Float[Tensor, " clip"]:
        """Reward of each clip in the direction of the sliders, constraint first.

        |v . r| is at most the root of k, so that a clip that falls short is behind all that do not.
        """
        scores = self(clips)
        along: Tensor = scores @ self.direction(sliders)
        if self.constrained is None:
            return along
        short = self.floor - scores[:, self.attributes.index(self.constrained)]
        bound = len(self.attributes) ** 0.5
        return torch.where(short > 0, -bound - short, along)

    def fit(
        self,
        clips: Float[Tensor, "clip dim"],
        scores: Float[Tensor, "clip attribute"],
        *,
        steps: int = 300,
        learning_rate: float = 1e-2,
    ) -> dict[str, float]:
        """Regress scores; NaN where a person gave none.

        Returns:
            ``loss`` after the last update.

        Raises:
            BadInput: for scores outside of [0, 1], or none at all.
        """
        known = ~scores.isnan()
        if not known.any() or not ((scores[known] >= 0) & (scores[known] <= 1)).all():
            raise BadInput("attribute scores must lie in [0, 1], and there must be some.")
        optimizer = torch.optim.AdamW(self.parameters(), learning_rate, weight_decay=1e-2)
        loss = torch.zeros(())
        for _ in range(steps):
            loss = (self(clips)[known] - scores[known]).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return {"loss": float(loss.detach())}
