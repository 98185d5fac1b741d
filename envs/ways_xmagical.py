"""RAPL's two ways on X-MAGICAL: keep clear of a region, and keep the debris together."""

from functools import partial

import numpy as np
from jaxtyping import Float, Float32

from embodied.envs.base import Observation, TaskEnv
from embodied.envs.ways import Driver, Trace, Way
from embodied.envs.xmagical import XMagical
from embodied.envs.xmagical_experts import avoid, gather

Moments = Float[np.ndarray, " moment"]


def _clear_of_the_region(trace: Trace) -> Moments:
    return -np.asarray(trace.privileged["off_limits"], dtype=np.float64)


def _togetherness(trace: Trace) -> Moments:
    return -np.asarray(trace.privileged["spread"], dtype=np.float64)


def _more_or_less_clear(env: TaskEnv, rng: np.random.Generator) -> Driver:
    assert isinstance(env, XMagical)
    clearance = float(rng.uniform(-0.6, 0.15))

    def drive(observation: Observation, step: int) -> Float32[np.ndarray, " action"]:
        return avoid(env.world, clearance)

    return drive


def _more_or_less_together(env: TaskEnv, rng: np.random.Generator) -> Driver:
    assert isinstance(env, XMagical)
    apart, at_once = float(rng.uniform(0.25, 0.5)), bool(rng.random() < 0.5)

    def drive(observation: Observation, step: int) -> Float32[np.ndarray, " action"]:
        return gather(env.world, apart, at_once)

    return drive


WAYS = (
    Way(
        name="sweep-avoiding",
        task="Avoiding",
        text="push the debris to the top, keeping clear of the striped region",
        make=partial(XMagical, "Avoiding"),
        liking=_clear_of_the_region,
        metric=lambda trace: float(trace.privileged["off_limits"].sum() / trace.fps),
        unit="seconds in which robot or debris touches the region",
        better="lower",
        demonstrator=_more_or_less_clear,
    ),
    Way(
        name="sweep-grouping",
        task="Grouping",
        text="push the debris to the top, keeping it together",
        make=partial(XMagical, "Grouping"),
        liking=_togetherness,
        metric=lambda trace: float(trace.privileged["spread"].mean()),
        unit="distance between the two pieces, on average; the arena is 2.2 wide",
        better="lower",
        demonstrator=_more_or_less_together,
    ),
)
"""``make(embodiment="shortstick")`` is the same with another body."""
