"""Which reward is attacked: the run's own, or another that is fitted to the run's episodes."""

import hashlib
from pathlib import Path

import numpy as np
import yaml
from omegaconf import DictConfig, OmegaConf

from embodied.adversary_trial import proxy_of
from embodied.audit_evidence import score_all
from embodied.display import Status
from embodied.errors import BadInput
from embodied.job import Job, build_cached_encoder, build_reward, read_part, reward_class
from embodied.lessons import encoded, lessons_of
from embodied.preferences.answered import hand_over
from embodied.reward_models.base import RewardModel, TrainableReward
from embodied.seeding import small_seed


def told_apart(reward: DictConfig) -> str:
    """A name for files: the innermost class, and four digits that differ where any setting does."""
    settings = yaml.safe_dump(OmegaConf.to_container(reward), sort_keys=True)
    digits = hashlib.sha256(settings.encode()).hexdigest()[:4]
    return f"{reward_class(reward)}-{digits}"


def honest_return(job: Job, reward: RewardModel) -> float:
    """Learned return of the median held-out success.

    Raises:
        BadInput: if the run has none.
    """
    job.display.show(Status(stage="attack", doing="Scoring held-out successes."))
    episodes = read_part(job.cfg, job.run_dir, "held_out")
    clips = encoded((e for e in episodes if e.success), build_cached_encoder(job.cfg))
    if not clips:
        raise BadInput(f"{job.run_dir}/held_out has no success to compare with.")
    return float(np.median([proxy_of(scores).total for scores in score_all(reward, clips)]))


def fit_reward(job: Job, path: Path) -> Path:
    """Train a reward that is not the run's on the run's demonstrations and failures."""
    cfg, reward = job.cfg, build_reward(job.cfg)
    job.display.show(Status(stage="attack", doing="Fitting the reward to the run's episodes."))
    hand_over(cfg, reward)
    lessons = lessons_of(cfg, job.run_dir)
    reward.fit(
        lessons.successes,
        lessons.failures,
        distractor_instructions=lessons.distractor_instructions,
        seed=small_seed(cfg.seed, "reward"),
    )
    reward.save(path)
    return path


def load_reward(cfg: DictConfig, path: Path) -> TrainableReward:
    """The reward as it was saved there."""
    reward = build_reward(cfg)
    reward.load(path)
    return reward
