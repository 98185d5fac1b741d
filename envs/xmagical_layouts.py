"""X-MAGICAL: what lies where when an episode begins, by task and by variant.

Units are those of the package: the arena is a square from -1.1 to 1.1, its goal the strip at the
top. The variants are the package's own; `Avoiding` and `Grouping` follow RAPL (arXiv 2310.07932),
which publishes no numbers: their layouts are ours.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from embodied.errors import UnknownName

Variant = Literal["demo", "layout", "shape", "color", "dynamics", "all"]
"""What the seed draws: nothing, places, shapes, colours, forces, or all of them."""

SIZE = 1.1
"""Half the side of the arena."""
ROBOT_RADIUS = 0.2
DEBRIS_RADIUS = 0.6 * ROBOT_RADIUS
"""Of the circle that has the area of a piece of debris, whatever its shape."""
GOAL = (-1.2, 0.76, 1.2, 1.16)
"""Left, bottom, right, top."""
REGION = (-0.2, 0.36, 0.2, 0.6)
"""The off-limits region of `Avoiding`, between the debris and the goal."""
SHAPES = ("square", "pentagon", "star", "circle")
COLORS = ("red", "green", "blue", "yellow")

Box = tuple[float, float, float, float]
Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Forces:
    """The most that the joints bear which move the robot and hold the debris."""

    drive: float = 5.0
    turn: float = 1.0
    fingers: float = 4.0
    slide: float = 1.5
    """Holds a piece of debris in its place: the friction of the floor."""
    spin: float = 0.1


RANGES = {
    "drive": (3.2, 5.5),
    "turn": (0.7, 1.5),
    "fingers": (2.5, 4.5),
    "slide": (1.0, 1.8),
    "spin": (0.07, 0.15),
}
"""Of `Forces`, what the variant ``dynamics`` draws from."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The beginning of an episode."""

    places: tuple[Place, ...]
    """Of each piece of debris."""
    shapes: tuple[str, ...]
    colors: tuple[str, ...]
    goal_color: str
    region: Box | None
    """Off-limits, if there is such a region."""
    forces: Forces


def draw_layout(task: str, variant: Variant, rng: np.random.Generator) -> Layout:
    """A beginning of an episode.

    Raises:
        UnknownName: if there is no such variant.
    """
    if variant not in get_args(Variant):
        raise UnknownName("variant", variant, get_args(Variant))
    fixed, drawn = _PLACES[task]
    everything = variant == "all"
    places = drawn(rng) if everything or variant == "layout" else fixed
    many = len(places)
    shapes, colors, goal_color, forces = ("square",) * many, ("red",) * many, "red", Forces()
    if everything or variant == "shape":
        shapes = tuple(map(str, rng.choice(SHAPES, many)))
    if everything or variant == "color":
        goal_color, *others = map(str, rng.choice(COLORS, 1 + many))
        colors = tuple(others)
    if everything or variant == "dynamics":
        forces = Forces(**{name: float(rng.uniform(*ends)) for name, ends in RANGES.items()})
    return Layout(
        places=places, shapes=shapes, colors=colors, goal_color=goal_color,
        region=REGION if task == "Avoiding" else None, forces=forces,
    )  # fmt: skip


def _anywhere_in_a_row(rng: np.random.Generator) -> tuple[Place, ...]:
    height = float(rng.uniform(-0.1, 0.5))
    columns = rng.choice(np.arange(-0.8, 0.8, 4.0 * DEBRIS_RADIUS), size=3, replace=False)
    return tuple((float(column), height) for column in columns)


def _below_the_region(rng: np.random.Generator) -> tuple[Place, ...]:
    return ((float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.1, 0.0))),)


def _apart(rng: np.random.Generator) -> tuple[Place, ...]:
    middle, apart = rng.uniform(-0.02, 0.02), rng.uniform(0.21, 0.26)
    height = float(rng.uniform(-0.1, 0.1))
    return ((float(middle - apart), height), (float(middle + apart), height))


_PLACES = {
    "SweepToTop": (((-0.5, 0.0), (0.0, 0.0), (0.5, 0.0)), _anywhere_in_a_row),
    "Avoiding": (((0.05, -0.05),), _below_the_region),
    "Grouping": (((-0.24, 0.0), (0.24, 0.0)), _apart),
}
"""Of each task, where the debris lies when nothing is drawn, and how it is drawn."""
