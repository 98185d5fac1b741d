"""A progress reward that is shown how it is done: one demonstration, of a task it never learned.

VLAC's in-context form (arXiv 2509.15937), small enough to train in minutes on one core. Trained on
several tasks, each time beside another demonstration, it judges attempts at an unseen task by one
demonstration of it, without training. See `docs/rewards/reference_critic.md`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.encoders import TextEncoder
from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import Scores
from embodied.reward_models.features import maps_of, variants_of
from embodied.reward_models.progress_fit import Recipe
from embodied.reward_models.progress_lessons import Encoded
from embodied.reward_models.progress_value import agree, scores_of
from embodied.reward_models.reference_ensemble import InContextEnsemble, Reference
from embodied.reward_models.reference_fit import (
    Known,
    calibrate_on,
    fit_ensemble,
    reference_of,
)
from embodied.reward_models.stored_reward import StoredReward
from embodied.types import Clip, FrameEncoder


@final
class ReferenceCritic(StoredReward):
    """Progress, completion and their uncertainty, beside a demonstration of the task.

    A clip is judged beside the first of its own `references`, else beside the demonstration that is
    remembered for its instruction, else beside the one whose sentence is nearest: what the
    sentences differ by tells a paraphrase from another task. Beside none if none is remembered.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies in training.
        text_encoder: Makes a vector of each new instruction, once.
        cameras: Cameras that are looked at.
        members: Critics in the ensemble.
        pessimism: Standard deviations that progress is lowered by in the reward.
        discount: Per frame, as the learner's; the reward is a difference of discounted potentials.
        bonus: Paid once, when the clip counts as complete.
        augmentations: Copies of each training clip under another camera pose and light.
        linger: Frames that demonstrations go on after the task is complete.
        trained: File of a reward that was trained on other tasks. `fit` then trains no network:
            it remembers the first success of each instruction. Where it is given failures, too, it
            calibrates on the clips what counts as a success.

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
        augmentations: int = 0,
        linger: int = 10,
        trained: str | None = None,
    ) -> None:
        super().__init__()
        if not cameras or members < 2:
            raise BadConfig(
                f"a reference critic needs a camera and two members, not {len(cameras)} and "
                f"{members}."
            )
        self.encoder, self.text_encoder = encoder, text_encoder
        self.cameras = tuple(cameras)
        self.pessimism, self.discount, self.bonus = pessimism, discount, bonus
        self.augmentations, self.linger = augmentations, linger
        self.trained = trained
        self.ensemble = InContextEnsemble(
            members, channels=encoder.shape[0], cameras=len(cameras), text=text_encoder.size
        )
        self._references: dict[str, Reference] = {}
        self._texts: dict[str, Tensor] = {}
        self.eval()

    @property
    def remembered(self) -> tuple[str, ...]:
        """Instructions of which a demonstration is remembered."""
        return tuple(self._references)

    def add_reference(self, clip: Clip) -> None:
        """Judge attempts at the clip's instruction beside this demonstration from now on.

        Args:
            clip: A success that goes on for `linger` frames after the task is complete.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
        """
        self._references[clip.instruction] = self._reference(clip)

    def forget_references(self) -> None:
        """Judge clips that come without a reference by their instruction alone from now on."""
        self._references = {}

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip; features that a clip lacks are computed, all others are used.

        Raises:
            BadInput: for a clip, or a reference of it, that cannot be scored, saying why.
            BadConfig: if the reward is untrained.
        """
        if self.version == 0:
            raise BadConfig("the reference critic is untrained; call fit or load first.")
        return [self._score(clip) for clip in clips]

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
        """Train anew on all clips, calibrate, and remember a demonstration of each instruction.

        Clips with the same instruction are attempts at the same task.

        Args:
            successes: Clips that end with the task complete; of several tasks, if unseen ones are
                to be judged.
            failures: Clips that never complete it; may be empty, at the price of false accepts.
            distractor_instructions: Sentences that no clip attempts; the clips' own are left out.
            seed: Of the networks, the bootstrap and the augmentation.
            steps: Updates of each member.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            As the progress reward's; with and without a reference each loss has a name of its own.
            There are no losses if the reward comes `trained`.

        Raises:
            BadInput: with fewer than two successes, no distractor, or an unusable clip.
            CorruptFile, BadConfig: if the `trained` file is damaged, or of another build.
        """
        if self.trained is not None:
            self.load(Path(self.trained))
            metrics = self._calibrate(successes, failures)
        else:
            recipe = Recipe(
                steps=steps,
                seed=seed,
                linger=self.linger,
                shuffle_time_labels=False,
                report=progress_callback,
            )
            metrics = self._train(successes, failures, distractor_instructions, recipe)
        for clip in reversed(successes):
            self.add_reference(clip)
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
        """The networks, the demonstrations and the vectors of all instructions seen."""
        references = {
            text: [torch.from_numpy(camera) for camera in reference.maps]
            for text, reference in self._references.items()
        }
        return {"state": self.state_dict(), "references": references, "texts": self._texts}

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what `learned` gave."""
        self.load_state_dict(learned["state"])
        self._texts = dict(learned["texts"])
        self._references = {
            text: Reference(maps=[camera.numpy() for camera in maps], text=self._texts[text])
            for text, maps in learned["references"].items()
        }

    def _score(self, clip: Clip) -> Scores:
        maps = maps_of(clip, self.cameras, self.encoder)
        if clip.references:
            reference: Reference | None = self._reference(clip.references[0])
        else:
            reference = self._remembered(clip.instruction)
        opinions = self.ensemble.judge(maps, self._text(clip.instruction), reference)
        verdict = agree(opinions, self.pessimism, self.ensemble.success.numpy())
        return scores_of(verdict, discount=self.discount, bonus=self.bonus)

    def _remembered(self, instruction: str) -> Reference | None:
        """The instruction's own demonstration, else that of the nearest sentence."""
        if instruction in self._references or not self._references:
            return self._references.get(instruction)
        text = self._text(instruction)
        return min(self._references.values(), key=lambda known: float((known.text - text).norm()))

    def _reference(self, clip: Clip) -> Reference:
        maps = maps_of(clip, self.cameras, self.encoder)
        return reference_of(maps, self._text(clip.instruction), self.linger)

    def _calibrate(self, successes: Sequence[Clip], failures: Sequence[Clip]) -> dict[str, float]:
        """On clips that no member ever saw; without failures everything stays as it is."""
        if not failures or len(successes) < 2:
            return {}
        known = self._known(successes, failures, 0, np.random.default_rng(0))
        unseen = np.zeros((len(self.ensemble), len(known.clips)))
        return calibrate_on(self.ensemble, known, unseen, self.linger)

    def _train(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        distractors: Sequence[str],
        recipe: Recipe,
    ) -> dict[str, float]:
        own = {clip.instruction for clip in (*successes, *failures)}
        wrong = [text for text in dict.fromkeys(distractors) if text not in own]
        if len(successes) < 2 or not wrong:
            raise BadInput(
                "training needs two successes and one distractor instruction that differs from "
                f"the clips' own, not {len(successes)} and {len(wrong)}."
            )
        rng = np.random.default_rng(recipe.seed)
        known = self._known(successes, failures, self.augmentations, rng)
        self._references = {}
        wrong_texts = torch.stack([self._text(text) for text in wrong])
        return fit_ensemble(self.ensemble, known, wrong_texts, recipe)

    def _known(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        copies: int,
        rng: np.random.Generator,
    ) -> Known:
        clips = (*successes, *failures)
        own = list(dict.fromkeys(clip.instruction for clip in clips))
        return Known(
            clips=[
                Encoded(
                    variants=variants_of(clip, self.cameras, self.encoder, copies, rng),
                    text=self._text(clip.instruction),
                )
                for clip in clips
            ],
            success=[True] * len(successes) + [False] * len(failures),
            task=[own.index(clip.instruction) for clip in clips],
        )

    def _text(self, instruction: str) -> Float[Tensor, " text"]:
        """Vector of an instruction, made once."""
        if instruction not in self._texts:
            vector = np.array(self.text_encoder.encode(instruction), np.float32)
            self._texts[instruction] = torch.from_numpy(vector)
        return self._texts[instruction]
