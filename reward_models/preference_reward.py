"""Bradley-Terry rewards on clip embeddings, with one rationality per person.

Christiano et al. (2017): P(first > second) = sigmoid(beta_u (R(first) - R(second))), where beta_u
says how reliably person u tells what R tells; a careless person's beta falls to 0 and their answers
stop counting. Members of an ensemble are drawn with replacement (B-Pref's differ by their start
alone, so that they are surer than they should be).
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from embodied.errors import BadConfig
from embodied.reward_models.comparisons import Comparisons, bradley_terry, surprise


@final
class PreferenceReward(nn.Module):
    """An ensemble of small rewards of whole clips.

    Args:
        size: Length of a clip's embedding.
        raters: How many people answer.
        members: Of the ensemble.
        width: Of the hidden layer.
        mistake: Share of answers that are thought to be drawn by chance.
        seed: Of the members' start and of their bootstrap samples.

    Raises:
        BadConfig: without a member or a rater, or for an impossible share of mistakes.
    """

    def __init__(
        self,
        size: int,
        *,
        raters: int = 1,
        members: int = 5,
        width: int = 64,
        mistake: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if members < 1 or raters < 1 or not 0 <= mistake < 1:
            raise BadConfig(
                "a preference reward needs a member, a rater and a share of mistakes in [0, 1), "
                f"not {members}, {raters} and {mistake}."
            )
        self.mistake, self.seed = mistake, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            reach = size**-0.5
            self.inner = nn.Parameter(reach * (2.0 * torch.rand(members, size, width) - 1.0))
            self.offset = nn.Parameter(reach * (2.0 * torch.rand(members, width) - 1.0))
            self.outer = nn.Parameter((2.0 * torch.rand(members, width) - 1.0) * width**-0.5)
        self.log_beta = nn.Parameter(torch.zeros(raters))

    def forward(self, clips: Float[Tensor, "clip dim"]) -> Float[Tensor, "member clip"]:
        """Reward of each clip, by each member."""
        hidden = torch.einsum("c d, m d w -> m c w", clips, self.inner) + self.offset[:, None]
        return torch.einsum("m c w, m w -> m c", functional.silu(hidden), self.outer)

    @property
    def rationality(self) -> Float[Tensor, " rater"]:
        """Of each person, relative to the people's geometric mean."""
        return (self.log_beta - self.log_beta.mean()).exp().detach()

    @torch.no_grad()
    def probability(
        self, clips: Float[Tensor, "clip dim"], answers: Comparisons
    ) -> Float[Tensor, "member pair"]:
        """That a typical person prefers the first clip of each pair, by each member."""
        reward = self(clips)
        return torch.sigmoid(reward[:, answers.first] - reward[:, answers.second])

    def fit(
        self,
        clips: Float[Tensor, "clip dim"],
        answers: Comparisons,
        *,
        steps: int = 200,
        learning_rate: float = 1e-2,
        prior: float = 1.0,
    ) -> dict[str, float]:
        """Learn from answers, from where the members are.

        Args:
            clips: Embeddings.
            answers: Of all people.
            steps: Updates, each on all answers.
            learning_rate: Of Adam.
            prior: Precision of the networks' weights, whose prior is normal about 0; with little,
                they learn mistakes by heart.

        Returns:
            ``loss`` after the last update.

        Raises:
            BadInput: for a clip or rater that there is not.
        """
        answers.check(len(clips), len(self.log_beta))
        weight = self._bootstrap(len(answers))
        networks = [self.inner, self.offset, self.outer]
        optimizer = torch.optim.Adam([*networks, self.log_beta], learning_rate)
        loss = torch.zeros(())
        for _ in range(steps):
            reward = self(clips)
            beta = (self.log_beta - self.log_beta.mean()).exp()[answers.rater]
            advantage = beta * (reward[:, answers.first] - reward[:, answers.second])
            target = answers.target.expand_as(advantage)
            loss = (weight * bradley_terry(advantage, target, self.mistake)).sum(1).mean()
            unlikely = prior * surprise(networks) / (len(answers) * len(self.outer))
            optimizer.zero_grad()
            torch.autograd.backward(loss + unlikely)
            optimizer.step()
        return {"loss": float(loss.detach())}

    def _bootstrap(self, answers: int) -> Float[Tensor, "member answer"]:
        """Weight of each answer for each member; a single member has them all."""
        members = len(self.outer)
        if members == 1:
            return torch.full((1, answers), 1.0 / answers)
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(answers, (members, answers), generator=generator)
        counts = torch.zeros(members, answers)
        return counts.scatter_add(1, drawn, torch.ones(drawn.shape)) / answers


def opinions(
    clips: Float[np.ndarray, "clip dim"],
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
    target: Float[np.ndarray, " pair"],
    rater: Int[np.ndarray, " pair"],
    *,
    members: int = 5,
    width: int = 64,
    mistake: float = 0.1,
    steps: int = 200,
    seed: int = 0,
) -> Float[np.ndarray, "member clip"]:
    """What a new ensemble thinks of clips after all people's answers; each member's mean is 0.

    Args:
        clips: Embeddings.
        first: See `Comparisons`, as the other three.
        second: Of each pair.
        target: Of each pair.
        rater: Of each pair.
        members: See `PreferenceReward`, as the others.
        width: Of the hidden layer.
        mistake: Share of answers that are thought to be drawn by chance.
        steps: Updates, each on all answers.
        seed: Of the members.

    Raises:
        BadInput: for a clip that there is not, or without an answer.
        BadConfig: for an ensemble that cannot be.
    """
    answers = Comparisons.from_numbers(first, second, target, rater)
    raters = int(answers.rater.max()) + 1
    model = PreferenceReward(
        clips.shape[1], raters=raters, members=members, width=width, mistake=mistake, seed=seed
    )
    table = torch.from_numpy(clips).float()
    model.fit(table, answers, steps=steps)
    with torch.no_grad():
        reward = model(table).double()
    return np.asarray((reward - reward.mean(1, keepdim=True)).numpy())
