"""A generative judge: the reward is how probable "yes" is when a model is asked about a clip.

A vision-language model is shown frames and asked whether a written statement is true of them
(pointwise), or whether clip B is closer to making it true than clip A (pairwise). What counts is
not the word that it says but P(yes) / (P(yes) + P(no)): a score with a scale of its own, which a
`Readout` turns into progress. The model itself is never trained.
"""

from collections.abc import Mapping, Sequence
from itertools import batched, islice
from typing import Any, final

import numpy as np
from jaxtyping import Float32

from embodied.errors import BadConfig, BadInput
from embodied.reward_models import judge_questions as questions
from embodied.reward_models.base import Scores, abstention, check_clip
from embodied.reward_models.frames_asked import frames_asked, frames_held
from embodied.reward_models.frozen_reward import FrozenReward
from embodied.reward_models.judge_opinion import Opinion, opinion_of
from embodied.reward_models.readout import Readout
from embodied.reward_models.vlm import (
    Answer,
    Picture,
    Unanswered,
    VisionLanguageModel,
    insist,
    probability_of_yes,
)
from embodied.types import Clip

ANSWER_TOKENS = 4
COMPLETE = {"task": "The robot has completed this task: {instruction}."}

Parts = tuple[str | Picture, ...]


@final
class GenerativeJudge(FrozenReward[Opinion]):
    """P(yes) of a vision-language model, read as progress.

    Unfitted it is a zero-shot reward: progress is P(yes) itself. `fit` calibrates that on clips
    whose outcome is known. A clip about which the model gives no answer gets an abstaining score
    (no reward, no progress, no success, uncertainty 1), unless it is to be an error.

    Args:
        model: What is asked.
        cameras: Cameras whose frames are shown.
        criteria: Statements by name of the aspect that they are about; ``{instruction}`` is put in.
        weights: Of the aspects in the mean; all alike by default.
        principles: Rules that the model is told to judge by.
        pairwise: Ask whether the clip so far is ahead of its own first frame, in both orders,
            instead of whether the statement is true.
        frames: Frames of a clip that are shown at most.
        choice: Which, see `judge_questions.choose_frames`.
        every: Every how many frames the judge is asked, and about the last two; in between its last
            opinion holds.
        reason_tokens: Tokens of reasons that it writes before each answer; 0 for none.
        least_mass: P(yes) + P(no) from which an answer counts as one.
        abstain: Whether an unanswered clip gets an abstaining score, or is an error.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        BadConfig: without a camera or criterion, for weights of others, or limits below 1.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        cameras: Sequence[str],
        *,
        criteria: Mapping[str, str] = COMPLETE,
        weights: Mapping[str, float] | None = None,
        principles: Sequence[str] = (),
        pairwise: bool = False,
        frames: int = 4,
        choice: questions.Choice = "spread",
        every: int = 5,
        reason_tokens: int = 0,
        least_mass: float = 0.1,
        abstain: bool = True,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__()
        if not cameras or not criteria or min(frames, every) < 1:
            raise BadConfig("a judge needs a camera, a criterion, a frame to see, and every >= 1.")
        shares = dict.fromkeys(criteria, 1.0) if weights is None else dict(weights)
        if shares.keys() != dict(criteria).keys() or min(shares.values()) <= 0:
            raise BadConfig(
                f"each of the criteria {', '.join(criteria)} needs a weight above 0, not {shares}."
            )
        self.model, self.cameras = model, tuple(cameras)
        self.criteria = dict(criteria)
        self.weights = {name: shares[name] for name in criteria}
        self.principles, self.pairwise = tuple(principles), pairwise
        self.frames, self.choice, self.every = frames, choice, every
        self.causal = every == 1
        self.reason_tokens, self.least_mass, self.abstain = reason_tokens, least_mass, abstain
        self.readout = Readout(discount=discount, bonus=bonus)
        self.eval()

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            Unanswered: if the model gives no answer, and the judge must not abstain.
        """
        return list(map(self._score, self.opinions(clips), map(len, clips)))

    def opinions(self, clips: Sequence[Clip]) -> list[Opinion | Unanswered]:
        """What the judge thinks of each clip, by aspect; or why it does not.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
        """
        asked: list[Parts] = []
        for clip in clips:
            self._check(clip)
            for criterion in self._statements(clip).values():
                for end in frames_asked(len(clip), self.every):
                    asked += self._asked_of(clip, end, criterion)
        answers = iter(self._ask(asked))
        for_each = len(self.criteria) * (2 if self.pairwise else 1)
        return [
            opinion_of(
                list(islice(answers, for_each * len(frames_asked(len(clip), self.every)))),
                self.weights,
                hold=frames_held(len(clip), self.every),
                pairwise=self.pairwise,
            )
            for clip in clips
        ]

    def compare(
        self, first: Sequence[Clip], second: Sequence[Clip]
    ) -> Float32[np.ndarray, " pair"]:
        """Probability that the second clip of each pair is ahead, the mean of both orders.

        The criteria are those of the second clip's instruction.

        Raises:
            BadInput: for a clip that cannot be scored, or lists of different lengths.
            Unanswered: if the model gives no answer.
        """
        if len(first) != len(second):
            raise BadInput(f"{len(first)} clips cannot be compared with {len(second)}.")
        asked: list[Parts] = []
        for one, other in zip(first, second, strict=True):
            self._check(one)
            self._check(other)
            shown = self._show(one, len(one) - 1), self._show(other, len(other) - 1)
            for criterion in self._statements(other).values():
                asked += self._both_orders(*shown, criterion)
        found: list[float] = []
        for answers in batched(self._ask(asked), 2 * len(self.criteria)):
            opinion = opinion_of(answers, self.weights, hold=np.zeros(1, int), pairwise=True)
            found.append((float(insist(opinion).signal[0]) + 1) / 2)
        return np.array(found, np.float32)

    def explain(self, clip: Clip, tokens: int = 80) -> dict[str, str]:
        """What the model says about the last frame, by aspect.

        Raises:
            Unanswered: if the model gives no answer.
        """
        self._check(clip)
        shown = self._show(clip, len(clip) - 1)
        told: dict[str, str] = {}
        for name, criterion in self._statements(clip).items():
            parts = questions.ask_of_one(shown, criterion, self.principles)
            (said,) = self.model.answer([questions.reasoning(parts)], max_tokens=tokens)
            told[name] = insist(said).text
        return told

    def ask(self, clip: Clip) -> Opinion:
        """What the judge thinks of a clip.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            Unanswered: if the model gives no answer.
        """
        (opinion,) = self.opinions([clip])
        return insist(opinion)

    def calibrate(
        self, successes: Sequence[Opinion], failures: Sequence[Opinion]
    ) -> dict[str, float]:
        """Fit the readout; returns what `Readout.fit` does."""
        return self.readout.fit([o.signal for o in successes], [o.signal for o in failures])

    def identity(self) -> dict[str, Any]:
        """The model, and what it is asked."""
        return {
            "model": self.model.fingerprint,
            "cameras": list(self.cameras),
            "criteria": self.criteria,
            "weights": self.weights,
            "principles": list(self.principles),
            "pairwise": self.pairwise,
            "frames": self.frames,
            "choice": self.choice,
            "every": self.every,
            "reason_tokens": self.reason_tokens,
        }

    def _score(self, opinion: Opinion | Unanswered, length: int) -> Scores:
        if isinstance(opinion, Opinion):
            return self.readout.scores(opinion.signal, opinion.doubt)
        if not self.abstain:
            raise opinion
        return abstention(length)

    def _check(self, clip: Clip) -> None:
        check_clip(clip, self.cameras)
        for camera in self.cameras:
            if camera not in clip.frames:
                raise BadInput(f"a judge looks at frames; the clip has none of camera '{camera}'.")

    def _statements(self, clip: Clip) -> dict[str, str]:
        return {
            name: text.replace("{instruction}", clip.instruction.strip())
            for name, text in self.criteria.items()
        }

    def _show(self, clip: Clip, end: int) -> Parts:
        chosen = questions.choose_frames(clip, self.cameras[0], end, self.frames, self.choice)
        return questions.show(clip, self.cameras, chosen)

    def _asked_of(self, clip: Clip, end: int, criterion: str) -> list[Parts]:
        shown = self._show(clip, end)
        if not self.pairwise:
            return [questions.ask_of_one(shown, criterion, self.principles)]
        return self._both_orders(self._show(clip, 0), shown, criterion)

    def _both_orders(self, first: Parts, second: Parts, criterion: str) -> list[Parts]:
        pairs = ((first, second), (second, first))
        return [questions.ask_of_two(*pair, criterion, self.principles) for pair in pairs]

    def _ask(self, asked: Sequence[Parts]) -> list[float | Unanswered]:
        """P(yes) of each, all asked as one batch."""
        reasons: Sequence[Answer | Unanswered] = [Answer(text="", tokens=())] * len(asked)
        if self.reason_tokens:
            wished = [questions.reasoning(parts) for parts in asked]
            reasons = self.model.answer(wished, max_tokens=self.reason_tokens)
        texts = [said.text if isinstance(said, Answer) else "" for said in reasons]
        final_questions = [questions.final(*each) for each in zip(asked, texts, strict=True)]
        said = self.model.answer(final_questions, max_tokens=ANSWER_TOKENS)
        usable = [r if isinstance(r, Unanswered) else a for r, a in zip(reasons, said, strict=True)]
        return [probability_of_yes(answer, self.least_mass) for answer in usable]
