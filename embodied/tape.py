"""What an actor writes down while it acts, until it is an `Episode`."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float, Float32

from embodied.envs.base import Observation, TaskEnv
from embodied.errors import BadInput, EmbodiedError
from embodied.hardware.base import Verdict
from embodied.messages import Request
from embodied.types import IMAGES, STATE, Actor, Episode, FrameEncoder

Features = dict[str, Float[np.ndarray, "channel row column"]]


class EpisodeDiscarded(EmbodiedError):
    """The operator asked to record the episode again; it is dropped."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A chunk of actions, and how far it has been executed."""

    actions: Float32[np.ndarray, "chunk action"]
    noises: Float32[np.ndarray, "chunk action"]
    version: int
    step: int = 0

    @property
    def spent(self) -> bool:
        """Whether all of its actions were executed."""
        return self.step == len(self.actions)

    @property
    def action(self) -> Float32[np.ndarray, " action"]:
        """What the policy proposes now."""
        return cast(np.ndarray, self.actions[self.step])

    @property
    def noise(self) -> Float32[np.ndarray, " action"]:
        """The noise that the proposal was denoised from."""
        return cast(np.ndarray, self.noises[self.step])

    def advanced(self) -> "Plan":
        """The plan after one more step."""
        return Plan(
            actions=self.actions, noises=self.noises, version=self.version, step=self.step + 1
        )


class Sight:
    """The frames of an episode so far, and the features of those that were needed."""

    def __init__(self, encoder: FrameEncoder | None, cameras: tuple[str, ...]) -> None:
        self._encoder, self._cameras = encoder, cameras
        self._frames: dict[str, list[np.ndarray]] = {camera: [] for camera in cameras}
        self._states: list[np.ndarray] = []
        self._encoded: dict[int, Features] = {}

    def see(self, observation: Observation) -> None:
        """Take in one more observation.

        Raises:
            BadInput: naming a camera that the observation lacks.
        """
        for camera in self._cameras:
            if IMAGES + camera not in observation:
                raise BadInput(f"no camera {camera} among {', '.join(sorted(observation))}.")
            self._frames[camera].append(np.array(observation[IMAGES + camera]))
        self._states.append(np.array(observation[STATE], dtype=np.float32))

    @property
    def state(self) -> Float32[np.ndarray, " state"]:
        """The newest proprioceptive state."""
        return self._states[-1]

    def features(self) -> Features:
        """Features of the newest frame, per camera."""
        assert self._encoder is not None
        newest = len(self._states) - 1
        if newest not in self._encoded:
            frames = np.stack([self._frames[camera][newest] for camera in self._cameras])
            encoded = self._encoder.encode(frames)
            self._encoded[newest] = dict(zip(self._cameras, encoded, strict=True))
        return self._encoded[newest]

    def all_features(self) -> dict[str, Float[np.ndarray, "count channel row column"]]:
        """Features of every frame; those that nobody needed before are encoded together."""
        assert self._encoder is not None
        missing = [t for t in range(len(self._states)) if t not in self._encoded]
        if missing:
            frames = [self._frames[camera][t] for t in missing for camera in self._cameras]
            encoded = self._encoder.encode(np.stack(frames))
            width = len(self._cameras)
            for place, t in enumerate(missing):
                values = encoded[place * width : (place + 1) * width]
                self._encoded[t] = dict(zip(self._cameras, values, strict=True))
        times = range(len(self._states))
        return {c: np.stack([self._encoded[t][c] for t in times]) for c in self._cameras}

    def images(self) -> dict[str, np.ndarray]:
        """Every frame, per camera."""
        return {camera: np.stack(frames) for camera, frames in self._frames.items()}

    def states(self) -> Float32[np.ndarray, "count state"]:
        """Every state."""
        return np.stack(self._states)


class Tape:
    """Writes down every step, and becomes an `Episode` at the end."""

    def __init__(self, request: Request, env: TaskEnv, sight: Sight) -> None:
        self.request, self.sight, self._env = request, sight, env
        self._rows: list[tuple[np.ndarray, np.ndarray | None, Plan]] = []
        self._paid: list[float] = []
        self._success = False
        self._terminated = False
        self._verdict: Verdict | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def write(
        self,
        action: Float32[np.ndarray, " action"],
        command: Float32[np.ndarray, " action"] | None,
        plan: Plan,
        *,
        success: bool,
        reward: float,
    ) -> None:
        """One executed step, the human's command if there was one, and the policy's proposal."""
        self._rows.append((action, command, plan))
        self._paid.append(reward)
        self._success = self._success or success

    def end(self, *, terminated: bool, truncated: bool, verdict: Verdict | None) -> bool:
        """Note how the step ended; true if it was the last.

        Raises:
            EpisodeDiscarded: if the operator wants the episode recorded again.
        """
        if verdict == "discard":
            raise EpisodeDiscarded(f"the operator discarded {self.request.episode_id}.")
        self._terminated = terminated or verdict is not None
        self._verdict = verdict
        return terminated or truncated or verdict is not None

    def episode(self, fingerprint: str) -> Episode:
        """All that was written; with the features of every frame if an encoder is named."""
        plans = [plan for _, _, plan in self._rows]
        human = np.array([command is not None for _, command, _ in self._rows])
        starts = human & ~np.concatenate([[False], human[:-1]])
        noise = np.stack([plan.noise for plan in plans])
        noise[human] = np.nan
        blank = np.full_like(plans[0].action, np.nan)
        judged = self._verdict is not None
        return Episode(
            episode_id=self.request.episode_id,
            task=self._env.task,
            instruction=self._env.instruction,
            source=self.request.source,
            seed=self.request.seed,
            fps=self._env.fps,
            action=np.stack([action for action, _, _ in self._rows]).astype(np.float32),
            images=self.sight.images(),
            state=self.sight.states(),
            policy_action=np.stack([plan.action for plan in plans]),
            human_action=np.stack([blank if c is None else c for _, c, _ in self._rows]),
            policy_noise=noise,
            actor=np.where(human, Actor.HUMAN, Actor.POLICY).astype(np.uint8),
            intervention_id=np.where(human, np.cumsum(starts) - 1, -1).astype(np.int64),
            policy_version=np.array([plan.version for plan in plans], dtype=np.int64),
            chunk_index=np.array([plan.step for plan in plans], dtype=np.int64),
            timestamp=np.arange(len(self) + 1, dtype=np.float64) / self._env.fps,
            terminated=self._terminated,
            truncated=not self._terminated,
            success=self._verdict == "success" if judged else self._success,
            success_source="human" if judged else "environment",
            features=self.sight.all_features() if fingerprint else {},
            encoder=fingerprint,
            simulator_reward=np.array(self._paid, dtype=np.float32),
        )
