"""What the stages of a run share: its folder, its configuration, and the parts built from it."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from embodied.config import instantiate
from embodied.dataset import EpisodeStore
from embodied.display import Display
from embodied.durable import write_atomically
from embodied.encoders import Pixels
from embodied.envs.base import TaskEnv
from embodied.envs.catalogue import instructions, suites
from embodied.errors import CorruptFile, remedy
from embodied.feature_cache import CachedEncoder, FeatureCache
from embodied.metrics import Metrics
from embodied.policies.base import Policy
from embodied.reward_models.base import TrainableReward
from embodied.runs import CACHE_FOLDER as CACHE_FOLDER
from embodied.runs import REWARD as REWARD
from embodied.types import Episode, FrameEncoder

STATE_FILE = "stages.json"
SAVE_POLICY = "embodied.policies.checkpoints.save_policy"
LOAD_POLICY = "embodied.policies.checkpoints.load_policy"
OTHER_INSTRUCTIONS = 8
"""Instructions of other tasks that a reward is taught, and tested, to tell apart."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run under way."""

    run_dir: Path
    cfg: DictConfig
    metrics: Metrics
    display: Display
    started: float = field(default_factory=time.monotonic)

    def store(self, part: str) -> EpisodeStore:
        """One of the run's datasets; made if it is missing."""
        return open_store(self.cfg, self.run_dir, part)

    def observe(self, stage: str) -> Callable[[Mapping[str, Any]], None]:
        """Takes rows of metrics of a stage."""

        def write(row: Mapping[str, Any]) -> None:
            elapsed = round(time.monotonic() - self.started, 3)
            self.metrics.write({"stage": stage, "time_s": elapsed, **row})

        return write

    def progress(self, doing: str) -> Callable[[float], None]:
        """Shows the share of a stage's work that is done."""

        def show(share: float) -> None:
            self.display.update(doing=doing, done=round(100 * share), total=100)

        return show

    def state(self) -> dict[str, Any]:
        """What `stages.json` says: finished stages, and seconds spent in each."""
        path = self.run_dir / STATE_FILE
        if not path.exists():
            return {"finished": [], "seconds": {}}
        try:
            return dict(json.loads(path.read_text()))
        except ValueError as error:
            raise CorruptFile(
                f"{path} is not JSON ({error}); delete it, and `embodied resume {self.run_dir}` "
                "goes through the stages again, with what they left on disk."
            ) from error

    def spend(self, stage: str, seconds: float, *, finished: bool) -> None:
        """Note that time went into a stage, and whether it is finished."""
        state = self.state()
        state["seconds"][stage] = state["seconds"].get(stage, 0.0) + seconds
        if finished and stage not in state["finished"]:
            state["finished"].append(stage)
        write_atomically(self.run_dir / STATE_FILE, json.dumps(state, indent=1).encode())


def open_store(cfg: DictConfig, run_dir: Path, part: str) -> EpisodeStore:
    """One of a run's datasets; made, at the environment's rate, if it is missing."""
    root = run_dir / part
    if (root / "meta/info.json").exists():
        return EpisodeStore(root)
    env = build_env(cfg)
    try:
        return EpisodeStore(root, env.fps)
    finally:
        env.close()


def read_part(cfg: DictConfig, run_dir: Path, part: str, count: int | None = None) -> list[Episode]:
    """The first episodes of one of a run's datasets, or all of them."""
    store = open_store(cfg, run_dir, part)
    return [store.read(store.index_of(name)) for name in sorted(store.episode_ids())[:count]]


def build_env(cfg: DictConfig, **changes: Any) -> TaskEnv:
    """The environment."""
    env: TaskEnv = instantiate(cfg.env, **changes)
    return env


def build_encoder(cfg: DictConfig) -> FrameEncoder:
    """The frozen encoder."""
    encoder: FrameEncoder = instantiate(cfg.encoder)
    return encoder


def build_cached_encoder(cfg: DictConfig) -> FrameEncoder:
    """The frozen encoder for stored episodes: their frames were seen before, or will be again."""
    encoder, kept = build_encoder(cfg), cfg.feature_cache
    if kept.max_mb <= 0 or isinstance(encoder, Pixels):  # whose features are the frame itself
        return encoder
    folder = Path(kept.folder or Path(cfg.runs_dir) / CACHE_FOLDER)
    return CachedEncoder(encoder, FeatureCache(folder / "features.sqlite", kept.max_mb * 2**20))


def build_policy(cfg: DictConfig, encoder: FrameEncoder) -> Policy:
    """An untrained policy that fits the environment and the encoder."""
    env = build_env(cfg)
    try:
        state = env.observation_space["observation.state"]  # type: ignore[index]
        policy: Policy = instantiate(
            cfg.policy,
            cameras=list(env.cameras),
            feature_shape=list(encoder.shape),
            state_size=int(state.shape[0]),
            action_low=[float(low) for low in env.action_space.low],
            action_high=[float(high) for high in env.action_space.high],
        )
    finally:
        env.close()
    return policy


def build_reward(cfg: DictConfig, run_dir: Path | None = None) -> TrainableReward:
    """The reward; trained, if a run is given."""
    reward: TrainableReward = instantiate(cfg.reward)
    if run_dir is not None:
        with remedy(f"Delete it, and `embodied resume {run_dir}` trains it again."):
            reward.load(run_dir / REWARD)
    return reward


def trained_run(cfg: DictConfig) -> Path | None:
    """The folder of the run that was named, if it has a trained reward."""
    return Path(cfg.run) if cfg.run and (Path(cfg.run) / REWARD).is_file() else None


def reward_class(reward: DictConfig) -> str:
    """Name of the class of a configured reward, the innermost one if it is wrapped."""
    return str(inner_reward(reward)["_target_"]).rpartition(".")[2]


def inner_reward(reward: DictConfig) -> DictConfig:
    """What a configured reward wraps, the innermost one; itself if it wraps none."""
    inner = reward
    while "model" in inner and "_target_" in (inner.model or {}):
        inner = inner.model
    return inner


SCORING = ("pessimism", "discount", "bonus")
"""Settings that a trained reward may be asked with, other than it was trained with."""


def same_reward(first: DictConfig, second: DictConfig, *, but: Sequence[str] = SCORING) -> bool:
    """Whether two configured rewards are one, leaving some settings aside.

    A setting that is null is as good as none: runs of earlier versions lack some.

    Args:
        first: One of them.
        second: The other.
        but: Settings that may differ. By default, what was trained as one can then be asked as the
            other; with none, both say the same of every clip.
    """
    plain = [cast(dict[str, Any], OmegaConf.to_container(each)) for each in (first, second)]
    kept = [{k: v for k, v in each.items() if k not in but and v is not None} for each in plain]
    return kept[0] == kept[1]


def load_policy(run_dir: Path, name: str, encoder: FrameEncoder) -> Policy:
    """A policy of the run: ``policy_base`` or ``policy``."""
    load = hydra.utils.get_method(LOAD_POLICY)
    folder = run_dir / name
    with remedy(f"Delete {folder}, and `embodied resume {run_dir}` makes it again."):
        policy: Policy = load(folder, encoder=encoder)
    return policy


def save_policy(policy: Policy, run_dir: Path, name: str, cfg: DictConfig) -> None:
    """Write a policy of the run as a LeRobot checkpoint."""
    settings = OmegaConf.to_container(cfg.encoder, resolve=True)
    hydra.utils.get_method(SAVE_POLICY)(policy, run_dir / name, encoder=settings)


def other_instructions(cfg: DictConfig) -> list[str]:
    """Instructions of other tasks of the suite, then of other suites: a fixed, small choice."""
    env = build_env(cfg)
    env.close()
    order = [env.suite, *suites()] if env.suite in suites() else list(suites())
    return spread([text for text in instructions(order) if text != env.instruction])


def spread(texts: list[str]) -> list[str]:
    """A few of them, evenly spaced."""
    return texts[:: max(1, len(texts) // OTHER_INSTRUCTIONS)][:OTHER_INSTRUCTIONS]


def processes(cfg: DictConfig) -> int:
    """How many processes record and evaluate."""
    return min(int(cfg.processes), len(os.sched_getaffinity(0)))
