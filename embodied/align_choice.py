"""What `embodied align` is told, and what follows from it: checked before anything heavy loads."""

from pathlib import Path

from omegaconf import DictConfig

from embodied.choices import settings_of
from embodied.config import choose
from embodied.envs.catalogue import setting_of
from embodied.errors import BadConfig, UnknownName
from embodied.first_checks import LAST_PORT, check_task, check_values, evaluated_policy
from embodied.preferences.records import Direction
from embodied.runs import check_free

RATERS = ("scripted", "person")
ATTRIBUTES = "attributes"
"""The reward that a direction makes of what was said of attributes."""
REWARDS = ("rapl", "rlhf", ATTRIBUTES, "none")
UPDATES = ("dpo", "rwr", "filtered", "best_of_n", "conditioned")


def check_align(cfg: DictConfig, *, way: str = "", rater: str = "") -> None:
    """Of `embodied align`.

    Raises:
        BadConfig: if words contradict each other, or a number or port makes no sense.
        UnknownName: for a way, rater, reward or update that does not exist.
    """
    alignment(cfg, way=way, rater=rater)


def alignment(cfg: DictConfig, *, way: str = "", rater: str = "") -> DictConfig:
    """The configuration of a run that aligns a policy.

    Args:
        cfg: As composed, or that of a finished run, which ``cfg.run`` names.
        way: Name of a task with a way; by default what ``cfg.align.way`` says.
        rater: ``scripted`` or ``person``; by default what ``cfg.align.rater`` says.

    Raises:
        BadConfig: if words contradict each other, or a number or port makes no sense.
        UnknownName: for a way, rater, reward or update that does not exist.
    """
    chosen = cfg.copy()
    chosen.job = "align"
    chosen.align.way, chosen.align.rater = way or cfg.align.way, rater or cfg.align.rater
    if chosen.run and chosen.name == Path(chosen.run).name:
        chosen.name = None  # the run's own, which is taken
    if chosen.align.way:
        chosen = _in_its_setting(chosen)
    check_names(chosen)
    check_values(chosen)
    check_task(chosen)
    check_free(chosen)
    if chosen.run:
        evaluated_policy(chosen)
    elif not chosen.align.way:
        raise BadConfig(
            "name a way whose demonstrator is imitated, or a run whose policy is aligned: "
            "embodied align way=drawer-open-right, or embodied align RUN rater=person."
        )
    return chosen


def check_names(cfg: DictConfig) -> None:
    """Whether who answers, what learns from it and what is updated by exist, and go together.

    Raises:
        BadConfig: if they do not.
        UnknownName: for a rater, reward or update that does not exist.
    """
    wanted = cfg.align
    for kind, known in (("rater", RATERS), ("reward", REWARDS), ("update", UPDATES)):
        if wanted[kind] not in known:
            raise UnknownName(f"align.{kind}", str(wanted[kind]), known)
    if wanted.rater == "scripted" and not wanted.way:
        raise BadConfig(
            "a scripted rater answers by a way: name one with way=..., or let a person answer "
            "with rater=person."
        )
    if wanted.reward == "none" and wanted["update"] != "dpo":
        raise BadConfig(
            f"align.update={wanted['update']} needs a reward of every roll-out; choose "
            "align.reward=rapl or rlhf, or align.update=dpo."
        )
    if not 0 <= cfg.preferences.port <= LAST_PORT:
        raise BadConfig(
            f"preferences.port is {cfg.preferences.port}; a port is a number from 0 to {LAST_PORT}."
        )
    check_direction(cfg)


def _in_its_setting(cfg: DictConfig) -> DictConfig:
    """With the environment of the way; what was set by hand stays."""
    suite, wanted = setting_of(str(cfg.align.way))
    if cfg.run:
        if cfg.env.get("task") != wanted["task"]:
            raise BadConfig(
                f"{cfg.run} is of {cfg.env.get('task')}, and the way {cfg.align.way} is of "
                f"{wanted['task']}; choose another way, or rater=person and no way."
            )
        return cfg
    if not str(cfg.env.get("_target_", "")).startswith(f"embodied.envs.{suite}."):
        cfg = choose(cfg, "env", suite)
    usual = settings_of("env", suite)
    for key, value in wanted.items():
        if key == "task" or str(cfg.env[key]) in (usual[f"env.{key}"], "None"):
            cfg.env[key] = value
    return cfg


def check_direction(cfg: DictConfig) -> None:
    """Whether the sliders make sense, and somebody can say something of attributes.

    Raises:
        BadConfig: if nobody can, or sliders stand beside another reward.
        BadInput: for what is no direction.
        UnknownName: for an attribute that there is not.
    """
    wanted, given = cfg.align, given_direction(cfg)
    if wanted.reward != ATTRIBUTES:
        if wanted.sliders is not None:
            raise BadConfig("align.sliders ask for attributes: add align.reward=attributes.")
        return
    if wanted.rater != "person":
        raise BadConfig(
            "align.reward=attributes learns from what people say of attributes, and the scripted "
            "rater says nothing of them; let a person answer with rater=person."
        )
    if given is None and not cfg.preferences.train:
        raise BadConfig(
            "with preferences.train=false the page has no sliders; say what matters, as "
            "'align.sliders={speed: 1}'."
        )


def given_direction(cfg: DictConfig) -> Direction | None:
    """What ``align.sliders`` and ``align.floor`` ask for; None if a person's kept one counts."""
    if not isinstance(cfg.align.sliders, DictConfig):
        return None
    said = {str(name): value for name, value in cfg.align.sliders.items()}
    for name, value in said.items():
        if not isinstance(value, int | float):
            raise BadConfig(f"align.sliders.{name} is {value!r}; it is a number from -1 to 1.")
    sliders = {name: float(value) for name, value in said.items()}
    return Direction(sliders=sliders, floor=float(cfg.align.floor))


def kept_by(cfg: DictConfig) -> str | None:
    """Whose direction counts if none is given; None for whoever kept one last."""
    return None if cfg.align.sliders is None else str(cfg.align.sliders)
