"""Scripted drivers for X-MAGICAL: functions of the present state, so that they can take over.

Everything is a push: get behind some debris, face the way it should go, and drive on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from embodied.envs.xmagical_layouts import ROBOT_RADIUS, SIZE
from embodied.envs.xmagical_robots import FASTEST, SHARPEST, Gripper
from embodied.envs.xmagical_world import FPS, Debris, World

HALF = 0.11
"""Half a piece of debris, and a little."""
UP = np.array([0.0, 1.0])
SLOPE = 0.4
"""How far aside of its line a push may begin, per distance to the debris."""
AHEAD = 0.4
"""Of the robot, where it aims at on the line of its push."""
TURN_PER_STEP = 1 / 10
"""Part of an angle to command so that the physics steps of a control step add up to it."""
TOGETHER = 0.25
"""Distance between the centres of two pieces that lie side by side."""

Vector = Float[np.ndarray, "2"]
Action = Float32[np.ndarray, " action"]


@dataclass(frozen=True, kw_only=True)
class Push:
    """Some debris, by the middle of its near side, and where it should go."""

    place: Vector
    along: Vector
    """Unit vector."""


def sweep(world: World, at_once: bool = True) -> Action:
    """Bring all debris to the goal by pushing it up.

    Args:
        world: As it is now.
        at_once: Whether as much debris is pushed at once as the robot is wide, or one by one.
    """
    waiting = [piece for piece in world.debris if not piece.delivered()]
    if not waiting:
        return _act(world, 0.0, 0.0)
    return push(world, _upwards(world, waiting, at_once))


def avoid(world: World, clearance: float = 0.1) -> Action:
    """First push the debris aside until the way up is clear of the region; then up.

    Args:
        world: With an off-limits region.
        clearance: Between the region and what the robot sweeps; a negative one, down to minus the
            region's width, leads through it.
    """
    (piece,), region = world.debris, world.layout.region
    assert region is not None
    middle = (region[0] + region[2]) / 2
    side = 1.0 if piece.position[0] > middle else -1.0
    beside = region[2] - middle + world.robot.half_width + clearance
    short = beside - side * (float(piece.position[0]) - middle)
    if short > 0.0 and piece.position[1] < region[1] - HALF:
        return push(world, Push(place=piece.position, along=np.array([side, 0.0])))
    return sweep(world)


def gather(world: World, apart: float = TOGETHER, at_once: bool = True) -> Action:
    """First push the outer debris inwards, then all of it up at once.

    Args:
        world: With two pieces of debris.
        apart: Distance between their centres that is near enough.
        at_once: As for `sweep`.
    """
    first, second = sorted(world.debris, key=lambda piece: float(piece.position[0]))
    untouched = not (first.delivered() or second.delivered())
    level = abs(float(first.position[1] - second.position[1])) < 2 * HALF
    if untouched and level and world.spread() > apart:
        inwards = {1.0: first, -1.0: second}
        x = float(world.robot.body.position.x)
        side = min(inwards, key=lambda s: abs(x - float(inwards[s].position[0])))
        return push(world, Push(place=inwards[side].position, along=np.array([side, 0.0])))
    return sweep(world, at_once)


EXPERTS = {"SweepToTop": sweep, "Avoiding": avoid, "Grouping": gather}


def push(world: World, wanted: Push) -> Action:
    """Get behind, turn and push: as far as it is now."""
    robot = world.robot
    offset = np.array(robot.body.position) - wanted.place
    aside = np.array([-wanted.along[1], wanted.along[0]])
    along, across = float(offset @ wanted.along), float(offset @ aside)
    contact = HALF + (ROBOT_RADIUS if isinstance(robot, Gripper) else robot.reach)
    room = -along - contact
    turning = contact + robot.half_width if isinstance(robot, Gripper) else robot.half_width
    behind = HALF + turning + 0.03
    off = _angle(_heading(robot.body.angle), wanted.along)
    if room > -0.1 and abs(across) < 0.04 + SLOPE * max(room, 0.0) and abs(off) < 1.2:
        target = wanted.place + (along + AHEAD) * wanted.along
        steer = _angle(_heading(robot.body.angle), target - np.array(robot.body.position))
        return _act(world, FASTEST if abs(steer) < 0.6 else 0.0, steer)
    if along > 0.1 - behind and abs(across) < turning + HALF + 0.02:
        if abs(off) > 0.6 and along > -contact:  # beside the debris: back off before turning
            return _act(world, -FASTEST, 0.0)
        return _go(world, np.array(robot.body.position) - 0.3 * wanted.along)
    if along > -behind:
        return _go(world, wanted.place - (behind + 0.05) * wanted.along + across * aside)
    if abs(across) > 0.05:
        return _go(world, wanted.place + min(along, -behind - 0.05) * wanted.along)
    return _act(world, 0.0, off)


def _upwards(world: World, waiting: Sequence[Debris], at_once: bool) -> Push:
    """The most debris that one push can take, and of that the nearest to where the robot is."""
    places = sorted((piece.position for piece in waiting), key=lambda place: float(place[0]))
    takes = 2 * world.robot.half_width
    if isinstance(world.robot, Gripper) or not at_once:
        takes = 0.01
    groups = [
        [other for other in places[first:] if other[0] - place[0] <= takes]
        for first, place in enumerate(places)
    ]
    x = float(world.robot.body.position.x)

    def middle(group: Sequence[Vector]) -> float:
        return float(group[0][0] + group[-1][0]) / 2

    best = min(groups, key=lambda group: (-len(group), abs(middle(group) - x)))
    lowest = min(float(place[1]) for place in best)
    off_centre = world.robot.half_width**2  # the wider, the further from its middle it can push
    left, right = sorted((float(best[-1][0]) - off_centre, float(best[0][0]) + off_centre))
    beside_wall = SIZE - world.robot.half_width - 0.05
    column = np.clip(np.clip(x, left, right), -beside_wall, beside_wall)
    return Push(place=np.array([column, lowest]), along=UP)


def _go(world: World, target: Vector) -> Action:
    """Drive to a place, forwards or backwards, whichever needs the smaller turn."""
    body = world.robot.body
    way = target - np.array(body.position)
    steer = _angle(_heading(body.angle), way)
    sign = 1.0
    nose = target + world.robot.reach * way / max(float(np.linalg.norm(way)), 1e-6)
    if abs(steer) > math.pi / 2 or np.abs(nose).max() > SIZE - 0.02:
        sign, steer = -1.0, _angle(_heading(body.angle), -way)
    speed = min(FASTEST, FPS * float(np.linalg.norm(way)))
    return _act(world, sign * speed * max(0.0, math.cos(2 * steer)), steer)


def _act(world: World, speed: float, turn: float) -> Action:
    """Drive, and turn by an angle within the control step, if the robot can; fingers stay open."""
    action = [speed, float(np.clip(turn * TURN_PER_STEP, -SHARPEST, SHARPEST))]
    if isinstance(world.robot, Gripper):
        action.append(0.0)
    return np.array(action, dtype=np.float32)


def _heading(angle: float) -> Vector:
    return np.array([-math.sin(angle), math.cos(angle)])


def _angle(start: Vector, end: Vector) -> float:
    """From one direction to another, in (-pi, pi], counter-clockwise."""
    cross = float(start[0] * end[1] - start[1] * end[0])
    return math.atan2(cross, float(start @ end))
