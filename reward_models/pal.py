"""PAL, variant B: a reward for every person as a mixture of a few prototypes.

"PAL: Pluralistic Alignment Framework for Learning from Heterogeneous Preferences" (arXiv
2406.08469), section 3: the reward of clip x for person u is tau <f(x), sum_k w_uk g_k(c)>, with w_u
on the simplex and g_k(c) a prototype given the context c. Of a new person only the K weights are
fitted, from some ten answers. Context here is one task at a time, so that a prototype is a vector.
"""

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embodied.errors import BadConfig
from embodied.reward_models.comparisons import Comparisons, bradley_terry, surprise

DRAWN = 4096
"""Tastes that a new person's answers are weighed by."""


@final
class Pal(nn.Module):
    """Prototypes of taste, and how much of each a person has.

    Args:
        size: Length of a clip's embedding.
        raters: How many people the prototypes are learnt from.
        prototypes: The K.
        width: Of the space in which clips meet prototypes.
        mistake: Share of answers that are thought to be drawn by chance.
        seed: Of the start.

    Raises:
        BadConfig: for fewer than two prototypes, or without a rater.
    """

    def __init__(
        self,
        size: int,
        *,
        raters: int,
        prototypes: int = 3,
        width: int = 32,
        mistake: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if prototypes < 2 or raters < 1:
            raise BadConfig(f"PAL needs two prototypes and a rater, not {prototypes} and {raters}.")
        self.mistake, self.seed = mistake, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.project = Projection(size, width)
            self.prototypes = nn.Parameter(torch.randn(prototypes, width) / math.sqrt(width))
            self.taste = nn.Parameter(0.1 * torch.randn(raters, prototypes))

    def forward(
        self, clips: Float[Tensor, "clip dim"], taste: Float[Tensor, "person prototype"]
    ) -> Float[Tensor, "person clip"]:
        """Reward of each clip for people of these tastes (before the softmax)."""
        return torch.einsum(
            "p k, k d, c d -> p c", taste.softmax(1), self.prototypes, self.project(clips)
        )

    def fit(
        self,
        clips: Float[Tensor, "clip dim"],
        answers: Comparisons,
        *,
        steps: int = 300,
        learning_rate: float = 5e-3,
        prior: float = 3.0,
    ) -> dict[str, float]:
        """Learn projection, prototypes and everybody's taste from all answers.

        Args:
            clips: Embeddings.
            answers: Of all people.
            steps: Updates, each on all answers.
            learning_rate: Of the projection; tastes learn ten times as fast, as in the paper
                they learn faster.
            prior: Precision of the projection's and the prototypes' weights, whose prior is normal
                about 0; with little, they learn mistakes by heart.

        Returns:
            ``loss`` after the last update.

        Raises:
            BadInput: for a clip or rater that there is not.
        """
        answers.check(len(clips), len(self.taste))
        networks = [*self.project.parameters(), self.prototypes]
        groups: list[dict[str, Any]] = [
            {"params": networks},
            {"params": [self.taste], "lr": 10.0 * learning_rate},
        ]
        optimizer = torch.optim.Adam(groups, learning_rate)
        loss = torch.zeros(())
        for _ in range(steps):
            reward = self(clips, self.taste)
            ahead = reward[answers.rater, answers.first] - reward[answers.rater, answers.second]
            loss = bradley_terry(ahead, answers.target, self.mistake).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss + prior * surprise(networks) / len(answers))
            optimizer.step()
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def adapt(
        self, clips: Float[Tensor, "clip dim"], answers: Comparisons
    ) -> Float[Tensor, " prototype"]:
        """The taste of a new person, whoever `Comparisons.rater` says it is; all else stays.

        The mean of w given the answers, by importance sampling. Before them, the new person is
        with even odds like one of the known ones, or anywhere on the simplex. What ten answers
        leave open is not decided by where a descent stops.

        Raises:
            BadInput: for a clip that there is not.
        """
        answers.check(len(clips))
        generator = torch.Generator().manual_seed(self.seed)
        drawn = -torch.rand(DRAWN, len(self.prototypes), generator=generator).clamp(1e-9).log()
        anybody = drawn / drawn.sum(1, keepdim=True)
        taste = torch.cat([self.taste.softmax(1), anybody])
        likely = torch.cat([torch.full((len(w),), -math.log(len(w))) for w in (self.taste, drawn)])
        reward = self(clips, taste.log())
        ahead = reward[:, answers.first] - reward[:, answers.second]
        error = bradley_terry(ahead, answers.target.expand_as(ahead), self.mistake).sum(1)
        return ((likely - error).softmax(0) @ taste).log()


class Projection(nn.Module):
    """Two layers beside a linear one.

    Without the linear one a strong prior holds all products of weights at 0.

    Args:
        size: Length of a clip's embedding.
        width: Of what comes out.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.straight = nn.Linear(size, width)
        self.bent = nn.Sequential(
            nn.Linear(size, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, clips: Float[Tensor, "clip dim"]) -> Float[Tensor, "clip width"]:
        """Where clips meet prototypes."""
        projected: Tensor = self.straight(clips) + self.bent(clips)
        return projected
