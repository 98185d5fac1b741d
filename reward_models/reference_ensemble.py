"""The ensemble of reference critics: what each member says of each frame beside a demonstration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from embodied.reward_models.progress_ensemble import CriticEnsemble, Maps, two_readings
from embodied.reward_models.progress_value import Opinions
from embodied.reward_models.reference_attention import InContextCritic


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A demonstration that is looked at."""

    maps: Maps
    """Features of its `TOKENS` frames, per camera."""
    text: Float[Tensor, " text"]
    """Of its own instruction."""


@final
class InContextEnsemble(CriticEnsemble[InContextCritic]):
    """The critics that are shown a demonstration, calibrated on tasks that a member never saw."""

    @staticmethod
    def critic(channels: int, cameras: int, text: int) -> InContextCritic:
        """A new member."""
        return InContextCritic(channels, cameras, text)

    def judge(
        self,
        maps: Maps,
        text: Float[Tensor, " text"],
        reference: Reference | None,
        chosen: Sequence[int] | None = None,
    ) -> Opinions:
        """What members say of the frames of one clip.

        Args:
            maps: Features of the frames.
            text: Vector of the instruction.
            reference: A demonstration to look at, if there is one.
            chosen: Members that are asked; all of them by default.
        """
        asked = range(len(self)) if chosen is None else chosen
        with torch.inference_mode():
            frames = self.standardised(maps)
            tokens = None if reference is None else self.standardised(reference.maps)
            own = repeat(text, "text -> time text", time=len(maps[0]))
            shown = None if reference is None else reference.text.expand(len(own), -1)
            said = []
            for member in asked:
                critic = self.members[member]
                look = None if tokens is None else critic.look(tokens)
                vectors = critic.relate(critic.look(frames), look)
                said.append(_opinion(critic, vectors, own, shown))
            return self.opinions(*zip(*said, strict=True))


def _opinion(
    critic: InContextCritic,
    vectors: Float[Tensor, "time width"],
    text: Float[Tensor, "time text"],
    shown: Float[Tensor, "time text"] | None,
) -> tuple[Float[np.ndarray, " time"], Float[Tensor, " time"]]:
    """One member's value and done logit of each frame, read as the progress critic's."""
    goal = critic.goal(text, shown)
    absolute = critic.value(vectors, goal).clamp(0, 1).numpy()
    since = critic.delta(vectors[:1].expand(len(vectors), -1), vectors, goal).numpy()
    return two_readings(absolute, absolute[:1], since), critic.done(vectors, goal)
