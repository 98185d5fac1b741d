"""RLHF on frames: a reward per frame, learned from people's answers about pairs of clips.

Christiano et al. (arXiv 1706.03741), with what `preference_reward.py` has for whole clips: an
ensemble, one rationality per person, and a share of mistakes. Members differ in scale and offset,
which answers do not fix; so each is standardised over the frames of the clips that were compared,
and with the members' mean m and deviation s the reward of a frame is

    r(o_t) = c (m(o_t) - k s(o_t) - end),

where ``end`` is what a typical demonstration ends with, and c such that a typical failure earns -1.
What answers do not say, when the task is complete, a `Readout` learns from demonstrations and
failures. See `docs/rewards/preference_reward.md`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.special import expit
from torch import nn

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import Preferences, Scores
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.features import maps_of, variants_of
from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.rapl_alignment import Recipe, learn_answers, return_head
from embodied.reward_models.readout import Readout, Signal
from embodied.reward_models.taught_reward import TaughtReward
from embodied.types import Clip, FrameEncoder


@final
class PreferenceReturn(TaughtReward):
    """How much people like a frame, less how much they like the end of a demonstration.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies in training.
        cameras: Cameras that are looked at.
        members: Of the ensemble; each has a bootstrap sample of the answers.
        mistake: Share of answers that are thought to be drawn by chance.
        augmentations: Copies of each compared clip under another camera pose and light.
        pessimism: The k: deviations of the members that a frame's reward is lowered by.
        discount: Per frame, as the learner's; of the readout.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        BadConfig: without a camera or a member, or for an impossible share of mistakes.
    """

    causal = True
    needs_preferences = True

    def __init__(
        self,
        encoder: FrameEncoder,
        cameras: Sequence[str] = ("front",),
        *,
        members: int = 3,
        mistake: float = 0.1,
        augmentations: int = 1,
        pessimism: float = 1.0,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__()
        if not cameras or members < 1 or not 0 <= mistake < 1:
            raise BadConfig(
                "a preference reward needs a camera, a member and a share of mistakes in [0, 1), "
                f"not {len(cameras)}, {members} and {mistake}."
            )
        self.encoder, self.cameras = encoder, tuple(cameras)
        self.mistake, self.augmentations = mistake, augmentations
        self.pessimism, self.bonus = pessimism, bonus
        self.standardise = Standardiser(encoder.shape[0], len(self.cameras))
        self.heads = nn.ModuleList(
            return_head(encoder.shape[0], len(self.cameras), seed) for seed in range(members)
        )
        self.unit = nn.Buffer(torch.tensor([[0.0, 1.0]] * members))
        """Mean and deviation of each member over the frames of the clips that were compared."""
        self.readout = Readout(discount=discount, bonus=bonus, pessimism=pessimism)
        self.scale = nn.Buffer(torch.tensor(1.0))
        """Reward per deviation of liking: a typical failure earns -1."""
        self.eval()

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip; features that a clip lacks are computed, all others are used.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the reward is untrained.
        """
        return [self._scores(said) for said in self.liking(clips)]

    def liking(self, clips: Sequence[Clip]) -> list[Float[np.ndarray, "member time"]]:
        """What each member says of each frame, in its deviations over the compared clips.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the reward is untrained.
        """
        if self.version == 0:
            raise BadConfig("the PreferenceReturn is untrained; call hear and fit, or load first.")
        return [self._say(maps_of(clip, self.cameras, self.encoder)) for clip in clips]

    def compare(
        self, first: Sequence[Clip], second: Sequence[Clip]
    ) -> Float32[np.ndarray, " pair"]:
        """Probability that a typical person prefers the second clip: the members' mean."""
        before, after = (
            np.stack([said.mean(1) for said in self.liking(clips)]) for clips in (first, second)
        )
        beyond = self.unit[:, 1].numpy() * (after - before)
        return np.asarray(expit(beyond).mean(1), np.float32)

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Train anew on the answers that it heard, then learn what a success looks like.

        Args:
            successes: Clips that end with the task complete. Where people compared parts of these
                very clips, the readout judges them a little too well.
            failures: Clips that never complete it; may be empty, at the price of false accepts.
                What people called "both bad" is added to them.
            distractor_instructions: Not used: the reward does not read.
            seed: Of the members, their samples of the answers and the augmentation.
            steps: Updates of each member.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            The members' mean ``loss``, how many ``labels`` they learned from, and what
            `Readout.fit` returns.

        Raises:
            BadInput: if it heard no answers, or without a success.
        """
        heard = self.preferences
        if heard is None or not successes:
            raise BadInput(
                "a preference reward needs people's answers (reward.labels=FOLDER, whose clips "
                "were compared with `embodied serve-preferences`) and one success or more; it got "
                f"{'none' if heard is None else len(heard.target)} and {len(successes)}."
            )
        rng = np.random.default_rng(seed)
        copies = [
            variants_of(clip, self.cameras, self.encoder, self.augmentations, rng)
            for clip in heard.clips
        ]
        self.standardise.adapt([own[0] for own in copies])
        loss = self._learn(heard, copies, seed, steps, progress_callback)
        self.version += 1
        good, failed, bad = (
            [said.mean(0) for said in self.liking(clips)]
            for clips in (successes, failures, heard.bad)
        )
        metrics = self.readout.fit(good, [*failed, *bad])
        whole = failed or good  # what people saw may be parts of episodes, over which less is lost
        short = [float((signal - float(self.readout.end)).sum()) for signal in whole]
        self.scale.fill_(1 / max(abs(float(np.median(short))), 1e-6))
        return {"loss": loss, "labels": float(heard.origin["labels"])} | metrics

    def identity(self) -> dict[str, Any]:
        """The encoder, the cameras and how many members there are."""
        return {
            "encoder": self.encoder.fingerprint,
            "cameras": list(self.cameras),
            "members": len(self.heads),
        }

    def _learn(
        self,
        heard: Preferences,
        copies: Sequence[Sequence[Maps]],
        seed: int,
        steps: int,
        report: Callable[[float], None] | None,
    ) -> float:
        """Train new members; their mean loss."""
        answers = Comparisons.from_numbers(heard.first, heard.second, heard.target, heard.rater)
        members, losses, reliable = len(self.heads), [], []
        for number in range(members):
            own = seed * 1009 + number

            def tell(share: float, done: int = number) -> None:
                if report is not None:
                    report((done + share) / members)

            head = return_head(self.encoder.shape[0], len(self.cameras), own)
            sample = answers.take(_bootstrap(len(answers), own if members > 1 else None))
            loss, beta = learn_answers(
                self.standardise, head, copies, sample,
                Recipe(seed=own, steps=steps, report=tell), raters=len(heard.raters),
                mistake=self.mistake,
            )  # fmt: skip
            self.heads[number] = head
            losses.append(loss)
            reliable.append(beta.log())
        self.unit.copy_(torch.tensor([[0.0, 1.0]] * members))
        frames = np.concatenate([self._say(own[0]) for own in copies], 1)
        unit = np.stack([frames.mean(1), frames.std(1) + 1e-6], 1)
        self.unit.copy_(torch.from_numpy(unit))
        beta = torch.stack(reliable).mean(0).exp()
        rationality = dict(zip(heard.raters, beta.tolist(), strict=True))
        self.note_origin(heard, rationality=rationality)
        return float(np.mean(losses))

    @torch.no_grad()
    def _say(self, maps: Maps) -> Float[np.ndarray, "member time"]:
        seen = self.standardise(maps)
        said = torch.stack([head(seen).squeeze(1) for head in self.heads]).double()
        return np.asarray(((said - self.unit[:, :1]) / self.unit[:, 1:]).numpy())

    def _scores(self, said: Float[np.ndarray, "member time"]) -> Scores:
        """Completion from the readout, reward from what people like."""
        mean, doubt = said.mean(0), said.std(0)
        scores = self.readout.scores(mean, doubt)
        reward = self._reward(mean, doubt)
        reward[0] = 0.0
        reward[scores.done_index : scores.done_index + 1] += self.bonus
        return replace(scores, reward=reward)

    def _reward(self, mean: Signal, doubt: Signal) -> Float32[np.ndarray, " time"]:
        short = mean - self.pessimism * doubt - float(self.readout.end)
        return np.asarray(float(self.scale) * short, np.float32)


def _bootstrap(answers: int, seed: int | None) -> torch.Tensor:
    """Numbers of the answers that a member learns from, drawn with replacement; or all of them."""
    if seed is None:
        return torch.arange(answers)
    return torch.from_numpy(np.random.default_rng(seed).integers(answers, size=answers))
