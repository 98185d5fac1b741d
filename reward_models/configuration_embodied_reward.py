"""LeRobot's configuration of a reward of ours, registered as ``embodied_reward``.

The three files ``{configuration,modeling,processor}_embodied_reward.py`` follow LeRobot's naming
rules: once this one is imported, LeRobot's factories find the other two.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from lerobot.configs.rewards import RewardModelConfig

from embodied.errors import BadConfig
from embodied.types import IMAGES


@RewardModelConfig.register_subclass("embodied_reward")
@dataclass
class EmbodiedConfig(RewardModelConfig):  # type: ignore[misc]
    """All that is needed to build the reward; what it has learned is stored beside it."""

    reward: dict[str, Any] = field(default_factory=dict)
    """``_target_`` and arguments of the reward, as in ``conf/reward``."""
    cameras: list[str] = field(default_factory=list)
    """Cameras that it looks at."""
    output: Literal["progress", "success"] = "progress"
    """What `compute_reward` returns of the last frame: progress, or 1 for a success and else 0."""
    frames: int = 8
    """Frames up to the present one that a dataset hands over."""

    @property
    def observation_delta_indices(self) -> list[int]:
        """The frames that lead to the present one."""
        return list(range(1 - self.frames, 1))

    def validate_features(self) -> None:
        """Refuse a dataset that lacks a camera.

        Raises:
            BadConfig: naming the feature.
        """
        for camera in self.cameras:
            if IMAGES + camera not in self.input_features:
                held = ", ".join(self.input_features) or "none"
                raise BadConfig(f"the reward needs the feature {IMAGES}{camera}; there are {held}.")
