"""What can be told at once: checks of a command that need no heavy library, made before any loads.

Each takes what its command takes. A command makes its checks again: it may be called from Python.
"""

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from embodied import choices
from embodied.envs import catalogue
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.runs import REWARD, check_free

LEAST = {
    "processes": 1, "demos.policy": 1, "demos.policy_failures": 0, "demos.reward": 1,
    "demos.failures": 0, "demos.held_out": 2, "demos.noise": 0, "clone.steps": 1,
    "evaluate.episodes": 1, "fine_tune.updates_per_step": 0, "fine_tune.minimum_steps": 0,
    "fine_tune.publish_every": 1, "fine_tune.batch_size": 1, "fine_tune.capacity": 1,
    "feature_cache.max_mb": 0, "serve.places": 1, "serve.clips_at_once": 1, "serve.max_mb": 1,
    "serve.deadline_s": 0, "monitor.window": 10, "monitor.clips": 0,
    "preferences.clip_s": 0.1, "preferences.films_mb": 1,
    "preferences.retrain_every": 1, "align.floor": 0,
    "align.attempts": 1, "align.clone_steps": 1, "align.starts": 1, "align.each": 2,
    "align.explore": 0, "align.answers": 1, "align.reward_steps": 1, "align.folds": 0,
    "align.raters": 1, "align.opposed": 0,
    "align.updates": 1, "align.check_every": 1, "align.most_drift": 0, "align.most_lost": 0,
    "align.watched": 0, "align.measured": 2,
    "branches.take_overs": 0, "branches.episodes": 0, "branches.continuations": 1,
    "attack.rollouts": 0, "attack.starts": 0, "evaluate.curve_episodes": 0,
    "fine_tune.demo_share": 0, "fine_tune.online_share": 0, "fine_tune.human_share": 0,
}  # fmt: skip
"""Smallest values that make sense."""
POLICIES = ("policy", "policy_base")
"""Folders of a run's policies, the better one first."""
LAST_PORT = 65535
HUMAN = "human"
RATER_KINDS = (HUMAN, "scripted")
"""Kinds of who can answer; a model's opinion is no answer."""
SQLITE = "sqlite:///"
PEOPLE = "people"
"""Whose labels `embodied label` writes, if not a reward's."""
LABELS = "preferences"
"""What the folder of a dataset's labels is called, beside the dataset's name."""
INFO = "meta/info.json"
"""What makes a folder a LeRobotDataset; also in `embodied.dataset_layout`, which loads torch."""


def check_job(cfg: DictConfig) -> None:
    """Of what works on a run, a new one if none is named.

    Raises:
        BadConfig: for a number that is too small, or if the new run's name is taken.
        BadInput: if there are no labels where the reward is to learn from some.
        UnknownName: for a task that its suite does not have.
    """
    check_values(cfg)
    check_task(cfg)
    check_untold(cfg)
    if not cfg.run:
        check_free(cfg)
        trained = cfg.reward.get("trained")
        if trained and not Path(trained).is_file():
            raise BadConfig(f"reward.trained is {trained}: there is no such file.")
        check_labels(cfg)


def check_labels(cfg: DictConfig) -> None:
    """Whether there are answers of people where ``reward.labels`` says.

    Raises:
        BadInput: if there is no dataset, or no database beside it.
        BadConfig: if a URL does not tell which dataset was labelled, or nobody's answers count.
        UnknownName: for a kind of rater that there is not.
    """
    rater_kinds(cfg.reward)
    for labels in named_labels(cfg):
        labelled(cfg, labels)


def named_labels(cfg: DictConfig) -> list[str]:
    """What ``reward.labels`` names: nothing, a folder or URL, or several."""
    said = cfg.reward.get("labels")
    if isinstance(said, ListConfig):
        return [str(each) for each in said]
    return [str(said)] if said else []


def rater_kinds(node: DictConfig) -> list[str] | None:
    """Kinds of raters whose answers count, by ``rater_kinds`` of a reward or of ``preferences``.

    Returns:
        The kinds; None for all.

    Raises:
        BadConfig: if it is no list, or an empty one.
        UnknownName: for a kind that there is not.
    """
    said = node.get("rater_kinds")
    if said is None:
        return None
    if not isinstance(said, ListConfig) or not said:
        raise BadConfig(f"rater_kinds is {said}; write [human], [scripted], or null for all.")
    for kind in said:
        if kind not in RATER_KINDS:
            raise UnknownName("kind of rater", str(kind), RATER_KINDS)
    return [str(kind) for kind in said]


def labelled(cfg: DictConfig, labels: str) -> tuple[Path, str]:
    """The dataset whose clips people compared, and the URL of the database that has the answers.

    Args:
        cfg: ``preferences.database`` is where the labels of a folder are, if it says something.
        labels: The dataset's folder; or the URL of a SQLite file beside it.

    Raises:
        BadInput: if there is no dataset, or no database beside it.
        BadConfig: if a URL does not tell which dataset was labelled.
    """
    named = "://" in labels
    root = _labelled_by(labels) if named else Path(labels)
    check_dataset(root)
    url = labels if named else database_url(cfg, root)
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).is_file():
        raise BadInput(
            f"there are no labels of {root}: {url.removeprefix(SQLITE)} does not exist. `embodied "
            f"serve-preferences dataset={root}` collects some; preferences.database=URL says where "
            "else they are."
        )
    return root, url


def _labelled_by(url: str) -> Path:
    """The dataset beside which a SQLite file has its labels."""
    folder = Path(url.removeprefix(SQLITE)).parent
    if not url.startswith(SQLITE) or not folder.name.endswith(f"-{LABELS}"):
        raise BadConfig(
            f"reward.labels={shown_url(url)} does not tell which dataset was labelled; write "
            "reward.labels=FOLDER preferences.database=URL, FOLDER being that dataset."
        )
    return folder.with_name(folder.name.removesuffix(f"-{LABELS}"))


def database_url(cfg: DictConfig, root: Path) -> str:
    """Where labels of a dataset's clips are kept: as configured, or in a folder next to it."""
    file = (beside(root, LABELS) / "labels.sqlite").resolve()
    return str(cfg.preferences.database or f"{SQLITE}{file}")


def shown_url(url: str) -> str:
    """Without its password."""
    scheme, _, rest = url.partition("://")
    who, at, where = rest.rpartition("@")
    return f"{scheme}://{who.partition(':')[0]}{at}{where}"


def check_values(cfg: DictConfig) -> None:
    """Compare the job's numbers with the smallest that make sense, and keep success a secret.

    Raises:
        BadConfig: naming the key.
    """
    for key, least in LEAST.items():
        value = OmegaConf.select(cfg, key)
        if value < least:
            raise BadConfig(f"{key} is {value}; it must be at least {least}.")
    bounds = cfg.fine_tune.exploration
    if len(bounds) != 2 or not all(isinstance(bound, int | float) for bound in bounds):
        raise BadConfig(
            f"fine_tune.exploration is {bounds}; write [LEAST,GREATEST], each from 0 to 1."
        )
    if cfg.env.get("terminate_on_success"):
        raise BadConfig(
            "env.terminate_on_success is true: the learner could read success from the ending. "
            "Leave it false; evaluations end at success by themselves."
        )
    if not cfg.fine_tune.demo_share + cfg.fine_tune.online_share:
        raise BadConfig(
            "fine_tune.demo_share and fine_tune.online_share are both 0; one of them must be above."
        )


def check_task(cfg: DictConfig) -> None:
    """Look the task up in the catalogue, if the environment is one of the suites that it knows.

    Raises:
        UnknownName: for a task that the suite does not have.
    """
    suite = str(cfg.env.get("_target_", "")).rpartition(".")[0].removeprefix("embodied.envs.")
    if suite in catalogue.suites() and "task" in cfg.env:
        catalogue.check_task(suite, str(cfg.env.task))


def check_audit(
    cfg: DictConfig,
    *,
    dataset: str = "",
    success_key: str = "",
    output: str = "",
    rewards: str = "",
    shifted: str = "",
    other_robot: str = "",
) -> None:
    """Of `embodied audit`, which takes a dataset or a run, or makes a run.

    Raises:
        BadInput: if there is no such dataset.
        BadConfig: if words contradict each other, for a number that is too small, or if the new
            run's name is taken.
        UnknownName: for a task that its suite does not have.
    """
    check_untold(cfg)
    reward_names(rewards)
    for other in (shifted, other_robot):
        if other:
            check_dataset(Path(other))
    if dataset:
        check_values(cfg)
        check_dataset(Path(dataset))
        check_labels(cfg)
    elif output or (success_key and not (shifted or other_robot)):
        raise BadConfig("output= and success_key= go with dataset=FOLDER.")
    else:
        check_job(cfg)


def reward_names(rewards: str) -> list[str]:
    """Names of files in `conf/reward`, written ``[progress,rapl]``, each once.

    Raises:
        BadConfig: for an empty name.
        UnknownName: for a choice that does not exist.
    """
    names = [name.strip() for name in rewards.strip().strip("[]").split(",")]
    if rewards and not all(names):
        raise BadConfig(f"rewards={rewards} names no reward; write rewards=[progress,rapl].")
    known = choices.choices("reward")
    for name in filter(None, names):
        if name not in known:
            raise UnknownName("reward choice", name, known)
    return list(dict.fromkeys(name for name in names if name))


def is_dataset(root: Path) -> bool:
    """Whether a folder is a LeRobotDataset."""
    return (root / INFO).is_file()


def check_dataset(root: Path) -> None:
    """Whether there is a LeRobotDataset.

    Raises:
        BadInput: saying what is missing.
    """
    if not root.is_dir():
        raise BadInput(f"{root} is no LeRobotDataset: there is no such folder.")
    if not is_dataset(root):
        raise BadInput(f"{root} is no LeRobotDataset: it has no {INFO}.")


def evaluated_policy(cfg: DictConfig) -> str:
    """The policy of the run that `embodied eval` measures.

    Raises:
        BadConfig: if no run is named, or it has no policy yet.
    """
    if not cfg.run:
        raise BadConfig("name the run whose policy to evaluate: embodied eval runs/<name>.")
    found = [name for name in POLICIES if (Path(cfg.run) / name).is_dir()]
    if not found:
        raise BadConfig(f"{cfg.run} has no policy yet; continue it with embodied resume {cfg.run}.")
    return found[0]


def check_evaluation(cfg: DictConfig) -> None:
    """Of `embodied eval`.

    Raises:
        BadConfig: if no run is named, it has no policy yet, a number is too small, or the target is
            none.
        UnknownName: for a task that the suite does not have.
    """
    evaluated_policy(cfg)
    given_target(cfg)
    check_values(cfg)
    check_task(cfg)


def given_target(cfg: DictConfig) -> dict[str, float] | None:
    """What ``evaluate.target`` asks of the policy; None for what it was told last.

    Raises:
        BadConfig: for what is no mapping of names to numbers from 0 to 1.
    """
    said = cfg.evaluate.target
    if said is None:
        return None
    if not isinstance(said, DictConfig):
        raise BadConfig(f"evaluate.target is {said}; write it as 'evaluate.target={{speed: 0.9}}'.")
    target = {str(name): value for name, value in said.items()}
    for name, value in target.items():
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise BadConfig(f"evaluate.target.{name} is {value!r}; it is a number from 0 to 1.")
    return {name: float(value) for name, value in target.items()}


def check_untold(cfg: DictConfig) -> None:
    """Of every command but `embodied eval`, which alone looks at ``evaluate.target``.

    Raises:
        BadConfig: if it is set.
    """
    if cfg.evaluate.target is not None:
        raise BadConfig("evaluate.target is of `embodied eval RUN` alone; leave it out here.")


def attacked_run(cfg: DictConfig) -> Path:
    """The run whose reward `embodied attack` optimises against.

    Raises:
        BadConfig: if no run is named, or a number is too small.
    """
    check_untold(cfg)
    if not cfg.run:
        raise BadConfig("name the run whose reward to attack: embodied attack runs/<name>.")
    check_values(cfg)
    return Path(cfg.run)


def branched_run(cfg: DictConfig, *, output: str = "") -> tuple[Path, Path]:
    """The dataset that `embodied branch` reads, and the one that it makes.

    Raises:
        BadConfig: if no run is named, or a number or the policy's name makes no sense.
        BadInput: if there are no episodes, or the output exists.
    """
    check_untold(cfg)
    if not cfg.run:
        raise BadConfig("name the run whose episodes to branch: embodied branch runs/<name>.")
    check_values(cfg)
    if not 0 <= cfg.branches.explore <= 1:
        raise BadConfig(f"branches.explore is {cfg.branches.explore}; it is from 0 to 1.")
    if cfg.branches.policy not in POLICIES:
        raise UnknownName("branches.policy", str(cfg.branches.policy), POLICIES)
    root = Path(cfg.run) / "episodes"
    check_dataset(root)
    target = Path(output) if output else Path(cfg.run) / "branches"
    check_new(target)
    check_new(beside(target, LABELS))  # its pairs would be asked twice
    return root, target


def label_folders(
    cfg: DictConfig, *, dataset: str = "", output: str = "", labels: str = ""
) -> tuple[Path, Path]:
    """What `embodied label` reads, and what it writes.

    Raises:
        BadConfig: if neither a dataset nor a run is named.
        BadInput: if there is no dataset, no database where people's labels are wanted, or the
            output exists.
        UnknownName: for labels of anybody but people.
    """
    check_untold(cfg)
    if not dataset and not cfg.run:
        raise BadConfig("name what to label: embodied label dataset=FOLDER, or a run.")
    root = Path(dataset) if dataset else Path(cfg.run) / "episodes"
    check_dataset(root)
    if labels:
        if labels != PEOPLE:
            raise UnknownName("labels", labels, (PEOPLE,))
        rater_kinds(cfg.preferences)
        labelled(cfg, str(root))
    target = Path(output) if output else beside(root, "labelled")
    check_new(target)
    return root, target


def compared_dataset(cfg: DictConfig, *, dataset: str = "") -> Path:
    """The dataset whose clips `embodied serve-preferences` shows.

    Raises:
        BadConfig: if neither a dataset nor a run is named, or a number makes no sense.
        UnknownName: for a reward to propose, or a kind of rater, that there is not.
        BadInput: if there is no dataset.
    """
    check_untold(cfg)
    if not dataset and not cfg.run:
        raise BadConfig(
            "name what to compare: embodied serve-preferences dataset=FOLDER, or a run."
        )
    check_values(cfg)
    rater_kinds(cfg.preferences)
    if not 0 <= cfg.preferences.port <= LAST_PORT:
        raise BadConfig(
            f"preferences.port is {cfg.preferences.port}; a port is a number from 0 to {LAST_PORT}."
        )
    proposers = (*choices.choices("reward"), "none")
    if cfg.preferences.proposals not in proposers:
        raise UnknownName("preferences.proposals", str(cfg.preferences.proposals), proposers)
    root = Path(dataset) if dataset else Path(cfg.run) / "episodes"
    check_dataset(root)
    return root


def beside(root: Path, what: str) -> Path:
    """Where what is made of a dataset goes by default: a folder next to it."""
    if not root.name:  # "." or "..": named by where it is
        root = root.resolve()
    return root.with_name(f"{root.name}-{what}")


def check_new(target: Path) -> None:
    """Whether an output can be made.

    Raises:
        BadInput: if it exists.
    """
    if target.exists():
        raise BadInput(f"{target} exists; choose another output=FOLDER, or delete it.")


def exported_run(cfg: DictConfig, *, output: str = "") -> tuple[Path, Path]:
    """The run whose reward `embodied export-reward` writes, and where to.

    Raises:
        BadConfig: if no run is named.
        BadInput: if the run has no trained reward yet, or the output exists.
    """
    if not cfg.run:
        raise BadConfig("name the run whose reward to write: embodied export-reward RUN.")
    run_dir = Path(cfg.run)
    if not (run_dir / REWARD).is_file():
        raise BadInput(f"{run_dir} has no trained reward; `embodied audit {run_dir}` trains one.")
    target = Path(output) if output else run_dir / "reward_lerobot"
    check_new(target)
    return run_dir, target
