"""The contract of a simulated task: what every environment must do, checked in one call."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from embodied.envs.base import Observation, TaskEnv
from embodied.errors import BadInput, UnknownName
from embodied.types import IMAGES, STATE

STEPS = 4


def check_task_env(
    make: Callable[..., TaskEnv], move_object: Callable[[TaskEnv], None] | None = None
) -> None:
    """Hold an environment to the contract of `TaskEnv`.

    Args:
        make: Builds the environment; takes ``task``, ``cameras`` and ``max_episode_steps``, as the
            class itself or a ``functools.partial`` of it does.
        move_object: Moves something that the task is about, in the simulation, so that the picture
            changes; None where there is only the machine itself.

    Raises:
        AssertionError: naming the broken clause.
    """
    check_unknown_names(make)
    env = make(max_episode_steps=STEPS)
    try:
        check_before_reset(env)
        check_gymnasium(env)
        check_description(env)
        check_spaces(env)
        check_same_seed_same_episode(env, make)
        check_truncation(env)
        check_bad_actions(env)
        check_info(env)
        if move_object is not None:
            check_proprioception_only(env, move_object)
    finally:
        env.close()
    env.close()  # closing twice is allowed


def check_unknown_names(make: Callable[..., TaskEnv]) -> None:
    """An unknown task or camera is refused with the near names, before anything is built."""
    with pytest.raises(UnknownName, match="no-such-task"):
        make(task="no-such-task")
    with pytest.raises(UnknownName) as caught:
        make(cameras=("frnt",))
    assert "front" in caught.value.near, "the error on a missing camera lists the near names"


def check_before_reset(env: TaskEnv) -> None:
    """An environment that was not reset says so; a task without an expert may say that instead."""
    with pytest.raises(BadInput, match="step was called before reset"):
        env.step(_middle(env))
    with pytest.raises(BadInput, match=r"before reset|no scripted expert"):
        env.expert_action()


def check_gymnasium(env: TaskEnv) -> None:
    """Gymnasium's own checker passes without a warning that concerns us."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    harmless = ("not having a spec", "infinity", "symmetric and normalized")
    said = [str(warning.message) for warning in caught]
    complaints = [text for text in said if "WARN:" in text and not any(h in text for h in harmless)]
    assert not complaints, f"Gymnasium's checker complains: {complaints}"


def check_description(env: TaskEnv) -> None:
    """The task says what it is."""
    for name in ("suite", "task", "instruction"):
        assert getattr(env, name), f"{name} is empty"
    assert env.fps > 0, "fps is positive"
    assert env.max_episode_steps == STEPS, "max_episode_steps is the one that was asked for"


def check_spaces(env: TaskEnv) -> None:
    """Pictures are uint8, the state is float32, there is nothing else, and the space holds them."""
    seen, _ = env.reset(seed=1)
    assert set(seen) == {STATE, *(f"{IMAGES}{name}" for name in env.cameras)}, "unexpected keys"
    assert env.observation_space.contains(seen), "the space does not hold the observation"
    assert seen[STATE].dtype == np.float32, "the state is not float32"
    assert seen[STATE].ndim == 1, "the state is not a vector"
    for name in env.cameras:
        picture = seen[f"{IMAGES}{name}"]
        assert picture.dtype == np.uint8, f"{name} is not uint8"
        assert picture.shape[2:] == (3,), f"{name} is not height x width x RGB"
        assert picture.std() > 1.0, f"{name} shows nothing"
    _assert_equal(seen, env.observe(), "observe() repeats the observation of reset")


def check_same_seed_same_episode(env: TaskEnv, make: Callable[..., TaskEnv]) -> None:
    """The seed decides everything, in any instance, whatever happened before; seeds differ."""
    first = _episode(env, seed=7)
    other = _episode(env, seed=8)
    assert any(
        not np.array_equal(mine[key], its[key])
        for mine, its in zip(first, other, strict=True)
        for key in mine
    ), "seeds 7 and 8 give the same episode"
    for again, where in ((env, "the same instance"), (make(max_episode_steps=STEPS), "another")):
        for step, (mine, its) in enumerate(zip(first, _episode(again, seed=7), strict=True)):
            _assert_equal(mine, its, f"seed 7 differs at step {step} in {where}")
        if again is not env:
            again.close()


def check_truncation(env: TaskEnv) -> None:
    """A time limit truncates; it never terminates."""
    env.reset(seed=2)
    for step in range(1, STEPS + 1):
        _, reward, terminated, truncated, _ = env.step(_middle(env))
        assert isinstance(reward, float), "the reward is a float"
        assert terminated is False, "the time limit, or nothing at all, was reported as an ending"
        assert truncated is (step == STEPS), f"truncated is {truncated} after {step} steps"


def check_bad_actions(env: TaskEnv) -> None:
    """NaN and wrong shapes are refused, and leave the state as it was."""
    before, _ = env.reset(seed=3)
    broken = _middle(env)
    broken[0] = np.nan
    for action in (broken, np.zeros(len(broken) + 1, np.float32), np.zeros((), np.float32)):
        with pytest.raises(BadInput):
            env.step(action)
    _assert_equal(before, env.observe(), "a refused action changed the state")


def check_info(env: TaskEnv) -> None:
    """Success and privileged state are in ``info``; the expert acts in the space, or says no."""
    _, info = env.reset(seed=4)
    for held in (info, env.step(_middle(env))[4]):
        assert type(held["success"]) is bool, "info['success'] is a bool"
        assert held["privileged"].keys() == env.privileged().keys(), "info['privileged'] is whole"
    try:
        action = env.expert_action()
    except BadInput:
        return  # a task may have no expert
    assert env.action_space.contains(action), "the expert's action lies outside of its space"


def check_proprioception_only(env: TaskEnv, move_object: Callable[[TaskEnv], None]) -> None:
    """What is not part of the robot shows in pictures, never in the state."""
    before, _ = env.reset(seed=5)
    known = env.privileged()
    move_object(env)
    after = env.observe()
    assert _differs(known, env.privileged()), "move_object moved nothing"
    assert any(not np.array_equal(before[k], after[k]) for k in before if k != STATE), (
        "the pictures do not show that the object moved"
    )
    np.testing.assert_array_equal(before[STATE], after[STATE], "the state tells of the object")


def _episode(env: TaskEnv, seed: int) -> list[Observation]:
    generator = np.random.default_rng(0)
    seen = [env.reset(seed=seed)[0]]
    low, high = (
        bound.astype(np.float64) for bound in (env.action_space.low, env.action_space.high)
    )
    for _ in range(STEPS):
        action = generator.uniform(low, high).astype(np.float32)
        seen.append(env.step(action)[0])
    return seen


def _middle(env: TaskEnv) -> np.ndarray:
    middle: np.ndarray = ((env.action_space.low + env.action_space.high) / 2).astype(np.float32)
    return middle


def _assert_equal(mine: Observation, its: Observation, message: str) -> None:
    for key in mine:
        np.testing.assert_array_equal(mine[key], its[key], f"{message} ({key})")


def _differs(mine: dict[str, Any], its: dict[str, Any]) -> bool:
    return any(not np.array_equal(mine[key], its[key]) for key in mine)
