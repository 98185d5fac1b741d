"""Another course of a stored episode: its actions again up to a step, then a policy's own.

The same seed and the same actions give the same state, so that a simulator needs no snapshot of it.
What comes out is a whole episode, which can be played again like any other; its id says what it is
a branch of, and where it parts.
"""

import re
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Float32

from embodied.actor import plan_chunk
from embodied.envs.base import TaskEnv
from embodied.errors import BadInput
from embodied.messages import Request
from embodied.policies.base import Policy
from embodied.tape import Plan, Sight, Tape
from embodied.types import Actor, Episode, FrameEncoder

SAME = 1e-4
"""Largest difference of two states that count as the same."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What an episode is a branch of."""

    parent: str
    """Id of the episode that it shares its beginning with."""
    step: int
    """The first step that is its own."""


def origin_of(episode_id: str) -> Origin | None:
    """What an episode's id says of where it comes from; None for one that is no branch."""
    found = re.fullmatch(r"(.+)@(\d+)\.\d+", episode_id)
    return None if found is None else Origin(parent=found[1], step=int(found[2]))


@final
class Brancher:
    """Lets a policy continue what others have begun.

    Args:
        env: Built with the arguments that the episodes were recorded with.
        policy: Continues.
        encoder: The policy's.
        version: Of the policy's weights.
    """

    def __init__(
        self, *, env: TaskEnv, policy: Policy, encoder: FrameEncoder, version: int = 0
    ) -> None:
        self._env, self._policy, self._encoder = env, policy.eval(), encoder
        self._version = version

    def branch(
        self, parent: Episode, step: int, *, number: int, seed: int, explore: float, steps: int
    ) -> Episode:
        """The parent's first steps, and then what the policy does.

        Args:
            parent: A recorded episode.
            step: How many of its steps are played again; the policy acts from there.
            number: Of the branch among those of this parent and step; part of its id.
            seed: Of the policy's noise.
            explore: How boldly it acts, in [0, 1].
            steps: Of the policy, at most; the environment may end the episode before.

        Raises:
            BadInput: for a step that the parent does not have, or no steps to go; for an episode of
                another task, or one that goes otherwise when it is played again.
            PolicyFailed: if the policy proposes NaN.
        """
        self._check(parent, step, steps)
        request = Request(number=number, seed=parent.seed, source=parent.source, explore=explore)
        sight = Sight(self._encoder, self._env.cameras)
        tape = Tape(request, self._env, sight)
        self._replay(parent, step, tape)
        branch_id = f"{parent.episode_id}@{step}.{number}"
        self._continue(tape, branch_id, torch.Generator().manual_seed(seed), step + steps)
        return replace(tape.episode(""), episode_id=branch_id)

    def _check(self, parent: Episode, step: int, steps: int) -> None:
        if steps < 1:
            raise BadInput(f"a branch has at least 1 step of its own, not {steps}.")
        if not 0 <= step < len(parent):
            raise BadInput(
                f"episode {parent.episode_id} has steps 0 to {len(parent) - 1}; it cannot branch "
                f"at {step}."
            )
        if parent.task != self._env.task:
            raise BadInput(
                f"episode {parent.episode_id} is of {parent.task}, the environment of "
                f"{self._env.task}; build the environment that it was recorded in."
            )

    def _replay(self, parent: Episode, step: int, tape: Tape) -> None:
        observation, _ = self._env.reset(seed=parent.seed)
        tape.sight.see(observation)
        for t in range(step):
            observation, paid, _, _, info = self._env.step(parent.action[t])
            tape.sight.see(observation)
            command = parent.human_action[t] if parent.actor[t] == Actor.HUMAN else None
            tape.write(
                parent.action[t], command, _plan_then(parent, t), success=info["success"],
                reward=float(paid),
            )  # fmt: skip
        off = float(np.abs(tape.sight.states() - parent.state[: step + 1]).max())
        if off > SAME:
            raise BadInput(
                f"episode {parent.episode_id} goes otherwise when it is played again (its state is "
                f"off by {off:.3g}); build the environment with the arguments it was recorded with."
            )

    def _continue(self, tape: Tape, branch_id: str, generator: torch.Generator, until: int) -> None:
        plan: Plan | None = None
        space, ended = self._env.action_space, False
        while not ended and len(tape) < until:
            if plan is None or plan.spent:
                plan = plan_chunk(
                    self._policy, tape.sight, generator, explore=tape.request.explore,
                    version=self._version, episode_id=branch_id,
                )  # fmt: skip
            action: Float32[np.ndarray, " action"] = np.clip(plan.action, space.low, space.high)
            observation, paid, terminated, truncated, info = self._env.step(action)
            tape.sight.see(observation)
            tape.write(action, None, plan, success=bool(info["success"]), reward=float(paid))
            plan = plan.advanced()
            ended = tape.end(terminated=terminated, truncated=truncated, verdict=None)


def _plan_then(parent: Episode, step: int) -> Plan:
    """What the policy had proposed for a step, and how far it was within its chunk."""
    place = max(0, int(parent.chunk_index[step]))
    return Plan(
        actions=np.tile(parent.policy_action[step], (place + 1, 1)),
        noises=np.tile(parent.policy_noise[step], (place + 1, 1)),
        version=int(parent.policy_version[step]),
        step=place,
    )
