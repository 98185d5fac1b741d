"""A person with a LeRobot teleoperator: gamepad, keyboard, leader arm with a switch."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float32
from lerobot.processor.hil_processor import HasTeleopEvents
from lerobot.teleoperators.teleoperator import Teleoperator
from lerobot.teleoperators.utils import TeleopEvents

from embodied.errors import BadConfig, BadInput
from embodied.hardware.base import Account, Moment, Operator, Verdict


@final
class TeleoperatorOperator(Operator):
    """Whoever holds a LeRobot `Teleoperator` takes over while it reports ``is_intervention``.

    The device is connected here and disconnected by `close`. Its buttons end the episode:
    success, terminate (a failure) and re-record (the episode is discarded).

    Args:
        device: Must offer ``get_teleop_events``.
        keys: The entries of the device's action, in the order of the environment's action.

    Raises:
        BadConfig: if the device reports no events.
    """

    needs_progress = False

    def __init__(self, device: Teleoperator, keys: Sequence[str]) -> None:
        if not isinstance(device, HasTeleopEvents):
            raise BadConfig(
                f"teleoperator '{device.name}' has no get_teleop_events(), so nobody could tell an "
                "intervention; use one that has it, such as gamepad or keyboard_ee."
            )
        self._device: Any = device
        self._keys = tuple(keys)
        self._verdict: Verdict | None = None
        device.connect()

    def begin_episode(self, account: Account) -> None:
        """Forget the last verdict; a person keeps their own budget."""
        self._verdict = None

    def decide(self, moment: Moment) -> Float32[np.ndarray, " action"] | None:
        """The device's action while the person holds it.

        Raises:
            BadInput: if the device's action lacks one of the keys.
        """
        events = self._device.get_teleop_events()
        self._verdict = _verdict_of(events)
        if not events.get(TeleopEvents.IS_INTERVENTION, False):
            return None
        action = self._device.get_action()
        missing = [key for key in self._keys if key not in action]
        if missing:
            raise BadInput(
                f"the teleoperator's action lacks {', '.join(missing)}; it has {', '.join(action)}."
            )
        return np.array([action[key] for key in self._keys], dtype=np.float32)

    def verdict(self) -> Verdict | None:
        """What the person pressed, if anything."""
        return self._verdict

    def close(self) -> None:
        """Let the device go."""
        self._device.disconnect()


def _verdict_of(events: dict[Any, Any]) -> Verdict | None:
    if events.get(TeleopEvents.RERECORD_EPISODE, False):
        return "discard"
    if events.get(TeleopEvents.SUCCESS, False):
        return "success"
    if events.get(TeleopEvents.TERMINATE_EPISODE, False):
        return "failure"
    return None
