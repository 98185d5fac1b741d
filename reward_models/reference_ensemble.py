"""The ensemble of reference critics: what each member says of each frame beside a demonstration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from embodied.reward_models.progress_ensemble import Maps, standardise
from embodied.reward_models.progress_value import Opinions, mix_f
from embodied.reward_models.reference_attention import InContextCritic


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A demonstration that is looked at."""

    maps: Maps
    """Features of its `TOKENS` frames, per camera."""
    text: Float[Tensor, " text"]
    """Of its own instruction."""


class InContextEnsemble(nn.Module):
    """Critics that share nothing but the statistics of the features.

    Args:
        members: Number of critics.
        channels: Channels of the feature maps.
        cameras: Number of cameras.
        text: Length of an instruction's vector.
    """

    def __init__(self, members: int, *, channels: int, cameras: int, text: int) -> None:
        super().__init__()
        self.sizes = (channels, cameras, text)
        self.critics = nn.ModuleList(InContextCritic(*self.sizes) for _ in range(members))
        self.mean = nn.Buffer(torch.zeros(cameras, channels))
        self.scale = nn.Buffer(torch.ones(cameras, channels))
        self.calibration = nn.Buffer(torch.tensor([1.0, 0.0]))
        """Slope and offset of the done logits, fitted on tasks that a member never saw."""
        self.success = nn.Buffer(torch.tensor([1.0, 0.0]))
        """The same, from a member's evidence to the probability of success."""

    def __len__(self) -> int:
        return len(self.critics)

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
            frames = self._standardised(maps)
            tokens = None if reference is None else self._standardised(reference.maps)
            own = repeat(text, "text -> time text", time=len(maps[0]))
            shown = None if reference is None else reference.text.expand(len(own), -1)
            said = []
            for member in asked:
                critic = self.critics[member]
                assert isinstance(critic, InContextCritic)
                look = None if tokens is None else critic.look(tokens)
                vectors = critic.relate(critic.look(frames), look)
                said.append(_opinion(critic, vectors, own, shown, self.calibration))
        return Opinions(
            value=np.stack([value for value, _ in said]), done=np.stack([done for _, done in said])
        )

    def _standardised(self, maps: Maps) -> list[Float[Tensor, "frame row column channel"]]:
        return [
            standardise(camera, mean, scale)
            for camera, mean, scale in zip(maps, self.mean, self.scale, strict=True)
        ]


def _opinion(
    critic: InContextCritic,
    vectors: Float[Tensor, "time width"],
    text: Float[Tensor, "time text"],
    shown: Float[Tensor, "time text"] | None,
    calibration: Float[Tensor, "2"],
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """One member's value and done probability of each frame.

    As the progress critic's, the value is the mean of two readings: the delta from the imagined
    first frame, and that from the clip's own first frame, integrated from where that one stands.
    """
    goal = critic.goal(text, shown)
    absolute = critic.value(vectors, goal).clamp(0, 1).numpy()
    since = critic.delta(vectors[:1].expand(len(vectors), -1), vectors, goal).numpy()
    anchored = mix_f(np.broadcast_to(absolute[:1], since.shape), since)
    done = (calibration[0] * critic.done(vectors, goal) + calibration[1]).sigmoid().numpy()
    return (absolute + anchored) / 2, done
