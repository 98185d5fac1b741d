"""The ensemble of critics: what each member says of each frame of a clip."""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from embodied.reward_models.progress_critic import Critic
from embodied.reward_models.progress_value import Opinions, mix_f

Maps = Sequence[Float[np.ndarray, "_ channel row column"]]
"""Features of the frames of one clip, one entry per camera."""
Seen = Sequence[Float[Tensor, "_ width"]]
"""What each member sees in each frame."""


class Ensemble(nn.Module):
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
        self.critics = nn.ModuleList(Critic(*self.sizes) for _ in range(members))
        self.mean = nn.Buffer(torch.zeros(cameras, channels))
        self.scale = nn.Buffer(torch.ones(cameras, channels))
        self.calibration = nn.Buffer(torch.tensor([1.0, 0.0]))
        """Slope and offset of the done logits, fitted on episodes that a member never saw."""
        self.success = nn.Buffer(torch.tensor([1.0, 0.0]))
        """The same, from a member's evidence to the probability of success."""

    def __len__(self) -> int:
        return len(self.critics)

    @property
    def members(self) -> list[Critic]:
        """The critics, in order."""
        return [critic for critic in self.critics if isinstance(critic, Critic)]

    def look(self, maps: Maps) -> Seen:
        """What each member sees in the frames of each camera."""
        with torch.inference_mode():
            standard = [
                standardise(camera, mean, scale)
                for camera, mean, scale in zip(maps, self.mean, self.scale, strict=True)
            ]
            return [critic.look(standard) for critic in self.members]

    def judge(
        self,
        seen: Seen,
        first: Seen,
        text: Float[Tensor, " text"],
        chosen: Sequence[int] | None = None,
    ) -> Opinions:
        """What members say of frames that they have seen.

        Args:
            seen: What each member sees in the frames.
            first: The same for the first frame of the clip that they belong to.
            text: Vector of the instruction.
            chosen: Members that are asked; all of them by default.
        """
        asked = range(len(self)) if chosen is None else chosen
        with torch.inference_mode():
            said = [
                _opinion(self.members[m], seen[m], first[m], text, self.calibration) for m in asked
            ]
        return Opinions(
            value=np.stack([value for value, _ in said]), done=np.stack([done for _, done in said])
        )


def standardise(
    maps: Float[np.ndarray, "time channel row column"],
    mean: Float[Tensor, " channel"],
    scale: Float[Tensor, " channel"],
) -> Float[Tensor, "time row column channel"]:
    """Features with mean 0 and deviation 1 per channel, as float32, channels last."""
    channels_last = np.ascontiguousarray(rearrange(maps, "t c row col -> t row col c"), np.float32)
    return (torch.from_numpy(channels_last) - mean) / scale


def _opinion(
    critic: Critic,
    seen: Float[Tensor, "time width"],
    first: Float[Tensor, "1 width"],
    text: Float[Tensor, " text"],
    calibration: Float[Tensor, "2"],
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """One member's value and done probability of each frame.

    The value is the mean of two readings: the delta from the imagined first frame, and the delta
    from the clip's own first frame, integrated from where that one stands.
    """
    texts = repeat(text, "text -> time text", time=len(seen))
    anchor = repeat(first, "1 width -> time width", time=len(seen))
    absolute = critic.value(seen, texts).clamp(0, 1).numpy()
    start = critic.value(first, texts[:1]).clamp(0, 1).numpy()
    since = critic.delta(anchor, seen, texts).numpy()
    anchored = mix_f(np.broadcast_to(start, since.shape), since)
    done = (calibration[0] * critic.done(seen, texts) + calibration[1]).sigmoid().numpy()
    return (absolute + anchored) / 2, done
