"""The configuration's groups, choices and keys, read without Hydra so that help is instant."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable

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
    found: list[str] = []
    section = ""
    for line in _main_config().splitlines():
        match = re.match(r"^( *)(\w+):(.*)$", line)
        if match is None or match[2] == "defaults":
            continue
        indented, name, rest = bool(match[1]), match[2], match[3].strip()
        if not rest:
            section = name
        else:
            found.append(f"{section}.{name}" if indented else name)
    return found


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
