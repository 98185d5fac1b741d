"""A whole run of doubles in a folder: for tests of the loop, and for benchmarks that kill it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from embodied import checkpoint
from embodied.actor import ActorWorker
from embodied.config import compose
from embodied.dataset import EpisodeStore
from embodied.hardware.base import Operator
from embodied.hardware.scripted import ScriptedOperator
from embodied.hardware.silent import SilentOperator
from embodied.learner import LearnerWorker
from embodied.ledger import Schedule
from embodied.limiter import SamplesPerInsert
from embodied.loop import InlineLoop, Observer, Workers
from embodied.monitor import Monitor
from embodied.ray_loop import RayLoop
from embodied.replay import Replay
from embodied.reward_models.base import RewardModel
from embodied.rewarding import RewardWorker
from embodied.testing.doubles import (
    CountingAlgorithm,
    CountingEncoder,
    CountingEnv,
    CountingMeter,
    CountingPolicy,
    CountingReward,
)

FPS = 20.0


@dataclass(frozen=True, kw_only=True)
class DoubleRun:
    """Settings of a run of doubles; its parts can be sent to other processes.

    ``env``, ``algorithm`` and ``reward`` may be replaced to make them misbehave.
    """

    folder: Path
    seed: int = 0
    operated: bool = True
    env: Callable[[], CountingEnv] = CountingEnv
    algorithm: Callable[..., CountingAlgorithm] = CountingAlgorithm
    reward: Callable[[], RewardModel] = CountingReward
    reward_version: int = 1
    judge: Callable[[], RewardModel] | None = None
    monitor: Callable[[], Monitor] = Monitor
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            episodes=12,
            validate_every=3,
            validation_episodes=2,
            checkpoint_every=2,
            updates_per_slice=7,
            exploration=(1.0, 1.0),
        )
    )

    @property
    def checkpoint_path(self) -> Path:
        """Where the loop keeps its checkpoint."""
        return self.folder / "checkpoint.pt"

    def store(self) -> EpisodeStore:
        """The run's episodes."""
        return EpisodeStore(self.folder / "episodes", FPS)

    def workers(self) -> Workers:
        """Factories, each built where it is called."""
        return Workers(
            actor=partial(_actor, self),
            rewarder=partial(_rewarder, self),
            learner=partial(_learner, self),
        )

    def inline(self, observe: Observer = lambda row: None) -> InlineLoop:
        """The run in one process."""
        return InlineLoop(
            workers=self.workers(),
            schedule=self.schedule,
            store=self.store(),
            checkpoint_path=self.checkpoint_path,
            observe=observe,
            run_seed=self.seed,
            monitor=self.monitor(),
        )

    def ray(self, observe: Observer = lambda row: None, actors: int = 1, lead: int = 2) -> RayLoop:
        """The run in several processes."""
        return RayLoop(
            workers=self.workers(),
            schedule=self.schedule,
            store=self.store(),
            checkpoint_path=self.checkpoint_path,
            observe=observe,
            run_seed=self.seed,
            monitor=self.monitor(),
            actors=actors,
            lead=lead,
            timeout_s=250.0,
        )


def toy_job(
    folder: Path, *, stage: str = "none", row: int = 0, override: bool = True
) -> DictConfig:
    """The default job's configuration, with everything that is slow replaced by something small.

    Args:
        folder: Holds the run, which is called ``toy``.
        stage: Where Ctrl-C is pressed, once.
        row: At which of that stage's rows of metrics.
        override: Whether a rejected reward is trained on all the same.
    """
    cfg = compose(
        [
            "loop=inline", "operator=none", "processes=1", "name=toy", f"runs_dir={folder}",
            f"override_audit={override}", "demos.reward=3", "demos.failures=3", "demos.held_out=2",
            "clone.steps=20", "policy.width=16", "policy.keypoints=4", "policy.steps=2",
            "fine_tune.episodes=4", "fine_tune.validate_every=1", "evaluate.episodes=2",
            "fine_tune.validation_episodes=1", "fine_tune.minimum_steps=10",
            "fine_tune.slack_steps=5", "fine_tune.batch_size=16", "fine_tune.checkpoint_every=2",
            "fine_tune.exploration=[1.0,1.0]",
            "fine_tune.snapshot_every=2", "evaluate.curve_episodes=2", "fine_tune.publish_every=5",
            "reward.members=2", "reward.augmentations=0", "monitor.judge=elapsed_time",
        ]
    )  # fmt: skip
    OmegaConf.set_struct(cfg, False)
    doubles = "embodied.testing.doubles"
    cfg.env = {
        "_target_": f"{doubles}.CountingEnv",
        "cameras": ["front"],
        "terminate_on_success": False,
    }
    cfg.encoder = {"_target_": "embodied.testing.rewards.HueEncoder", "image_size": 32, "grid": 8}
    cfg.reward.text_encoder = {"_target_": "embodied.testing.rewards.WordEncoder"}
    cfg.reward.cameras = ["front"]
    sink = {"_target_": "embodied.testing.interrupts.PressCtrlC", "stage": stage, "row": row}
    cfg.logger = sink
    return cfg


def _actor(run: DoubleRun) -> ActorWorker:
    operator: Operator = SilentOperator()
    if run.operated:
        operator = ScriptedOperator(budget=0.15, patience=6, takeover=3)
    return ActorWorker(
        env=run.env(),
        policy=CountingPolicy(),
        encoder=CountingEncoder(),
        operator=operator,
        store=run.store(),
        meter=CountingMeter(),
    )


def _rewarder(run: DoubleRun) -> RewardWorker:
    return RewardWorker(
        model=run.reward(),
        encoder=CountingEncoder(),
        store=run.store(),
        version=run.reward_version,
        judge=None if run.judge is None else run.judge(),
    )


def _learner(run: DoubleRun) -> LearnerWorker:
    return LearnerWorker(
        algorithm=run.algorithm(CountingPolicy(), seed=run.seed),
        replay=Replay(10_000),
        limiter=SamplesPerInsert(ratio=0.5, minimum=20, slack=20.0),
        batch_size=8,
        chunk=4,
        mix=None,
        publish_every=5,
        seed=run.seed,
        collapse=0.3,
    )


def same_state(first: Any, second: Any) -> bool:
    """Whether two states of a run are equal to the bit; NaN equals NaN."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same_state(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same_state, first, second))
    return bool(first == second or (first != first and second != second))


def stored(run: DoubleRun) -> dict[str, Any]:
    """The content of the run's checkpoint."""
    return checkpoint.load(run.checkpoint_path)


def held_labels(run: DoubleRun) -> dict[str, dict[str, Any]]:
    """The labels of each episode in the replay of the run's checkpoint, by id."""
    episodes = stored(run)["learner"]["replay"]["episodes"]
    return {episode["episode_id"]: episode["labels"] for episode in episodes}


def check_relabelled(run: DoubleRun, version: int) -> None:
    """Whether what is learnt from is labelled by this version of the reward, and as it says.

    Raises:
        AssertionError: if some of it is not.
    """
    held = held_labels(run)
    assert held
    for name, labels in held.items():
        kept = run.store().read_labels(name, version)
        assert kept is not None
        assert labels["reward_version"] == version
        assert labels["done_index"] == kept.done_index
        assert labels["reward"].tolist() == kept.reward.tolist()
