"""X-MAGICAL under its published ids."""

import gymnasium as gym
import jaxtyping
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import embodied.envs.xmagical_gym
from embodied.envs.xmagical import XMagical
from embodied.errors import UnknownName
from embodied.types import IMAGES

IDS = [name for name in gym.registry if name.startswith("SweepToTop-")]


def test_every_published_id_is_there() -> None:
    assert len(IDS) == 4 * 2 * 2 * 6
    assert "SweepToTop-Gripper-State-Ego-TestDynamics-v0" in IDS
    assert embodied.envs.xmagical_gym.IMAGE_SIZE == 384


@pytest.mark.parametrize(
    ("name", "observed", "actions"),
    [
        ("SweepToTop-Mediumstick-State-Allo-TestLayout-v0", (16,), (2,)),
        ("SweepToTop-Gripper-State-Ego-TestAll-v0", (17,), (3,)),
        ("SweepToTop-Longstick-Pixels-Ego-Demo-v0", (384, 384, 3), (2,)),
    ],
)
def test_gymnasiums_own_check_passes(
    name: str, observed: tuple[int, ...], actions: tuple[int, ...]
) -> None:
    env = gym.make(name)
    assert (env.observation_space.shape, env.action_space.shape) == (observed, actions)
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize(("embodiment", "limit"), [("shortstick", 100), ("longstick", 50)])
@pytest.mark.parametrize("reward", ["sparse", "dense"])
def test_it_is_the_world_that_the_task_has(embodiment: str, limit: int, reward: str) -> None:
    """With its driver: the same states, rewards and score, and only the time limit ends it."""
    task = XMagical(embodiment=embodiment, variant="layout", reward=reward, image_size=8)
    name = f"SweepToTop-{embodiment.capitalize()}-State-Allo-TestLayout-v0"
    env = gym.make(name, reward=reward)
    told = task.reset(seed=3)[1]["privileged"]
    state, info = env.reset(seed=3)
    for number in range(1, limit + 1):
        np.testing.assert_array_equal(state, told["state"])
        action = task.expert_action()
        _, wanted, *_, about = task.step(action)
        told = about["privileged"]
        state, got, terminated, truncated, info = env.step(action)
        assert (got, info["eval_score"]) == (wanted, told["score"])
        assert (terminated, truncated) == (False, number == limit)
    assert info["eval_score"] > 0


def test_pictures_are_those_of_the_tasks_cameras() -> None:
    task = XMagical(embodiment="gripper", variant="all", cameras=("front", "ego"), image_size=384)
    seen = task.reset(seed=1)[0]
    for looks, camera in (("Allo", "front"), ("Ego", "ego")):
        name = f"SweepToTop-Gripper-Pixels-{looks}-TestAll-v0"
        env = gym.make(name, render_mode="rgb_array")
        picture, _ = env.reset(seed=1)
        np.testing.assert_array_equal(picture, seen[IMAGES + camera])
        np.testing.assert_array_equal(env.render(), picture)


def test_another_reward_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UnknownName, match="sparse"):
        gym.make(IDS[0], reward="spare")
