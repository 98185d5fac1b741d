"""A reward of ours as LeRobot asks it: a batch of pictures in, one number for each."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from lerobot.rewards.pretrained import PreTrainedRewardModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import TrainableReward
from embodied.reward_models.configuration_embodied_reward import EmbodiedConfig
from embodied.types import IMAGES, Clip

WEIGHTS = "model.safetensors"
OWN_FILE = "reward_file"
"""The one tensor in it: the bytes of the file that the reward itself writes and checks."""


class EmbodiedRewardModel(PreTrainedRewardModel):  # type: ignore[misc]
    """A reward of ours, seen as a LeRobot reward model. It is trained by `embodied train`.

    Raises:
        BadConfig: if the configuration names something else than a reward of `embodied`.
    """

    config_class = EmbodiedConfig
    name = "embodied_reward"

    def __init__(self, config: EmbodiedConfig, **_: Any) -> None:
        super().__init__(config)
        self.model = build(config.reward)

    @torch.no_grad()
    def compute_reward(self, batch: dict[str, Any]) -> Float[Tensor, " batch"]:
        """Progress, or success, in the last frame of each clip.

        Args:
            batch: ``observation.images.<camera>`` of shape (batch, time, 3, height, width), two
                frames or more, as uint8 or as floats in [0, 1]; and ``task``, an instruction for
                each clip or one for all.

        Raises:
            BadInput: for a missing camera or instruction, or pictures of another shape.
        """
        clips = self._clips(batch)
        scores = self.model.score(clips)
        success = self.config.output == "success"
        said = [float(s.success) if success else float(s.progress[-1]) for s in scores]
        return torch.tensor(said, device=self.config.device or "cpu")

    def _clips(self, batch: Mapping[str, Any]) -> list[Clip]:
        pictures = {camera: _pixels(batch, camera) for camera in self.model.cameras}
        size = len(next(iter(pictures.values())))
        return [
            Clip(
                frames={camera: frames[number] for camera, frames in pictures.items()},
                features={},
                instruction=text,
            )
            for number, text in enumerate(_instructions(batch, size))
        ]

    def _save_pretrained(self, save_directory: Path) -> None:
        self.config._save_pretrained(save_directory)
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder) / "reward.pt"
            self.model.save(own)
            written = torch.from_numpy(np.fromfile(own, np.uint8))
        save_file({OWN_FILE: written}, save_directory / WEIGHTS)

    @classmethod
    def _load_as_safetensor(
        cls, model: "EmbodiedRewardModel", model_file: str, map_location: str, strict: bool
    ) -> "EmbodiedRewardModel":
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder) / "reward.pt"
            load_file(model_file)[OWN_FILE].numpy().tofile(own)
            model.model.load(own)
        return model


def build(settings: Mapping[str, Any]) -> TrainableReward:
    """The reward that a checkpoint names, untrained.

    Raises:
        BadConfig: if it, or any of its parts, does not come from `embodied`.
    """
    if not settings:
        raise BadConfig(
            "embodied_reward has no settings: LeRobot loads this reward, but it is "
            "`embodied train` that makes one and `embodied export-reward` that writes it."
        )
    for target in _targets(settings):
        if not target.startswith("embodied."):
            raise BadConfig(
                f"the checkpoint names '{target}'; it may only name parts of `embodied`."
            )
    reward = hydra.utils.instantiate(dict(settings))
    if not isinstance(reward, TrainableReward):
        raise BadConfig(f"{settings['_target_']} is no reward.")
    return reward.eval()


def _targets(settings: Any) -> list[str]:
    """Every class or function that building the settings would call."""
    if isinstance(settings, Mapping):
        own = [str(settings["_target_"])] if "_target_" in settings else []
        return own + [found for value in settings.values() for found in _targets(value)]
    if isinstance(settings, Sequence) and not isinstance(settings, str):
        return [found for value in settings for found in _targets(value)]
    return []


def _pixels(
    batch: Mapping[str, Any], camera: str
) -> UInt8[np.ndarray, "batch time height width 3"]:
    if IMAGES + camera not in batch:
        held = ", ".join(name for name in batch if name.startswith(IMAGES)) or "none"
        raise BadInput(f"the reward needs {IMAGES}{camera}; it got {held}.")
    pictures = batch[IMAGES + camera]
    if pictures.ndim != 5 or pictures.shape[2] != 3:
        raise BadInput(
            f"{IMAGES}{camera} has shape {tuple(pictures.shape)}; it must be batch x time x 3 x "
            "height x width."
        )
    if pictures.is_floating_point():
        pictures = (pictures * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)
    return np.asarray(rearrange(pictures, "b t c h w -> b t h w c").cpu().contiguous())


def _instructions(batch: Mapping[str, Any], size: int) -> Sequence[str]:
    task = batch.get("task")
    if isinstance(task, str):
        return [task] * size
    if task is None or len(task) != size:
        found = "none" if task is None else str(len(task))
        raise BadInput(
            f"the batch needs an instruction under 'task' for {size} clips, not {found}."
        )
    return list(task)
