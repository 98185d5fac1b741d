"""A diffusion policy over action chunks, on the feature maps of a frozen encoder.

Diffusion Policy (Chi et al., arXiv 2303.04137) with a network small enough for two CPU cores: the
frozen maps are read through learned spatial keypoints, a multi-layer perceptron predicts the noise
(DDPM, cosine schedule), and deterministic DDIM steps sample. Deterministic sampling makes the chunk
a function of its first noise, which is what DSRL steers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from embodied.errors import BadInput
from embodied.policies.base import Chunk, DenoisingPolicy, Examples

CONDITION = 128
"""Width of the vector that an observation is summed up in."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Finds the noise in normalised chunks (batch, chunk, action) at their steps (batch)."""


class Keypoints(nn.Module):
    """Where in the picture each of a few learned patterns is: soft-argmax over a feature map."""

    def __init__(self, channels: int, rows: int, columns: int, points: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(channels))
        self.scale = nn.Buffer(torch.ones(channels))
        self.pattern = nn.Linear(channels, points)
        down, right = torch.linspace(-1.0, 1.0, rows), torch.linspace(-1.0, 1.0, columns)
        grid = torch.stack(torch.meshgrid(down, right, indexing="ij"), -1)
        self.place = nn.Buffer(rearrange(grid, "row column xy -> (row column) xy"))

    def forward(
        self, features: Float[Tensor, "batch channel row column"]
    ) -> Float[Tensor, "batch coordinate"]:
        """Two coordinates of each pattern, in [-1, 1]."""
        weight = self.pattern.weight / self.scale  # standardises the channels on the way
        bias = self.pattern.bias - weight @ self.mean
        pixels = rearrange(features, "b channel row column -> b (row column) channel")
        match = functional.linear(pixels.float(), weight, bias).softmax(1)
        points = torch.einsum("b n k, n a -> b k a", match, self.place)
        return rearrange(points, "b k a -> b (k a)")


@final
class DiffusionPolicy(DenoisingPolicy):
    """Denoises a chunk of actions, given feature maps and proprioception.

    Args:
        cameras: Cameras whose features it looks at.
        feature_shape: Channels, rows, columns of one camera's features.
        state_size: Dimensions of the proprioceptive state.
        action_low: Least value of each action dimension, in the environment's units.
        action_high: Greatest value of each.
        chunk: Actions predicted, and executed, at a time.
        steps: Denoising steps.
        keypoints: Patterns that are looked for in each camera's maps.
        width: Of the hidden layers.
        certainty: What the first noise is multiplied by when not exploring, in [0, 1]: less noise,
            more of the most likely behaviour. The whole noise is for full exploration.
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
        keypoints: int = 32,
        width: int = 256,
        certainty: float = 0.5,
    ) -> None:
        super().__init__()
        self.settings = {
            "cameras": list(cameras), "feature_shape": list(feature_shape),
            "state_size": state_size, "action_low": [float(low) for low in action_low],
            "action_high": [float(high) for high in action_high], "chunk": chunk, "steps": steps,
            "keypoints": keypoints, "width": width, "certainty": certainty,
        }  # fmt: skip
        """The constructor's arguments, as a checkpoint stores them."""
        self.cameras, self.chunk, self.steps = tuple(cameras), chunk, steps
        self.action_size, self.condition_size = len(action_low), CONDITION
        self.certainty = certainty
        self.low = nn.Buffer(torch.tensor(action_low, dtype=torch.float32))
        self.high = nn.Buffer(torch.tensor(action_high, dtype=torch.float32))
        self.state_mean = nn.Buffer(torch.zeros(state_size))
        self.state_scale = nn.Buffer(torch.ones(state_size))
        channels, rows, columns = feature_shape
        self.eyes = nn.ModuleList(Keypoints(channels, rows, columns, keypoints) for _ in cameras)
        seen = 2 * keypoints * len(self.cameras) + state_size
        self.summary = nn.Sequential(nn.Linear(seen, CONDITION), nn.LayerNorm(CONDITION), nn.Tanh())
        self.step_code = nn.Embedding(steps, 32)
        size = chunk * self.action_size
        self.network = nn.Sequential(
            nn.Linear(size + 32 + CONDITION, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, size),
        )  # fmt: skip
        self.signal = nn.Buffer(_cosine_schedule(steps))
        """Share of the clean chunk's variance that is left after each noising step."""

    def fit_statistics(self, examples: Examples) -> None:
        """Take the scales of features and state from the demonstrations."""
        for camera, eye in zip(self.cameras, self.eyes, strict=True):
            maps = examples.features[camera].float()
            eye.get_buffer("mean").copy_(maps.mean((0, 2, 3)))
            eye.get_buffer("scale").copy_(maps.std((0, 2, 3)) + 1e-3)
        self.state_mean.copy_(examples.state.mean(0))
        self.state_scale.copy_(examples.state.std(0) + 1e-2)

    def condition(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch condition"]:
        """What the policy knows of an observation."""
        missing = [camera for camera in self.cameras if camera not in features]
        if missing:
            raise BadInput(
                f"the policy needs camera '{missing[0]}'; it got {', '.join(features) or 'none'}."
            )
        points = [
            eye(features[camera]) for camera, eye in zip(self.cameras, self.eyes, strict=True)
        ]
        body = (state - self.state_mean) / self.state_scale
        summary: Tensor = self.summary(torch.cat([*points, body], 1))
        return summary

    def loss(
        self,
        examples: Examples,
        generator: torch.Generator,
    ) -> Float[Tensor, " batch"]:
        """Error of the predicted noise of each chunk; padded steps do not count."""
        clean = self._normalise(examples.action)
        step = torch.randint(self.steps, (len(clean),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        signal = rearrange(self.signal[step], "b -> b 1 1")
        noisy = signal.sqrt() * clean + (1.0 - signal).sqrt() * noise
        found = self.noise_in(noisy, step, self.condition(examples.features, examples.state))
        error = (found - noise).square().mean(2)
        valid = examples.valid.float()
        return (error * valid).sum(1) / valid.sum(1).clamp(min=1.0)

    def denoise(
        self,
        noise: Float[Tensor, "batch chunk action"],
        condition: Float[Tensor, "batch condition"],
    ) -> Float[Tensor, "batch chunk action"]:
        """The chunk, in the environment's units, that DDIM makes of a noise; no randomness."""
        return self.denoise_by(lambda chunk, step: self.noise_in(chunk, step, condition), noise)

    def denoise_by(
        self, noise_in: Denoiser, noise: Float[Tensor, "batch chunk action"]
    ) -> Float[Tensor, "batch chunk action"]:
        """The same, with another's prediction of the noise in a chunk at a step."""
        chunk = noise
        for number in reversed(range(self.steps)):
            found = noise_in(chunk, torch.full((len(noise),), number))
            kept = self.signal[number]
            clean = ((chunk - (1.0 - kept).sqrt() * found) / kept.sqrt()).clamp(-1.0, 1.0)
            found = (chunk - kept.sqrt() * clean) / (1.0 - kept).sqrt()
            less = self.signal[number - 1] if number else torch.ones(())
            chunk = less.sqrt() * clean + (1.0 - less).sqrt() * found
        action = self.low + (chunk.clamp(-1.0, 1.0) + 1.0) / 2.0 * (self.high - self.low)
        return action.clamp(self.low, self.high)  # the line above rounds

    @torch.no_grad()
    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """Sample a chunk from noise of scale ``certainty`` to 1, the more the bolder."""
        noise = self.draw(len(state), generator, explore=explore)
        return Chunk(action=self.denoise(noise, self.condition(features, state)), noise=noise)

    def draw(
        self, batch: int, generator: torch.Generator, *, explore: float
    ) -> Float[Tensor, "batch chunk action"]:
        """First noise, as bold as it is told."""
        noise = torch.randn(batch, self.chunk, self.action_size, generator=generator)
        return (self.certainty + explore * (1.0 - self.certainty)) * noise

    def _normalise(
        self, action: Float[Tensor, "batch chunk action"]
    ) -> Float[Tensor, "batch chunk action"]:
        return ((action - self.low) / (self.high - self.low) * 2.0 - 1.0).clamp(-1.0, 1.0)

    def noise_in(
        self,
        noisy: Float[Tensor, "batch chunk action"],
        step: Int[Tensor, " batch"],
        condition: Float[Tensor, "batch condition"],
    ) -> Float[Tensor, "batch chunk action"]:
        """The noise that the network finds in normalised chunks."""
        flat = rearrange(noisy, "b chunk action -> b (chunk action)")
        found = self.network(torch.cat([flat, self.step_code(step), condition], 1))
        unflat: Tensor = rearrange(found, "b (chunk action) -> b chunk action", chunk=self.chunk)
        return unflat


def clone(
    policy: DenoisingPolicy,
    examples: Examples,
    *,
    steps: int = 1500,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress_callback: Callable[[float], None] | None = None,
) -> dict[str, float]:
    """Behaviour-clone a policy in place from chunks of demonstrations.

    Args:
        policy: Gets its statistics from the examples, too.
        examples: All chunks of the demonstrations.
        steps: Updates, with a learning rate that falls to 0 along a cosine.
        batch_size: Chunks per update.
        learning_rate: At the start.
        seed: Of batches and noise.
        progress_callback: Is told the share of the work that is done, in [0, 1].

    Returns:
        ``clone_loss``, the mean over the last tenth of the updates.
    """
    policy.fit_statistics(examples)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), learning_rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for step in range(steps):
        pick = torch.randint(len(examples), (batch_size,), generator=generator)
        loss = policy.loss(examples.take(pick), generator).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress_callback is not None and step % 50 == 0:
            progress_callback(step / steps)
    tail = losses[-max(1, steps // 10) :]
    return {"clone_loss": math.fsum(tail) / len(tail)}


def _cosine_schedule(steps: int) -> Float[Tensor, " steps"]:
    """Nichol & Dhariwal (arXiv 2102.09672), equation 17; some signal is left at the end."""
    time = torch.arange(steps + 1) / steps
    signal = torch.cos((time + 0.008) / 1.008 * math.pi / 2).square()
    return (signal / signal[0])[1:].clamp(min=1e-3)
