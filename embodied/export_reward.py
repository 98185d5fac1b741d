"""`embodied export-reward`: a run's reward as a reward model that LeRobot loads."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from embodied.first_checks import exported_run
from embodied.job import build_reward

SAVE = "embodied.reward_models.lerobot_checkpoint.save_reward"


def export_reward(cfg: DictConfig, *, output: str = "") -> None:
    """Write the reward of a run as LeRobot keeps its own: ``config.json`` and weights.

    Args:
        cfg: Configuration; ``run`` names the run whose trained reward is written.
        output: Folder, ``<run>/reward_lerobot`` by default.

    Raises:
        BadConfig: without a run.
        BadInput: if the run has no trained reward yet, or the output exists.
    """
    run_dir, target = exported_run(cfg, output=output)
    settings = OmegaConf.to_container(cfg.reward, resolve=True)
    reward, size = build_reward(cfg, run_dir), int(cfg.env.image_size)
    hydra.utils.get_method(SAVE)(reward, target, settings=settings, image_size=size)
    Console().print(_told(target), highlight=False, soft_wrap=True)


def _told(target: Path) -> str:
    return (
        f"{target}: the reward as a LeRobot reward model. To ask it:\n"
        "  import embodied.reward_models.configuration_embodied_reward\n"
        "  from lerobot.configs.rewards import RewardModelConfig\n"
        "  from lerobot.rewards import make_reward_model\n"
        f"  config = RewardModelConfig.from_pretrained('{target}')\n"
        f"  config.pretrained_path = '{target}'\n"
        "  make_reward_model(config).compute_reward(batch)"
    )
