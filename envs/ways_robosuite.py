"""Ways on robosuite: lift the cube gently, level, or with the hand coming from the right.

The demonstrator is the scripted expert, slower or faster near the cube, with the hand tilted more
or less once it holds the cube, or led to a point beside the cube first.
"""

from functools import partial

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from embodied.envs.base import Observation, TaskEnv
from embodied.envs.robosuite import Robosuite
from embodied.envs.ways import Driver, Trace, Way
from embodied.types import STATE

NEAR = 0.08
"""Metres between gripper and cube within which it should go slowly."""
SLOWEST = 0.2
"""Least of the limits on an action near the cube; below it some arms stop short."""
RAISED = 0.01
"""Metres that the cube is off the table when it counts as carried."""
STEEPEST = 1.6
"""Radians that the demonstrator commands the hand to turn by at most; it does about a quarter."""
TILT_STEPS = 8
"""Control steps in which it does, before it lifts on."""
SLOWER = 0.2
"""Part of the expert's speed with which it lifts until then."""
EPISODE_STEPS = 140
BESIDE = ((-0.1, -0.25, 0.06), (0.05, 0.25, 0.2))
"""Corners of the box, metres from the cube, of the points that the hand is led to."""
PROPORTIONAL = 10.0
"""Action per metre of error on the way there, as the expert's."""
THERE = 0.03
"""Metres from the point at which the expert takes over."""
DETOUR = 30
"""Control steps that the way there may take."""

Moments = Float[np.ndarray, " moment"]


def _slowness_near_the_cube(trace: Trace) -> Moments:
    """Minus the speed of the gripper in m/s, where it is near the cube and has not raised it."""
    hand, cube = trace.state[:, :3], trace.privileged["cube"][:, :3]
    speed = np.linalg.norm(np.diff(hand, axis=0, prepend=hand[:1]), axis=1) * trace.fps
    near = (np.linalg.norm(hand - cube, axis=1) < NEAR) & ~_carried(trace)
    return np.asarray(np.where(near, -speed, 0.0))


def _levelness_carried(trace: Trace) -> Moments:
    """Minus the tilt of the cube in radians, where it is carried."""
    upright = Rotation.from_quat(trace.privileged["cube"][:, 3:7], scalar_first=True)
    vertical = upright.as_matrix()[:, 2, 2]
    return np.asarray(np.where(_carried(trace), -np.arccos(np.clip(vertical, -1.0, 1.0)), 0.0))


def _to_the_right(trace: Trace) -> Moments:
    """Metres that the hand is right of the cube in the picture, until it is carried."""
    aside = trace.state[:, 1] - trace.privileged["cube"][:, 1]  # the camera looks at the robot
    return np.asarray(np.where(_carried(trace), 0.0, aside))


def _carried(trace: Trace) -> np.ndarray:
    height = trace.privileged["cube"][:, 2]  # an episode begins with the cube in the air
    return np.asarray(height > height.min() + RAISED)


def _slower_near_the_cube(env: TaskEnv, rng: np.random.Generator) -> Driver:
    limit = float(rng.uniform(SLOWEST, 1.0))

    def drive(observation: Observation, step: int) -> Float32[np.ndarray, " action"]:
        action, cube = env.expert_action(), env.privileged()["cube"][:3]
        if np.linalg.norm(observation[STATE][:3] - cube) < 1.5 * NEAR:
            action[:3] = np.clip(action[:3], -limit, limit)
        return action

    return drive


def _tilted_as_it_carries(env: TaskEnv, rng: np.random.Generator) -> Driver:
    tilt, heading = rng.uniform(0.0, STEEPEST), rng.uniform(0.0, 2 * np.pi)
    turn = tilt / TILT_STEPS / 0.5 * np.array([np.cos(heading), np.sin(heading)])
    table, turned = np.inf, 0

    def drive(observation: Observation, step: int) -> Float32[np.ndarray, " action"]:
        nonlocal table, turned
        action, height = env.expert_action(), float(env.privileged()["cube"][2])
        table = min(table, height)  # it begins in the air
        if turned < TILT_STEPS and action[2] > 0.0:  # it holds the cube, and lifts
            action[2] *= SLOWER  # the task is done soon after, else before the turn
            if height > table + RAISED:
                action[:3], action[3:5] = 0.0, turn
                turned += 1
        return action

    return drive


def _by_way_of_a_point_beside(env: TaskEnv, rng: np.random.Generator) -> Driver:
    offset, there = rng.uniform(*BESIDE), False

    def drive(observation: Observation, step: int) -> Float32[np.ndarray, " action"]:
        nonlocal there
        action = env.expert_action()
        off = env.privileged()["cube"][:3] + offset - observation[STATE][:3]
        there = there or step >= DETOUR or bool(np.linalg.norm(off) <= THERE)
        if not there:
            action[:3], action[3:6] = np.clip(PROPORTIONAL * off, -1.0, 1.0), 0.0
        return action

    return drive


WAYS = (
    Way(
        name="lift-gently",
        task="Lift",
        text="lift the cube, slowly where the gripper is near it",
        make=partial(Robosuite, "Lift", max_episode_steps=EPISODE_STEPS),
        liking=_slowness_near_the_cube,
        overall="worst",
        metric=lambda trace: -100 * float(_slowness_near_the_cube(trace).min()),
        unit="cm/s within 8 cm of the cube, when it is fastest",
        better="lower",
        demonstrator=_slower_near_the_cube,
    ),
    Way(
        name="lift-level",
        task="Lift",
        text="lift the cube and keep it level",
        make=partial(Robosuite, "Lift", max_episode_steps=EPISODE_STEPS),
        liking=_levelness_carried,
        overall="worst",
        metric=lambda trace: float(np.degrees(-_levelness_carried(trace).min())),
        unit="degrees that the carried cube is tilted, at most",
        better="lower",
        demonstrator=_tilted_as_it_carries,
    ),
    Way(
        name="lift-right",
        task="Lift",
        text="lift the cube, with the hand coming from the right",
        make=partial(Robosuite, "Lift", max_episode_steps=EPISODE_STEPS),
        liking=_to_the_right,
        metric=lambda trace: 100 * float(_to_the_right(trace).mean()),
        unit="cm that the hand is right of the cube, on average",
        better="higher",
        demonstrator=_by_way_of_a_point_beside,
    ),
)
"""``make(robot="Sawyer")`` lifts gently too. The cube slips in its hand however level
it holds the hand, so that it has no attempts at `lift-level` to like. `lift-right` is also for the
IIWA and the Kinova3; the Sawyer sometimes and the UR5e mostly runs out of time.
"""
