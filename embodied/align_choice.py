"""What `embodied align` is told, and what follows from it: checked before anything heavy loads."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from embodied.choices import settings_of
from embodied.config import choose
from embodied.envs.catalogue import setting_of
from embodied.errors import BadConfig, UnknownName
from embodied.first_checks import (
    LAST_PORT,
    check_task,
    check_untold,
    check_values,
    evaluated_policy,
    rater_kinds,
)
from embodied.preferences.records import Direction
from embodied.runs import check_free

ANSWERED_BY = ("scripted", "person")
PERSONAL = ("pal", "vpl")
"""Rewards of people who disagree: learnt from everybody, for one of them."""
ATTRIBUTES = "attributes"
"""The reward that a direction makes of what was said of attributes."""
REWARDS = ("rapl", "rlhf", *PERSONAL, ATTRIBUTES, "none")
MYOPIC = "myopic"
"""The teacher who needs to know how well each moment is liked."""
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
    for kind, known in (("rater", ANSWERED_BY), ("reward", REWARDS), ("update", UPDATES)):
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
    if wanted.rater == "scripted" and wanted.teacher == MYOPIC:
        raise BadConfig(
            f"align.teacher={MYOPIC} weighs late moments more, and here a teacher judges a whole "
            "roll-out by one number: it would answer as the oracle; choose align.teacher=oracle."
        )
    check_people(cfg)
    kinds = rater_kinds(cfg.preferences)
    if wanted.rater == "scripted" and kinds is not None and "scripted" not in kinds:
        raise BadConfig(
            f"preferences.rater_kinds={list(kinds)} leaves out the scripted rater, who answers; "
            "let a person answer with rater=person."
        )
    if not 0 <= cfg.preferences.port <= LAST_PORT:
        raise BadConfig(
            f"preferences.port is {cfg.preferences.port}; a port is a number from 0 to {LAST_PORT}."
        )
    check_direction(cfg)
    check_untold(cfg)


def check_people(cfg: DictConfig) -> None:
    """Whether there is somebody whose taste can be followed, as far as that is known before.

    Raises:
        BadConfig: without a name where one is needed, or if the scripted raters do not do.
        UnknownName: for a scripted rater who does not answer.
    """
    wanted = cfg.align
    if wanted.rater == "person" and (wanted.raters, wanted.opposed) != (1, 0):
        raise BadConfig(
            "align.raters and align.opposed are of scripted raters, and people answer; leave them "
            "out: everybody signs in to the page under a name of their own."
        )
    if wanted.opposed > wanted.raters:
        raise BadConfig(
            f"align.opposed is {wanted.opposed}: there are {wanted.raters} scripted raters in all; "
            "raise align.raters."
        )
    if wanted.reward in PERSONAL and not wanted.follow:
        raise BadConfig(
            f"align.reward={wanted.reward} ranks for one of several people who disagree: say whose "
            "taste is followed with align.follow=NAME, or choose align.reward=rlhf."
        )
    if wanted.reward == ATTRIBUTES and wanted.follow:
        raise BadConfig(
            "align.reward=attributes follows no person's answers, but a direction: name who kept "
            "it with align.sliders=NAME, and leave align.follow out."
        )
    if wanted.rater == "scripted" and wanted.follow:
        known = tastes(cfg)
        if followed_in(cfg) not in known:
            raise UnknownName("scripted rater", str(wanted.follow), known)
        if wanted.reward in PERSONAL and len(known) < 2:
            raise BadConfig(
                f"align.reward={wanted.reward} learns from several people, and one scripted rater "
                "answers; write align.raters=4 align.opposed=2, or choose align.reward=rlhf."
            )


def tastes(cfg: DictConfig) -> dict[str, float]:
    """The scripted raters by name: 1 for who likes the way, -1 for who likes its opposite."""
    liked = int(cfg.align.raters) - int(cfg.align.opposed)
    names = {_numbered("teacher", n): 1.0 for n in range(1, liked + 1)}
    return names | {_numbered("opposed", n): -1.0 for n in range(1, int(cfg.align.opposed) + 1)}


def taste(cfg: DictConfig) -> float:
    """Of the scripted rater who is followed; that of the way, for a person or nobody."""
    return tastes(cfg).get(str(cfg.align.follow), 1.0) if cfg.align.rater == "scripted" else 1.0


def followed_in(cfg: DictConfig) -> str | None:
    """Whose taste is followed; None to make no difference between people."""
    return None if cfg.align.follow is None else str(cfg.align.follow)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


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
    if isinstance(cfg.align.sliders, ListConfig):
        raise BadConfig(
            f"align.sliders is {list(cfg.align.sliders)}; it is {{speed: 1, smoothness: -0.5}}, or "
            "the name of who kept a direction."
        )
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
