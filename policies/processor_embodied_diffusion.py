"""LeRobot's processors around our diffusion policy: they batch, and normalise nothing."""

from typing import Any

from lerobot.processor import make_default_pre_post_processors

from embodied.policies.configuration_embodied_diffusion import EmbodiedDiffusionConfig


def make_embodied_diffusion_pre_post_processors(
    config: EmbodiedDiffusionConfig, dataset_stats: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """Pre- and post-processor; statistics are not used, for the policy holds its own."""
    return make_default_pre_post_processors(config, None)  # type: ignore[no-any-return]
