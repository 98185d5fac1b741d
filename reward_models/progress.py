"""A progress-delta reward in VLAC's formulation, small enough to train in a minute on one core.

VLAC (arXiv 2509.15937) asks a vision-language model how much of the remaining task lies between two
frames, and whether the task is complete. `ProgressReward` asks an ensemble of small critics on
frozen features. See `docs/rewards/progress.md` for the equations and for what differs.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.encoders import TextEncoder
from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import Meter, Scores
from embodied.reward_models.features import maps_of, variants_of
from embodied.reward_models.progress_ensemble import Ensemble, Maps, Seen
from embodied.reward_models.progress_fit import Recipe, fit_ensemble
from embodied.reward_models.progress_lessons import Encoded
from embodied.reward_models.progress_value import Verdict, agree, scores_of
from embodied.reward_models.stored_reward import StoredReward
from embodied.types import Clip, FrameEncoder


@final
class ProgressReward(StoredReward):
    """Progress, completion and their uncertainty, learned from a few successes and failures.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies in training.
        text_encoder: Makes a vector of each new instruction, once.
        cameras: Cameras that are looked at.
        members: Critics in the ensemble, each trained on its own bootstrap of the episodes.
        pessimism: Standard deviations that progress is lowered by in the reward.
        discount: Per frame, as the learner's; the reward is a difference of discounted potentials.
        bonus: Paid once, when the clip counts as complete.
        augmentations: Copies of each training clip under another camera pose and light.
        linger: Frames that successes to learn from go on after the task is complete.
        paraphrases: The task in other words, so that it is known by them, too; of one task.
        shuffle_time_labels: A negative control: train on time labels that are mixed up.
        ask_about: A negative control: score every clip as an attempt at this instead.

    Raises:
        BadConfig: without a camera, or with fewer than two members.
    """

    causal = True

    def __init__(
        self,
        encoder: FrameEncoder,
        text_encoder: TextEncoder,
        cameras: Sequence[str] = ("front",),
        *,
        members: int = 5,
        pessimism: float = 1.0,
        discount: float = 0.99,
        bonus: float = 1.0,
        augmentations: int = 2,
        linger: int = 10,
        paraphrases: Sequence[str] = (),
        shuffle_time_labels: bool = False,
        ask_about: str | None = None,
    ) -> None:
        super().__init__()
        if not cameras or members < 2:
            raise BadConfig(
                f"a progress reward needs a camera and two members, not {len(cameras)} and "
                f"{members}."
            )
        self.encoder, self.text_encoder = encoder, text_encoder
        self.cameras = tuple(cameras)
        self.pessimism, self.discount, self.bonus = pessimism, discount, bonus
        self.augmentations, self.linger = augmentations, linger
        self.paraphrases = tuple(paraphrases)
        self.shuffle_time_labels = shuffle_time_labels
        self.ask_about = ask_about
        self.ensemble = Ensemble(
            members, channels=encoder.shape[0], cameras=len(cameras), text=text_encoder.size
        )
        self._texts: dict[str, Tensor] = {}
        self.eval()

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip; features that a clip lacks are computed, all others are used.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the reward is untrained.
        """
        if not clips:
            return []
        maps = [maps_of(clip, self.cameras, self.encoder) for clip in clips]
        joined = [np.concatenate([m[camera] for m in maps]) for camera in range(len(self.cameras))]
        cuts = [len(clip) for clip in clips]
        seen = zip(*(torch.split(frames, cuts) for frames in self.look(joined)), strict=True)
        verdicts = [
            self.judge(own, [frames[:1] for frames in own], self.goal(clip.instruction))
            for own, clip in zip(seen, clips, strict=True)
        ]
        return [
            scores_of(verdict, discount=self.discount, bonus=self.bonus) for verdict in verdicts
        ]

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
        """Train anew on all clips, and calibrate on episodes that a member never saw.

        Args:
            successes: Clips that end with the task complete.
            failures: Clips that never complete it; may be empty, at the price of false accepts.
            distractor_instructions: Sentences that no clip attempts; the clips' own are left out.
            seed: Of the networks, the bootstrap and the augmentation.
            steps: Updates of each member.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            ``loss_<name>`` (means over the last updates and the members), ``accept_threshold`` (the
            evidence from which a single member would accept a clip),
            and ``out_of_bag_false_accepts`` and ``out_of_bag_false_rejects`` (shares).

        Raises:
            BadInput: with fewer than two successes, no distractor, an unusable clip, or with
                paraphrases and clips of several tasks.
        """
        own = {clip.instruction for clip in (*successes, *failures)}
        if self.paraphrases and len(own) > 1:
            raise BadInput(
                "paraphrases are those of one task, the clips attempt several: "
                f"{', '.join(sorted(own))}. Leave the paraphrases out."
            )
        known = {*own, *self.paraphrases}
        wrong = [text for text in dict.fromkeys(distractor_instructions) if text not in known]
        if len(successes) < 2 or not wrong:
            raise BadInput(
                "training needs two successes and one distractor instruction that differs from "
                f"the clips' own, not {len(successes)} and {len(wrong)}."
            )
        rng = np.random.default_rng(seed)
        metrics = fit_ensemble(
            self.ensemble,
            [self._encode_copies(clip, rng) for clip in successes],
            [self._encode_copies(clip, rng) for clip in failures],
            self._vectors(wrong),
            self._vectors(self.paraphrases),
            Recipe(
                steps=steps,
                seed=seed,
                linger=self.linger,
                shuffle_time_labels=self.shuffle_time_labels,
                report=progress_callback,
            ),
        )
        self.version += 1
        return metrics

    def identity(self) -> dict[str, Any]:
        """The encoders, the cameras and the number of members."""
        return {
            "encoder": self.encoder.fingerprint,
            "text_encoder": self.text_encoder.fingerprint,
            "cameras": list(self.cameras),
            "members": len(self.ensemble),
        }

    def learned(self) -> dict[str, Any]:
        """The networks, and the vectors of all instructions seen."""
        return {"state": self.state_dict(), "texts": self._texts}

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what `learned` gave; pessimism, discount and bonus stay as constructed."""
        self.load_state_dict(learned["state"])
        self._texts = dict(learned["texts"])

    def meter(self) -> Meter:
        """What says after each frame what `score` would say of it, while an episode runs."""
        from embodied.reward_models.progress_meter import ProgressMeter

        return ProgressMeter(self)

    def goal(self, instruction: str) -> Float[Tensor, " text"]:
        """Vector of the instruction that a clip is scored by."""
        return self.text(self.ask_about or instruction)

    def text(self, instruction: str) -> Float[Tensor, " text"]:
        """Vector of an instruction, made once."""
        if instruction not in self._texts:
            vector = np.array(self.text_encoder.encode(instruction), np.float32)
            self._texts[instruction] = torch.from_numpy(vector)
        return self._texts[instruction]

    def look(self, maps: Maps) -> Seen:
        """What each member sees in the frames of each camera.

        Raises:
            BadConfig: if the reward is untrained.
        """
        if self.version == 0:
            raise BadConfig("the progress reward is untrained; call fit or load first.")
        return self.ensemble.look(maps)

    def judge(self, seen: Seen, first: Seen, goal: Float[Tensor, " text"]) -> Verdict:
        """What the ensemble says of frames, given what it saw in the first frame of the clip."""
        opinions = self.ensemble.judge(seen, first, goal)
        return agree(opinions, self.pessimism, self.ensemble.success.numpy())

    def _encode_copies(self, clip: Clip, rng: np.random.Generator) -> Encoded:
        variants = variants_of(clip, self.cameras, self.encoder, self.augmentations, rng)
        return Encoded(variants=variants, text=self.text(clip.instruction))

    def _vectors(self, texts: Sequence[str]) -> Float[Tensor, "sentence text"]:
        return (
            torch.stack([self.text(text) for text in texts])
            if texts
            else torch.zeros(0, self.text_encoder.size)
        )
