"""The data that actors, reward workers, replay and learners exchange.

Axis names used in every annotation of the project:

=============  ==========================================================================
``time``       environment steps of one episode or clip
``time+1``     observations of one episode: one before each step, and the final one
``batch``      independent samples
``chunk``      consecutive actions predicted, and executed, together
``action``     dimensions of one action, in the environment's units
``state``      dimensions of the proprioceptive state
``height``, ``width``  pixels; images are uint8, height x width x RGB
``channel row column`` a frozen encoder's feature map
=============  ==========================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from embodied.errors import BadInput

IMAGES = "observation.images."
STATE = "observation.state"

Source = Literal["demo", "online", "validation"]
"""A demonstration, a roll-out to learn from, or a roll-out kept aside to judge by."""


class Actor(IntEnum):
    """Who chose an executed action."""

    POLICY = 0
    HUMAN = 1
    HOLD = 2
    RESET = 3


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One attempt, complete: everything that was seen, proposed and done.

    ``success`` is what the simulator or a person said. It is stored for metrics and never leaves
    this class: learners receive a `LabelledEpisode`, which has no field for it.
    """

    episode_id: str
    task: str
    instruction: str
    source: Source
    seed: int
    fps: float
    action: Float32[np.ndarray, "time action"]
    """What was executed, in the environment's units. First, because it binds the axis ``time``."""
    images: Mapping[str, UInt8[np.ndarray, "time+1 height width 3"]]
    state: Float32[np.ndarray, "time+1 state"]
    policy_action: Float32[np.ndarray, "time action"]
    """What the policy proposed, also where it was overridden."""
    human_action: Float32[np.ndarray, "time action"]
    """What the human commanded; NaN where nobody did."""
    policy_noise: Float32[np.ndarray, "time action"]
    """The noise that the policy's chunk was denoised from; NaN where there was none."""
    actor: UInt8[np.ndarray, " time"]
    """`Actor` of each step."""
    intervention_id: Int[np.ndarray, " time"]
    """Number of the intervention within the episode, -1 outside any."""
    policy_version: Int[np.ndarray, " time"]
    chunk_index: Int[np.ndarray, " time"]
    """Position of the step within the chunk that it was executed from."""
    timestamp: Float[np.ndarray, "time+1"]
    """Seconds since the episode's start."""
    terminated: bool
    truncated: bool
    success: bool | None
    success_source: Literal["environment", "human", "unknown"]
    features: Mapping[str, Float[np.ndarray, "time+1 channel row column"]]
    """Frozen encoder features per camera (float16); empty if nothing was encoded."""
    encoder: str
    """Fingerprint of the encoder that made `features`; empty without features."""
    simulator_reward: Float32[np.ndarray, " time"] | None = None
    """What the environment paid for each step. Kept for audits alone, as ``success`` is."""

    def __len__(self) -> int:
        return len(self.action)

    def validate(self) -> None:
        """Refuse an episode that contradicts itself.

        Raises:
            BadInput: naming the field, what it holds and what it should hold.
        """
        steps = len(self)
        if steps == 0:
            raise BadInput(f"episode {self.episode_id} has no steps.")
        for name in ("state", "timestamp"):
            _check_length(self.episode_id, name, len(getattr(self, name)), steps + 1)
        for camera, frames in self.images.items():
            _check_length(self.episode_id, f"images[{camera}]", len(frames), steps + 1)
        for camera, maps in self.features.items():
            _check_length(self.episode_id, f"features[{camera}]", len(maps), steps + 1)
        for name in (
            "policy_action", "human_action", "policy_noise", "actor", "intervention_id",
            "policy_version", "chunk_index",
        ):  # fmt: skip
            _check_length(self.episode_id, name, len(getattr(self, name)), steps)
        for name in ("state", "action", "policy_action"):
            if not np.isfinite(getattr(self, name)).all():
                raise BadInput(f"episode {self.episode_id}: {name} holds NaN or infinity.")


def _check_length(episode_id: str, name: str, found: int, expected: int) -> None:
    if found != expected:
        raise BadInput(f"episode {episode_id}: {name} has {found} entries, expected {expected}.")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What one version of a reward model says about one episode."""

    reward: Float32[np.ndarray, " time"]
    """Reward of step t, for moving from observation t to observation t+1."""
    progress: Float32[np.ndarray, "time+1"]
    """Share of the task that is done, in [0, 1]."""
    done: Float32[np.ndarray, "time+1"]
    """Probability that the task is complete."""
    uncertainty: Float32[np.ndarray, "time+1"]
    """Standard deviation of the progress among the ensemble."""
    success: bool
    """Whether the model accepts the whole episode as a success."""
    done_index: int
    """First observation from which the task counts as complete; ``time+1`` if there is none."""
    reward_version: int


@dataclass(frozen=True, kw_only=True)
class LabelledEpisode:
    """What a learner may know of an episode: no simulator reward, no simulator success."""

    episode_id: str
    instruction: str
    source: Source
    action: Float32[np.ndarray, "time action"]
    images: Mapping[str, UInt8[np.ndarray, "time+1 height width 3"]]
    """Empty when the learner works on features."""
    features: Mapping[str, Float[np.ndarray, "time+1 channel row column"]]
    state: Float32[np.ndarray, "time+1 state"]
    policy_action: Float32[np.ndarray, "time action"]
    policy_noise: Float32[np.ndarray, "time action"]
    actor: UInt8[np.ndarray, " time"]
    intervention_id: Int[np.ndarray, " time"]
    policy_version: Int[np.ndarray, " time"]
    chunk_index: Int[np.ndarray, " time"]
    terminated: bool
    truncated: bool
    labels: Labels

    def __len__(self) -> int:
        return len(self.action)

    def relabel(self, labels: Labels) -> "LabelledEpisode":
        """The same episode as a newer reward version sees it."""
        return replace(self, labels=labels)


def label(episode: Episode, labels: Labels, *, keep_images: bool) -> LabelledEpisode:
    """Attach rewards, and leave behind all that a learner must not see.

    Termination by the simulator is kept only as the fact that no further step was possible.
    """
    shared = {f.name for f in fields(LabelledEpisode)} & {f.name for f in fields(Episode)}
    values = {name: getattr(episode, name) for name in shared - {"images"}}
    return LabelledEpisode(images=episode.images if keep_images else {}, labels=labels, **values)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One camera clip and the instruction that it attempts: what a reward model is shown."""

    frames: Mapping[str, UInt8[np.ndarray, "time height width 3"]]
    """Per camera; may be empty when `features` are present."""
    features: Mapping[str, Float[np.ndarray, "time channel row column"]]
    """Frozen features per camera, empty when they still have to be computed."""
    instruction: str
    references: tuple["Clip", ...] = ()
    """Demonstrations of the same task that a model may look at, if it can."""

    def __len__(self) -> int:
        held = [*self.features.values(), *self.frames.values()]
        if not held:
            raise BadInput("a clip needs frames or features of at least one camera.")
        return len(held[0])


def clip_of(episode: Episode) -> Clip:
    """The part of an episode that a reward model sees."""
    return Clip(frames=episode.images, features=episode.features, instruction=episode.instruction)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Action chunks drawn from replay, each with the observations before and after it.

    A chunk that meets the end of its episode, or the end of the task, is padded; ``valid`` says
    which steps are real. ``next_*`` is the observation after the last valid step, so that no chunk
    ever reaches into another episode. ``bootstrap`` is 0 only where the *learned* done signal (or
    the environment) says that there is no future: a time limit keeps it at 1.
    """

    features: Mapping[str, Float[Tensor, "batch channel row column"]]
    state: Float[Tensor, "batch state"]
    action: Float[Tensor, "batch chunk action"]
    noise: Float[Tensor, "batch chunk action"]
    valid: Bool[Tensor, "batch chunk"]
    corrected: Bool[Tensor, "batch chunk"]
    """Whether a person executed the step, in an intervention that helped (`corrections`)."""
    reward: Float[Tensor, "batch chunk"]
    next_features: Mapping[str, Float[Tensor, "batch channel row column"]]
    next_state: Float[Tensor, "batch state"]
    bootstrap: Float[Tensor, " batch"]
    success: Bool[Tensor, " batch"]
    """Whether the reward model accepts the episode that the chunk comes from."""
    demo: Bool[Tensor, " batch"]


@runtime_checkable
class FrameEncoder(Protocol):
    """A frozen image encoder: the same frame always gives the same features."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the features would: architecture, weights, input size."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns of one frame's features."""
        ...

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float[np.ndarray, "batch channel row column"]:
        """Features as float16."""
        ...
