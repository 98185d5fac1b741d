"""LeRobot's configuration of our diffusion policy, registered as ``embodied_diffusion``.

The three files ``{configuration,modeling,processor}_embodied_diffusion.py`` follow LeRobot's naming
rules: once this one is imported, LeRobot's factories find the other two.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.optim import AdamWConfig

from embodied.errors import BadConfig
from embodied.types import IMAGES, STATE

Base = Literal["diffusion", "attribute_diffusion", "lerobot_diffusion"]


@PreTrainedConfig.register_subclass("embodied_diffusion")
@dataclass
class EmbodiedDiffusionConfig(PreTrainedConfig):  # type: ignore[misc]
    """All that is needed to build the policy and its encoder; the weights are stored beside it."""

    base: Base = "diffusion"
    """Which denoising policy: `DiffusionPolicy`, `AttributeDiffusion` or `LeRobotDiffusion`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Arguments of its constructor."""
    reach: float | None = None
    """Set where an actor chooses the noise (`SteeredPolicy`): the greatest noise it can choose."""
    candidates: int | None = None
    """Set where a critic chooses among chunks (`BestOfN`): how many are drawn."""
    encoder: dict[str, Any] = field(default_factory=dict)
    """``_target_`` and arguments of the frozen encoder, whose weights are not stored."""
    encoder_fingerprint: str = ""
    """Of the encoder that the policy was trained with."""
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(
            ("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY
        )
    )
    """The policy normalises inside; its statistics are among its weights."""

    @property
    def observation_delta_indices(self) -> None:
        """The policy sees one observation."""
        return None

    @property
    def action_delta_indices(self) -> list[int]:
        """The steps of a chunk."""
        return list(range(self.settings["chunk"]))

    @property
    def reward_delta_indices(self) -> None:
        """Rewards are not read."""
        return None

    def get_optimizer_preset(self) -> AdamWConfig:
        """As `embodied.policies.diffusion.clone` has it."""
        return AdamWConfig(lr=1e-3, weight_decay=1e-4)

    def get_scheduler_preset(self) -> None:
        """A constant learning rate."""
        return None

    def validate_features(self) -> None:
        """Refuse a dataset or environment that lacks what the policy looks at.

        Raises:
            BadConfig: naming the feature.
        """
        if not self.settings:
            raise BadConfig(
                "embodied_diffusion has no settings: LeRobot loads this policy and trains it "
                "further, but it is `embodied train` that makes one."
            )
        for name in (*(IMAGES + camera for camera in self.settings["cameras"]), STATE):
            if name not in self.input_features:
                held = ", ".join(self.input_features) or "none"
                raise BadConfig(f"the policy needs the feature {name}; there are {held}.")
