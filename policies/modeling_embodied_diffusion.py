"""Our diffusion policy as LeRobot runs it: from pixels, with the frozen encoder inside."""

import importlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor, nn

from embodied.errors import BadConfig, BadInput
from embodied.policies.attribute_diffusion import AttributeDiffusion
from embodied.policies.base import DenoisingPolicy, Examples, Policy
from embodied.policies.best_of_n import BestOfN
from embodied.policies.configuration_embodied_diffusion import Base, EmbodiedDiffusionConfig
from embodied.policies.diffusion import DiffusionPolicy
from embodied.policies.dsrl import SteeredPolicy
from embodied.policies.lerobot_diffusion import LeRobotDiffusion
from embodied.types import IMAGES, STATE, FrameEncoder

BASES: dict[Base, type[DiffusionPolicy | AttributeDiffusion | LeRobotDiffusion]] = {
    "diffusion": DiffusionPolicy,
    "attribute_diffusion": AttributeDiffusion,
    "lerobot_diffusion": LeRobotDiffusion,
}


class EmbodiedDiffusionPolicy(PreTrainedPolicy):  # type: ignore[misc]
    """A policy of ours, seen as a LeRobot policy.

    Raises:
        BadConfig: if the encoder that its configuration names is not the one it was trained with.
    """

    config_class = EmbodiedDiffusionConfig
    name = "embodied_diffusion"

    def __init__(self, config: EmbodiedDiffusionConfig, **_: Any) -> None:
        super().__init__(config)
        config.validate_features()
        self.encoder = build_encoder(config.encoder)
        check_encoder(self.encoder, config.encoder_fingerprint)
        self.base: DenoisingPolicy = BASES[config.base](**config.settings)
        self.policy: Policy = self.base
        if config.reach is not None:
            self.policy = SteeredPolicy(self.base, reach=config.reach)
        elif config.candidates is not None:
            self.policy = BestOfN(self.base, candidates=config.candidates)
        self.reset()

    def reset(self) -> None:
        """Forget the rest of the present chunk."""
        self._queue: deque[Float[Tensor, "batch action"]] = deque()

    def get_optim_params(self) -> list[nn.Parameter]:
        """All of them."""
        return list(self.base.parameters())

    def forward(self, batch: dict[str, Any]) -> tuple[Float[Tensor, ""], None]:
        """Denoising loss of a batch of chunks."""
        padded = batch.get("action_is_pad", torch.zeros(batch["action"].shape[:2]))
        examples = Examples(
            features=self._see(batch),
            state=batch[STATE],
            action=batch["action"],
            valid=~padded.bool(),
        )
        return self.base.loss(examples, torch.default_generator).mean(), None

    @torch.no_grad()
    def predict_action_chunk(
        self, batch: dict[str, Any], noise: Float[Tensor, "batch chunk action"] | None = None
    ) -> Float[Tensor, "batch chunk action"]:
        """A chunk in the environment's units, without exploration, or from a noise that is given.

        Raises:
            BadInput: for a missing camera.
        """
        features, state = self._see(batch), batch[STATE]
        if noise is not None:
            return self.base.denoise(noise, self.base.condition(features, state))
        return self.policy.act(features, state, torch.default_generator, explore=0.0).action

    @torch.no_grad()
    def select_action(
        self, batch: dict[str, Any], noise: Float[Tensor, "batch chunk action"] | None = None
    ) -> Float[Tensor, "batch action"]:
        """The next action of the chunk; a new one is made when it is used up."""
        if not self._queue:
            chunk = self.predict_action_chunk(batch, noise)
            self._queue.extend(rearrange(chunk, "b chunk action -> chunk b action"))
        return self._queue.popleft()

    def _see(
        self, batch: Mapping[str, Any]
    ) -> dict[str, Float[Tensor, "batch channel row column"]]:
        """Features of LeRobot's pictures, which are floats in [0, 1] with the channel first."""
        features = {}
        for camera in self.config.settings["cameras"]:
            if IMAGES + camera not in batch:
                held = ", ".join(name for name in batch if name.startswith(IMAGES)) or "none"
                raise BadInput(f"the policy needs {IMAGES}{camera}; it got {held}.")
            pixels = rearrange(batch[IMAGES + camera], "b c h w -> b h w c")
            frames = (pixels * 255.0).round().clamp(0.0, 255.0).to(torch.uint8).cpu().numpy()
            maps = self.encoder.encode(frames)
            features[camera] = torch.from_numpy(maps.astype(np.float32)).to(pixels.device)
        return features


def build_encoder(settings: Mapping[str, Any]) -> FrameEncoder:
    """The frozen encoder that a checkpoint names.

    Raises:
        BadConfig: if it does not come from `embodied`, or cannot be built.
    """
    arguments = dict(settings)
    target = str(arguments.pop("_target_", ""))
    module, _, name = target.rpartition(".")
    if not module.startswith("embodied."):
        raise BadConfig(
            f"the encoder's _target_ is '{target}'; a checkpoint may only name one of `embodied`, "
            "such as embodied.encoders.EfficientNetLite."
        )
    try:
        encoder = getattr(importlib.import_module(module), name)(**arguments)
    except (ImportError, AttributeError, TypeError) as error:
        raise BadConfig(f"the encoder {target} cannot be built: {error}.") from error
    if not isinstance(encoder, FrameEncoder):
        raise BadConfig(f"{target} is no image encoder.")
    return encoder


def check_encoder(encoder: FrameEncoder, fingerprint: str) -> None:
    """Refuse an encoder whose features the policy does not know.

    Raises:
        BadConfig: naming both.
    """
    if encoder.fingerprint != fingerprint:
        raise BadConfig(
            f"the policy was trained on features of the encoder {fingerprint}, "
            f"not {encoder.fingerprint}."
        )
