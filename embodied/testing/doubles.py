"""Doubles that count: they prove that the data path keeps order, and mixes nothing up.

`CountingEnv` writes its own seed and step number into every state, and into every image. The
policy, reward and algorithm doubles read them back, and refuse whatever is out of order. They are
real implementations of the contracts and really learn something, so that determinism shows.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Float16, Float32, UInt8
from torch import Tensor, nn

from embodied.envs.base import Observation, TaskEnv, camera_space
from embodied.errors import BadInput
from embodied.policies.base import Algorithm, Chunk, Policy, Weights
from embodied.reward_models.base import RewardModel, Scores
from embodied.types import IMAGES, STATE, Batch, Clip

CAMERA = "front"
SIZE = 32


@final
class CountingEnv(TaskEnv):
    """A point that moves by its first action; state is (seed, step, position).

    The task is done where the position reaches ``goal``. The expert moves there at full speed.

    Args:
        cameras: All of them see the same.
        max_episode_steps: After so many steps the episode is truncated.
        goal: Position that counts as success.
        terminate_on_success: End the episode there; never while training.
    """

    suite = "doubles"
    task = "count"
    instruction = "count to the goal"
    fps = 20.0

    def __init__(
        self,
        cameras: Sequence[str] = (CAMERA,),
        max_episode_steps: int = 20,
        goal: float = 5.0,
        terminate_on_success: bool = False,
    ) -> None:
        self.cameras, self.max_episode_steps = tuple(cameras), max_episode_steps
        self._goal, self._terminate = goal, terminate_on_success
        place = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = camera_space(self.cameras, SIZE, place)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._number, self._step, self._position = 0, 0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at 0; the seed is the first entry of every state."""
        super().reset(seed=seed)
        self._number = self._number if seed is None else seed % 1_000_003
        self._step, self._position = 0, 0.0
        return self.observe(), self._info()

    def step(
        self, action: Float32[np.ndarray, " action"]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move by the first entry of the action."""
        if not self.action_space.contains(np.asarray(action, np.float32)):
            raise BadInput(f"action {action} lies outside of the action space.")
        self._step += 1
        self._position += float(action[0])
        info = self._info()
        truncated = self._step >= self.max_episode_steps
        return self.observe(), 0.0, self._terminate and info["success"], truncated, info

    def observe(self) -> Observation:
        """The step in the image's red, the position in its green."""
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[..., 0] = min(255, self._step)
        image[..., 1] = int(np.clip(128 + 10 * self._position, 0, 255))
        state = np.array([self._number, self._step, self._position], np.float32)
        return {**{IMAGES + camera: image for camera in self.cameras}, STATE: state}

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """Towards the goal at full speed."""
        return np.array([np.clip(self._goal - self._position, -1.0, 1.0), 0.0], np.float32)

    def privileged(self) -> dict[str, Any]:
        """The position."""
        return {"position": self._position}

    def _info(self) -> dict[str, Any]:
        return {"success": self._position >= self._goal - 1e-6, "privileged": self.privileged()}


@final
class CountingEncoder:
    """Features are the mean colour; counts how many frames it has encoded, and in how many calls.

    A frame that is encoded twice can be told by `frames`, which the caller compares with the number
    of observations.
    """

    fingerprint = "counting"
    shape = (3, 1, 1)

    def __init__(self) -> None:
        self.frames = 0
        self.calls = 0

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float16[np.ndarray, "batch channel row column"]:
        """Mean colour of each frame."""
        self.frames += len(frames)
        self.calls += 1
        means = frames.reshape(len(frames), -1, 3).mean(axis=1)
        return np.asarray(means[:, :, None, None], np.float16)


@final
class CountingPolicy(Policy):
    """Moves by a learned speed plus noise.

    The second action is a hundredth of the step that the chunk was planned at, so that a test can
    tell which steps were planned together, and from which observation.
    """

    def __init__(self, chunk: int = 4, speed: float = 0.1) -> None:
        super().__init__()
        self.chunk = chunk
        self.speed = nn.Parameter(torch.tensor([speed]))

    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """Noise in the first entry; the step at which the chunk was planned in the second."""
        shape = (len(state), self.chunk, 2)
        noise = explore * torch.randn(shape, generator=generator)
        planned_at = state[:, 1] / 100.0
        action = torch.zeros(shape)
        action[..., 0] = self.speed + 0.1 * noise[..., 0]
        action[..., 1] = planned_at[:, None]
        return Chunk(action=action, noise=noise)


@final
class CountingReward(RewardModel):
    """Progress is the green of `CountingEnv`; success where it ends above ``accept``.

    ``scored`` counts clips. Reads features (mean colours) only.
    """

    causal = True

    def __init__(self, accept: float = 0.8) -> None:
        super().__init__()
        self.cameras = (CAMERA,)
        self.accept = accept
        self.scored = 0

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip.

        Raises:
            BadInput: if the frames of a clip are not in the order in which they were seen.
        """
        self.scored += len(clips)
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Scores:
        colours = clip.features[CAMERA][:, :, 0, 0].astype(np.float32)
        if not np.array_equal(colours[:, 0], np.minimum(255, np.arange(len(clip)))):
            raise BadInput(f"frames out of order: {colours[:, 0]}.")
        progress = np.clip((colours[:, 1] - 128.0) / 50.0, 0.0, 1.0).astype(np.float32)
        reward = np.diff(progress, prepend=progress[:1]).astype(np.float32)
        done = (progress >= self.accept).astype(np.float32)
        reached = np.flatnonzero(done)
        return Scores(
            reward=reward,
            progress=progress,
            done=done,
            uncertainty=np.zeros_like(progress),
            success=bool(len(reached)),
            done_index=int(reached[0]) if len(reached) else len(clip),
        )


@final
class CountingMeter:
    """Progress of the newest frame, by the same rule as `CountingReward`."""

    def __init__(self) -> None:
        self.updates = 0
        self.done = 0.0

    def begin(self, instruction: str) -> None:
        """Start a new episode."""
        self.updates = 0

    def update(self, features: Mapping[str, Float[np.ndarray, "channel row column"]]) -> float:
        """Progress in [0, 1].

        Raises:
            BadInput: if a frame was left out or shown twice.
        """
        red, green, _ = features[CAMERA][:, 0, 0].astype(float)
        if red != min(255, self.updates):
            raise BadInput(f"the meter saw frame {red} where {self.updates} was due.")
        self.updates += 1
        progress = float(np.clip((green - 128.0) / 50.0, 0.0, 1.0))
        self.done = float(progress >= 0.8)
        return progress


@final
class CountingAlgorithm(Algorithm):
    """Pulls the speed of a `CountingPolicy` to the rewarded actions, and checks every sample.

    It draws random numbers of its own, and keeps an optimizer, so that a resume which forgets
    either shows. ``fails_at`` makes it propose NaN from that update on; ``seconds`` makes it slow.
    """

    batches_per_update = 1

    def __init__(
        self, policy: CountingPolicy, *, seed: int = 0, fails_at: int | None = None
    ) -> None:
        self.policy = policy
        self.updates = 0
        self._optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
        self._generator = torch.Generator().manual_seed(seed)
        self._fails_at = fails_at

    def update(self, batches: list[Batch]) -> dict[str, float]:
        """One step towards the actions that were rewarded.

        Raises:
            BadInput: if a chunk reaches into another episode, or skips or repeats a step.
        """
        (batch,) = batches
        check_stream(batch)
        noise = torch.randn((), generator=self._generator) * 0.001
        weight = batch.reward.clamp(min=0.0) * batch.valid + 1e-3 * batch.corrected
        error = (batch.action[..., 0] - self.policy.speed + noise).square()
        loss = (weight * error).sum() / weight.sum().clamp(min=1e-6)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.updates += 1
        return {"loss": loss.item(), "speed": self.policy.speed.item()}

    def acting_policy(self) -> CountingPolicy:
        """A copy of the policy."""
        return copy.deepcopy(self.policy)

    def weights(self) -> Weights:
        """The policy's weights."""
        broken = self._fails_at is not None and self.updates >= self._fails_at
        scale = math.nan if broken else 1.0
        return {k: v.detach().clone() * scale for k, v in self.policy.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue exactly."""
        return {
            "policy": {k: v.detach().clone() for k, v in self.policy.state_dict().items()},
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self.updates = int(state["updates"])


def check_stream(batch: Batch) -> None:
    """Refuse a batch of `CountingEnv` steps in which a chunk is not one piece of one episode.

    Raises:
        BadInput: naming the sample.
    """
    steps = batch.valid.sum(dim=1).to(torch.float32)
    same_episode = batch.state[:, 0] == batch.next_state[:, 0]
    adjacent = batch.state[:, 1] + steps == batch.next_state[:, 1]
    moved = (batch.action[..., 0].clamp(-1.0, 1.0) * batch.valid).sum(dim=1)
    arrived = (batch.state[:, 2] + moved - batch.next_state[:, 2]).abs() < 1e-3
    wrong = torch.nonzero(~(same_episode & adjacent & arrived))
    if len(wrong):
        first = int(wrong[0, 0])
        raise BadInput(
            f"sample {first} goes from {batch.state[first].tolist()} in {int(steps[first])} steps "
            f"to {batch.next_state[first].tolist()}."
        )
