"""X-MAGICAL's physics: a robot pushes debris about in a walled square, seen from above."""

import math
from typing import Any

import numpy as np
import pymunk
from jaxtyping import Float, Float32
from pymunk.autogeometry import convex_decomposition

from embodied.envs.xmagical_layouts import DEBRIS_RADIUS, GOAL, SIZE, Box, Layout, Place
from embodied.envs.xmagical_robots import Outline, box, make_robot, placed, polygon

FPS = 8.0
PHYSICS_STEPS = 10
"""Per control step."""
DEBRIS_MASS = 0.01
THERE = 0.88
"""Height from which the dense reward counts a piece of debris as delivered."""


class Debris:
    """One piece: a light body that the floor holds, until it is pushed."""

    def __init__(self, space: pymunk.Space, layout: Layout, number: int) -> None:
        self.color = layout.colors[number]
        self.outline = _outline(layout.shapes[number])
        self._circle = layout.shapes[number] == "circle"
        corners = [(float(x), float(y)) for x, y in self.outline]
        inertia = (
            pymunk.moment_for_circle(DEBRIS_MASS, 0, DEBRIS_RADIUS)
            if self._circle
            else pymunk.moment_for_poly(DEBRIS_MASS, corners)
        )
        self.body = pymunk.Body(DEBRIS_MASS, inertia)
        self.body.position = layout.places[number]
        slide = pymunk.PivotJoint(space.static_body, self.body, (0, 0), (0, 0))
        slide.max_bias, slide.max_force = 0, layout.forces.slide
        spin = pymunk.GearJoint(space.static_body, self.body, 0.0, 1.0)
        spin.max_bias, spin.max_force = 0, layout.forces.spin
        shapes = self._shapes(layout.shapes[number], corners)
        for shape in shapes:
            shape.friction, shape.filter = 0.5, pymunk.ShapeFilter(group=2 + number)
        space.add(self.body, slide, spin, *shapes)

    def _shapes(self, name: str, corners: list[Place]) -> list[pymunk.Shape]:
        if self._circle:
            return [pymunk.Circle(self.body, DEBRIS_RADIUS)]
        if name == "star":
            parts = convex_decomposition([*corners, corners[0]], 0)
            return [pymunk.Poly(self.body, [(x, y) for x, y in part]) for part in parts]
        bevel = 0.02 * DEBRIS_RADIUS if name == "square" else 0.0
        return [pymunk.Poly(self.body, corners, radius=bevel)]

    @property
    def position(self) -> Float[np.ndarray, "2"]:
        """Of its centre."""
        return np.array(self.body.position)

    def delivered(self) -> bool:
        """Whether all of it is in the goal."""
        bounds = [shape.bb for shape in self.body.shapes]
        left, bottom, right, top = GOAL
        return all(
            left <= b.left and bottom <= b.bottom and b.right <= right and b.top <= top
            for b in bounds
        )


class World:
    """An arena at some moment of an episode.

    Args:
        embodiment: Of the robot.
        layout: How the episode begins.

    Raises:
        UnknownName: if there is no such embodiment.
    """

    def __init__(self, embodiment: str, layout: Layout) -> None:
        self.layout = layout
        self.space = pymunk.Space()
        self.space.collision_slop, self.space.iterations = 0.01, 10
        _wall_in(self.space)
        self.debris = [Debris(self.space, layout, n) for n in range(len(layout.places))]
        self.robot = make_robot(embodiment, self.space, layout.forces)

    def step(self, action: Float[np.ndarray, " action"]) -> None:
        """Hold an action for one control step."""
        self.robot.command(action)
        for _ in range(PHYSICS_STEPS):
            self.robot.before_physics_step()
            self.space.step(1 / (FPS * PHYSICS_STEPS))

    def state(self) -> Float32[np.ndarray, " feature"]:
        """The state that the package publishes: 4 numbers, and 4 for each piece of debris.

        Robot x, y; debris x, y; cosine and sine of the heading; distances from the robot to the
        debris, and from the debris to the top; with the gripper the opening of the fingers, in
        [0, 1].
        """
        x, y, cos, sin, *more = self.robot.proprioception()
        places = [piece.position for piece in self.debris]
        near = [math.dist((x, y), place) for place in places]
        short = [abs(1.0 - float(place[1])) for place in places]
        numbers = [x, y, *np.ravel(places).tolist(), cos, sin, *near, *short, *more]
        return np.array(numbers, dtype=np.float32)

    def score(self) -> float:
        """Share of the debris that is in the goal: the published, sparse reward."""
        return sum(piece.delivered() for piece in self.debris) / len(self.debris)

    def dense_reward(self) -> float:
        """Minus the mean distance of the debris to the top: the published, dense reward."""
        heights = [float(piece.position[1]) for piece in self.debris]
        return -float(np.mean([0.0 if y > THERE else abs(1.0 - y) for y in heights]))

    def off_limits(self) -> bool:
        """Whether the robot or any debris touches the off-limits region."""
        region = self.layout.region
        if region is None:
            return False
        outline = pymunk.Poly(self.space.static_body, _corners(region))
        return bool(self.space.shape_query(outline))

    def spread(self) -> float:
        """The longest distance between two pieces of debris."""
        places = np.stack([piece.position for piece in self.debris])
        return float(np.linalg.norm(places[:, None] - places[None], axis=-1).max())

    def privileged(self) -> dict[str, Any]:
        """All of this by name, and the poses (x, y, angle in radians) of robot and debris."""
        bodies = [piece.body for piece in self.debris]
        return {
            "state": self.state(),
            "robot": np.array([*self.robot.body.position, self.robot.body.angle]),
            "debris": np.array([[*body.position, body.angle] for body in bodies]),
            "score": self.score(),
            "dense_reward": self.dense_reward(),
            "off_limits": self.off_limits(),
            "spread": self.spread(),
        }

    def outlines(self) -> list[tuple[str, Outline]]:
        """Colour and corners of each piece of debris, in the frame of the arena."""
        return [(piece.color, placed(piece.outline, piece.body)) for piece in self.debris]


def _corners(bounds: Box) -> list[Place]:
    left, bottom, right, top = bounds
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def _wall_in(space: pymunk.Space) -> None:
    """Four thick walls, whose inner sides bound the arena."""
    corners = _corners((-SIZE - 1, -SIZE - 1, SIZE + 1, SIZE + 1))
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        wall = pymunk.Segment(space.static_body, start, end, 1.0)
        wall.friction = 0.8
        space.add(wall)


def _outline(shape: str) -> Outline:
    """All have the area of a circle of the same radius, but the star."""
    if shape == "square":
        side = math.sqrt(math.pi) * DEBRIS_RADIUS
        return box(side, side)
    if shape == "star":
        outer, inner = polygon(5, 1.3 * DEBRIS_RADIUS), -polygon(5, 0.65 * DEBRIS_RADIUS)
        return np.stack([outer, np.roll(inner, 2, axis=0)], axis=1).reshape(10, 2)
    if shape == "circle":
        return polygon(32, DEBRIS_RADIUS)
    area_per_square = 5 / 2 * math.sin(2 * math.pi / 5)
    return polygon(5, DEBRIS_RADIUS * math.sqrt(math.pi / area_per_square))
