"""Mixing weights that are learned against measured success, after BARFI (arXiv 2310.19007).

BARFI chooses the weights of auxiliary rewards so that the policy which is optimal for the mixture
succeeds: max over w of J(pi*_w). It differentiates through a whole training. Here the inner problem
is one step of KL-regularised policy improvement over recorded clips, which has a closed form:
pi_w(clip) is proportional to e^(R_w(clip) / temperature). So J, the share of successes under pi_w,
and its gradient are exact. An auxiliary reward that leads to failures ends with a weight of 0.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import RewardModel, Scores
from embodied.reward_models.calibration import completion
from embodied.reward_models.wrapper import Lesson, Wrapper
from embodied.types import Clip

FOLDS = 4
UPDATES = 500
RATE = 0.5
EPSILON = 1e-6
"""Share of what a term pays and takes in a clip, up to which its returns count as all equal."""


@final
class LearnedMixture(Wrapper):
    """The weighted sum of rewards whose weights let good clips earn most.

    Args:
        terms: Rewards by name; each is brought to the same scale before it is weighed. One that
            returns the same for all held-out clips has no scale, and weighs 0.
        temperature: Of the policy improvement, in deviations of a mixture's return. Small ones
            look at the best clips only.

    Raises:
        BadConfig: with fewer than two terms, or without a temperature.
    """

    def __init__(self, terms: dict[str, RewardModel], *, temperature: float = 0.5) -> None:
        super().__init__(list(terms.values()))
        if len(terms) < 2 or temperature <= 0:
            raise BadConfig(
                "a mixture needs two terms and a positive temperature, not "
                f"{len(terms)} and {temperature}."
            )
        self.names, self.temperature = tuple(terms), temperature

    def combine(self, clip: Clip, said: Sequence[Scores]) -> Scores:
        """Weighted sums of everything.

        Raises:
            BadConfig: before the first training.
        """
        if not self.memory:
            raise BadConfig("the mixture has no weights; call fit or load first.")
        weight = np.array(self.memory["weight"])
        done = _mix(weight, [scores.done for scores in said])
        done_index = completion(done)
        return Scores(
            reward=_mix(
                weight / np.array(self.memory["scale"]), [scores.reward for scores in said]
            ).astype(np.float32),
            progress=_mix(weight, [scores.progress for scores in said]).astype(np.float32),
            done=done.astype(np.float32),
            uncertainty=_mix(weight, [scores.uncertainty for scores in said]).astype(np.float32),
            success=done_index < len(clip),
            done_index=done_index,
        )

    def study(self, lesson: Lesson) -> dict[str, float]:
        """Weigh the terms by clips that they were not trained on, then train them on all.

        Returns:
            The terms' metrics; ``weight_<name>``; ``improved_success``, the share of successes
            under the improved policy, of as many successes as failures.

        Raises:
            BadInput: without two successes and two failures, or if no term tells clips apart.
        """
        if min(len(lesson.successes), len(lesson.failures)) < 2:
            raise BadInput(
                "mixing weights are learned from two successes and two failures or more, not "
                f"{len(lesson.successes)} and {len(lesson.failures)}."
            )
        kept, held = _hold_out(lesson)
        self.fit_parts(kept)
        returns, scale = self._returns([*held.successes, *held.failures])
        good = np.arange(returns.shape[1]) < len(held.successes)
        tells = scale > 0
        if not tells.any():
            raise BadInput(
                f"each of {', '.join(self.names)} returns the same for all held-out clips; a "
                "mixture needs a term that tells clips apart."
            )
        weight, scale = np.zeros(len(tells)), np.where(tells, scale, 1.0)
        weight[tells], success = learn_weights(
            returns[tells] / scale[tells, None], good, self.temperature
        )
        metrics = self.fit_parts(lesson)
        self.memory = {"weight": weight.tolist(), "scale": scale.tolist()}
        found = {f"weight_{name}": float(w) for name, w in zip(self.names, weight, strict=True)}
        return metrics | found | {"improved_success": success}

    def _returns(
        self, clips: Sequence[Clip]
    ) -> tuple[Float[np.ndarray, "term clip"], Float[np.ndarray, " term"]]:
        """Of each clip under each term; and their deviation, 0 where it is nothing but rounding."""
        rewards = [[scores.reward for scores in model.score(clips)] for model in self.models]
        returns = np.array([[float(reward.sum()) for reward in own] for own in rewards])
        moved = np.array([max(float(np.abs(reward).sum()) for reward in own) for own in rewards])
        deviation = returns.std(1)
        return returns, np.where(deviation > EPSILON * moved, deviation, 0.0)


def learn_weights(
    returns: Float[np.ndarray, "term clip"], good: Bool[np.ndarray, " clip"], temperature: float
) -> tuple[Float[np.ndarray, " term"], float]:
    """Weights on the simplex that maximise the success of the improved policy.

    Args:
        returns: Of each clip under each term, of deviation 1.
        good: Whether a clip is a success.
        temperature: Of the improvement.

    Returns:
        The weights; and J, the share of successes under the improved policy where the policy that
        recorded the clips succeeds in half of them.
    """
    returned, success = torch.from_numpy(returns), torch.from_numpy(good.astype(np.float64))
    prior = torch.where(success > 0, 0.5 / success.sum(), 0.5 / (1 - success).sum()).log()
    logits = torch.zeros(len(returns), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=RATE)

    def succeeds() -> torch.Tensor:
        mixed = logits.softmax(0) @ returned
        return ((prior + mixed / temperature).softmax(0) * success).sum()

    for _ in range(UPDATES):
        optimizer.zero_grad()
        (1 - succeeds()).log().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return logits.softmax(0).numpy(), float(succeeds())


def _hold_out(lesson: Lesson) -> tuple[Lesson, Lesson]:
    """Every fourth clip, and at least one of each kind, is kept from the terms."""

    def split(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
        folds = min(FOLDS, len(clips))
        kept = [clip for number, clip in enumerate(clips) if number % folds != folds - 1]
        return kept, [clip for number, clip in enumerate(clips) if number % folds == folds - 1]

    (good, held_good), (bad, held_bad) = split(lesson.successes), split(lesson.failures)
    kept = replace(lesson, successes=good, failures=bad, progress_callback=None)
    return kept, replace(lesson, successes=held_good, failures=held_bad)


def _mix(
    weight: Float[np.ndarray, " term"], values: Sequence[Float[np.ndarray, " time"]]
) -> Float[np.ndarray, " time"]:
    return np.asarray(weight @ np.stack(values).astype(np.float64))
