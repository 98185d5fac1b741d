"""Ways on Meta-World: from which side, how near, how low the hand goes.

The demonstrator first goes to a point drawn at random, so that no two attempts take the same way;
then the scripted expert finishes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float, Float32

from embodied.envs.base import Observation, TaskEnv
from embodied.envs.metaworld import MetaWorld
from embodied.envs.ways import Driver, Trace, Way
from embodied.types import STATE

PROPORTIONAL = 10.0
"""Action per metre of error on the way to the random point; Meta-World's experts have 4 to 25."""
NEAR = 0.03
"""Metres from the random point at which the expert takes over."""
DETOUR = 25
"""Control steps that the detour may take."""
MIDDLE = np.array([0.0, 0.6, 0.2])
"""Above the table, metres."""

Corner = tuple[float, float, float]
Moments = Float[np.ndarray, " moment"]


def _by_way_of(low: Corner, high: Corner) -> Callable[[TaskEnv, np.random.Generator], Driver]:
    """A demonstrator that goes by way of a point in a box."""

    def draw(env: TaskEnv, rng: np.random.Generator) -> Driver:
        point, there = rng.uniform(low, high), False

        def drive(observation: Observation, step: int) -> Float32[np.ndarray, " action"]:
            nonlocal there
            action = env.expert_action()
            off = point - observation[STATE][:3]
            there = there or step >= DETOUR or bool(np.linalg.norm(off) <= NEAR)
            if not there:
                action[:3] = np.clip(PROPORTIONAL * off, -1, 1)
            return action

        return drive

    return draw


def _to_the_right(trace: Trace) -> Moments:
    return np.asarray(trace.state[:, 0] - trace.privileged["object"][:, 0])


def _from_the_middle(trace: Trace) -> Moments:
    return np.asarray(np.linalg.norm(trace.state[:, :3] - MIDDLE, axis=1))


def _down(trace: Trace) -> Moments:
    return np.asarray(-trace.state[:, 2])


WAYS = (
    Way(
        name="drawer-open-right",
        task="drawer-open-v3",
        text="open the drawer, approaching from the right",
        make=partial(MetaWorld, "drawer-open-v3"),
        liking=_to_the_right,
        metric=lambda trace: 100 * float(_to_the_right(trace).mean()),
        unit="cm that the hand is right of the handle, on average",
        better="higher",
        demonstrator=_by_way_of((-0.25, 0.5, 0.15), (0.25, 0.65, 0.3)),
    ),
    Way(
        name="button-press-clear",
        task="button-press-topdown-v3",
        text="press the button, keeping clear of the middle",
        make=partial(MetaWorld, "button-press-topdown-v3"),
        liking=_from_the_middle,
        overall="worst",
        metric=lambda trace: 100 * float(_from_the_middle(trace).min()),
        unit="cm between the hand and the middle, when it is nearest",
        better="higher",
        demonstrator=_by_way_of((-0.25, 0.55, 0.1), (0.25, 0.7, 0.35)),
    ),
    Way(
        name="drawer-close-low",
        task="drawer-close-v3",
        text="close the drawer, keeping the hand low",
        make=partial(MetaWorld, "drawer-close-v3"),
        liking=_down,
        metric=lambda trace: 100 * float(trace.state[:, 2].max()),
        unit="cm above the table, when the hand is highest",
        better="lower",
        demonstrator=_by_way_of((-0.2, 0.45, 0.08), (0.2, 0.6, 0.38)),
    ),
)
"""Of the fifty tasks, three whose expert can be led astray without failing."""
