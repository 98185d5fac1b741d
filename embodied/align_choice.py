"""What `embodied align` is told, and what follows from it: checked before anything heavy loads."""

from pathlib import Path

from omegaconf import DictConfig

from embodied.choices import settings_of
from embodied.config import choose
from embodied.envs.catalogue import setting_of
from embodied.errors import BadConfig, UnknownName
from embodied.first_checks import LAST_PORT, check_task, check_values, evaluated_policy
from embodied.runs import check_free

RATERS = ("scripted", "person")
REWARDS = ("rapl", "rlhf", "none")
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
