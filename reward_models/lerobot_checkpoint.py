"""Writing a reward of ours as a LeRobot reward model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied.durable import folder_written_atomically
from embodied.reward_models.base import TrainableReward
from embodied.types import IMAGES


def save_reward(
    reward: TrainableReward, folder: Path, *, settings: Mapping[str, Any], image_size: int
) -> None:
    """Write configuration, weights and processors; the folder is whole or not there.

    Args:
        reward: Trained.
        folder: Must not exist; the folders above it are made.
        settings: ``_target_`` and arguments that build such a reward, as in ``conf/reward``.
        image_size: Height and width of the pictures that it looks at.

    Raises:
        BadConfig: if the settings name something else than a reward of `embodied`.
        OutOfSpace: ``folder`` is not there.
    """
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.rewards import make_reward_pre_post_processors

    from embodied.reward_models.configuration_embodied_reward import EmbodiedConfig
    from embodied.reward_models.modeling_embodied_reward import EmbodiedRewardModel

    picture = PolicyFeature(FeatureType.VISUAL, (3, image_size, image_size))
    config = EmbodiedConfig(
        reward=dict(settings),
        cameras=list(reward.cameras),
        input_features={IMAGES + camera: picture for camera in reward.cameras},
        device="cpu",
    )
    whole = EmbodiedRewardModel(config)
    whole.model = reward
    with folder_written_atomically(folder) as partial:
        whole.save_pretrained(partial)
        for processor in make_reward_pre_post_processors(config):
            processor.save_pretrained(partial)
