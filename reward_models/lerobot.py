"""Robometer, TOPReward and SARM as LeRobot 0.6.1 ships them, behind this project's contract."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.reward_models import lerobot_models
from embodied.reward_models.base import Scores, check_clip
from embodied.reward_models.frames_asked import frames_asked, frames_held
from embodied.reward_models.frozen_reward import FrozenReward
from embodied.reward_models.lerobot_models import FrameReader
from embodied.reward_models.readout import Readout, Signal
from embodied.types import Clip

KINDS = ("robometer", "sarm", "topreward")
DEFAULT_CLIP = "openai/clip-vit-base-patch32"


@final
class LeRobotReward(FrozenReward[Signal]):
    """One number per frame of one of LeRobot's reward models, read as progress.

    The model is loaded when it is first asked. SARM looks at frames after the one it is asked
    about, the others do not; see `frames_asked.py` for which of these are causal.

    Args:
        kind: robometer, sarm or topreward.
        path: Its checkpoint, or TOPReward's vision-language model: on the hub or in a folder.
        cameras: The first is looked at.
        base: Robometer's tokenizer and image processor, or SARM's CLIP, where they are elsewhere.
        frames: Frames of the attempt so far that Robometer and TOPReward are shown.
        every: Every how many frames the model is asked, and about the last two; in between its
            last number holds.
        batch_size: Frames asked about per forward pass.
        device: Of the weights.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        UnknownName: for another kind.
        BadConfig: without a camera, or for counts below 1.
    """

    def __init__(
        self,
        kind: str,
        path: str,
        cameras: Sequence[str],
        *,
        base: str = "",
        frames: int = 8,
        every: int = 5,
        batch_size: int = 8,
        device: str = "cpu",
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UnknownName("LeRobot reward model", kind, KINDS)
        if not cameras or min(frames, every, batch_size) < 1:
            raise BadConfig("a LeRobot reward needs a camera, and frames, every, batch_size >= 1.")
        self.kind, self.path, self.cameras = kind, path, tuple(cameras[:1])
        self.base, self.frames, self.every = base, frames, every
        self.batch_size, self.device = batch_size, device
        self.causal = kind != "sarm" and every == 1
        self.readout = Readout(discount=discount, bonus=bonus)
        self._reader: FrameReader | None = None
        self.eval()

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the model cannot be loaded, or is TOPReward and not calibrated: its
                log-probabilities have no scale.
        """
        if self.kind == "topreward" and self.version == 0:
            raise BadConfig("TOPReward has no scale of its own; call fit or load first.")
        return [self.readout.scores(self.ask(clip)) for clip in clips]

    def ask(self, clip: Clip) -> Signal:
        """The model's number at each frame.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the model cannot be loaded.
        """
        (camera,) = self.cameras
        check_clip(clip, self.cameras)
        if camera not in clip.frames:
            raise BadInput(f"{self.kind} looks at frames; the clip has none of camera '{camera}'.")
        asked = frames_asked(len(clip), self.every)
        said = self._load().read(clip.frames[camera], asked, clip.instruction.strip())
        return np.asarray(said[frames_held(len(clip), self.every)])

    def calibrate(
        self, successes: Sequence[Signal], failures: Sequence[Signal]
    ) -> dict[str, float]:
        """Fit the readout; returns what `Readout.fit` does."""
        return self.readout.fit(successes, failures)

    def identity(self) -> dict[str, Any]:
        """The model, and what it is shown."""
        return {
            "kind": self.kind,
            "path": Path(self.path).name,
            "cameras": list(self.cameras),
            "frames": self.frames,
            "every": self.every,
        }

    def _load(self) -> FrameReader:
        if self._reader is None:
            models, size, device = lerobot_models, self.batch_size, self.device
            if self.kind == "topreward":
                self._reader = models.load_topreward(
                    self.path, frames=self.frames, batch_size=size, device=device
                )
            elif self.kind == "robometer":
                self._reader = models.load_robometer(
                    self.path, base=self.base, frames=self.frames, batch_size=size, device=device
                )
            else:
                clip = self.base or DEFAULT_CLIP
                self._reader = models.load_sarm(
                    self.path, clip=clip, batch_size=size, device=device
                )
        return self._reader
