"""LeRobot's processors around a reward of ours: they batch, and change nothing."""

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    policy_action_to_transition,
    transition_to_policy_action,
)
from lerobot.utils.constants import (
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)

from embodied.reward_models.configuration_embodied_reward import EmbodiedConfig


def make_embodied_reward_pre_post_processors(
    config: EmbodiedConfig, dataset_stats: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """Pre- and post-processor; statistics are not used, for the reward holds its own."""
    before = PolicyProcessorPipeline(
        steps=[AddBatchDimensionProcessorStep(), DeviceProcessorStep(device=config.device)],
        name=POLICY_PREPROCESSOR_DEFAULT_NAME,
    )
    after = PolicyProcessorPipeline(
        steps=[DeviceProcessorStep(device="cpu")],
        name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
