"""PAL, variant B: a reward for every person as a mixture of a few prototypes.

"PAL: Pluralistic Alignment Framework for Learning from Heterogeneous Preferences" (arXiv
2406.08469), section 3: the reward of clip x for person u is tau <f(x), sum_k w_uk g_k(c)>, with w_u
on the simplex and g_k(c) a prototype given the context c. Of a new person only the K weights are
fitted, from some ten answers. Context here is one task at a time, so that a prototype is a vector.
"""

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from embodied.errors import BadConfig
from embodied.reward_models.comparisons import Comparisons, bradley_terry

LOGIT_SCALE = math.log(1 / 0.07)
"""At the start; as CLIP's, and capped at 100 like it."""


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
        self.mistake = mistake
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.project = nn.Sequential(
                nn.Linear(size, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
            )
            self.prototypes = nn.Parameter(torch.randn(prototypes, width) / math.sqrt(width))
            self.taste = nn.Parameter(0.1 * torch.randn(raters, prototypes))
        self.log_scale = nn.Parameter(torch.tensor(LOGIT_SCALE))

    def forward(
        self, clips: Float[Tensor, "clip dim"], taste: Float[Tensor, "person prototype"]
    ) -> Float[Tensor, "person clip"]:
        """Reward of each clip for people of these tastes (before the softmax)."""
        place = functional.normalize(self.project(clips), dim=1)
        wanted = taste.softmax(1) @ functional.normalize(self.prototypes, dim=1)
        scale = self.log_scale.exp().clamp(max=100.0)
        return scale * torch.einsum("p d, c d -> p c", wanted, place)

    def fit(
        self,
        clips: Float[Tensor, "clip dim"],
        answers: Comparisons,
        *,
        steps: int = 300,
        learning_rate: float = 5e-3,
        decay: float = 1.0,
    ) -> dict[str, float]:
        """Learn projection, prototypes and everybody's taste from all answers.

        Args:
            clips: Embeddings.
            answers: Of all people.
            steps: Updates, each on all answers.
            learning_rate: Of the projection; tastes and prototypes learn ten times as fast, as in
                the paper they learn faster.
            decay: Of the projection's weights; with little, it learns mistakes by heart.

        Returns:
            ``loss`` after the last update.

        Raises:
            BadInput: for a clip or rater that there is not.
        """
        answers.check(len(clips), len(self.taste))
        fast = [self.prototypes, self.taste, self.log_scale]
        groups = [
            {"params": list(self.project.parameters()), "weight_decay": decay},
            {"params": fast, "weight_decay": 0.0, "lr": 10.0 * learning_rate},
        ]
        optimizer = torch.optim.AdamW(groups, learning_rate)
        loss = torch.zeros(())
        for _ in range(steps):
            loss = self._loss(self(clips, self.taste), answers, answers.rater)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return {"loss": float(loss.detach())}

    def adapt(
        self,
        clips: Float[Tensor, "clip dim"],
        answers: Comparisons,
        *,
        steps: int = 200,
        learning_rate: float = 5e-2,
    ) -> Float[Tensor, " prototype"]:
        """The taste of a new person, whoever `Comparisons.rater` says it is; all else stays.

        Raises:
            BadInput: for a clip that there is not.
        """
        answers.check(len(clips))
        taste = torch.zeros(1, len(self.prototypes), requires_grad=True)
        with torch.no_grad():  # what each prototype alone would say
            pure = self(clips, 100.0 * torch.eye(len(self.prototypes)))
        optimizer = torch.optim.Adam([taste], learning_rate)
        nobody = torch.zeros_like(answers.rater)
        for _ in range(steps):
            loss = self._loss(taste.softmax(1) @ pure, answers, nobody)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return taste.detach()[0]

    def _loss(
        self,
        reward: Float[Tensor, "person clip"],
        answers: Comparisons,
        person: Int[Tensor, " pair"],
    ) -> Float[Tensor, ""]:
        ahead = reward[person, answers.first] - reward[person, answers.second]
        return bradley_terry(ahead, answers.target, self.mistake).mean()
