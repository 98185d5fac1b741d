"""Scripted experts for robosuite: proportional control of the gripper, from privileged state.

Each expert is a function of the present state alone, so that it can take over at any moment.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64

GAIN: Final = 10.0
"""Action per metre of error: 10 cm away is full speed."""
FIRM: Final = 100.0
"""The same against friction and springs, which hold the arm several millimetres short otherwise."""
OPEN, CLOSE = -1.0, 1.0
UP: Final = np.array([0.0, 0.0, 1.0])

Vector = Float64[np.ndarray, "3"]
Action = Float32[np.ndarray, " action"]


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

    def grips(self, geom: str) -> bool:
        """Whether both fingers, not their pads alone, touch a part of the model."""
        parts = self.sim.robots[0].gripper["right"].important_geoms
        return bool(self.sim._check_grasp([parts["left_finger"], parts["right_finger"]], [geom]))

    def axes(self, body: int) -> Float64[np.ndarray, "2 2"]:
        """The two sides of an upright box, as horizontal unit vectors in rows."""
        sides: np.ndarray = np.array(self.sim.sim.data.body_xmat[body]).reshape(3, 3)[:2, :2].T
        length: np.ndarray = np.linalg.norm(sides, axis=1, keepdims=True)
        sides /= length
        return sides

    @property
    def approach(self) -> Vector:
        """Direction in which the fingers point."""
        site = self.sim.robots[0].eef_site_id["right"]
        return np.array(self.sim.sim.data.site_xmat[site].reshape(3, 3)[:, 2])

    @property
    def finger_axis(self) -> Vector:
        """Direction along which the fingers close, as a unit vector."""
        pads = self.sim.robots[0].gripper["right"].important_geoms
        ends = [
            np.mean([self.sim.sim.data.get_geom_xpos(name) for name in pads[side]], axis=0)
            for side in ("left_fingerpad", "right_fingerpad")
        ]
        across: np.ndarray = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
        return across

    def move(self, target: Vector, fingers: float, turn: float = 0.0, firm: bool = False) -> Action:
        """Towards a position, turning about the vertical by an angle in radians.

        Firmly, also with fingers down: without, the tilt of the hand drifts.
        """
        tilt = np.cross(self.approach, -UP)[:2] if firm else np.zeros(2)
        return self._act(target, fingers, np.append(tilt, turn), FIRM if firm else GAIN)

    def move_along(
        self, target: Vector, fingers: float, approach: Vector, across: Vector
    ) -> Action:
        """Towards a position, firmly, fingers pointing and closing along two unit vectors."""
        own, own_across = self.approach, self.finger_axis
        if own_across @ across < 0:
            across = -across
        turn = np.cross(own, approach) + np.cross(own_across, across)
        turn += np.cross(np.cross(own, own_across), np.cross(approach, across))
        return self._act(target, fingers, turn / 2, FIRM)

    def _act(self, target: Vector, fingers: float, turn: Vector, gain: float) -> Action:
        action = np.zeros(self.sim.action_dim, dtype=np.float32)
        action[:3] = np.clip(gain * (target - self.gripper), -1.0, 1.0)
        if len(action) == 7:
            action[3:6] = np.clip(2.0 * turn, -0.7, 0.7)  # faster turns throw the hand aside
        action[-1] = fingers
        return action

    def turn_to(self, axis: Float64[np.ndarray, "2"]) -> float:
        """Angle in radians, at most a quarter turn, until the fingers close along the axis."""
        own = self.finger_axis
        angle = float(np.arctan2(axis[1], axis[0]) - np.arctan2(own[1], own[0]))
        return (angle + np.pi / 2) % np.pi - np.pi / 2

    def grasp(
        self, position: Vector, height: float = 0.1, turn: float = 0.0, firm: bool = False
    ) -> Action:
        """Approach from above with open fingers, then close them around the position."""
        offset = position - self.gripper
        turned = abs(turn) < 0.1 or self.sim.action_dim < 7
        if np.linalg.norm(offset[:2]) > 0.015 or (not turned and offset[2] < -height / 2):
            level = position[2] + height
            return self.move(np.array([position[0], position[1], level]), OPEN, turn, firm)
        if abs(offset[2]) > 0.012:
            return self.move(position, OPEN, turn, firm)
        return self.move(position, CLOSE, firm=firm)

    def wrist_after(self, turn: float, position: Vector) -> float:
        """Distance of the last joint from its middle after a turn and a move, in radians.

        The base turns along as the hand goes around it.
        """
        robot = self.sim.robots[0]
        ahead, now = (position - robot.base_pos)[:2], (self.gripper - robot.base_pos)[:2]
        base = np.arctan2(ahead[1], ahead[0]) - np.arctan2(now[1], now[0])
        return float(abs(robot._joint_positions[-1] + base - turn))


def lift(scene: Scene) -> Action:
    """Grasp the cube and raise it."""
    cube = scene.position(scene.sim.cube_body_id)
    if scene.holds(scene.sim.cube):
        return scene.move(scene.gripper + np.array([0.0, 0.0, 0.1]), CLOSE)
    return scene.grasp(cube)


def stack(scene: Scene) -> Action:
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


def pick_place(scene: Scene) -> Action:
    """Drop the object over its bin."""
    sim = scene.sim
    which = sim.object_id
    thing = sim.objects[which]
    body = sim.obj_body_id[thing.name]
    centre, goal = scene.position(body), np.array(sim.target_bin_placements[which])
    if np.linalg.norm((goal - centre)[:2]) < 0.05:
        return scene.move(scene.gripper + np.array([0.0, 0.0, 0.1]), OPEN)
    if scene.holds(thing):
        return _carry(scene, centre, goal + np.array([0.0, 0.0, 0.1]), clearance=0.15)
    narrow = scene.turn_to(scene.axes(body)[1])
    above = 0.05 if thing.bottom_offset[2] < -0.07 else 0.0  # cartons are longer than fingers
    return scene.grasp(centre + above * UP, height=0.15, turn=narrow, firm=True)


def _carry(scene: Scene, held: Vector, goal: Vector, clearance: float) -> Action:
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


def nut_assembly(scene: Scene) -> Action:
    """Take the nut by its handle and put it over its peg."""
    sim = scene.sim
    which = sim.nut_id
    nut, body = sim.nuts[which], sim.obj_body_id[sim.nuts[which].name]
    centre = scene.position(body)
    peg = scene.position((sim.peg1_body_id, sim.peg2_body_id)[which])
    handle: Vector = np.array(sim.sim.data.site_xpos[sim.object_site_ids[which]])
    offset = peg - centre
    across = float(np.linalg.norm(offset[:2]))
    held = scene.holds(nut)
    if across < 0.02 and centre[2] < peg[2] + 0.03:
        leave = np.array([0.0, 0.0, 0.0 if held else 0.1])
        return scene.move(scene.gripper + leave, OPEN)
    raised = centre[2] - sim.table_offset[2] > 0.03
    if not held and not (raised and np.linalg.norm(handle - scene.gripper) < 0.03):
        return scene.grasp(handle, turn=_turn_to_handle(scene, body, handle, peg), firm=True)
    if not raised:
        return scene.move(scene.gripper + np.array([0.0, 0.0, 0.006]), CLOSE, firm=True)
    turn = min(_turns_to_peg(scene, body), key=lambda turn: scene.wrist_after(turn, peg))
    offset[2] += 0.13  # above the tip
    if across > 0.05 and offset[2] > 0.03:
        offset[:2] = 0.0  # up first
    if across < 0.006 and abs(turn) < 0.1:
        offset[2] = -0.1
    return scene.move(scene.gripper + offset, CLOSE, turn, firm=True)


def _turns_to_peg(scene: Scene, nut: int) -> list[float]:
    """Turns that bring the handle of the nut back to the arm, or to one side of the peg.

    Beyond the peg it is out of reach. Each turn can be made either way around.
    """
    along = scene.axes(nut)[0]
    headings = np.array([np.pi, np.pi / 2, -np.pi / 2]) - np.arctan2(along[1], along[0])
    turns: list[float] = np.add.outer(headings, [-2 * np.pi, 0.0, 2 * np.pi]).ravel().tolist()
    return turns


def _turn_to_handle(scene: Scene, nut: int, handle: Vector, peg: Vector) -> float:
    """Turn across the handle, such that wrist is far from its limits here and over the peg."""
    nearest = scene.turn_to(scene.axes(nut)[1])
    ways = [
        (scene.wrist_after(turn, handle) + scene.wrist_after(turn + later, peg), turn)
        for turn in (nearest - np.pi, nearest, nearest + np.pi)
        for later in _turns_to_peg(scene, nut)
    ]
    return min(ways)[1]


def door(scene: Scene) -> Action:
    """Grasp the handle, turn it down until the latch is free, and pull."""
    sim, data = scene.sim, scene.sim.sim.data
    body = sim.object_body_ids["latch"]
    out: Vector = -np.array(data.body_xmat[body]).reshape(3, 3)[:, 1]  # of the door's face
    lean = 0.6  # radians, so that the hand does not touch the door
    approach = -np.cos(lean) * UP - np.sin(lean) * out
    across = np.cos(lean) * out - np.sin(lean) * UP
    handle: Vector = np.array(sim._handle_xpos)
    turned, opened = abs(data.qpos[sim.handle_qpos_addr]), data.qpos[sim.hinge_qpos_addr]
    offset = handle - scene.gripper
    near = float(np.linalg.norm(offset)) < 0.04
    if near and (scene.grips("Door_handle") or turned > 0.1 or opened > 0.02):
        down = np.cross(handle - scene.position(body), out)
        down *= -0.05 * np.sign(down[2]) / np.linalg.norm(down)
        goal = handle + (down if turned < 1.1 and opened < 0.03 else 0.0)
        if turned > 1.0 or opened > 0.03:
            goal = goal + 0.05 * out
        return scene.move_along(goal, CLOSE, approach, across)
    short = float(offset @ approach)
    aside = float(np.linalg.norm(offset - short * approach))
    if aside > 0.015 or scene.approach @ approach < 0.99:
        return scene.move_along(handle - 0.1 * approach, OPEN, approach, across)
    return scene.move_along(handle, OPEN if short > 0.01 else CLOSE, approach, across)


EXPERTS: dict[str, Callable[[Scene], Action]] = {
    "Door": door,
    "Lift": lift,
    "NutAssemblyRound": nut_assembly,
    "NutAssemblySingle": nut_assembly,
    "NutAssemblySquare": nut_assembly,
    "Stack": stack,
    "PickPlaceCan": pick_place,
    "PickPlaceMilk": pick_place,
    "PickPlaceBread": pick_place,
    "PickPlaceCereal": pick_place,
    "PickPlaceSingle": pick_place,
}
