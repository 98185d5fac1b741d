"""The configuration's groups, choices and keys, read without Hydra so that help is instant."""

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml

CONF = "embodied.conf"


def groups() -> list[str]:
    """Folders of `conf/`, in alphabetical order: ``algorithm``, ``audit``, ``encoder``..."""
    return sorted(child.name for child in _root().iterdir() if _is_group(child))


def choices(group: str) -> dict[str, str]:
    """Names of a group's choices, each with the first comment line of its YAML."""
    found = {}
    for child in sorted((_root() / group).iterdir(), key=lambda file: file.name):
        if child.name.endswith(".yaml"):
            found[child.name.removesuffix(".yaml")] = _first_comment(child)
    return found


def defaults() -> dict[str, str]:
    """The choice that each group has when nothing is said; a group without one is absent."""
    lines = re.findall(r"^  - (\w+): (\w+)$", _main_config(), flags=re.MULTILINE)
    return {group: choice for group, choice in lines if choice != "null"}


def keys() -> list[str]:
    """Keys of `config.yaml` itself, dotted: ``seed``, ``demos.policy``..."""
    return list(settings())


def settings() -> dict[str, str]:
    """Keys of `config.yaml` itself, each with its value as it is written on the command line."""
    content = yaml.safe_load(_main_config())
    del content["defaults"]
    return dict(_dotted(content))


def settings_of(group: str, choice: str) -> dict[str, str]:
    """Keys below a group when this choice is made (``env.task``), each with its value as text.

    References to other keys (``${encoder}``) stay references; a choice that extends another one has
    the keys of both.
    """
    content = yaml.safe_load((_root() / group / f"{choice}.yaml").read_text(encoding="utf-8"))
    extended = [choice for choice in content.pop("defaults", []) if choice != "_self_"]
    found: dict[str, str] = {}
    for other in extended:
        found |= settings_of(group, other)
    return found | dict(_dotted(content, f"{group}."))


def experiment(choice: str) -> tuple[dict[str, str], dict[str, str]]:
    """What an experiment changes: its choices of other groups, and its values of keys."""
    text = (_root() / "experiment" / f"{choice}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    made = [each for each in content.pop("defaults", []) if each != "_self_"]
    taken = {
        str(key).removeprefix("override").strip().removeprefix("/"): str(value)
        for each in made
        for key, value in each.items()
    }
    return taken, dict(_dotted(content))


def _root() -> Traversable:
    return files(CONF)


def _main_config() -> str:
    return (_root() / "config.yaml").read_text(encoding="utf-8")


def _is_group(child: Traversable) -> bool:
    return child.is_dir() and any(file.name.endswith(".yaml") for file in child.iterdir())


def _first_comment(file: Traversable) -> str:
    """First comment that is not an instruction to Hydra."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""


def _dotted(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _as_typed(value)


def _as_typed(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_as_typed, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
