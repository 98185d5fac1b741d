"""Gymnasium's tasks and Push-T keep the contract; environments run side by side."""

import functools
import subprocess
import sys

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from embodied.envs.base import TaskEnv
from embodied.envs.catalogue import GYMNASIUM_MUJOCO, suites, tasks
from embodied.envs.gymnasium_mujoco import _TASKS, GymnasiumMujoco
from embodied.envs.pusht import PushT
from embodied.envs.vector import make_vector
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.testing.doubles import CountingEnv
from embodied.testing.envs import check_proprioception_only, check_task_env, check_truncation
from embodied.types import IMAGES, STATE


@pytest.mark.parametrize("task", sorted(GYMNASIUM_MUJOCO))
def test_a_gymnasium_task_keeps_the_contract(task: str) -> None:
    check_task_env(functools.partial(GymnasiumMujoco, task=task))


def move_block(env: TaskEnv) -> None:
    assert isinstance(env, PushT)
    x, y = env._sim.block.position
    env._sim.block.position = (x - 60.0 if x > 256 else x + 60.0, y)
    env._sim.space.reindex_shapes_for_body(env._sim.block)


def test_pusht_keeps_the_contract() -> None:
    check_task_env(PushT, move_block)


def test_the_contract_notices_a_state_that_tells_of_the_object() -> None:
    class Leaky(PushT):
        def observe(self) -> dict[str, np.ndarray]:
            return super().observe() | {STATE: self.privileged()["block"][:2].astype(np.float32)}

    env = Leaky()
    with pytest.raises(AssertionError, match="the state tells of the object"):
        check_proprioception_only(env, move_block)
    env.close()


def test_the_contract_notices_a_time_limit_reported_as_an_ending() -> None:
    class Ends(PushT):
        def step(self, action: np.ndarray):  # type: ignore[no-untyped-def]
            seen, reward, _, truncated, info = super().step(action)
            return seen, reward, truncated, truncated, info

    env = Ends(max_episode_steps=4)
    with pytest.raises(AssertionError, match="reported as an ending"):
        check_truncation(env)
    env.close()


def test_a_fallen_pole_ends_the_episode_and_a_car_at_the_flag_does_not() -> None:
    pole = GymnasiumMujoco("CartPole-v1", image_size=16)
    pole.reset(seed=0)
    fallen, steps = False, 0
    while not fallen:
        _, _, fallen, _, info = pole.step(np.array([1.0], np.float32))
        steps += 1
        assert steps < 20, "a pole that is always pushed one way stays up"
    assert not info["success"]
    pole.close()
    car = GymnasiumMujoco("MountainCarContinuous-v0", image_size=16)
    seen, _ = car.reset(seed=0)
    reached = False
    for _ in range(200):  # along with the motion, which swings the car up
        push = np.sign(seen[STATE][1:]) if seen[STATE][1] else np.ones(1)
        seen, _, terminated, _, info = car.step(push.astype(np.float32))
        reached |= info["success"]
        assert not terminated
    assert reached
    car.close()


def test_the_camera_goes_along_with_the_humanoid() -> None:
    env = GymnasiumMujoco("Humanoid-v5", image_size=64)
    seen, _ = env.reset(seed=0)
    env._sim.data.qpos[0] += 5.0  # out of the first view
    mujoco.mj_forward(env._sim.model, env._sim.data)
    skin = [
        picture[..., 0].astype(int) > picture[..., 2].astype(int) + 40
        for picture in (seen[f"{IMAGES}front"], env.render())
    ]
    env.close()
    assert skin[0].sum() > 50
    assert (skin[0] & skin[1]).sum() / (skin[0] | skin[1]).sum() > 0.7


def test_a_task_without_an_expert_says_so() -> None:
    for env in (PushT(image_size=16), GymnasiumMujoco("Pendulum-v1", image_size=16)):
        env.reset(seed=0)
        with pytest.raises(BadInput, match="no scripted expert"):
            env.expert_action()
        env.close()


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_pictures_of_several_environments_stay_uint8(processes: bool) -> None:
    make = [functools.partial(PushT, image_size=24) for _ in range(2)]
    env = make_vector(make, processes=processes)
    try:
        single, _ = PushT(image_size=24).reset(seed=5)
        seen, info = env.reset(seed=[5, 6])
        pictures = seen[f"{IMAGES}front"]
        assert pictures.dtype == np.uint8
        assert pictures.shape == (2, 24, 24, 3)
        np.testing.assert_array_equal(pictures[0], single[f"{IMAGES}front"])
        assert info["success"].tolist() == [False, False]
        assert env.observation_space[f"{IMAGES}front"].dtype == np.uint8
        assert isinstance(env.observation_space, gym.spaces.Dict)
        _, _, terminated, _, _ = env.step(env.action_space.sample())
        assert terminated.tolist() == [False, False]
    finally:
        env.close()


def test_a_vector_of_nothing_is_refused() -> None:
    with pytest.raises(BadConfig, match="at least one"):
        make_vector([], processes=False)


def test_the_counting_double_keeps_what_it_can_of_the_contract() -> None:
    env = CountingEnv(max_episode_steps=4)
    check_truncation(env)
    env.close()


def test_the_catalogue_names_every_task_and_refuses_others() -> None:
    assert suites() == ("metaworld", "robosuite", "gymnasium_mujoco", "pusht", "xmagical")
    assert set(tasks("gymnasium_mujoco")) == set(_TASKS)
    with pytest.raises(UnknownName, match="did you mean metaworld"):
        tasks("metawrld")


def test_the_catalogue_imports_no_simulator() -> None:
    code = (
        "import sys, embodied.envs.catalogue; "
        "simulators = {'mujoco', 'metaworld', 'robosuite', 'gymnasium', 'torch'}; "
        "print(sorted(simulators & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
