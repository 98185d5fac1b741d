"""Which reward is attacked: the run's own, or another that is fitted to the run's episodes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from embodied.adversary_trial import proxy_of
from embodied.audit_evidence import score_all
from embodied.config import load_config
from embodied.display import Status
from embodied.errors import BadInput
from embodied.job import (
    Job,
    build_cached_encoder,
    build_reward,
    other_instructions,
    read_part,
)
from embodied.opposites import taught
from embodied.reward_models.base import RewardModel, TrainableReward
from embodied.rewarding import with_features
from embodied.seeding import small_seed
from embodied.types import Clip, Episode, clip_of


def is_own(cfg: DictConfig, run_dir: Path) -> bool:
    """Whether the configuration names the reward that the run was made with."""
    return bool(cfg.reward == load_config(run_dir).reward)


def honest_return(job: Job, reward: RewardModel) -> float:
    """Learned return of the median held-out success.

    Raises:
        BadInput: if the run has none.
    """
    job.display.show(Status(stage="attack", doing="Scoring held-out successes."))
    episodes = read_part(job.cfg, job.run_dir, "held_out")
    clips = _clips(job, [episode for episode in episodes if episode.success])
    if not clips:
        raise BadInput(f"{job.run_dir}/held_out has no success to compare with.")
    return float(np.median([proxy_of(scores).total for scores in score_all(reward, clips)]))


def fit_reward(job: Job, path: Path) -> Path:
    """Train a reward that is not the run's on the run's demonstrations and failures."""
    cfg, reward = job.cfg, build_reward(job.cfg)
    job.display.show(Status(stage="attack", doing="Fitting the reward to the run's episodes."))
    demos = read_part(cfg, job.run_dir, "demos", cfg.demos.reward)
    own = sorted({episode.instruction for episode in demos})
    reward.fit(
        _clips(job, demos),
        _clips(job, read_part(cfg, job.run_dir, "failures", cfg.demos.failures)),
        distractor_instructions=taught(own, other_instructions(cfg)),
        seed=small_seed(cfg.seed, "reward"),
    )
    reward.save(path)
    return path


def load_reward(cfg: DictConfig, path: Path) -> TrainableReward:
    """The reward as it was saved there."""
    reward = build_reward(cfg)
    reward.load(path)
    return reward


def _clips(job: Job, episodes: Sequence[Episode]) -> list[Clip]:
    encoder = build_cached_encoder(job.cfg)
    return [clip_of(with_features(episode, encoder)) for episode in episodes]
