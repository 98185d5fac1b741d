"""How most rewards keep what they have learned: one file, whole or not there, that names its maker.

The file is a checkpoint as the loop's are: written atomically, damage is found by its digest.
"""

import abc
from pathlib import Path
from typing import Any

from embodied import checkpoint
from embodied.errors import BadConfig, CorruptFile
from embodied.reward_models.base import TrainableReward


class StoredReward(TrainableReward, abc.ABC):
    """A trainable reward whose file fits the class that wrote it, built with the same settings."""

    def __init__(self) -> None:
        super().__init__()
        self.version = 0

    @abc.abstractmethod
    def identity(self) -> dict[str, Any]:
        """Settings that a file must have been written with, by name."""

    def learned(self) -> dict[str, Any]:
        """What the file holds: tensors, numbers, texts, and lists and mappings of them."""
        return {"state": self.state_dict()}

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what `learned` gave."""
        self.load_state_dict(learned["state"])

    def save(self, path: Path) -> None:
        """Write everything that `load` needs; the file is whole or not there."""
        content = {
            "kind": type(self).__name__,
            "identity": self.identity(),
            "learned": self.learned(),
            "version": self.version,
        }
        checkpoint.save(path, content, keep_previous=False)

    def load(self, path: Path) -> None:
        """Take over what `save` wrote; settings that are not part of `identity` stay.

        Raises:
            CorruptFile: if the file cannot be read back whole, or is of another kind.
            BadConfig: if one of the settings is another one now.
        """
        kind = type(self).__name__
        if not path.exists():
            raise CorruptFile(f"there is no {kind} at {path}.")
        stored = checkpoint.load(path)
        if stored.get("kind") != kind:
            raise CorruptFile(f"{path} holds something else than a {kind}.")
        check_identity(path, stored["identity"], self.identity())
        self.restore(stored["learned"])
        self.version = stored["version"]


def check_identity(path: Path, stored: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse a file that was written with other settings.

    Raises:
        BadConfig: naming the first setting that differs.
    """
    for name, ours in own.items():
        theirs = stored.get(name)
        if theirs != ours:
            raise BadConfig(f"{path} was trained with {name} {theirs}, not with {ours}.")
