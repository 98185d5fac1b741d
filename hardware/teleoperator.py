"""A person with a LeRobot teleoperator: gamepad, keyboard, leader arm with a switch."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float32
from lerobot.processor.hil_processor import HasTeleopEvents
from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.gamepad import GamepadTeleop
from lerobot.teleoperators.teleoperator import Teleoperator
from lerobot.teleoperators.utils import TeleopEvents, make_teleoperator_from_config

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.hardware.base import Account, Moment, Operator, Verdict


@final
class TeleoperatorOperator(Operator):
    """Whoever holds a LeRobot `Teleoperator` takes over while it reports ``is_intervention``.

    The device is connected here and disconnected by `close`. Its buttons end the episode:
    success, terminate (a failure) and re-record (the episode is discarded).

    Args:
        device: LeRobot's name of the device, such as ``gamepad``; or the device itself.
        axes: Per dimension of the environment's action, in order: the name of an entry of the
            device's action, and what that is multiplied with and moved by.

    Raises:
        UnknownName: if LeRobot knows no such kind of device.
        BadConfig: if none is connected, or it reports no events.
    """

    needs_progress = False

    def __init__(self, device: str | Teleoperator, axes: Mapping[str, Sequence[float]]) -> None:
        found = _make(device) if isinstance(device, str) else device
        if not isinstance(found, HasTeleopEvents):
            raise BadConfig(
                f"teleoperator '{found.name}' has no get_teleop_events(), so nobody could tell an "
                "intervention; use one that has it, such as gamepad or keyboard_ee."
            )
        self._device: Any = found
        self._axes = dict(axes)
        self._verdict: Verdict | None = None
        found.connect()
        if not _is_there(found):
            raise BadConfig(
                f"no {found.name} was found; connect it (a keyboard needs an X11 session), or "
                "choose another operator=..."
            )

    def begin_episode(self, account: Account) -> None:
        """Forget the last verdict; a person keeps their own budget."""
        self._verdict = None

    def decide(self, moment: Moment) -> Float32[np.ndarray, " action"] | None:
        """The device's action while the person holds it.

        Raises:
            BadInput: if the device is lost, or its action lacks one of the keys.
        """
        try:
            events = self._device.get_teleop_events()
            self._verdict = _verdict_of(events)
            if not events.get(TeleopEvents.IS_INTERVENTION, False):
                return None
            action = self._device.get_action()
        except OSError as error:
            raise BadInput(
                f"the {self._device.name} was lost ({error}); connect it again, and go on with "
                "`embodied resume`."
            ) from error
        missing = [key for key in self._axes if key not in action]
        if missing:
            raise BadInput(
                f"the teleoperator's action lacks {', '.join(missing)}; it has {', '.join(action)}."
            )
        values = [scale * action[key] + offset for key, (scale, offset) in self._axes.items()]
        return np.array(values, dtype=np.float32)

    def verdict(self) -> Verdict | None:
        """What the person pressed, if anything."""
        return self._verdict

    def close(self) -> None:
        """Let the device go."""
        if self._device.is_connected:
            self._device.disconnect()


def _is_there(device: Teleoperator) -> bool:
    """LeRobot's gamepad counts as connected as soon as one was looked for."""
    if isinstance(device, GamepadTeleop):
        return bool(device.gamepad is not None and device.gamepad.running)
    return bool(device.is_connected)


def _make(kind: str) -> Teleoperator:
    # LeRobot registers a device's configuration when the device's module is imported.
    module = f"lerobot.teleoperators.{kind.removesuffix('_ee')}"
    if importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
    known = TeleoperatorConfig.get_known_choices()
    if kind not in known:
        raise UnknownName("teleoperator", kind, known)
    return make_teleoperator_from_config(TeleoperatorConfig.get_choice_class(kind)())


def _verdict_of(events: dict[Any, Any]) -> Verdict | None:
    if events.get(TeleopEvents.RERECORD_EPISODE, False):
        return "discard"
    if events.get(TeleopEvents.SUCCESS, False):
        return "success"
    if events.get(TeleopEvents.TERMINATE_EPISODE, False):
        return "failure"
    return None
