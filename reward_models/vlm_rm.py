"""VLM-RM: how well a picture fits a sentence (Rocamonde et al., ICLR 2024, arXiv 2310.12921).

Zero-shot: no training, one sentence that describes the goal. Goal-baseline regularisation (their
equation 4) keeps that part of a picture's vector which tells the goal from a baseline sentence.
Prompts and alpha are chosen by EPIC distance on a few labelled frames, before any reinforcement
learning. See `docs/rewards/vlm_rm.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, final

import numpy as np
from jaxtyping import Float

from embodied.epic import goal_distance
from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import Scores, check_clip, nothing
from embodied.reward_models.frozen_reward import FrozenReward
from embodied.reward_models.readout import Readout, Signal
from embodied.reward_models.towers import Towers
from embodied.types import Clip

PLACE = "{instruction}"
"""Where a prompt says what the clip attempts."""
FOLDS = 4
"""Each is once kept from the choice; where that changes nothing, the readout may use its clips."""

Vectors = Float[np.ndarray, "_ embedding"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What pictures are compared with, and how strongly they are regularised."""

    prompts: tuple[str, ...]
    baselines: tuple[str, ...]
    alpha: float

    def __str__(self) -> str:
        goal, baseline = (" + ".join(texts) for texts in (self.prompts, self.baselines))
        return f"alpha {self.alpha:g}, '{goal}' against '{baseline}'"


Found = Mapping[Setting, Sequence[Sequence[Float[np.ndarray, " _"]]]]
"""What each setting says of the clips, successes and failures apart."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the towers see in a clip, whatever it is compared with."""

    vectors: list[Vectors]
    """Of each camera, one unit vector per frame."""
    instruction: str


@final
class TextImageReward(FrozenReward[Look]):
    """Cosine of pictures with a goal sentence, regularised towards the line from a baseline.

    Before `fit` it is the paper's reward: `Scores.reward` is the signal itself, progress is the
    place between baseline (0) and goal (1), and nothing is ever called done. `fit` trains nothing:
    it chooses a setting and reads off what the signal of a success looks like.

    Args:
        towers: The two encoders.
        cameras: Cameras that are looked at; the signal is the mean over them.
        prompts: Describe the goal; ``{instruction}`` stands for what the clip attempts. Several are
            averaged as unit vectors.
        baselines: Describe the scene without the goal, in the same way.
        alpha: 0 is the cosine, 1 counts only what lies on the line from baseline to goal.
        alphas: What `fit` chooses among, each prompt alone and all together; empty to choose
            nothing.
        discount: Per frame, of the potential.
        bonus: Paid once, when a clip counts as complete.

    Raises:
        BadConfig: without camera, prompt or baseline, or for an alpha outside [0, 1].
    """

    causal = True

    def __init__(
        self,
        towers: Towers,
        cameras: Sequence[str] = ("front",),
        *,
        prompts: Sequence[str] = (PLACE,),
        baselines: Sequence[str] = ("a robot arm at a table",),
        alpha: float = 0.5,
        alphas: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__()
        if not cameras or not prompts or not baselines:
            raise BadConfig("a text-image reward needs a camera, a prompt and a baseline.")
        for value in (alpha, *alphas):
            if not 0 <= value <= 1:
                raise BadConfig(f"alpha is a share in [0, 1], not {value}.")
        self.towers, self.cameras = towers, tuple(cameras)
        self.setting = Setting(prompts=tuple(prompts), baselines=tuple(baselines), alpha=alpha)
        self.settings = _candidates(self.setting, alphas)
        self.readout = Readout(discount=discount, bonus=bonus)
        self.eval()

    @property
    def chosen(self) -> str:
        """The setting in use, in words."""
        return str(self.setting)

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip: calibrated once fitted, the raw signal before.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
        """
        looks = map(self.ask, clips)
        if self.version == 0:
            return [self._raw(look) for look in looks]
        return [self.readout.scores(self._signal(look, self.setting)) for look in looks]

    def signals(self, clips: Sequence[Clip]) -> Mapping[str, list[Signal]]:
        """Per setting, in words: what it says of each frame; the pictures are looked at once."""
        looks = [self.ask(clip) for clip in clips]
        return {str(setting): self._signals(looks, setting) for setting in self.settings}

    def ask(self, clip: Clip) -> Look:
        """What the towers see.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the towers cannot be loaded.
        """
        check_clip(clip, self.cameras)
        vectors = [self.towers.look(clip, camera) for camera in self.cameras]
        return Look(vectors=vectors, instruction=clip.instruction)

    def calibrate(self, successes: Sequence[Look], failures: Sequence[Look]) -> dict[str, float]:
        """Choose the setting of least EPIC distance, and fit the readout on what did not decide it.

        Returns:
            ``epic`` of the chosen setting and ``epic_cosine`` of its prompts without
            regularisation, on these clips; ``alpha``; ``choice_agreement``, the share of folds
            without which the choice is the same; and what `Readout.fit` returns.

        Raises:
            BadInput: without a success.
        """
        if not successes:
            raise BadInput("a text-image reward needs one success or more to be fitted.")
        outcomes = (successes, failures)
        found = {s: [self._signals(looks, s) for looks in outcomes] for s in self.settings}
        self.setting = _nearest(found, range(FOLDS))
        agreeing = [fold for fold in range(FOLDS) if self._agrees(found, fold)]
        cosine = [self._signals(looks, replace(self.setting, alpha=0.0)) for looks in outcomes]
        metrics = {
            "epic": goal_distance(*found[self.setting]),
            "epic_cosine": goal_distance(*cosine),
            "alpha": self.setting.alpha,
            "choice_agreement": len(agreeing) / FOLDS,
        }
        used = agreeing if _of(successes, agreeing) else range(FOLDS)
        return metrics | self.readout.fit(*(_of(part, used) for part in found[self.setting]))

    def identity(self) -> dict[str, Any]:
        """The towers and the cameras; the setting is chosen anew by each `fit`."""
        return {"towers": self.towers.fingerprint, "cameras": list(self.cameras)}

    def learned(self) -> dict[str, Any]:
        """The setting and the readout; the towers are named, not written."""
        return super().learned() | {"setting": asdict(self.setting)}

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what `learned` gave."""
        super().restore(learned)
        self.setting = Setting(**learned["setting"])

    def _agrees(self, found: Found, fold: int) -> bool:
        """Whether the choice would be the same without the clips of a fold."""
        others = [other for other in range(FOLDS) if other != fold]
        successes = found[self.setting][0]
        return not _of(successes, others) or _nearest(found, others) == self.setting

    def _signals(self, looks: Sequence[Look], setting: Setting) -> list[Signal]:
        return [self._signal(look, setting) for look in looks]

    def _signal(self, look: Look, setting: Setting) -> Signal:
        goal, baseline = self._line(look.instruction, setting)
        each = [regularised(vectors, goal, baseline, setting.alpha) for vectors in look.vectors]
        return np.asarray(np.mean(each, axis=0))

    def _line(
        self, instruction: str, setting: Setting
    ) -> tuple[Float[np.ndarray, " embedding"], Float[np.ndarray, " embedding"]]:
        """Vectors of goal and baseline: means of unit vectors, as in the authors' code."""
        goal, baseline = (
            np.mean([self.towers.read(t.replace(PLACE, instruction)) for t in texts], axis=0)
            for texts in (setting.prompts, setting.baselines)
        )
        if np.allclose(goal, baseline, atol=1e-6):
            raise BadInput(
                f"goal and baseline read the same for the instruction '{instruction}'; "
                "describe the scene without the goal as the baseline."
            )
        return goal, baseline

    def _raw(self, look: Look) -> Scores:
        """The paper's reward, and no verdict: without known outcomes nothing is called done."""
        goal, baseline = self._line(look.instruction, self.setting)
        reward = self._signal(look, self.setting).astype(np.float32)
        reward[0] = 0.0
        way = np.mean([place(vectors, goal, baseline) for vectors in look.vectors], axis=0)
        progress = np.clip(way, 0, 1).astype(np.float32)
        return replace(nothing(len(way)), reward=reward, progress=progress)


def regularised(
    states: Vectors,
    goal: Float[np.ndarray, " embedding"],
    baseline: Float[np.ndarray, " embedding"],
    alpha: float,
) -> Signal:
    """1 - |alpha proj_L(s) + (1 - alpha) s - g|^2 / 2, with L the line from baseline to goal."""
    on_line = baseline + place(states, goal, baseline)[:, None] * (goal - baseline)
    mixed = alpha * on_line + (1 - alpha) * states
    return np.asarray(1 - ((mixed - goal) ** 2).sum(1) / 2)


def place(
    states: Vectors,
    goal: Float[np.ndarray, " embedding"],
    baseline: Float[np.ndarray, " embedding"],
) -> Signal:
    """Where each state projects onto the line: 0 at the baseline, 1 at the goal."""
    line = goal - baseline
    return np.asarray((states - baseline) @ line / (line @ line))


def _nearest(found: Found, folds: Sequence[int]) -> Setting:
    """The setting of least distance on some folds; of equal ones the first, of least alpha."""
    return min(found, key=lambda s: goal_distance(*(_of(part, folds) for part in found[s])))


def _of[T](clips: Sequence[T], folds: Sequence[int]) -> list[T]:
    """What belongs to the clips of some folds."""
    return [held for number, held in enumerate(clips) if number % FOLDS in folds]


def _candidates(given: Setting, alphas: Sequence[float]) -> tuple[Setting, ...]:
    """Each prompt alone and all together, against all baselines, at each alpha."""
    if not alphas:
        return (given,)
    groups = dict.fromkeys([given.prompts, *((prompt,) for prompt in given.prompts)])
    return tuple(
        Setting(prompts=prompts, baselines=given.baselines, alpha=float(alpha))
        for prompts, alpha in product(groups, sorted(alphas))
    )
