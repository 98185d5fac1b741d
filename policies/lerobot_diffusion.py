"""LeRobot's own diffusion policy, in the place of ours.

The network, the noise schedule and the checkpoint are LeRobot's (`lerobot.policies.diffusion`): a
ResNet-18 with group norm and spatial softmax per camera, a one-dimensional U-Net over the chunk.
Built without downloads and small enough for a CPU, with deterministic DDIM steps, so that the chunk
is a function of its noise. Its "features" are the frames themselves (`embodied.encoders.Pixels`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from embodied.errors import BadConfig, BadInput
from embodied.policies.base import Chunk, DenoisingPolicy, Examples
from embodied.types import IMAGES, STATE

NARROWEST = 1e-2
"""Least range that a state is scaled from: one that hardly moved must not be blown up."""
EPSILON = 1e-8
"""What LeRobot adds to a standard deviation."""


@final
class LeRobotDiffusion(DenoisingPolicy):
    """Wraps `lerobot.policies.diffusion.DiffusionPolicy`; normalises as its processors do.

    Args:
        cameras: Cameras that it looks at.
        feature_shape: Channels (3), rows, columns of a frame.
        state_size: Dimensions of the proprioceptive state.
        action_low: Least value of each action dimension, in the environment's units.
        action_high: Greatest value of each.
        chunk: Actions predicted, and executed, at a time; a multiple of ``2 ** len(down_dims)``.
        steps: Denoising steps.
        down_dims: Channels of each level of the U-Net.
        keypoints: Of the spatial softmax.

    Raises:
        BadConfig: for a chunk that the U-Net cannot halve, or features that are no frames.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[str],
        feature_shape: Sequence[int],
        state_size: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        chunk: int = 4,
        steps: int = 10,
        down_dims: Sequence[int] = (64, 128),
        keypoints: int = 32,
    ) -> None:
        super().__init__()
        from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

        self.settings = {
            "cameras": list(cameras), "feature_shape": list(feature_shape),
            "state_size": state_size, "action_low": [float(low) for low in action_low],
            "action_high": [float(high) for high in action_high], "chunk": chunk, "steps": steps,
            "down_dims": list(down_dims), "keypoints": keypoints,
        }  # fmt: skip
        """The constructor's arguments, as a checkpoint stores them."""
        self.steps = steps
        if chunk % 2 ** len(down_dims):
            raise BadConfig(
                f"chunk is {chunk}; with {len(down_dims)} down_dims it must be a multiple of "
                f"{2 ** len(down_dims)}."
            )
        if feature_shape[0] != 3:
            raise BadConfig(
                f"LeRobot's diffusion looks at frames, not at {feature_shape[0]} channels of "
                "features; choose encoder=pixels."
            )
        self.cameras, self.chunk = tuple(cameras), chunk
        self.action_size = len(action_low)
        self.condition_size = state_size + 2 * keypoints * len(self.cameras)
        self.low = nn.Buffer(torch.tensor(action_low, dtype=torch.float32))
        self.high = nn.Buffer(torch.tensor(action_high, dtype=torch.float32))
        self.state_low = nn.Buffer(-torch.ones(state_size))
        self.state_high = nn.Buffer(torch.ones(state_size))
        self.colour_mean = nn.Buffer(torch.zeros(len(self.cameras), 3))
        self.colour_scale = nn.Buffer(torch.ones(len(self.cameras), 3))
        self.model = DiffusionPolicy(lerobot_config(self.settings))

    def fit_statistics(self, examples: Examples) -> None:
        """Range of the states; mean and standard deviation of each camera's colours."""
        for number, camera in enumerate(self.cameras):
            frames = examples.features[camera].float() / 255.0
            self.colour_mean[number] = frames.mean((0, 2, 3))
            self.colour_scale[number] = frames.std((0, 2, 3)).clamp(min=NARROWEST)
        self.state_low.copy_(examples.state.amin(0))
        self.state_high.copy_(examples.state.amax(0))
        self.state_high.copy_(torch.maximum(self.state_high, self.state_low + NARROWEST))

    def condition(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch condition"]:
        """LeRobot's global conditioning: state, and keypoints of each camera."""
        missing = [camera for camera in self.cameras if camera not in features]
        if missing:
            raise BadInput(
                f"the policy needs camera '{missing[0]}'; it got {', '.join(features) or 'none'}."
            )
        frames = torch.stack([features[camera].float() for camera in self.cameras], 1) / 255.0
        mean = rearrange(self.colour_mean, "camera c -> camera c 1 1")
        scale = rearrange(self.colour_scale, "camera c -> camera c 1 1") + EPSILON
        body = 2.0 * (state - self.state_low) / (self.state_high - self.state_low) - 1.0
        batch = {
            STATE: rearrange(body, "b state -> b 1 state"),
            "observation.images": rearrange(
                (frames - mean) / scale, "b camera c h w -> b 1 camera c h w"
            ),
        }
        seen: Tensor = self.model.diffusion._prepare_global_conditioning(batch)
        return seen

    def loss(self, examples: Examples, generator: torch.Generator) -> Float[Tensor, " batch"]:
        """Error of the predicted noise of each chunk; padded steps do not count."""
        diffusion = self.model.diffusion
        clean = ((examples.action - self.low) / (self.high - self.low) * 2.0 - 1.0).clamp(-1.0, 1.0)
        noise = torch.randn(clean.shape, generator=generator)
        step = torch.randint(self.steps, (len(clean),), generator=generator)
        noisy = diffusion.noise_scheduler.add_noise(clean, noise, step)
        condition = self.condition(examples.features, examples.state)
        error = (diffusion.unet(noisy, step, global_cond=condition) - noise).square().mean(2)
        valid = examples.valid.float()
        mean: Tensor = (error * valid).sum(1) / valid.sum(1).clamp(min=1.0)
        return mean

    def denoise(
        self,
        noise: Float[Tensor, "batch chunk action"],
        condition: Float[Tensor, "batch condition"],
    ) -> Float[Tensor, "batch chunk action"]:
        """The chunk, in the environment's units, that DDIM makes of a noise; no randomness."""
        chunk: Tensor = self.model.diffusion.conditional_sample(
            len(noise), global_cond=condition, noise=noise
        )
        return ((chunk + 1.0) / 2.0 * (self.high - self.low) + self.low).clamp(self.low, self.high)

    @torch.no_grad()
    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """Sample a chunk; like LeRobot, from the whole noise also when not exploring."""
        noise = torch.randn(len(state), self.chunk, self.action_size, generator=generator)
        return Chunk(action=self.denoise(noise, self.condition(features, state)), noise=noise)

    def save(self, folder: Path) -> None:
        """Write LeRobot's checkpoint: configuration, weights, processors with the statistics."""
        from lerobot.policies.factory import make_pre_post_processors

        self.model.save_pretrained(folder)
        statistics: dict[str, dict[str, Tensor]] = {
            STATE: {"min": self.state_low, "max": self.state_high},
            "action": {"min": self.low, "max": self.high},
        }
        for number, camera in enumerate(self.cameras):
            mean, scale = self.colour_mean[number], self.colour_scale[number]
            statistics[IMAGES + camera] = {
                "mean": rearrange(mean, "c -> c 1 1"),
                "std": rearrange(scale, "c -> c 1 1"),
            }
        for processor in make_pre_post_processors(self.model.config, dataset_stats=statistics):
            processor.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> "LeRobotDiffusion":
        """Inverse of `save`, for checkpoints that were trained by LeRobot, too.

        Raises:
            BadConfig: for a checkpoint of a policy that acts in another way than this class.
        """
        from lerobot.configs import PreTrainedConfig
        from lerobot.policies.factory import make_pre_post_processors
        from lerobot.processor import NormalizerProcessorStep
        from safetensors.torch import load_model

        config = PreTrainedConfig.from_pretrained(folder)
        config.device = "cpu"
        pre, _ = make_pre_post_processors(config, str(folder))
        (step,) = [step for step in pre.steps if isinstance(step, NormalizerProcessorStep)]
        statistics = step._tensor_stats
        policy = cls(**_settings(config, statistics["action"]))
        _check_same(policy.model.config, config)
        load_model(policy.model, folder / "model.safetensors", strict=True)
        policy.state_low.copy_(statistics[STATE]["min"])
        policy.state_high.copy_(statistics[STATE]["max"])
        for number, camera in enumerate(policy.cameras):
            colours = statistics[IMAGES + camera]
            policy.colour_mean[number] = rearrange(colours["mean"], "c 1 1 -> c")
            policy.colour_scale[number] = rearrange(colours["std"], "c 1 1 -> c")
        return policy


def lerobot_config(settings: Mapping[str, Any]) -> Any:
    """LeRobot's configuration of a policy with these settings."""
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

    shape, chunk = tuple(settings["feature_shape"]), settings["chunk"]
    seen = {IMAGES + c: PolicyFeature(FeatureType.VISUAL, shape) for c in settings["cameras"]}
    state = PolicyFeature(FeatureType.STATE, (settings["state_size"],))
    action = PolicyFeature(FeatureType.ACTION, (len(settings["action_low"]),))
    return DiffusionConfig(
        n_obs_steps=1,
        horizon=chunk,
        n_action_steps=chunk,
        drop_n_last_frames=0,
        input_features={**seen, STATE: state},
        output_features={"action": action},
        pretrained_backbone_weights=None,
        use_group_norm=True,
        spatial_softmax_num_keypoints=settings["keypoints"],
        down_dims=tuple(settings["down_dims"]),
        noise_scheduler_type="DDIM",
        num_train_timesteps=settings["steps"],
        device="cpu",
        push_to_hub=False,
    )


def _settings(config: Any, bounds: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "cameras": [name.removeprefix(IMAGES) for name in config.image_features],
        "feature_shape": list(next(iter(config.image_features.values())).shape),
        "state_size": config.robot_state_feature.shape[0],
        "action_low": bounds["min"].tolist(),
        "action_high": bounds["max"].tolist(),
        "chunk": config.n_action_steps,
        "steps": config.num_train_timesteps,
        "down_dims": list(config.down_dims),
        "keypoints": config.spatial_softmax_num_keypoints,
    }


TRAINING_ONLY = ("optimizer_", "scheduler_", "drop_n_", "do_mask_", "device", "use_amp", "push_to")
"""Settings of LeRobot's that do not change how a policy acts, by their beginnings."""


def _check_same(own: Any, stored: Any) -> None:
    import draccus

    ours, theirs = draccus.encode(own), draccus.encode(stored)
    for name in ("repo_id", "private", "tags", "license", "pretrained_path", "pretrained_revision"):
        ours.pop(name, None), theirs.pop(name, None)
    for name, value in theirs.items():
        if not name.startswith(TRAINING_ONLY) and ours.get(name) != value:
            raise BadConfig(
                f"the checkpoint has {name}={value}; a policy that is fine-tuned here needs "
                f"{name}={ours.get(name)}."
            )
