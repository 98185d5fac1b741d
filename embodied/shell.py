"""What `--help` lists and the shell completes: read from `conf/` and the catalogue, at once."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from embodied import choices
from embodied.envs import catalogue

WIDTH = 96


def describe_choices(words: Sequence[str] = ()) -> str:
    """Every group with its choices, and all keys with their values.

    Args:
        words: Of the command line. The keys are those of the choices made in them.
    """
    chosen, changed = _chosen(words), _changed(words)
    lines = ["choices (* is taken; others may have other keys, which --help shows after them):"]
    for group in choices.groups():
        lines.append(f"  {group}=")
        for choice, summary in choices.choices(group).items():
            mark = "*" if chosen.get(group) == choice else " "
            lines.append(f"    {mark} {choice:<22} {summary}".rstrip())
    lines += ["", "keys with their values (conf/config.yaml and the choice's file explain them):"]
    lines += _listed(_over(choices.settings(), changed))
    for group, choice in chosen.items():
        settings = _over(choices.settings_of(group, choice), changed)
        lines += ["", f"keys of {group}={choice}:", *_listed(settings)]
        if group == "env" and choice in catalogue.suites():
            count = len(catalogue.tasks(choice))
            lines.append(f"  env.task is one of {count}: embodied envs {choice} lists them.")
    return "\n".join(lines)


def suggest(prefix: str, parsed_args: Any = None, **_: Any) -> list[str]:
    """What a word of overrides may go on as; argcomplete drops what does not fit."""
    key, equals, _rest = prefix.partition("=")
    words = getattr(parsed_args, "words", None) or ()
    if equals:
        return [f"{key}={value}" for value in _values(key, words)]
    return [f"{key}=" for key in keys(words)] + suggest_runs(prefix)


def suggest_runs(prefix: str, **_: Any) -> list[str]:
    """Folders of runs."""
    return [str(path.parent) for path in Path("runs").glob("*/config.yaml")]


def keys(words: Iterable[str] = ()) -> list[str]:
    """All that can stand before a ``=``, after the choices made in these words."""
    return [*choices.groups(), *_settable(_settings(words))]


def as_override(option: str, following: str, known: Sequence[str]) -> str | None:
    """``--seed 1`` and ``--seed=1`` as ``seed=1``; None if there is no such key.

    Args:
        option: The word that begins with a dash.
        following: The word after it.
        known: All keys.
    """
    name, equals, value = option.lstrip("-").partition("=")
    key = name.replace("-", "_")
    if not equals:
        value = following if following and following[0] != "-" and "=" not in following else "VALUE"
    return f"{key}={value}" if key in known else None


def _chosen(words: Iterable[str]) -> dict[str, str]:
    """The choice of each group, after these words; a group without one is absent."""
    known = _made(words)
    chosen = {**choices.defaults(), **_experiment(words)[0], **known}
    chosen.pop("experiment", None)  # has no keys of its own
    return chosen


def _made(words: Iterable[str]) -> dict[str, str]:
    """The choices that these words make, as far as they exist."""
    made = dict(word.split("=", 1) for word in words if "=" in word)
    return {g: c for g, c in made.items() if g in choices.groups() and c in choices.choices(g)}


def _experiment(words: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Choices and values of the experiment that these words name; nothing without one."""
    named = _made(words).get("experiment")
    return choices.experiment(named) if named else ({}, {})


def _changed(words: Iterable[str]) -> dict[str, str]:
    """The values that an experiment has in place of the usual ones."""
    return _experiment(words)[1]


def _over(settings: dict[str, str], changed: dict[str, str]) -> dict[str, str]:
    """Settings with other values where they are changed."""
    return {key: changed.get(key, value) for key, value in settings.items()}


def _settings(words: Iterable[str]) -> dict[str, str]:
    """All keys with their values."""
    found = choices.settings()
    for group, choice in _chosen(words).items():
        found |= choices.settings_of(group, choice)
    return _over(found, _changed(words))


def _values(key: str, words: Iterable[str]) -> Iterable[str]:
    """What is known of the values that a key may have."""
    suite = _chosen(words)["env"]
    if key in choices.groups():
        return choices.choices(key)
    if key == "env.task" and suite in catalogue.suites():
        return catalogue.tasks(suite)
    return ("true", "false") if _settings(words).get(key) in ("true", "false") else ()


def _settable(settings: dict[str, str]) -> dict[str, str]:
    """Without Hydra's own keys: another class is another choice."""
    return {key: value for key, value in settings.items() if "._" not in key}


def _listed(settings: dict[str, str]) -> list[str]:
    text = "  ".join(
        f"{key}={value}".replace(" ", "\0") for key, value in _settable(settings).items()
    )
    lines = textwrap.wrap(
        text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace("\0", " ") for line in lines]
