"""A policy does a task that has a way: its roll-outs, their chunks, and how well they are liked."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from embodied.envs.base import TaskEnv
from embodied.examples import action_chunks
from embodied.policies.base import Examples, Policy
from embodied.testing.ways import AFTER, CAMERA, Attempt, Way, attempt_of
from embodied.types import IMAGES, STATE, FrameEncoder


def roll_out(
    policy: Policy,
    env: TaskEnv,
    way: Way,
    encoder: FrameEncoder,
    *,
    start: int,
    seed: int,
    explore: float,
    max_steps: int = 100,
) -> Attempt:
    """One attempt of a policy, successful or not; it ends shortly after success.

    Args:
        policy: Executes chunks of an even number of actions.
        env: Of the way's task.
        way: Says how well the attempt is liked.
        encoder: Of the frames, as the policy was trained on.
        start: Seed of the initial state: roll-outs with the same start can be compared.
        seed: Of the policy's noise.
        explore: How boldly it acts, in [0, 1].
        max_steps: Control steps, at most.
    """
    generator = torch.Generator().manual_seed(seed)
    observation, info = env.reset(seed=start)
    done: list[Float[np.ndarray, " action"]] = []
    seen, after = [(observation, info)], 0
    while len(done) < max_steps and after <= AFTER:
        frame = observation[IMAGES + CAMERA][None]
        features = {CAMERA: torch.from_numpy(encoder.encode(frame))}
        state = torch.from_numpy(observation[STATE][None])
        with torch.no_grad():
            chunk = policy.act(features, state, generator, explore=explore).action[0].numpy()
        for action in chunk:
            observation, _, _, _, info = env.step(action)
            seen.append((observation, info))
            done.append(action)
            after += bool(info["success"])
    return attempt_of(env, way, seen, done, encoder)


def chunks_of(attempts: Sequence[Attempt], chunk: int) -> Examples:
    """Every observation of the attempts with the actions that followed it, one after the other."""
    features, state, action, valid = [], [], [], []
    for attempt in attempts:
        following, real = action_chunks(attempt.action, chunk)
        action.append(following[:: attempt.every])
        valid.append(real[:: attempt.every])
        begun = len(action[-1])
        features.append(attempt.clip.features[CAMERA][:begun])
        state.append(attempt.state[:begun])
    return Examples(
        features={CAMERA: torch.from_numpy(np.concatenate(features))},
        state=torch.from_numpy(np.concatenate(state)),
        action=torch.from_numpy(np.concatenate(action)),
        valid=torch.from_numpy(np.concatenate(valid)),
    )
