"""The stages of the default job, in order; one that was interrupted is continued or repeated."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from embodied.audit import require, run_audit
from embodied.audit_pins import fingerprint
from embodied.config import instantiate
from embodied.course import Course
from embodied.dataset_labels import LabelFiles
from embodied.display import Status
from embodied.evaluation import evaluate_policy
from embodied.examples import examples_from
from embodied.fine_tuning import EPISODES, fine_tune, policy_demonstrations
from embodied.job import (
    REWARD,
    Job,
    build_cached_encoder,
    build_encoder,
    build_policy,
    build_reward,
    other_instructions,
    read_part,
    save_policy,
)
from embodied.judge import HELD_OUT
from embodied.lessons import lessons_of
from embodied.policies.base import DenoisingPolicy
from embodied.preferences.answered import hand_over
from embodied.preflight import check_operator, check_run, check_taught
from embodied.recording import record_all
from embodied.report import headline, write_report
from embodied.reward_models.base import TrainableReward
from embodied.rewarding import with_features
from embodied.seeding import small_seed
from embodied.success_curve import evaluate_curve
from embodied.summary import write_summary
from embodied.types import Episode

REWARD_CARD = "reward_card.json"


def train_reward(job: Job) -> None:
    """Train the reward on demonstrations and deliberate failures."""
    job.display.show(Status(stage="reward", doing="Encoding demonstrations and failures."))
    lessons, reward = lessons_of(job.cfg, job.run_dir), build_reward(job.cfg)
    labelled = [LabelFiles(job.run_dir / part / "labels") for part in ("demos", EPISODES)]
    reward.version = max(files.newest() for files in labelled)  # training adds 1
    hand_over(job.cfg, reward)
    metrics = reward.fit(
        lessons.successes,
        lessons.failures,
        distractor_instructions=lessons.distractor_instructions,
        seed=small_seed(job.cfg.seed, "reward"),
        progress_callback=job.progress("Learning what progress looks like."),
    )
    job.observe("reward")(metrics)
    path = job.run_dir / REWARD
    path.parent.mkdir(exist_ok=True)
    _forget_another(job.run_dir, reward)
    reward.save(path)


def _forget_another(run_dir: Path, reward: TrainableReward) -> None:
    """Delete what the run found out about a reward that it had before, so that it is made again."""
    (run_dir / HELD_OUT).unlink(missing_ok=True)
    card = run_dir / REWARD_CARD
    try:
        audited = json.loads(card.read_text())["pins"]["reward"]
    except (OSError, ValueError, KeyError):
        audited = None
    if audited != fingerprint(reward):
        card.unlink(missing_ok=True)


def audit_reward(job: Job) -> None:
    """Judge the reward on episodes that it has not seen.

    Raises:
        RewardRejected: if it fails its gates and ``override_audit`` is not set.
    """
    job.display.show(Status(stage="audit", doing="Testing the reward on held-out episodes."))
    encoder = build_cached_encoder(job.cfg)
    result = run_audit(
        build_reward(job.cfg, job.run_dir),
        build_encoder(job.cfg),
        [with_features(e, encoder) for e in read_part(job.cfg, job.run_dir, "held_out")],
        job.run_dir,
        other_instructions=other_instructions(job.cfg),
        seed=small_seed(job.cfg.seed, "audit"),
        gates=instantiate(job.cfg.audit),
    )
    job.observe("audit")({"accepted": result.accepted, "headline": result.headline})
    require(result, override=bool(job.cfg.override_audit))


def clone_policy(job: Job) -> None:
    """Behaviour-clone the base policy from the first demonstrations, and failures if it says so."""
    cfg = job.cfg
    job.display.show(Status(stage="clone", doing="Encoding the demonstrations."))
    store = job.store("demos")
    episodes = [store.read(store.index_of(name)) for name in policy_demonstrations(cfg, store)]
    episodes += read_part(cfg, job.run_dir, "failures", cfg.demos.policy_failures)
    cloned(job, episodes, int(cfg.clone.steps))


def cloned(job: Job, episodes: Sequence[Episode], steps: int) -> None:
    """Behaviour-clone the run's base policy from these episodes, and save it."""
    cfg, encoder = job.cfg, build_cached_encoder(job.cfg)
    examples = examples_from([with_features(e, encoder) for e in episodes], cfg.policy.chunk)
    policy = build_policy(cfg, encoder)
    assert isinstance(policy, DenoisingPolicy)
    metrics = instantiate(
        cfg.clone,
        policy=policy,
        examples=examples,
        steps=steps,
        seed=small_seed(cfg.seed, "clone"),
        progress_callback=job.progress("Imitating the demonstrations."),
    )
    job.observe("clone")(metrics)
    save_policy(policy, job.run_dir, "policy_base", cfg)


def evaluate_before(job: Job) -> None:
    """Success of the cloned policy; for the report only."""
    evaluate_policy(job, "policy_base", "evaluation_before", job.cfg.evaluate.episodes)


def fine_tune_policy(job: Job) -> None:
    """Fine-tune with the learned reward alone."""
    fine_tune(job)


def evaluate_during(job: Job) -> None:
    """Success of the versions in between; for the report only."""
    evaluate_curve(job, int(job.cfg.evaluate.curve_episodes))


def evaluate_after(job: Job) -> None:
    """Success of the best version; for the report only."""
    evaluate_policy(job, "policy", "evaluation_after", job.cfg.evaluate.episodes)


def report(job: Job) -> None:
    """Write `summary.json` and `report.html`."""
    job.display.show(Status(stage="report", doing="Writing the report."))
    write_summary(job)
    write_report(job.run_dir)


STAGES: Mapping[str, Callable[[Job], None]] = {
    "record": record_all,
    "reward": train_reward,
    "audit": audit_reward,
    "clone": clone_policy,
    "evaluate_before": evaluate_before,
    "fine_tune": fine_tune_policy,
    "evaluate_during": evaluate_during,
    "evaluate_after": evaluate_after,
    "report": report,
}


PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "record": ("demos", "failures", "held_out"),
    "reward": (REWARD,),
    "audit": (REWARD_CARD,),
    "clone": ("policy_base",),
    "evaluate_before": ("evaluation_before",),
    "fine_tune": ("policy",),
    "evaluate_after": ("evaluation_after",),
    "report": ("summary.json", "report.html"),
}


def _check(cfg: DictConfig, run_dir: Path | None) -> None:
    check_run(cfg, run_dir)
    check_taught(cfg, run_dir)
    check_operator(cfg)


TRAINING = Course(stages=STAGES, products=PRODUCTS, check=_check, headline=headline)
