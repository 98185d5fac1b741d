"""robosuite keeps the contract; its experts solve their tasks; its catalogue is true."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.seeding import np_random

from embodied.envs.base import TaskEnv
from embodied.envs.catalogue import ROBOSUITE
from embodied.envs.robosuite import ROBOTS, Controller, Robosuite, _simulation
from embodied.envs.robosuite_experts import EXPERTS
from embodied.errors import BadInput, UnknownName
from embodied.testing.envs import check_task_env


def move_object(env: TaskEnv) -> None:
    """Shift the first loose object by six centimetres, or swing the door."""
    assert isinstance(env, Robosuite)
    simulation = env._sim.sim
    if env.task == "Door":
        simulation.data.qpos[env._sim.hinge_qpos_addr] += 0.3
    else:
        thing = next(o for o in env._sim.model.mujoco_objects if o.joints)
        if env.task.startswith(("PickPlace", "NutAssembly")):
            thing = next(o for o in env._sim.model.mujoco_objects if o.name == env._sim.obj_to_use)
        pose = simulation.data.get_joint_qpos(thing.joints[0]).copy()
        pose[0] += 0.06
        simulation.data.set_joint_qpos(thing.joints[0], pose)
    simulation.forward()


TASKS = ("Lift", "Stack", "Door", "NutAssemblySquare", "PickPlaceCan")


@pytest.mark.parametrize(("task", "robot"), [*((t, "Panda") for t in TASKS), ("Lift", "UR5e")])
def test_keeps_the_contract(task: str, robot: str) -> None:
    check_task_env(functools.partial(Robosuite, task=task, robot=robot), move_object)


def assert_same_as_stock(task: str, robot: str, controller: Controller, steps: int) -> None:
    """Same bits of positions, velocities, commands, sensors and reward as robosuite's own step."""
    env = Robosuite(task, robot=robot, controller=controller, image_size=8)
    stock = _simulation(task, robot, controller, env.fps)
    generator = np.random.default_rng(0)
    env.reset(seed=3)
    stock.rng.bit_generator.state = np.random.default_rng(
        int(np_random(3)[0].integers(2**31))
    ).bit_generator.state
    stock.reset()
    mine, its = env._sim.sim.data, stock.sim.data
    for step in range(steps):
        action = generator.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
        rewards = env.step(action)[1], stock.step(action.astype(np.float64))[1]
        assert rewards[0] == rewards[1], f"the rewards differ at step {step}"
        for kind in ("qpos", "qvel", "ctrl", "sensordata", "xpos"):
            message = f"{kind} differs at step {step}"
            np.testing.assert_array_equal(getattr(mine, kind), getattr(its, kind), message)
    env.close()


@pytest.mark.parametrize("task", ["Lift", "PickPlaceCan"])
def test_steps_are_those_of_robosuite_bit_for_bit(task: str) -> None:
    assert_same_as_stock(task, "Panda", "OSC_POSE", steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("controller", ["OSC_POSE", "OSC_POSITION"])
@pytest.mark.parametrize(("task", "robot"), zip(ROBOSUITE, 3 * ROBOTS, strict=False))
def test_steps_of_all_tasks_and_arms_are_those_of_robosuite(
    task: str, robot: str, controller: Controller
) -> None:
    assert_same_as_stock(task, robot, controller, steps=100)


@pytest.mark.slow
@pytest.mark.parametrize("controller", ["OSC_POSE", "OSC_POSITION"])
@pytest.mark.parametrize("robot", ["Panda", "UR5e"])
@pytest.mark.parametrize("task", TASKS)
def test_tasks_and_arms_keep_the_contract(task: str, robot: str, controller: Controller) -> None:
    make = functools.partial(Robosuite, task=task, robot=robot, controller=controller)
    check_task_env(make, move_object)


def test_the_expert_lifts_the_cube_and_a_wrong_name_is_refused() -> None:
    env = Robosuite("Lift", image_size=16)
    env.reset(seed=1)
    outcomes = [env.step(env.expert_action())[4]["success"] for _ in range(60)]
    env.close()
    assert any(outcomes)
    with pytest.raises(UnknownName, match="did you mean Panda"):
        Robosuite("Lift", robot="Pandas")


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_experts_succeed_on_nearly_every_seed(task: str) -> None:
    env = Robosuite(task, image_size=16)
    solved = 0
    for seed in range(10):
        env.reset(seed=seed)
        solved += any(
            env.step(env.expert_action())[4]["success"] for _ in range(env.max_episode_steps)
        )
    env.close()
    assert solved >= 9


@pytest.mark.slow
def test_a_task_without_an_expert_says_so() -> None:
    env = Robosuite("Wipe", image_size=16)
    env.reset(seed=0)
    with pytest.raises(BadInput, match="no scripted expert for Wipe"):
        env.expert_action()
    env.close()


def test_the_catalogue_names_tasks_and_arms_of_the_package() -> None:
    import robosuite
    from robosuite.robots import ROBOT_CLASS_MAPPING

    one_arm = {name for name in robosuite.ALL_ENVIRONMENTS if not name.startswith("TwoArm")}
    assert set(ROBOSUITE) == one_arm
    assert set(ROBOTS) <= set(ROBOT_CLASS_MAPPING)
    assert set(EXPERTS) <= set(ROBOSUITE)


def test_the_quaternion_of_the_state_keeps_its_sign() -> None:
    env = Robosuite("Lift", image_size=16)
    for seed in range(3):
        seen, _ = env.reset(seed=seed)
        quaternion = seen["observation.state"][3:7]
        assert quaternion[0] >= 0
        np.testing.assert_allclose(np.linalg.norm(quaternion), 1.0, atol=1e-5)
    env.close()


def test_robosuite_starts_without_a_word_and_is_heard_afterwards(tmp_path: Path) -> None:
    code = """
import logging
from embodied.envs.robosuite import Robosuite
Robosuite("Lift").close()
logging.getLogger("robosuite_logs").error("No private macro file found!")
"""
    fresh = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}  # it warns while it is compiled
    done = subprocess.run(
        [sys.executable, "-c", code], env=fresh, capture_output=True, text=True, check=True
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "robosuite" in line]
    assert len(said) == 1
    assert "No private macro file found! (<string>:5)" in said[0]
