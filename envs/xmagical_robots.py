"""X-MAGICAL's four embodiments: three sticks and a gripper, which also turn in place.

An action is a speed along the heading (units per second, at most 0.8), an angle in radians by which
to turn, and for the gripper how far the fingers close (from open at 0 to closed at 0.39).
"""

import abc
import math
from collections.abc import Sequence
from typing import override

import numpy as np
import pymunk
from jaxtyping import Float

from embodied.envs.xmagical_layouts import ROBOT_RADIUS, Forces
from embodied.errors import UnknownName

START = (0.0, -0.6)
FASTEST = 4.0 * ROBOT_RADIUS
TURN_RATE = 2.5
"""Radians per second at most."""
SHARPEST = 2 * TURN_RATE / 80
"""Angle to turn by, at which the turn rate is reached; to command more turns no faster.

In each of 80 physics steps a second the body first moves on, so that half of the angle is left.
"""
WIDTHS = {"shortstick": 1.5, "mediumstick": 3.0, "longstick": 8.0}
"""Of the sticks, in radii of the robot."""
EMBODIMENTS = (*WIDTHS, "gripper")
OPEN = math.pi / 8
"""Angle of a finger that is open, outwards from the heading, in radians."""
_OWN = pymunk.ShapeFilter(group=1)

Outline = Float[np.ndarray, "corner 2"]
"""Corners of a filled shape, in the frame of its body or of the arena."""


class Robot(abc.ABC):
    """A body with a motor for its speed and one for its heading."""

    half_width: float
    """Half of what it sweeps as it drives forward."""
    reach: float
    """From its centre to its front."""

    def __init__(self, space: pymunk.Space, forces: Forces) -> None:
        self.body = pymunk.Body(1.0, self._inertia())
        self.body.position = START
        self._motor = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        self._motor.position = START
        drive = pymunk.PivotJoint(self._motor, self.body, (0, 0), (0, 0))
        drive.max_bias, drive.max_force = 0, forces.drive
        turn = pymunk.GearJoint(self._motor, self.body, 0.0, 1.0)
        turn.error_bias, turn.max_bias, turn.max_force = 0.0, TURN_RATE, forces.turn
        space.add(self.body, self._motor, drive, turn)
        self._speed, self._turn = 0.0, 0.0

    def command(self, action: Float[np.ndarray, " action"]) -> None:
        """What to do until the next command."""
        self._speed = float(np.clip(action[0], -FASTEST, FASTEST))
        self._turn = float(action[1])

    def before_physics_step(self) -> None:
        """Set the motors."""
        self._motor.angle = self.body.angle + self._turn
        self._motor.velocity = pymunk.Vec2d(0.0, self._speed).rotated(self.body.angle)

    def proprioception(self) -> list[float]:
        """Position, cosine and sine of the heading, and what else the robot feels of itself."""
        return [*self.body.position, math.cos(self.body.angle), math.sin(self.body.angle)]

    @abc.abstractmethod
    def outlines(self) -> list[Outline]:
        """Its parts, in the frame of the arena; the main one first."""

    @abc.abstractmethod
    def _inertia(self) -> float:
        """Moment of the main body."""


class Stick(Robot):
    """A bar across the heading."""

    def __init__(self, space: pymunk.Space, forces: Forces, width: float) -> None:
        self.half_width, self.reach = width * ROBOT_RADIUS / 2, ROBOT_RADIUS / 4
        super().__init__(space, forces)
        self._bar = box(2 * self.half_width, 2 * self.reach)
        space.add(_solid(self.body, self._bar, friction=0.5))

    @override
    def outlines(self) -> list[Outline]:
        return [placed(self._bar, self.body)]

    @override
    def _inertia(self) -> float:
        return pymunk.moment_for_box(1.0, (2 * self.half_width, 2 * self.reach))


class Gripper(Robot):
    """A disc with two bent fingers."""

    def __init__(self, space: pymunk.Space, forces: Forces) -> None:
        self.half_width, self.reach = 0.85 * ROBOT_RADIUS, 1.85 * ROBOT_RADIUS
        super().__init__(space, forces)
        disc = pymunk.Circle(self.body, ROBOT_RADIUS)
        disc.filter, disc.friction = _OWN, 0.5
        space.add(disc)
        self._disc = polygon(32, ROBOT_RADIUS)
        self._parts = {side: _finger(side) for side in (-1, 1)}
        self._fingers = {
            side: self._attach(space, forces, side, parts) for side, parts in self._parts.items()
        }
        self._wanted = 0.0

    @override
    def command(self, action: Float[np.ndarray, " action"]) -> None:
        super().command(action)
        self._wanted = float(np.clip(OPEN - action[2], 0.0, OPEN))

    @override
    def before_physics_step(self) -> None:
        super().before_physics_step()
        for side, (finger, motor) in self._fingers.items():
            off = finger.angle - self.body.angle + side * self._wanted
            motor.rate = float(np.clip(10 * off, -1, 1)) if abs(10 * off) >= 1e-4 else 0.0

    @override
    def proprioception(self) -> list[float]:
        left, right = (self._fingers[side][0].angle for side in (-1, 1))
        return [*super().proprioception(), float(np.clip((left - right) / (2 * OPEN), 0.0, 1.0))]

    @override
    def outlines(self) -> list[Outline]:
        fingers = [
            placed(part, self._fingers[side][0])
            for side, parts in self._parts.items()
            for part in parts
        ]
        return [placed(self._disc, self.body), *fingers]

    @override
    def _inertia(self) -> float:
        return pymunk.moment_for_circle(1.0, 0, ROBOT_RADIUS)

    def _attach(
        self, space: pymunk.Space, forces: Forces, side: int, parts: Sequence[Outline]
    ) -> tuple[pymunk.Body, pymunk.SimpleMotor]:
        corners = [tuple(corner) for part in parts for corner in part.tolist()]
        finger = pymunk.Body(1 / 8, pymunk.moment_for_poly(1 / 8, corners))
        finger.angle = -side * OPEN
        finger.position = (
            self.body.position[0] + side * 0.45 * ROBOT_RADIUS,
            self.body.position[1] + 0.1 * ROBOT_RADIUS,
        )
        pivot = pymunk.PivotJoint(self.body, finger, tuple(finger.position))
        pivot.error_bias = 0.0
        limit = pymunk.RotaryLimitJoint(self.body, finger, *sorted((0.0, -side * OPEN)))
        limit.error_bias = 0.0
        motor = pymunk.SimpleMotor(self.body, finger, 0.0)
        motor.max_bias, motor.max_force = 0.0, forces.fingers
        space.add(finger, pivot, limit, motor, *(_solid(finger, part, 5.0) for part in parts))
        return finger, motor


def make_robot(embodiment: str, space: pymunk.Space, forces: Forces) -> Robot:
    """The named embodiment, at its start, in a space.

    Raises:
        UnknownName: if there is no such embodiment.
    """
    if embodiment not in EMBODIMENTS:
        raise UnknownName("embodiment", embodiment, EMBODIMENTS)
    if embodiment == "gripper":
        return Gripper(space, forces)
    return Stick(space, forces, WIDTHS[embodiment])


def placed(outline: Outline, body: pymunk.Body) -> Outline:
    """An outline in the frame of its body, in the frame of the arena."""
    cos, sin = math.cos(body.angle), math.sin(body.angle)
    turned: np.ndarray = outline @ np.array([[cos, sin], [-sin, cos]]) + np.array(body.position)
    return turned


def box(width: float, height: float) -> Outline:
    """A rectangle about the origin."""
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]


def polygon(sides: int, radius: float) -> Outline:
    """A regular polygon with a corner straight up."""
    angles = np.arange(sides) * 2 * math.pi / sides
    return np.stack([-np.sin(angles), np.cos(angles)], axis=1) * radius


def _solid(body: pymunk.Body, outline: Outline, friction: float) -> pymunk.Poly:
    shape = pymunk.Poly(body, [tuple(corner) for corner in outline.tolist()])
    shape.filter, shape.friction = _OWN, friction
    return shape


def _finger(side: int) -> list[Outline]:
    """Upper and fore part, from the root upwards; the fore part bends inwards."""
    thick, upper, fore = 0.25 * ROBOT_RADIUS, 1.1 * ROBOT_RADIUS, 0.7 * ROBOT_RADIUS
    bend = side * math.pi / 8
    cos, sin = math.cos(bend), math.sin(bend)
    hinge = np.array([side * thick / 2, upper])
    middle = np.array([-side * thick / 2, fore / 2])
    turn = np.array([[cos, sin], [-sin, cos]])
    return [
        box(thick, upper) + np.array([0.0, upper / 2]),
        (box(thick, fore) + middle) @ turn + hinge,
    ]
