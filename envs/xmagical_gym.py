"""X-MAGICAL under the ids that the package `x-magical` published, for code that was written for it.

```python
import gymnasium
import embodied.envs.xmagical_gym

env = gymnasium.make("SweepToTop-Mediumstick-State-Allo-TestLayout-v0")
```

An id is ``SweepToTop-<Embodiment>-<Pixels|State>-<Allo|Ego>-<Demo|Test...>-v0`` (Zakka et al.,
"XIRL", arXiv 2106.03911). Observation, action, reward and length of an episode are the published
ones; `embodied.envs.xmagical` is the same world as a task with cameras and instruction.
"""

from itertools import product
from typing import Any, final, get_args

import gymnasium as gym
import numpy as np

from embodied.envs.base import checked_action, started
from embodied.envs.xmagical import Reward, steps_of
from embodied.envs.xmagical_layouts import Variant, draw_layout
from embodied.envs.xmagical_picture import View, draw
from embodied.envs.xmagical_robots import EMBODIMENTS
from embodied.envs.xmagical_world import World
from embodied.errors import UnknownName

TASK = "SweepToTop"
VIEWS: dict[str, View] = {"Allo": "front", "Ego": "ego"}
VARIANTS: dict[str, Variant] = {
    "Demo": "demo", "TestLayout": "layout", "TestShape": "shape", "TestColor": "color",
    "TestDynamics": "dynamics", "TestAll": "all",
}  # fmt: skip
IMAGE_SIZE = 384
"""Height and width of the published pictures, in pixels."""
FARTHEST = 4.0
"""No number of the state is beyond it: from corner to corner the arena has a length of 3.1."""


@final
class PublishedXMagical(gym.Env[np.ndarray, np.ndarray]):
    """SweepToTop as published: one array is observed, and its time limit alone ends an episode.

    The observation is the state of 16 numbers, 17 with the gripper (`World.state`; float32), or a
    picture (uint8, 384 x 384 x 3). Actions lie in [-1, 1]: a speed, an angle to turn by in radians,
    and with the gripper how far the fingers close. ``info["eval_score"]`` is the share of the
    debris that lies in the goal.

    Args:
        embodiment: ``shortstick``, ``mediumstick``, ``longstick`` or ``gripper``.
        variant: What the seed draws; see `XMagical`.
        view: Of the picture: ``front``, the whole arena, or ``ego``.
        pixels: Whether the picture is observed.
        reward: ``sparse`` or ``dense``.
        render_mode: As Gymnasium has it.

    Raises:
        UnknownName: for another reward.
    """

    action_space: gym.spaces.Box
    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(
        self,
        *,
        embodiment: str,
        variant: Variant,
        view: View,
        pixels: bool,
        reward: Reward = "sparse",
        render_mode: str | None = None,
    ) -> None:
        if reward not in get_args(Reward):
            raise UnknownName("reward", reward, get_args(Reward))
        self.render_mode = render_mode
        self._embodiment, self._variant, self._view = embodiment, variant, view
        self._pixels, self._reward = pixels, reward
        self._limit = steps_of(TASK, embodiment)
        self._world = World(embodiment, draw_layout(TASK, "demo", np.random.default_rng(0)))
        self._steps: int | None = None
        picture = gym.spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        state = gym.spaces.Box(-FARTHEST, FARTHEST, self._world.state().shape, np.float32)
        self.observation_space = picture if pixels else state
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2 + (embodiment == "gripper"),), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; the same seed begins it the same way."""
        super().reset(seed=seed)
        self._world = World(self._embodiment, draw_layout(TASK, self._variant, self.np_random))
        self._steps = 0
        return self._observed(), self._told()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold one action for an eighth of a second.

        Raises:
            BadInput: for an action of the wrong shape or with NaN, or before the first `reset`.
        """
        command = checked_action(action, self.action_space)
        self._steps = started(self._steps, "step") + 1
        self._world.step(command.astype(np.float64))
        sparse = self._reward == "sparse"
        reward = self._world.score() if sparse else self._world.dense_reward()
        return self._observed(), reward, False, self._steps >= self._limit, self._told()

    def render(self) -> Any:
        """The picture, whatever is observed; None unless it was asked for."""
        return None if self.render_mode is None else draw(self._world, self._view, IMAGE_SIZE)

    def _observed(self) -> np.ndarray:
        return draw(self._world, self._view, IMAGE_SIZE) if self._pixels else self._world.state()

    def _told(self) -> dict[str, Any]:
        return {"eval_score": self._world.score()}


def _register() -> None:
    for embodiment, sees, (looks, view), (named, variant) in product(
        EMBODIMENTS, ("Pixels", "State"), VIEWS.items(), VARIANTS.items()
    ):
        gym.register(
            id=f"{TASK}-{embodiment.capitalize()}-{sees}-{looks}-{named}-v0",
            entry_point=f"{__name__}:{PublishedXMagical.__name__}",
            kwargs={
                "embodiment": embodiment, "variant": variant, "view": view,
                "pixels": sees == "Pixels",
            },
        )  # fmt: skip


_register()
