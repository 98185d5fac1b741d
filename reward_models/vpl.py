"""VPL: a reward that is given a latent of the person, inferred from a few of their answers.

Poddar et al., "Personalizing Reinforcement Learning from Human Feedback with Variational Preference
Learning" (arXiv 2408.10075): q(u | answers) is a set encoder, P(first > second) = sigmoid(r(first,
u) - r(second, u)), and E[log P] - beta KL(q || N(0, 1)) is maximised. Of a new person nothing is
fitted: their answers are read, or weigh the latents of known people (`adapt`). The KL here has its
factor 1/2, which the published code lacks, and beta rises from 0 over the first half of the
training, against a latent that is never used.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.comparisons import Comparisons, bradley_terry, surprise

CONTEXT = (4, 16)
"""Answers that a person is read from in training, at least and at most."""
DRAWN = 64
"""Latents of each known person, which a new person's answers weigh."""


@final
class Vpl(nn.Module):
    """A set encoder of answers, and a reward conditioned on what it found.

    Args:
        size: Length of a clip's embedding.
        latent: Length of the latent of a person.
        width: Of the hidden layers.
        mistake: Share of answers that are thought to be drawn by chance.
        seed: Of the start.

    Raises:
        BadConfig: without a latent.
    """

    def __init__(
        self,
        size: int,
        *,
        latent: int = 8,
        width: int = 64,
        mistake: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if latent < 1:
            raise BadConfig(f"VPL needs a latent of one number or more, not {latent}.")
        self.latent, self.mistake, self.seed = latent, mistake, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.look = nn.Sequential(nn.Linear(size, width), nn.SiLU())
            self.read = nn.Sequential(
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * latent)
            )
            self.modulate = nn.Linear(latent, 2 * width)
            self.judge = nn.Sequential(nn.SiLU(), nn.Linear(width, 1))

    def forward(
        self, clips: Float[Tensor, "clip dim"], person: Float[Tensor, " latent"]
    ) -> Float[Tensor, " clip"]:
        """Reward of each clip for a person, through FiLM."""
        scale, shift = self.modulate(person).chunk(2)
        reward: Tensor = self.judge(self.look(clips) * (1.0 + scale) + shift)
        return reward[:, 0]

    def infer(
        self, clips: Float[Tensor, "clip dim"], answers: Comparisons
    ) -> tuple[Float[Tensor, " latent"], Float[Tensor, " latent"]]:
        """Mean and log-variance of one person's latent; the order of their answers is nothing.

        Raises:
            BadInput: for a clip that there is not, or answers of several people.
        """
        answers.check(len(clips))
        people = sorted(set(answers.rater.tolist()))
        if len(people) > 1:
            raise BadInput(
                f"a latent is inferred from the answers of one person, not of raters {people}."
            )
        seen = self.look(clips)
        # An answer looks the same with its sides swapped: (+1, A - B) is (-1, B - A).
        sign = 2.0 * answers.target - 1.0
        told = sign[:, None] * (seen[answers.first] - seen[answers.second])
        mean, log_variance = self.read(told.mean(0)).chunk(2)
        return mean, log_variance.clamp(-6.0, 2.0)

    @torch.no_grad()
    def adapt(
        self, clips: Float[Tensor, "clip dim"], answers: Comparisons, known: Comparisons
    ) -> Float[Tensor, " latent"]:
        """The latent of a new person: its mean given the answers, by importance sampling.

        Before them, the new person is like any of the known ones: the latent is drawn from some
        known person's q, and not from N(0, 1). `infer` reads ten answers less well.

        Args:
            clips: Embeddings.
            answers: Of the new person, whoever `Comparisons.rater` says it is.
            known: Of the people that `fit` has learnt from.

        Raises:
            BadInput: for a clip that there is not.
        """
        answers.check(len(clips))
        generator = torch.Generator().manual_seed(self.seed)
        drawn = []
        for rater in sorted(set(known.rater.tolist())):
            mean, log_variance = self.infer(clips, known.of(rater))
            noise = torch.randn(DRAWN, self.latent, generator=generator)
            drawn.append(mean + (0.5 * log_variance).exp() * noise)
        person = torch.cat(drawn)
        reward = torch.vmap(self, in_dims=(None, 0))(clips, person)
        ahead = reward[:, answers.first] - reward[:, answers.second]
        error = bradley_terry(ahead, answers.target.expand_as(ahead), self.mistake).sum(1)
        return (-error).softmax(0) @ person

    def fit(
        self,
        clips: Float[Tensor, "clip dim"],
        answers: Comparisons,
        *,
        steps: int = 400,
        learning_rate: float = 3e-3,
        kl_weight: float = 0.02,
        prior: float = 1.0,
    ) -> dict[str, float]:
        """Learn from the answers of several people.

        Each update reads every person from a part of their answers, and predicts the others.

        Args:
            clips: Embeddings.
            answers: Of people with five answers or more each.
            steps: Updates.
            learning_rate: Of Adam.
            kl_weight: The beta, in the end, per answer.
            prior: Precision of the reward's weights, whose prior is normal about 0; with little,
                they learn mistakes by heart.

        Returns:
            ``loss`` and ``kl`` (nats per person) of the last update.

        Raises:
            BadInput: for a clip that there is not, or a person with fewer than five answers.
        """
        answers.check(len(clips))
        people = [answers.of(rater) for rater in sorted(set(answers.rater.tolist()))]
        if min(map(len, people)) <= CONTEXT[0]:
            raise BadInput(
                f"VPL needs {CONTEXT[0] + 1} answers of each person; somebody gave "
                f"{min(map(len, people))}."
            )
        generator = torch.Generator().manual_seed(self.seed)
        optimizer = torch.optim.Adam(self.parameters(), learning_rate)
        # Of the reward alone: under a prior of the reader's weights the latent is never used.
        reward = [*self.look.parameters(), *self.judge.parameters()]
        loss, kl = torch.zeros(()), torch.zeros(())
        for step in range(steps):
            weight = kl_weight * min(1.0, 2.0 * step / steps)
            told = [self._person(clips, own, generator) for own in people]
            loss, kl = (torch.stack(values).mean() for values in zip(*told, strict=True))
            optimizer.zero_grad()
            unlikely = prior * surprise(reward) / len(answers)
            torch.autograd.backward(loss + weight * kl + unlikely)
            optimizer.step()
        return {"loss": float(loss.detach()), "kl": float(kl.detach())}

    def _person(
        self, clips: Float[Tensor, "clip dim"], own: Comparisons, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Error on the answers that the latent was not read from, and the latent's KL."""
        most = min(CONTEXT[1], len(own) - 1)
        count = int(torch.randint(CONTEXT[0], most + 1, (), generator=generator))
        order = torch.randperm(len(own), generator=generator)
        asked = own.take(order[count:])
        mean, log_variance = self.infer(clips, own.take(order[:count]))
        noise = torch.randn(self.latent, generator=generator)
        reward = self(clips, mean + (0.5 * log_variance).exp() * noise)
        error = bradley_terry(
            reward[asked.first] - reward[asked.second], asked.target, self.mistake
        )
        kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum()
        return error.mean(), kl
