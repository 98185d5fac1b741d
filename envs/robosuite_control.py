"""A control step of robosuite, the same to the bit, without what nobody reads.

robosuite's controller runs before every physics step, 25 times per control step. Each time it looks
things up by name, computes limits that do not change, each Jacobian twice (for its two halves) or
three times (for velocities), the unchanged command of the gripper, and the environment brings its
observations up to date. Here the first physics step is robosuite's own, with its book-keeping; the
others compute only the torques of the arm, by robosuite's formulas in robosuite's order.
"""

from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float64

Vector = Float64[np.ndarray, "3"]
Rotation = Float64[np.ndarray, "3 3"]
Jacobian = Float64[np.ndarray, "3 joint"]


class ControlStep:
    """Steps an environment with one arm under operational space control.

    It holds references into the controller, which robosuite makes anew at each reset; make a new
    one then.
    """

    def __init__(self, sim: Any) -> None:
        from robosuite.utils import control_utils

        self._sim, self._formulas = sim, control_utils
        self._model, self._data = sim.sim.model._model, sim.sim.data._data
        self._physics_steps = int(sim.control_timestep / sim.model_timestep)
        robot = sim.robots[0]
        self._arm = arm = robot.part_controllers["right"]
        assert _is_covered(arm), "the controller is not the one that is computed here"
        self._gripper = sim.sim.model.site_name2id(arm.ref_name)
        self._base = sim.sim.model.site_name2id(f"{arm.naming_prefix}{arm.part_name}_center")
        self._actuators = robot._ref_actuators_indexes_dict["right"]
        self._limits = self._model.actuator_ctrlrange[self._actuators].T
        self._inertia = np.zeros((self._model.nv, self._model.nv))

    def __call__(self, action: Float64[np.ndarray, " action"]) -> float:
        """Hold an action for one control step; the reward of robosuite."""
        sim, model, data = self._sim, self._model, self._data
        sim.timestep += 1
        mujoco.mj_step1(model, data)
        sim._pre_action(action, policy_step=True)
        mujoco.mj_step2(model, data)
        for _ in range(self._physics_steps - 1):
            mujoco.mj_step1(model, data)
            data.ctrl[self._actuators] = np.clip(self._torques(), *self._limits)
            mujoco.mj_step2(model, data)
        sim.cur_time += sim.control_timestep
        reward, _, _ = sim._post_action(action)
        return float(reward)

    def _torques(self) -> Float64[np.ndarray, " joint"]:
        """``OperationalSpaceController.run_controller``."""
        arm, data, formulas = self._arm, self._data, self._formulas
        base, base_rotation = self._pose(self._base)
        gripper, rotation = self._pose(self._gripper)
        linear, angular = self._jacobians(self._gripper)
        base_linear, base_angular = self._jacobians(self._base)  # the base of the IIWA turns
        velocity = np.dot(linear, data.qvel) - np.dot(base_linear, data.qvel)
        spin = np.dot(angular, data.qvel) - np.dot(base_angular, data.qvel)
        error = base + np.dot(base_rotation, arm.goal_pos) - gripper
        force = error * arm.kp[:3] - velocity * arm.kd[:3]
        turn = formulas.orientation_error(np.dot(base_rotation, arm.goal_ori), rotation)
        torque = turn * arm.kp[3:6] - spin * arm.kd[3:6]

        joints = arm.qvel_index
        linear, angular = linear[:, joints].copy("C"), angular[:, joints].copy("C")
        jacobian = np.concatenate([linear, angular])
        mujoco.mj_fullM(self._model, self._inertia, data.qM)
        inertia = self._inertia[joints, :][:, joints]
        _, lambda_linear, lambda_angular, nullspace = formulas.opspace_matrices(
            inertia, jacobian, linear, angular
        )
        wrench = np.concatenate([np.dot(lambda_linear, force), np.dot(lambda_angular, torque)])
        torques: np.ndarray = np.dot(jacobian.T, wrench) + data.qfrc_bias[joints]
        torques += formulas.nullspace_torques(
            inertia, nullspace, arm.initial_joint, data.qpos[arm.qpos_index], data.qvel[joints]
        )
        return torques

    def _pose(self, site: int) -> tuple[Vector, Rotation]:
        return self._data.site_xpos[site], self._data.site_xmat[site].reshape(3, 3)

    def _jacobians(self, site: int) -> tuple[Jacobian, Jacobian]:
        linear, angular = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        mujoco.mj_jacSite(self._model, self._data, linear, angular, site)
        return linear, angular


def _is_covered(arm: Any) -> bool:
    return (
        arm.name in ("OSC_POSE", "OSC_POSITION")
        and (arm.input_ref_frame, arm.impedance_mode) == ("base", "fixed")
        and bool(arm.uncoupling)
        and arm.interpolator_pos is None
        and arm.interpolator_ori is None
    )
