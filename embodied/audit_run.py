"""`embodied audit`: judge one reward, or several side by side, on a run's episodes or a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from embodied.audit import AuditResult, require, run_audit
from embodied.audit_dataset import Material, read_beside, read_material, run_material
from embodied.audit_page import write_page
from embodied.config import choose, instantiate, load_config
from embodied.display import Display, Status
from embodied.errors import BadConfig, EmbodiedError, RewardRejected
from embodied.first_checks import beside, check_audit, check_values, reward_names
from embodied.job import (
    REWARD,
    Job,
    build_cached_encoder,
    build_encoder,
    build_reward,
    reward_class,
    same_reward,
    trained_run,
)
from embodied.metrics import Metrics
from embodied.opposites import taught
from embodied.preferences.answered import hand_over
from embodied.preflight import check_run, check_taught
from embodied.recording import record_all
from embodied.reward_models.base import TrainableReward
from embodied.runs import create_run
from embodied.seeding import small_seed
from embodied.stages import audit_reward, train_reward
from embodied.types import Clip, Episode, clip_of

CARD = "reward_card.html"
PAGE = "audit.html"


def audit(
    cfg: DictConfig,
    *,
    dataset: str = "",
    success_key: str = "",
    output: str = "",
    rewards: str = "",
    shifted: str = "",
    other_robot: str = "",
) -> None:
    """Audit the reward of a run, named or new; one that has none yet is recorded and trained.

    Args:
        cfg: The configuration.
        dataset: A LeRobotDataset to judge on instead of the run's episodes. A reward that no run
            has trained is fitted to a part of it.
        success_key: Column of the dataset that says which episodes succeeded.
        output: Folder of the pages; the run's, or one beside the dataset, by default.
        shifted: A dataset of the same task, seen by a camera that was really moved.
        other_robot: A dataset of the same task, done by another robot.
        rewards: Names of files in `conf/reward`, as ``[progress,vlm_rm]``, to be put side by side.

    Raises:
        RewardRejected: if a single reward is rejected and ``override_audit`` is not set.
        BadConfig: if the words contradict each other, or ask for another reward than the run has
            trained.
    """
    check_audit(
        cfg, dataset=dataset, success_key=success_key, output=output, shifted=shifted,
        other_robot=other_robot,
    )  # fmt: skip
    beside_it = {name: Path(each) for name, each in
                 (("shifted", shifted), ("other_robot", other_robot)) if each}  # fmt: skip
    names = reward_names(rewards)
    if dataset:
        root = Path(dataset)
        target = Path(output) if output else beside(root, "audit")
        _judge(cfg, names, target, root, success_key, beside_it)
        return
    check_run(cfg, Path(cfg.run) if cfg.run else None)
    if not names:
        check_taught(cfg, Path(cfg.run) if cfg.run else None)
    run_dir = Path(cfg.run) if cfg.run else create_run(cfg)
    if not names and (run_dir / REWARD).exists():
        _check_same(cfg)
    if names or beside_it:
        cfg.run = str(run_dir)
        _judge(cfg, names, run_dir, None, success_key, beside_it)
        return
    try:
        with Display() as display:
            job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
            if not (run_dir / REWARD).exists():
                record_all(job)
                train_reward(job)
            audit_reward(job)
    except RewardRejected:
        _tell(run_dir / CARD)
        raise
    _tell(run_dir / CARD)


def _check_same(cfg: DictConfig) -> None:
    """Refuse to take the reward that a run has trained for another one."""
    stored = load_config(Path(cfg.run)).reward
    if not same_reward(cfg.reward, stored):
        raise BadConfig(
            f"{cfg.run} has trained another reward ({reward_class(stored)}) than was asked for "
            f"({reward_class(cfg.reward)}, or other settings of it). To judge one that is fitted "
            "to the run's episodes, put the name of its file in brackets, as "
            '"rewards=[goal_distance]".'
        )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A reward to be judged."""

    name: str
    """Of its file in `conf/reward`; empty for the configuration's own."""
    cfg: DictConfig
    model: TrainableReward
    fits: bool
    """Whether it has to be fitted first: no run has trained it."""

    @property
    def card(self) -> str:
        """Name of its page."""
        return f"reward_card-{self.name}.html" if self.name else CARD


def _candidates(cfg: DictConfig, names: list[str]) -> list[Candidate]:
    """The rewards, that of the run as the run has trained it."""
    trained, found = trained_run(cfg), []
    stored = load_config(trained).reward if trained else None
    for name in names or [""]:
        own = choose(cfg, "reward", name) if name else cfg
        run_dir = trained if stored is not None and same_reward(own.reward, stored) else None
        model = build_reward(own, run_dir)
        found.append(Candidate(name=name, cfg=own, model=model, fits=run_dir is None))
    return found


def _judge(
    cfg: DictConfig,
    names: list[str],
    target: Path,
    root: Path | None,
    success_key: str,
    others: Mapping[str, Path],
) -> None:
    """Judge the candidates on a dataset, or on the episodes of the run if there is no ``root``."""
    check_values(cfg)
    candidates = _candidates(cfg, names)
    results: dict[str, AuditResult | str] = {}
    with Display() as display:
        material = _material(cfg, candidates, root, success_key, others, display)
        for candidate in candidates:
            display.show(Status(stage="audit", doing=f"Judging {candidate.name or 'the reward'}."))
            try:
                results[candidate.name] = _audit_one(candidate, material, target)
            except EmbodiedError as error:
                if not names:
                    raise
                results[candidate.name] = str(error)
    if names:
        write_page(results, {c.name: c.card for c in candidates}, target / PAGE)
        _tell(target / PAGE, *(target / c.card for c in candidates))
        return
    (result,) = results.values()
    assert isinstance(result, AuditResult)
    _tell(target / CARD)
    require(result, override=bool(cfg.override_audit))


def _material(
    cfg: DictConfig,
    candidates: list[Candidate],
    root: Path | None,
    success_key: str,
    others: Mapping[str, Path],
    display: Display,
) -> Material:
    """The episodes of the run or of the dataset, and of what was recorded otherwise."""
    encoder, seed = build_cached_encoder(cfg), small_seed(cfg.seed, "split")
    fits = any(candidate.fits for candidate in candidates)
    display.show(Status(stage="audit", doing="Reading and encoding episodes."))
    cameras = tuple(dict.fromkeys(c for candidate in candidates for c in candidate.model.cameras))
    if root is None:
        job = Job(run_dir=Path(cfg.run), cfg=cfg, metrics=Metrics([]), display=display)
        record_all(job)
        material = run_material(job, encoder, fits=fits)
    else:
        material = read_material(
            cfg, root, cameras, encoder, success_key=success_key, fits=fits, seed=seed,
            shows=lambda done, total: display.update(done=done, total=total),
        )  # fmt: skip
    beside_it = {
        name: read_beside(cfg, path, cameras, encoder, success_key) for name, path in others.items()
    }
    return replace(
        material,
        shifted=beside_it.get("shifted", []),
        other_robot=beside_it.get("other_robot", []),
    )


def _audit_one(candidate: Candidate, material: Material, target: Path) -> AuditResult:
    if candidate.fits:
        hand_over(candidate.cfg, candidate.model)
        _fit(candidate.model, material, small_seed(candidate.cfg.seed, "reward"))
    return run_audit(
        candidate.model,
        build_encoder(candidate.cfg),
        material.held_out,
        target,
        other_instructions=material.other_instructions,
        seed=small_seed(candidate.cfg.seed, "audit"),
        gates=instantiate(candidate.cfg.audit),
        shifted=material.shifted,
        other_robot=material.other_robot,
        episodes_told=material.told(candidate.fits),
        name=candidate.card.removesuffix(".html"),
    )


def _fit(model: TrainableReward, material: Material, seed: int) -> None:
    shown = {episode.instruction for episode in (*material.successes, *material.failures)}
    model.fit(
        _clips(material.successes),
        _clips(material.failures),
        distractor_instructions=taught(sorted(shown), material.other_instructions),
        seed=seed,
    )


def _clips(episodes: list[Episode]) -> list[Clip]:
    return [clip_of(episode) for episode in episodes]


def _tell(*written: Path) -> None:
    console = Console()
    for path in written:
        if path.suffix == ".html" and path.exists():
            both = f"{path} and {path.with_suffix('.json').name}"
            console.print(both, highlight=False, soft_wrap=True, markup=False)
