"""VLAC (InternRobotics/VLAC, arXiv 2509.15937): a pairwise progress critic, run from its weights.

The weights are not part of this project: their licence does not allow it. `vlac_weights.py` makes
them readable for `transformers`. The critic compares frames `every` apart, and at the end the last
ones; its answers are chained into a value (`vlac_values.py`), and a second prompt says of each such
frame whether it is done.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8
from scipy.special import expit
from torch import nn

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.reward_models import vlac_prompts as prompts
from embodied.reward_models.base import Scores, abstention, check_clip
from embodied.reward_models.calibration import (
    UNCALIBRATED,
    platt,
    safe_logit,
    scores_from,
    sustained,
)
from embodied.reward_models.frames_asked import frames_asked, frames_held
from embodied.reward_models.frozen_reward import FrozenReward
from embodied.reward_models.readout import Readout
from embodied.reward_models.vlac_values import RULES, Reading, reading_of, values
from embodied.reward_models.vlm import (
    Picture,
    Question,
    Unanswered,
    VisionLanguageModel,
    insist,
)
from embodied.types import Clip

CRITIC_TOKENS, DONE_TOKENS = 8, 3

type Pictures = UInt8[np.ndarray, "picture height width 3"]


@final
class VLACReward(FrozenReward[Reading]):
    """VLAC's value as progress, its done prompt as completion.

    Where there is a demonstration to refer to, the critic sees it, and the done prompt sees its
    last frame: the first of the clip's own `references`, else the first success of the same
    instruction that `fit` was given. A clip with an unanswered question gets an abstaining score.

    Args:
        model: VLAC's weights.
        cameras: The first is looked at; VLAC was trained on one view.
        every: Frames between the two of a pair; VLAC's training used about 0.2 s or more. The last
            two frames are asked about besides, and end shorter pairs.
        rule: How deltas add up: simple, inverse or mix_f.
        soft: Expected value of each digit, instead of the likeliest.
        reverse: Ask each pair in both orders; they are averaged, and tell the uncertainty.
        dead_band: Deltas below this share count as nothing.
        reference_frames: Frames of a reference that are shown; 0 to show none.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.
        pessimism: Doubts that the progress is lowered by in the reward.

    Raises:
        UnknownName: for another rule.
        BadConfig: without a camera, or for counts that leave nothing to compare.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        cameras: Sequence[str],
        *,
        every: int = 5,
        rule: str = "mix_f",
        soft: bool = True,
        reverse: bool = True,
        dead_band: float = 0.0,
        reference_frames: int = 9,
        discount: float = 0.99,
        bonus: float = 1.0,
        pessimism: float = 1.0,
    ) -> None:
        super().__init__()
        if rule not in RULES:
            raise UnknownName("value rule", rule, RULES)
        if not cameras or every < 1 or reference_frames == 1 or reference_frames < 0:
            raise BadConfig(
                "VLAC needs a camera, pairs 1 frame apart or more, and 2 frames of a reference or "
                f"none, not {len(cameras)}, {every} and {reference_frames}."
            )
        self.model, self.cameras = model, tuple(cameras[:1])
        self.every, self.rule, self.soft, self.reverse = every, rule, soft, reverse
        self.causal = every == 1
        self.dead_band, self.reference_frames = dead_band, reference_frames
        self.readout = Readout(discount=discount, bonus=bonus, pessimism=pessimism)
        self.success = nn.Buffer(torch.from_numpy(UNCALIBRATED.copy()))
        """Slope and offset from the logit of sustained done probability to that of success."""
        self._remembered: dict[str, Pictures] = {}
        self.eval()

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
        """
        return list(map(self._score, self.read(clips), map(len, clips)))

    def read(self, clips: Sequence[Clip]) -> list[Reading | Unanswered]:
        """What VLAC says of each clip, before calibration; or why it says nothing.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
        """
        pairs: list[Question] = []
        ends: list[Question] = []
        for clip in clips:
            self._check(clip)
            pairs += self._pairs(clip)
            ends += self._ends(clip)
        critics = iter(self.model.answer(pairs, max_tokens=CRITIC_TOKENS) if pairs else [])
        dones = iter(self.model.answer(ends, max_tokens=DONE_TOKENS) if ends else [])
        found: list[Reading | Unanswered] = []
        for clip in clips:
            asked = len(frames_asked(len(clip), self.every))
            orders = 2 if self.reverse else 1
            shares = [
                prompts.critic_share(said, soft=self.soft)
                for said in islice(critics, (asked - 1) * orders)
            ]
            done = [prompts.done_probability(said) for said in islice(dones, asked)]
            found.append(self._chain(shares, done, len(clip)))
        return found

    def ask(self, clip: Clip) -> Reading:
        """What VLAC says of a clip.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            Unanswered: if VLAC gives no answer.
        """
        (reading,) = self.read([clip])
        return insist(reading)

    def show(self, successes: Sequence[Clip]) -> Sequence[Clip]:
        """Remember the first success of each instruction; the others are left, if there are any.

        Raises:
            BadInput: for a clip that cannot be shown, saying why.
        """
        self._remembered = {}
        if not self.reference_frames:
            return successes
        left: list[Clip] = []
        for clip in successes:
            self._check(clip)
            if clip.instruction in self._remembered:
                left.append(clip)
            else:
                self._remembered[clip.instruction] = self._chosen(clip)
        return left or successes

    def calibrate(
        self, successes: Sequence[Reading], failures: Sequence[Reading]
    ) -> dict[str, float]:
        """Fit the readout and the probability of success.

        Returns:
            What `Readout.fit` returns, and ``negative_rate`` of the successes.
        """
        metrics = self.readout.fit([r.value for r in successes], [r.value for r in failures])
        passed, failed = (
            np.array([sustained(r.done).max() for r in part]) for part in (successes, failures)
        )
        self.success.copy_(torch.from_numpy(platt(passed, failed)))
        return metrics | {"negative_rate": float(np.mean([r.negative_rate for r in successes]))}

    def identity(self) -> dict[str, Any]:
        """The weights, and how they are asked and read."""
        return {
            "model": self.model.fingerprint,
            "cameras": list(self.cameras),
            "every": self.every,
            "rule": self.rule,
            "soft": self.soft,
            "reverse": self.reverse,
            "dead_band": self.dead_band,
            "reference_frames": self.reference_frames,
        }

    def learned(self) -> dict[str, Any]:
        """The calibration, and the demonstrations."""
        shown = {text: torch.from_numpy(frames) for text, frames in self._remembered.items()}
        return {**super().learned(), "references": shown}

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what `learned` gave; files of earlier versions hold no demonstrations."""
        super().restore(learned)
        known = learned.get("references", {})
        self._remembered = {text: frames.numpy() for text, frames in known.items()}

    def _check(self, clip: Clip) -> None:
        check_clip(clip, self.cameras)
        for shown in (clip, *clip.references[:1]):
            if self.cameras[0] not in shown.frames:
                raise BadInput(
                    f"VLAC looks at frames, of which camera '{self.cameras[0]}' has none."
                )

    def _pairs(self, clip: Clip) -> list[Question]:
        frames = clip.frames[self.cameras[0]]
        shown = self._references(clip)
        asked: list[Question] = []
        for begin, end in pairwise(frames_asked(len(clip), self.every)):
            pair = frames[begin], frames[end]
            for first, second in (pair, pair[::-1])[: 2 if self.reverse else 1]:
                asked.append(
                    prompts.critic_question(
                        clip.instruction.strip(),
                        first,
                        second,
                        beginning=frames[0],
                        references=shown,
                    )
                )
        return asked

    def _ends(self, clip: Clip) -> list[Question]:
        frames = clip.frames[self.cameras[0]]
        shown = self._references(clip)
        goal = shown[-1] if shown else None
        return [
            prompts.done_question(clip.instruction.strip(), frames[end], goal)
            for end in frames_asked(len(clip), self.every)
        ]

    def _references(self, clip: Clip) -> list[Picture]:
        if not self.reference_frames:
            return []
        if clip.references:
            return list(self._chosen(clip.references[0]))
        return list(self._remembered.get(clip.instruction, ()))

    def _chosen(self, demonstration: Clip) -> Pictures:
        frames = demonstration.frames[self.cameras[0]]
        places = np.linspace(0, len(frames) - 1, self.reference_frames).astype(int)
        return np.asarray(frames[places])

    def _chain(
        self,
        shares: Sequence[float | Unanswered],
        done: Sequence[float | Unanswered],
        length: int,
    ) -> Reading | Unanswered:
        known: list[float] = []
        for answer in (*shares, *done):
            if isinstance(answer, Unanswered):
                return answer
            known.append(answer)
        critics, dones = known[: len(shares)], known[len(shares) :]
        forward = critics[::2] if self.reverse else critics
        backward = [-critic for critic in critics[1::2]] if self.reverse else critics
        rule = partial(values, rule=self.rule, dead_band=self.dead_band)
        return reading_of(forward, backward, dones, rule, hold=frames_held(length, self.every))

    def _score(self, reading: Reading | Unanswered, length: int) -> Scores:
        if isinstance(reading, Unanswered):
            return abstention(length)
        read = self.readout.scores(reading.value, reading.doubt)
        slope, offset = self.success.tolist()
        lowered = read.progress - self.readout.pessimism * read.uncertainty
        success = expit(slope * safe_logit(reading.done) + offset)
        return scores_from(
            progress=read.progress,
            done=success,
            uncertainty=read.uncertainty,
            potential=np.clip(lowered, 0.0, 1.0),
            success=success,
            discount=self.readout.discount,
            bonus=self.readout.bonus,
        )
