"""VLM-RM: how well a picture fits a sentence (Rocamonde et al., ICLR 2024, arXiv 2310.12921).

Zero-shot: no training, one sentence that describes the goal. Goal-baseline regularisation (their
equation 4) keeps that part of a picture's vector which tells the goal from a baseline sentence.
Prompts and alpha are chosen by EPIC distance on a few labelled frames, before any reinforcement
learning. See `docs/rewards/vlm_rm.md`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float

from embodied.epic import goal_distance
from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import Scores, TrainableReward, check_clip
from embodied.reward_models.readout import Readout
from embodied.reward_models.reward_file import read_reward, write_reward
from embodied.reward_models.towers import Towers
from embodied.types import Clip

PLACE = "{instruction}"
"""Where a prompt says what the clip attempts."""
FOLDS = 4
"""Each is once kept from the choice; where that changes nothing, the readout may use its clips."""

Vectors = Float[np.ndarray, "_ embedding"]
Signal = Float[np.ndarray, " _"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What pictures are compared with, and how strongly they are regularised."""

    prompts: tuple[str, ...]
    baselines: tuple[str, ...]
    alpha: float

    def __str__(self) -> str:
        goal, baseline = (" + ".join(texts) for texts in (self.prompts, self.baselines))
        return f"alpha {self.alpha:g}, '{goal}' against '{baseline}'"


@final
class TextImageReward(TrainableReward):
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
        self.version = 0
        """Counts how often the readout was fitted; 0 before the first time."""
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
        seen = [self._look(clip) for clip in clips]
        if self.version == 0:
            return [self._raw(*pair) for pair in zip(seen, clips, strict=True)]
        return [
            self.readout.scores(self._signal(vectors, clip.instruction, self.setting))
            for vectors, clip in zip(seen, clips, strict=True)
        ]

    def signals(self, clips: Sequence[Clip]) -> Mapping[str, list[Signal]]:
        """Per setting, in words: what it says of each frame; the pictures are looked at once."""
        seen = [self._look(clip) for clip in clips]
        return {str(setting): self._signals(seen, clips, setting) for setting in self.settings}

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
        """Choose the setting of least EPIC distance, and fit the readout on what did not decide it.

        Args:
            successes: Clips that end with the task complete.
            failures: Clips that never do; may be empty.
            distractor_instructions: Not used: the reward reads the clip's own.
            seed: Not used: nothing is drawn.
            steps: Not used either.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            ``epic`` of the chosen setting and ``epic_cosine`` of its prompts without
            regularisation, on these clips; ``alpha``; ``choice_agreement``, the share of folds
            without which the choice is the same; and what `Readout.fit` returns.

        Raises:
            BadInput: without a success, or for an unusable clip.
        """
        if not successes:
            raise BadInput("a text-image reward needs one success or more to be fitted.")
        clips = (*successes, *failures)
        seen = []
        for number, clip in enumerate(clips):
            seen.append(self._look(clip))
            if progress_callback is not None:
                progress_callback((number + 1) / len(clips))
        good = list(zip(seen[: len(successes)], successes, strict=True))
        bad = list(zip(seen[len(successes) :], failures, strict=True))
        self.setting = self._nearest(good, bad)
        agreeing = [fold for fold in range(FOLDS) if self._agrees(good, bad, fold)]
        metrics = {
            "epic": self._distance(good, bad, self.setting),
            "epic_cosine": self._distance(good, bad, replace(self.setting, alpha=0.0)),
            "alpha": self.setting.alpha,
            "choice_agreement": len(agreeing) / FOLDS,
        }
        used = agreeing if _of(good, agreeing) else range(FOLDS)
        left = [self._signals(*_apart(_of(p, used)), self.setting) for p in (good, bad)]
        metrics |= self.readout.fit(*left)
        self.version += 1
        return metrics

    def save(self, path: Path) -> None:
        """Write the setting and the readout; the towers are named, not written."""
        content = {
            "state": self.state_dict(), "setting": asdict(self.setting), "version": self.version,
        }  # fmt: skip
        write_reward(path, kind="text-image reward", identity=self._identity(), content=content)

    def load(self, path: Path) -> None:
        """Take over what `save` wrote; discount and bonus stay as constructed.

        Raises:
            CorruptFile: if the file cannot be read back whole.
            BadConfig: if it was fitted with other towers or cameras.
        """
        content = read_reward(path, kind="text-image reward", identity=self._identity())
        self.load_state_dict(content["state"])
        self.setting = Setting(**content["setting"])
        self.version = content["version"]

    def _identity(self) -> dict[str, Any]:
        return {"towers": self.towers.fingerprint, "cameras": list(self.cameras)}

    def _nearest(self, good: Sequence["_Pair"], bad: Sequence["_Pair"]) -> Setting:
        """The setting of least distance; of equal ones the first, with the least alpha."""
        return min(self.settings, key=lambda setting: self._distance(good, bad, setting))

    def _distance(self, good: Sequence["_Pair"], bad: Sequence["_Pair"], setting: Setting) -> float:
        return goal_distance(*(self._signals(*_apart(pairs), setting) for pairs in (good, bad)))

    def _agrees(self, good: Sequence["_Pair"], bad: Sequence["_Pair"], fold: int) -> bool:
        """Whether the choice would be the same without the clips of a fold."""
        others = [_of(pairs, [f for f in range(FOLDS) if f != fold]) for pairs in (good, bad)]
        return not others[0] or self._nearest(*others) == self.setting

    def _look(self, clip: Clip) -> list[Vectors]:
        check_clip(clip, self.cameras)
        return [self.towers.look(clip, camera) for camera in self.cameras]

    def _signals(
        self, seen: Sequence[list[Vectors]], clips: Sequence[Clip], setting: Setting
    ) -> list[Signal]:
        return [
            self._signal(vectors, clip.instruction, setting)
            for vectors, clip in zip(seen, clips, strict=True)
        ]

    def _signal(self, seen: Sequence[Vectors], instruction: str, setting: Setting) -> Signal:
        goal, baseline = self._line(instruction, setting)
        each = [regularised(vectors, goal, baseline, setting.alpha) for vectors in seen]
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

    def _raw(self, seen: Sequence[Vectors], clip: Clip) -> Scores:
        """The paper's reward, and no verdict: without known outcomes nothing is called done."""
        goal, baseline = self._line(clip.instruction, self.setting)
        reward = self._signal(seen, clip.instruction, self.setting).astype(np.float32)
        reward[0] = 0.0
        way = np.mean([place(vectors, goal, baseline) for vectors in seen], axis=0)
        return Scores(
            reward=reward,
            progress=np.clip(way, 0, 1).astype(np.float32),
            done=np.zeros(len(clip), np.float32),
            uncertainty=np.zeros(len(clip), np.float32),
            success=False,
            done_index=len(clip),
        )


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


type _Pair = tuple[list[Vectors], Clip]


def _apart(pairs: Sequence[_Pair]) -> tuple[list[list[Vectors]], list[Clip]]:
    return [vectors for vectors, _ in pairs], [clip for _, clip in pairs]


def _of(pairs: Sequence[_Pair], folds: Sequence[int]) -> list[_Pair]:
    """The clips of some folds."""
    return [pair for number, pair in enumerate(pairs) if number % FOLDS in folds]


def _candidates(given: Setting, alphas: Sequence[float]) -> tuple[Setting, ...]:
    """Each prompt alone and all together, against all baselines, at each alpha."""
    if not alphas:
        return (given,)
    groups = dict.fromkeys([given.prompts, *((prompt,) for prompt in given.prompts)])
    return tuple(
        Setting(prompts=prompts, baselines=given.baselines, alpha=float(alpha))
        for prompts, alpha in product(groups, sorted(alphas))
    )
