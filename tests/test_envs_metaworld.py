"""Meta-World keeps the contract, its experts succeed, and the catalogue is true."""

import functools
import warnings

import mujoco
import numpy as np
import pytest

from embodied.envs.base import TaskEnv
from embodied.envs.catalogue import METAWORLD
from embodied.envs.metaworld import MetaWorld
from embodied.errors import BadConfig
from embodied.testing.envs import check_task_env

ALL = sorted(METAWORLD)
# no single free object to move: the mechanism is what the task is about
THREE = ("drawer-open-v3", "push-v3", "window-open-v3")


def move_object(env: TaskEnv) -> None:
    """Shift the last joint of the model, which belongs to the object and not to the arm."""
    assert isinstance(env, MetaWorld)
    sim = env._sim
    arm = 9  # seven joints of the arm and two of the fingers come first
    joint = int(np.flatnonzero(sim.model.jnt_qposadr >= arm)[0])
    sim.data.qpos[sim.model.jnt_qposadr[joint]] += 0.08
    mujoco.mj_forward(sim.model, sim.data)


@pytest.mark.parametrize("task", THREE)
def test_keeps_the_contract(task: str) -> None:
    check_task_env(functools.partial(MetaWorld, task=task), move_object)


@pytest.mark.slow
@pytest.mark.parametrize("task", ALL)
def test_every_task_keeps_the_contract(task: str) -> None:
    check_task_env(functools.partial(MetaWorld, task=task))


@pytest.mark.parametrize("control_hz", [20.0, 40.0])
def test_the_expert_opens_the_drawer_at_any_control_rate(control_hz: float) -> None:
    env = MetaWorld("drawer-open-v3", control_hz=control_hz, image_size=16)
    env.reset(seed=3)
    outcomes = [
        env.step(env.expert_action())[4]["success"] for _ in range(env.max_episode_steps // 3)
    ]
    env.close()
    assert any(outcomes)


def test_the_first_picture_already_shows_the_object_where_it_is() -> None:
    env = MetaWorld("drawer-open-v3", image_size=48)
    for seed in range(3):
        first, _ = env.reset(seed=seed)
        mujoco.mj_forward(env._sim.model, env._sim.data)
        np.testing.assert_array_equal(first["observation.images.front"], env.render())
    env.close()


def test_asking_the_expert_changes_nothing() -> None:
    env = MetaWorld("push-v3", image_size=16)
    runs = []
    for asks in (0, 3):
        env.reset(seed=5)
        for _ in range(4):
            for _ in range(asks):
                env.expert_action()
            env.step(np.array([0.3, -0.2, -0.5, 1.0], np.float32))
        runs.append((env._sim.data.qpos.copy(), env._sim.data.qvel.copy(), env._full))
    env.close()
    for mine, its in zip(*runs, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_success_ends_an_episode_only_when_asked_for() -> None:
    endings = {}
    for asked in (False, True):
        env = MetaWorld("button-press-topdown-v3", image_size=16, terminate_on_success=asked)
        env.reset(seed=0)
        for _ in range(40):
            _, _, terminated, _, info = env.step(env.expert_action())
            if info["success"]:
                break
        endings[asked] = terminated
        env.close()
    assert endings == {False: False, True: True}


def test_a_control_rate_must_divide_the_physics_rate() -> None:
    with pytest.raises(BadConfig, match="must divide 80"):
        MetaWorld(control_hz=30.0)


def test_the_catalogue_names_every_task_of_the_package() -> None:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    assert set(METAWORLD) == set(ALL_V3_ENVIRONMENTS)
    assert len(set(METAWORLD.values())) == len(METAWORLD), "two tasks share an instruction"


@pytest.mark.slow
def test_experts_of_all_tasks_succeed_on_nearly_every_seed() -> None:
    solved = 0
    for task in ALL:
        env = MetaWorld(task, image_size=16)
        for seed in range(4):
            env.reset(seed=seed)
            solved += any(
                env.step(env.expert_action())[4]["success"] for _ in range(env.max_episode_steps)
            )
        env.close()
    assert solved >= 0.95 * 4 * len(ALL)


def test_an_expert_that_asks_for_more_than_the_arm_can_do_does_not_warn_of_it() -> None:
    from metaworld.policies.policy import move

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        MetaWorld("reach-v3").close()
        told.clear()
        assert move(np.zeros(3), np.ones(3), p=25.0).max() > 1.0
        assert told == []
        warnings.warn("Constant(s) may be too high. Environments clip response", stacklevel=1)
        assert len(told) == 1, "others are heard"
