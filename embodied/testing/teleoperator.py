"""LeRobot teleoperators without a device: what a person does is written down beforehand."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.teleoperator import Teleoperator
from lerobot.teleoperators.utils import TeleopEvents


class Button(Enum):
    """What ends an episode."""

    SUCCESS = "success"
    FAILURE = "failure"
    AGAIN = "again"


@TeleoperatorConfig.register_subclass("recorded_teleoperator")
@dataclass(kw_only=True)
class RecordedConfig(TeleoperatorConfig):  # type: ignore[misc]  # LeRobot is not type-checked
    """Keeps the calibration folder, which LeRobot makes, out of the home directory."""


class Speechless(Teleoperator):  # type: ignore[misc]  # LeRobot is not type-checked
    """A device without events: a leader arm, say."""

    config_class = RecordedConfig
    name = "speechless"

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="teleoperator-"))
        super().__init__(RecordedConfig(id="test", calibration_dir=folder))
        self._connected = False

    @property
    def action_features(self) -> dict[str, type]:
        """One axis and a gripper."""
        return {"delta_x": float, "gripper": float}

    @property
    def feedback_features(self) -> dict[str, type]:
        """None."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether `connect` was called last."""
        return self._connected

    def connect(self, calibrate: bool = True) -> None:
        """Connect to nothing."""
        self._connected = True

    @property
    def is_calibrated(self) -> bool:
        """Always."""
        return True

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def get_action(self) -> dict[str, float]:
        """Stand still."""
        return dict.fromkeys(self.action_features, 0.0)

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """Nothing to feel."""

    def disconnect(self) -> None:
        """Disconnect from nothing."""
        self._connected = False


class RecordedTeleoperator(Speechless):
    """Plays back one action and one set of events per step.

    Args:
        actions: Of each step.
        intervenes: Whether the person holds the device, at each step.
        buttons: What is pressed, by step.
    """

    name = "recorded"

    def __init__(
        self,
        actions: Sequence[Mapping[str, float]],
        intervenes: Sequence[bool],
        buttons: Mapping[int, Button] | None = None,
    ) -> None:
        super().__init__()
        self._actions, self._intervenes = actions, intervenes
        self._buttons = dict(buttons or {})
        self._step = -1

    def get_teleop_events(self) -> dict[TeleopEvents, bool]:
        """Events of the next step."""
        self._step += 1
        button = self._buttons.get(self._step)
        return {
            TeleopEvents.IS_INTERVENTION: self._intervenes[self._step],
            TeleopEvents.SUCCESS: button is Button.SUCCESS,
            TeleopEvents.TERMINATE_EPISODE: button is not None,
            TeleopEvents.RERECORD_EPISODE: button is Button.AGAIN,
        }

    def get_action(self) -> dict[str, float]:
        """Action of the step that `get_teleop_events` spoke of."""
        return dict(self._actions[self._step])
