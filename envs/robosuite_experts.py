"""Scripted experts for robosuite: proportional control of the gripper, from privileged state.

Each expert is a function of the present state alone, so that it can take over at any moment.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64

GAIN: Final = 10.0
"""Action per metre of error: 10 cm away is full speed."""
OPEN, CLOSE = -1.0, 1.0

Vector = Float64[np.ndarray, "3"]


class Scene:
    """What an expert sees of a robosuite environment."""

    def __init__(self, sim: Any) -> None:
        self.sim = sim
        self.gripper: Vector = np.array(sim.sim.data.site_xpos[sim.robots[0].eef_site_id["right"]])

    @property
    def gripper_quaternion(self) -> Float64[np.ndarray, "4"]:
        """Orientation of the gripper (x, y, z, w)."""
        from robosuite.utils.transform_utils import mat2quat

        site = self.sim.robots[0].eef_site_id["right"]
        quaternion: np.ndarray = mat2quat(self.sim.sim.data.site_xmat[site].reshape(3, 3))
        return np.asarray(quaternion, dtype=np.float64)

    def position(self, body: int) -> Vector:
        """Position of a body in metres."""
        return np.array(self.sim.sim.data.body_xpos[body])

    def holds(self, thing: Any) -> bool:
        """Whether both fingers touch the object."""
        return bool(self.sim._check_grasp(self.sim.robots[0].gripper["right"], thing))

    def axes(self, body: int) -> Float64[np.ndarray, "2 2"]:
        """The two sides of an upright box, as horizontal unit vectors in rows."""
        sides: np.ndarray = np.array(self.sim.sim.data.body_xmat[body]).reshape(3, 3)[:2, :2].T
        length: np.ndarray = np.linalg.norm(sides, axis=1, keepdims=True)
        sides /= length
        return sides

    @property
    def finger_axis(self) -> Float64[np.ndarray, "2"]:
        """Horizontal direction along which the fingers close."""
        pads = self.sim.robots[0].gripper["right"].important_geoms
        ends = [
            np.mean([self.sim.sim.data.get_geom_xpos(name)[:2] for name in pads[side]], axis=0)
            for side in ("left_fingerpad", "right_fingerpad")
        ]
        across: np.ndarray = ends[1] - ends[0]
        return across

    def move(
        self, target: Vector, fingers: float, turn: float = 0.0
    ) -> Float32[np.ndarray, " action"]:
        """Towards a position, turning about the vertical by an angle in radians."""
        action = np.zeros(self.sim.action_dim, dtype=np.float32)
        action[:3] = np.clip(GAIN * (target - self.gripper), -1.0, 1.0)
        if len(action) == 7:
            action[5] = np.clip(2.0 * turn, -1.0, 1.0)
        action[-1] = fingers
        return action

    def turn_to(self, axis: Float64[np.ndarray, "2"]) -> float:
        """Angle in radians, at most a quarter turn, until the fingers close along the axis."""
        own = self.finger_axis
        angle = float(np.arctan2(axis[1], axis[0]) - np.arctan2(own[1], own[0]))
        return (angle + np.pi / 2) % np.pi - np.pi / 2

    def grasp(
        self, position: Vector, height: float = 0.1, turn: float = 0.0
    ) -> Float32[np.ndarray, " action"]:
        """Approach from above with open fingers, then close them around the position."""
        offset = position - self.gripper
        turned = abs(turn) < 0.1 or self.sim.action_dim < 7
        if np.linalg.norm(offset[:2]) > 0.015 or (not turned and offset[2] < -height / 2):
            level = position[2] + height
            return self.move(np.array([position[0], position[1], level]), OPEN, turn)
        if abs(offset[2]) > 0.012:
            return self.move(position, OPEN, turn)
        return self.move(position, CLOSE)


def lift(scene: Scene) -> Float32[np.ndarray, " action"]:
    """Grasp the cube and raise it."""
    cube = scene.position(scene.sim.cube_body_id)
    if scene.holds(scene.sim.cube):
        return scene.move(scene.gripper + np.array([0.0, 0.0, 0.1]), CLOSE)
    return scene.grasp(cube)


def stack(scene: Scene) -> Float32[np.ndarray, " action"]:
    """Put cube A on cube B and let go."""
    sim = scene.sim
    upper, lower = scene.position(sim.cubeA_body_id), scene.position(sim.cubeB_body_id)
    rest = lower + np.array([0.0, 0.0, sim.cubeA.size[2] + sim.cubeB.size[2]])
    across = float(np.linalg.norm((rest - upper)[:2]))
    held = scene.holds(sim.cubeA)
    if across < 0.02 and abs(upper[2] - rest[2]) < 0.01:
        leave = np.array([0.0, 0.0, 0.0 if held else 0.1])  # open first, else the cube comes along
        return scene.move(scene.gripper + leave, OPEN)
    if held:
        return _carry(scene, upper, rest, clearance=0.08)
    sides = scene.axes(sim.cubeA_body_id)  # keep the fingers clear of the other cube
    clear = sides[np.argmin(np.abs(sides @ (lower - upper)[:2]))]
    return scene.grasp(upper, turn=scene.turn_to(clear))


def pick_place_can(scene: Scene) -> Float32[np.ndarray, " action"]:
    """Drop the can over its bin."""
    sim = scene.sim
    which = sim.object_id
    can = scene.position(sim.obj_body_id[sim.objects[which].name])
    goal = np.array(sim.target_bin_placements[which])
    if np.linalg.norm((goal - can)[:2]) < 0.05:
        return scene.move(scene.gripper + np.array([0.0, 0.0, 0.1]), OPEN)
    if scene.holds(sim.objects[which]):
        return _carry(scene, can, goal + np.array([0.0, 0.0, 0.1]), clearance=0.12)
    return scene.grasp(can, height=0.15)


def _carry(
    scene: Scene, held: Vector, goal: Vector, clearance: float
) -> Float32[np.ndarray, " action"]:
    """Raise a held object, take it across, and lower it."""
    offset = goal - held
    across = float(np.linalg.norm(offset[:2]))
    if across > 0.01:
        offset[2] += clearance
        if offset[2] > 0.03 and across > 0.05:
            offset[:2] = 0.0  # up first
    else:
        offset[2] -= 0.02  # the arm's controller stops short of small steps
    return scene.move(scene.gripper + offset, CLOSE)


EXPERTS: dict[str, Callable[[Scene], Float32[np.ndarray, " action"]]] = {
    "Lift": lift,
    "Stack": stack,
    "PickPlaceCan": pick_place_can,
    "PickPlaceMilk": pick_place_can,
    "PickPlaceBread": pick_place_can,
    "PickPlaceCereal": pick_place_can,
    "PickPlaceSingle": pick_place_can,
}
