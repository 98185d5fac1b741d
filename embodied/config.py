"""Configuration: composed by Hydra from `conf/`, checked before anything is started.

Unknown names are refused with the near ones, also where Hydra would pass them on: a choice, a key,
and an argument that the class named by ``_target_`` does not have.
"""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embodied import choices
from embodied.durable import write_atomically
from embodied.errors import BadConfig, CorruptFile, EmbodiedError, UnknownName

CONFIG_FILE = "config.yaml"
KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str, int, float), "text"),
    ListConfig: ((list,), "a list, written [a,b]"),
}
"""Kinds of values, what may be given for each on the command line, and what it is called."""
MISSING = object()
ADDED = (
    "align", "align.raters", "align.opposed", "align.follow",
    "attack", "branches", "demos.policy_failures", "feature_cache", "job", "monitor",
    "serve", "preferences", "preferences.train", "preferences.retrain_every", "preferences.reward",
    "preferences.proposals", "preferences.rater_kinds",
    "preferences.same_start", "preferences.mix.disagreement", "preferences.mix.information",
    "align.sliders", "align.floor", "evaluate.target",
)  # fmt: skip
"""What runs of earlier versions lack; today's defaults of these change no number of theirs."""
WHOLE = ("align.sliders", "evaluate.target")
"""Mappings whose keys are free: another one takes their place, where others are merged."""


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The whole configuration, from any working directory.

    Raises:
        UnknownName: for a choice or key that does not exist.
        BadConfig: for an override that cannot be read.
    """
    parsed = _parse(overrides)
    chosen = [override for override in parsed if _is_group(override)]
    for override in chosen:
        _check_choice(override)
    base = _hydra([str(override.input_line) for override in chosen])
    for override in parsed:
        if override not in chosen:
            _check_key(base, override)
            _check_value(base, override)
    return _hydra(overrides)


def load_config(run_dir: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of an earlier run, changed by overrides.

    A choice (``operator=none``) replaces that group of the run by the group's present YAML.

    Raises:
        CorruptFile: if the run has no readable `config.yaml`.
        UnknownName: for a choice or key that does not exist.
    """
    path = run_dir / CONFIG_FILE
    try:
        config = OmegaConf.load(path)
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CorruptFile(f"{path} cannot be read ({reason}); is {run_dir} a run?") from error
    if not isinstance(config, DictConfig):
        raise CorruptFile(f"{path} holds no mapping; it should be a run's configuration.")
    for key in (key for key in ADDED if OmegaConf.select(config, key, default=MISSING) is MISSING):
        OmegaConf.update(config, key, OmegaConf.select(_hydra([]), key))
    parsed = _parse(overrides)
    for override in filter(_is_group, parsed):
        _check_choice(override)
        group = str(override.key_or_group)
        config[group] = _hydra([str(override.input_line)])[group]
    for override in parsed:
        if not _is_group(override):
            _check_key(config, override)
            _check_value(config, override)
            key = str(override.key_or_group)
            OmegaConf.update(config, key, override.value(), merge=key not in WHOLE)
    for key in (*choices.defaults(), *choices.keys()):
        if OmegaConf.select(config, key, default=MISSING) is MISSING:
            raise CorruptFile(f"{path} lacks '{key}'; it should be a run's whole configuration.")
    return config


def choose(config: DictConfig, group: str, choice: str) -> DictConfig:
    """The configuration with another choice of one group.

    Raises:
        UnknownName: for a choice that does not exist.
    """
    if choice not in choices.choices(group):
        raise UnknownName(f"{group} choice", choice, choices.choices(group))
    changed = config.copy()
    changed[group] = _hydra([f"{group}={choice}"])[group]
    return changed


def save_config(config: DictConfig, run_dir: Path) -> Path:
    """Write `config.yaml` into a run; references between keys stay references."""
    path = run_dir / CONFIG_FILE
    write_atomically(path, OmegaConf.to_yaml(config).encode())
    return path


def instantiate(node: DictConfig, **arguments: Any) -> Any:
    """Build what ``_target_`` names; ``arguments`` are added to, and win over, the node's own.

    Lists and mappings arrive as plain Python ones.

    Raises:
        UnknownName: for a key that is not an argument of the target.
        BadConfig: if there is no target, or it cannot be imported.
    """
    if "_target_" not in node:
        raise BadConfig(f"this part of the configuration names no _target_: {dict(node)}.")
    for part in _targets(node):
        _check_arguments(part)
    try:
        build = hydra.utils.instantiate(node, _convert_="all", _partial_=True)
    except InstantiationException as error:
        if isinstance(error.__cause__, EmbodiedError):
            raise error.__cause__ from None
        raise
    return build(**arguments)  # past Hydra, which would take dataclasses for configurations


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        parsed: list[Override] = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise BadConfig(f"an override is written key=value; {reason}.") from error
    for override in parsed:
        if override.is_sweep_override():
            line = override.input_line
            raise BadConfig(f"'{line}' names several values; write a list as key=[a,b].")
    return parsed


def _is_group(override: Override) -> bool:
    return override.key_or_group in choices.groups()


def _check_choice(override: Override) -> None:
    group, choice = str(override.key_or_group), override.value()
    if override.is_delete():
        raise BadConfig(f"'{group}' cannot be removed; choose another with {group}=...")
    known = choices.choices(group)
    if choice is not None and choice not in known:
        raise UnknownName(f"{group} choice", str(choice), known)


def _check_key(config: DictConfig, override: Override) -> None:
    """An added key (``+a.b=1``) needs its parent; any other must exist."""
    key = str(override.key_or_group)
    known = {*_dotted(config), *choices.groups()}
    wanted = key.rpartition(".")[0] if override.is_add() else key
    if wanted and wanted not in known:
        raise UnknownName("configuration key or group", key, known)


def _check_value(config: DictConfig, override: Override) -> None:
    """A value is of the kind of the one that it replaces; where that is null, any will do.

    A constructor may take null for a number; the job's own keys may not become null.
    """
    key, new = str(override.key_or_group), override.value()
    old = None if override.is_delete() else OmegaConf.select(config, key)
    kind = next((kind for kind in KINDS if isinstance(old, kind)), None)
    refers = isinstance(new, str) and new.startswith("${")
    if kind is None or refers or (new is None and key not in choices.keys()):
        return
    accepted, words = KINDS[kind]
    if not isinstance(new, accepted) or (isinstance(new, bool) and kind is not bool):
        raise BadConfig(f"{key} is {'null' if new is None else repr(new)}; it must be {words}.")


def _dotted(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        name = prefix + str(key)
        yield name
        value = None if OmegaConf.is_missing(node, key) else node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _dotted(value, f"{name}.")


def _hydra(overrides: Sequence[str]) -> DictConfig:
    try:
        with hydra.initialize_config_module(choices.CONF, version_base="1.3"):
            return hydra.compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise BadConfig(f"the configuration cannot be composed: {error}") from error


def _targets(node: DictConfig) -> Iterator[DictConfig]:
    """The node and all nodes below it that name a target."""
    if "_target_" in node:
        yield node
    for key in node:
        value = node[key]
        for part in value if isinstance(value, ListConfig) else [value]:
            if isinstance(part, DictConfig):
                yield from _targets(part)


def _check_arguments(node: DictConfig) -> None:
    name = str(node["_target_"])
    try:
        target = hydra.utils.get_object(name)
    except (ImportError, ValueError, AttributeError) as error:
        raise BadConfig(f"the target {name} cannot be imported: {error}") from error
    parameters = inspect.signature(target).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in map(str, node):
        if not key.startswith("_") and key not in parameters:
            raise UnknownName(f"argument of {name}", key, parameters)
