"""What the loop needs from a policy, and from an algorithm that improves one."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from embodied.types import Batch

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Actions to execute one after the other, and the noise that they were denoised from."""

    action: Float[Tensor, "batch chunk action"]
    noise: Float[Tensor, "batch chunk action"]
    """NaN for a policy without noise."""


class Policy(nn.Module, abc.ABC):
    """Acts on frozen features and proprioception."""

    chunk: int
    """Number of actions that are executed before the policy is asked again."""

    @abc.abstractmethod
    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """Sample a chunk, in the environment's units.

        Args:
            features: Of each camera, from the frozen encoder.
            state: Proprioception.
            generator: All randomness comes from here.
            explore: How boldly, in [0, 1]: 0 acts as when it is measured, 1 explores fully.
        """


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Observations and the chunks that followed them: what a policy imitates."""

    features: Mapping[str, Float[Tensor, "batch channel row column"]]
    state: Float[Tensor, "batch state"]
    action: Float[Tensor, "batch chunk action"]
    """In the environment's units."""
    valid: Bool[Tensor, "batch chunk"]
    attributes: Float[Tensor, "batch attribute"] | None = None
    """How strong each attribute of the behaviour is, in [0, 1], and NaN where that is not known;
    None if nothing is known. For policies that are told (`AttributeDiffusion`)."""

    def __len__(self) -> int:
        return len(self.state)

    def take(self, pick: Int[Tensor, " pick"]) -> "Examples":
        """Some of the examples."""
        features = {camera: maps[pick] for camera, maps in self.features.items()}
        state, action, valid = self.state[pick], self.action[pick], self.valid[pick]
        attributes = None if self.attributes is None else self.attributes[pick]
        return Examples(
            features=features, state=state, action=action, valid=valid, attributes=attributes
        )


def examples_of(batch: Batch) -> Examples:
    """The part of a batch that can be imitated."""
    return Examples(
        features=batch.features, state=batch.state, action=batch.action, valid=batch.valid
    )


def effective_samples(weight: Float[Tensor, " batch"]) -> float:
    """(sum w)^2 / sum w^2: how many equal weights would say as much; 0 if all are 0."""
    return float(weight.sum().square() / weight.square().sum().clamp(min=1e-12))


class DenoisingPolicy(Policy):
    """A policy that denoises its chunk: what algorithms for diffusion policies build on."""

    action_size: int
    """Dimensions of one action."""
    condition_size: int
    """Width of the summary of an observation."""

    @abc.abstractmethod
    def fit_statistics(self, examples: Examples) -> None:
        """Take the scales of the inputs from demonstrations, once, before training."""

    @abc.abstractmethod
    def condition(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch condition"]:
        """What the policy knows of an observation.

        Raises:
            BadInput: for a missing camera.
        """

    @abc.abstractmethod
    def loss(self, examples: Examples, generator: torch.Generator) -> Float[Tensor, " batch"]:
        """Denoising error of each chunk."""

    @abc.abstractmethod
    def denoise(
        self,
        noise: Float[Tensor, "batch chunk action"],
        condition: Float[Tensor, "batch condition"],
    ) -> Float[Tensor, "batch chunk action"]:
        """The chunk that a noise becomes, in the environment's units."""


@runtime_checkable
class TakesTarget(Protocol):
    """A policy that acts towards what it was told, and not as its loss alone taught it."""

    attributes: tuple[str, ...]
    """Of what it does: names."""

    @property
    def target(self) -> dict[str, float]:
        """How strong each attribute should be, in [0, 1]; others are left to the policy.

        Raises:
            UnknownName: on being set, for an attribute that there is not.
            BadInput: on being set, for a strength outside of [0, 1].
        """
        ...

    @target.setter
    def target(self, strengths: Mapping[str, float]) -> None: ...


class Algorithm(abc.ABC):
    """Improves a policy from labelled experience. Never calls an environment or a reward model."""

    @abc.abstractmethod
    def update(self, batches: list[Batch]) -> dict[str, float]:
        """One update; ``batches`` holds as many batches as `batches_per_update`.

        Returns:
            Metrics by name, without those that this update has no value for: a NaN is one that
            went wrong.
        """

    @abc.abstractmethod
    def acting_policy(self) -> Policy:
        """A new copy of the policy that acts; `weights` fit it, and it shares nothing."""

    @abc.abstractmethod
    def weights(self) -> Weights:
        """What an actor loads into its copy of the policy (CPU tensors, not shared)."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue exactly: networks, optimizers, counters, generators."""

    @abc.abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""

    @property
    @abc.abstractmethod
    def batches_per_update(self) -> int:
        """How many independent batches one update consumes."""
