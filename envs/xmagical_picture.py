"""X-MAGICAL's look: flat shapes with outlines, in the colours of the package."""

import math
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from embodied.envs.xmagical_layouts import GOAL, ROBOT_RADIUS, SIZE, Box
from embodied.envs.xmagical_robots import Outline, Stick, polygon
from embodied.envs.xmagical_world import World

View = Literal["front", "ego"]
"""The whole arena from above, or what lies ahead of the robot, heading upwards."""

Color = tuple[int, int, int]

SHOWN = 2 * SIZE * 1.02
"""Side of what a picture shows, in units of the arena."""
BEHIND = 0.15
"""Where the robot is in its own view, as a share of the height."""
FRACTION_BITS = 6
LINE = 0.02
"""Width of outlines, in units of the arena."""

GREY: Color = (162, 163, 175)
FILL: dict[str, Color] = {
    "red": (245, 129, 165),
    "green": (195, 208, 130),
    "blue": (135, 185, 211),
    "yellow": (254, 213, 123),
    "grey": GREY,
}
EDGE: dict[str, Color] = {
    "red": (243, 94, 141),
    "green": (183, 198, 105),
    "blue": (110, 170, 202),
    "yellow": (254, 201, 86),
    "grey": (144, 145, 159),
}
PALE: dict[str, Color] = {
    "red": (250, 190, 209),
    "green": (224, 231, 191),
    "blue": (194, 219, 233),
    "yellow": (254, 234, 188),
}
AROUND: Color = (231, 231, 234)
OFF_LIMITS: Color = (120, 120, 120)


def draw(world: World, view: str, size: int) -> UInt8[np.ndarray, "height width 3"]:
    """A square picture of an arena.

    Args:
        world: What to show.
        view: One of `View`.
        size: Side of the picture in pixels.
    """
    canvas = _Canvas(world, view, size)
    canvas.fill(_rectangle((-SIZE, -SIZE, SIZE, SIZE)), (255, 255, 255), GREY)
    goal = world.layout.goal_color
    left, bottom, right, _ = GOAL
    canvas.fill(_rectangle((max(left, -SIZE), bottom, min(right, SIZE), SIZE)),
                PALE[goal], FILL[goal])  # fmt: skip
    if world.layout.region is not None:
        canvas.hatch(world.layout.region)
    for color, outline in world.outlines():
        canvas.fill(outline, FILL[color], EDGE[color])
    main, *others = world.robot.outlines()
    for part in others:
        canvas.fill(part, GREY, EDGE["grey"])
    canvas.fill(main, GREY, EDGE["grey"])
    _draw_eyes(canvas, world)
    return canvas.picture


class _Canvas:
    """Draws in units of the arena."""

    def __init__(self, world: World, view: str, size: int) -> None:
        self.picture: np.ndarray = np.full((size, size, 3), AROUND, dtype=np.uint8)
        self._scale = size / SHOWN
        self._line = max(1, round(LINE * self._scale))
        angle, self._origin = 0.0, np.zeros(2)
        self._shift = np.array([SHOWN / 2, SHOWN / 2])
        if view == "ego":
            angle, self._origin = -world.robot.body.angle, np.array(world.robot.body.position)
            self._shift = np.array([SHOWN / 2, BEHIND * SHOWN])
        cos, sin = math.cos(angle), math.sin(angle)
        self._turn = np.array([[cos, sin], [-sin, cos]])

    def _pixels(self, outline: Outline) -> np.ndarray:
        seen = (outline - self._origin) @ self._turn + self._shift
        seen[:, 1] = SHOWN - seen[:, 1]
        pixels: np.ndarray = np.round((seen * self._scale - 0.5) * 2**FRACTION_BITS)
        return pixels.astype(np.int32)

    def fill(self, outline: Outline, color: Color, edge: Color) -> None:
        """A shape with its outline."""
        corners = self._pixels(outline)
        cv2.fillPoly(self.picture, [corners], color, cv2.LINE_AA, FRACTION_BITS)
        cv2.polylines(
            self.picture, [corners], True, edge, self._line, cv2.LINE_AA, FRACTION_BITS
        )  # fmt: skip

    def hatch(self, region: Box) -> None:
        """A region with stripes, which has nothing solid about it."""
        left, bottom, right, top = region
        corners = self._pixels(_rectangle(region))
        stripe = 0.04
        rise = top - bottom
        for start in np.arange(left - rise, right, 2 * stripe).tolist():
            end = start + stripe
            cut = np.array([[start, bottom], [end, bottom], [end + rise, top], [start + rise, top]])
            over = np.clip(cut[:, 0], left, right) - cut[:, 0]
            cut += np.stack([over, over], axis=1)  # along the stripe
            cut[:, 1] = np.clip(cut[:, 1], bottom, top)
            cv2.fillPoly(
                self.picture, [self._pixels(cut)], OFF_LIMITS, cv2.LINE_AA, FRACTION_BITS
            )  # fmt: skip
        cv2.polylines(
            self.picture, [corners], True, OFF_LIMITS, self._line, cv2.LINE_AA, FRACTION_BITS
        )  # fmt: skip


def _draw_eyes(canvas: _Canvas, world: World) -> None:
    """Two eyes that look where the robot is heading."""
    body = world.robot.body
    apart, ahead = (0.3, 0.0) if isinstance(world.robot, Stick) else (0.4, 0.3)
    for side in (-1, 1):
        white = np.array([side * apart, ahead]) * ROBOT_RADIUS
        pupil = white + np.array([0.0, 0.07 * ROBOT_RADIUS])
        for middle, radius, color in (
            (white, 0.2, (255, 255, 255)),
            (pupil, 0.12, (26, 26, 26)),
        ):
            place = body.local_to_world((float(middle[0]), float(middle[1])))
            canvas.fill(polygon(16, radius * ROBOT_RADIUS) + np.array(place), color, color)


def _rectangle(bounds: Box) -> Float[np.ndarray, "4 2"]:
    left, bottom, right, top = bounds
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top]])
