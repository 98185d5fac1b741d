"""Policies in folders that LeRobot loads, written whole or not at all."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model

from embodied.durable import folder_written_atomically, previous_folder, require_free_space
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.policies.attribute_diffusion import AttributeDiffusion
from embodied.policies.base import Policy
from embodied.policies.best_of_n import BestOfN
from embodied.policies.diffusion import DiffusionPolicy
from embodied.policies.dsrl import SteeredPolicy
from embodied.policies.lerobot_diffusion import LeRobotDiffusion
from embodied.types import IMAGES, STATE, FrameEncoder

DIGESTS = "digests.json"
"""Of every other file in the folder. LeRobot does not read it, and writes none."""
NEEDED = (
    "config.json",
    "model.safetensors",
    "policy_preprocessor.json",
    "policy_postprocessor.json",
)


def save_policy(policy: Policy, folder: Path, *, encoder: Mapping[str, Any]) -> None:
    """Write a LeRobot checkpoint; an older one at ``folder`` is replaced when it is complete.

    Args:
        policy: `DiffusionPolicy`, `AttributeDiffusion`, `LeRobotDiffusion`, or `SteeredPolicy` or
            `BestOfN` over one of them.
        folder: Of the checkpoint; the folders above it are made.
        encoder: ``_target_`` and arguments of the encoder whose features the policy sees.

    Raises:
        BadConfig: for another policy, or an encoder that cannot be built from a checkpoint.
        OutOfSpace: ``folder`` is as it was.
    """
    size = sum(tensor.nbytes for tensor in policy.state_dict().values())
    with folder_written_atomically(folder, replaces=True) as partial:
        require_free_space(folder.parent, size, 2**20)
        _write(policy, partial, encoder)
        digests = {path.name: _digest(path) for path in sorted(partial.iterdir())}
        (partial / DIGESTS).write_text(json.dumps(digests, indent=2))


def load_policy(folder: Path, *, encoder: FrameEncoder | None = None) -> Policy:
    """The policy that `save_policy` or LeRobot wrote.

    Args:
        folder: Of the checkpoint.
        encoder: What will make its features, to be checked against the checkpoint.

    Raises:
        BadInput: if there is no such folder.
        CorruptFile: if a file in it is missing or damaged.
        BadConfig: if the policy was trained with another encoder, or is of another kind.
    """
    if not folder.is_dir():
        older = previous_folder(folder)
        hint = f"; the one before it is at {older}" if older.is_dir() else ""
        raise BadInput(f"there is no policy at {folder}{hint}.")
    kind = _check_files(folder)
    try:
        if kind == "diffusion":
            return LeRobotDiffusion.load(folder)
        if kind == "embodied_diffusion":
            return _load_own(folder, encoder)
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise CorruptFile(f"the policy at {folder} cannot be loaded: {error}") from error
    raise BadConfig(f"{folder} holds a policy of type '{kind}'; only diffusion can be loaded here.")


def _write(policy: Policy, folder: Path, encoder: Mapping[str, Any]) -> None:
    try:
        if isinstance(policy, LeRobotDiffusion):
            policy.save(folder)
        else:
            _save_own(policy, folder, encoder)
    except SafetensorError as error:  # holds the system's error as text
        reason = re.search(r"os error (\d+)", str(error))
        if reason is not None:
            raise OSError(int(reason[1]), str(error)) from error
        raise


def _save_own(policy: Policy, folder: Path, encoder: Mapping[str, Any]) -> None:
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors

    from embodied.policies import modeling_embodied_diffusion as modeling
    from embodied.policies.configuration_embodied_diffusion import EmbodiedDiffusionConfig

    base = policy.base if isinstance(policy, SteeredPolicy | BestOfN) else policy
    if not isinstance(base, AttributeDiffusion | DiffusionPolicy | LeRobotDiffusion):
        raise BadConfig(f"a {type(base).__name__} has no saved form; see docs/policies.")
    built, settings = modeling.build_encoder(encoder), base.settings
    size = _image_size(encoder)
    picture = PolicyFeature(FeatureType.VISUAL, (3, size, size))
    config = EmbodiedDiffusionConfig(
        base=next(name for name, own in modeling.BASES.items() if isinstance(base, own)),
        settings=settings,
        reach=policy.actor.reach if isinstance(policy, SteeredPolicy) else None,
        candidates=policy.candidates if isinstance(policy, BestOfN) else None,
        encoder=dict(encoder),
        encoder_fingerprint=built.fingerprint,
        input_features={
            **{IMAGES + camera: picture for camera in base.cameras},
            STATE: PolicyFeature(FeatureType.STATE, (settings["state_size"],)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (base.action_size,))},
        device="cpu",
        push_to_hub=False,
    )
    whole = modeling.EmbodiedDiffusionPolicy(config)
    whole.policy.load_state_dict(policy.state_dict())
    whole.save_pretrained(folder)
    for processor in make_pre_post_processors(config):
        processor.save_pretrained(folder)


def _load_own(folder: Path, encoder: FrameEncoder | None) -> Policy:
    from lerobot.configs import PreTrainedConfig

    from embodied.policies import modeling_embodied_diffusion as modeling

    config = PreTrainedConfig.from_pretrained(folder)
    config.device = "cpu"
    if encoder is not None:
        modeling.check_encoder(encoder, config.encoder_fingerprint)
    whole = modeling.EmbodiedDiffusionPolicy(config)
    load_model(whole, folder / "model.safetensors", strict=True)
    policy: Policy = whole.policy
    return policy


def _described(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise CorruptFile(f"{path} is no description of a policy: {error}.") from error


def _check_files(folder: Path) -> str:
    """The type of policy that the folder holds, once every file in it is found to be whole."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise CorruptFile(f"the policy at {folder} lacks {missing[0]}.")
    digests = _described(folder / DIGESTS) if (folder / DIGESTS).exists() else {}
    config = _described(folder / "config.json")
    if "type" not in config:
        raise CorruptFile(f"{folder / 'config.json'} names no type of policy.")
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise CorruptFile(f"the policy at {folder} lacks {name}.")
        if _digest(folder / name) != digest:
            raise CorruptFile(f"{folder / name} is damaged: its digest does not match its content.")
    return str(config["type"])


def _image_size(encoder: Mapping[str, Any]) -> int:
    if "image_size" not in encoder:
        raise BadConfig(f"the encoder's settings {dict(encoder)} do not name its image_size.")
    return int(encoder["image_size"])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
