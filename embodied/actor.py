"""The actor: rolls out one episode with an environment, a policy and an operator.

New weights arrive in a mailbox at any time and are adopted where the policy plans a new chunk,
never within one. A hand-over in either direction discards the pending chunk: the policy plans anew
from what it sees then. Every frame is encoded exactly once: at once where the policy or the
operator's progress estimate needs it, and all others in one batch at the episode's end.
"""

import threading
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32

from embodied.envs.base import TaskEnv
from embodied.errors import BadInput
from embodied.hardware.base import Account, Moment, Operator
from embodied.messages import Published, Request
from embodied.policies.base import Chunk, Policy
from embodied.reward_models.base import Meter
from embodied.tape import Plan, Sight, Tape
from embodied.types import Episode, FrameEncoder


class PolicyFailed(BadInput):
    """The policy proposed an action that is no number; the episode is dropped."""


@runtime_checkable
class EpisodeSink(Protocol):
    """Makes an episode durable before it returns."""

    def append(self, episode: Episode) -> object:
        """Write the episode."""
        ...


class Mailbox:
    """Holds the newest weights; safe between threads. Older versions than the held are refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: Published | None = None

    def put(self, offered: Published) -> None:
        """Offer weights; the newest version stays."""
        with self._lock:
            if self._newest is None or offered.version >= self._newest.version:
                self._newest = offered

    def newest(self) -> Published | None:
        """The newest weights so far."""
        with self._lock:
            return self._newest


class ActorWorker:
    """Collects episodes one after the other.

    Args:
        env: Must not end an episode on success while training.
        policy: The worker's own copy.
        encoder: Frozen; must be the one that the policy and the reward were trained on.
        operator: May take over at any step, except in validation episodes.
        store: Takes each episode before `collect` returns it.
        meter: Estimates progress for an operator that needs it.
        version: Of the weights that ``policy`` holds.
        keep_features: Whether episodes carry the features of all frames; not for evaluation.
    """

    def __init__(
        self,
        *,
        env: TaskEnv,
        policy: Policy,
        encoder: FrameEncoder,
        operator: Operator,
        store: EpisodeSink | None,
        meter: Meter | None = None,
        version: int = 0,
        keep_features: bool = True,
    ) -> None:
        self._env, self._policy, self._encoder = env, policy.eval(), encoder
        self._operator, self._store, self._meter = operator, store, meter
        self._mailbox = Mailbox()
        self._version, self._keep_features = version, keep_features
        space = env.action_space
        self._low, self._high = space.low, space.high

    def adopt(self, published: Published) -> None:
        """Leave new weights; they act from the next chunk on. May be called from any thread."""
        self._mailbox.put(published)

    def collect(self, request: Request, pinned: Published | None = None) -> Episode:
        """Roll out one episode and make it durable.

        Args:
            request: Which.
            pinned: Act with this version from start to end, whatever arrives meanwhile.

        Raises:
            PolicyFailed: if the policy proposes NaN, naming its version.
            BadInput: if the operator commands NaN.
            EpisodeDiscarded: if the operator wants the episode recorded again.
        """
        episode = self._roll_out(request, pinned)
        episode.validate()
        if self._store is not None:
            self._store.append(episode)
        return episode

    def close(self) -> None:
        """Let the environment and the operator's device go."""
        self._env.close()
        self._operator.close()

    def _roll_out(self, request: Request, pinned: Published | None) -> Episode:
        noise_seed = request.seed if request.noise_seed is None else request.noise_seed
        generator = torch.Generator().manual_seed(noise_seed)
        observation, _ = self._env.reset(seed=request.seed)
        sight = Sight(self._encoder, self._env.cameras)
        sight.see(observation)
        tape = Tape(request, self._env, sight)
        attended = request.source != "validation"
        self._begin(request.account, attended)
        plan = self._plan(tape, pinned, generator)
        human_acts, ended = False, False
        while not ended:
            if plan.spent:
                plan = self._plan(tape, pinned, generator)
            command = self._consult(tape, plan) if attended else None
            if (command is not None) != human_acts:
                human_acts = command is not None
                if plan.step > 0:
                    plan = self._plan(tape, pinned, generator)
            action = np.clip(plan.action if command is None else command, self._low, self._high)
            observation, paid, terminated, truncated, info = self._env.step(action)
            sight.see(observation)
            tape.write(action, command, plan, success=bool(info["success"]), reward=float(paid))
            plan = plan.advanced()
            verdict = self._operator.verdict() if attended else None
            ended = tape.end(terminated=terminated, truncated=truncated, verdict=verdict)
        return tape.episode(self._encoder.fingerprint if self._keep_features else "")

    def _begin(self, account: Account, attended: bool) -> None:
        if attended:
            self._operator.begin_episode(account)
            if self._meter is not None:
                self._meter.begin(self._env.instruction)

    def _plan(self, tape: Tape, pinned: Published | None, generator: torch.Generator) -> Plan:
        newest = pinned if pinned is not None else self._mailbox.newest()
        if newest is not None and newest.version != self._version:
            self._version = newest.version
            self._policy.load_state_dict(newest.weights)
        request = tape.request
        return plan_chunk(
            self._policy, tape.sight, generator, explore=request.explore, version=self._version,
            episode_id=request.episode_id,
        )  # fmt: skip

    def _consult(self, tape: Tape, plan: Plan) -> Float32[np.ndarray, " action"] | None:
        progress = done = np.nan
        if self._meter is not None and self._operator.needs_progress:
            progress = self._meter.update(tape.sight.features())
            done = self._meter.done
        command = self._operator.decide(
            Moment(
                step=len(tape),
                progress=float(progress),
                done=float(done),
                policy_action=plan.action,
                expert_action=self._env.expert_action,
            )
        )
        if command is not None:
            _check_command(
                command, self._low.shape, f"step {len(tape)} of {tape.request.episode_id}"
            )
        return command


def _check_command(command: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    if command.shape != shape:
        raise BadInput(
            f"the operator commanded {command.size} numbers at {where}; the action has "
            f"{shape[0]}, and operator.axes needs an entry for each."
        )
    if not np.isfinite(command).all():
        raise BadInput(
            f"the operator commanded {command} at {where}; every entry of an action must be a "
            "number. The episode is dropped; `embodied resume` rolls it out again."
        )


def plan_chunk(
    policy: Policy,
    sight: Sight,
    generator: torch.Generator,
    *,
    explore: float,
    version: int,
    episode_id: str,
) -> Plan:
    """What a policy would do from the newest observation on.

    Args:
        policy: Which.
        sight: Of the episode so far.
        generator: All randomness comes from here.
        explore: How boldly, in [0, 1].
        version: Of the policy's weights.
        episode_id: Of the episode, for the error.

    Raises:
        PolicyFailed: if the policy proposes NaN, naming its version.
    """
    features = {
        camera: torch.from_numpy(values[None].astype(np.float32))
        for camera, values in sight.features().items()
    }
    state = torch.from_numpy(sight.state[None])
    with torch.inference_mode():
        chunk = policy.act(features, state, generator, explore=explore)
    return _checked(chunk, policy.chunk, version, episode_id)


def _checked(chunk: Chunk, length: int, version: int, episode_id: str) -> Plan:
    actions = chunk.action[0, :length].numpy().astype(np.float32)
    if not np.isfinite(actions).all():
        raise PolicyFailed(
            f"policy version {version} proposed NaN or infinity in {episode_id}; the episode is "
            "dropped. Lower algorithm.learning_rate."
        )
    noises = chunk.noise[0, :length].numpy().astype(np.float32)
    return Plan(actions=actions, noises=noises, version=version)
