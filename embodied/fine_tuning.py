"""The fine-tuning stage: builds the loop's workers from the configuration, and runs the loop."""

import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from embodied.actor import ActorWorker
from embodied.config import instantiate
from embodied.dataset import EpisodeStore
from embodied.display import Status
from embodied.hardware.base import Operator
from embodied.job import (
    Job,
    build_cached_encoder,
    build_encoder,
    build_env,
    build_reward,
    load_policy,
    open_store,
    save_policy,
)
from embodied.judge import build_judge, build_monitor, prepare
from embodied.learner import LearnerWorker
from embodied.ledger import Schedule
from embodied.limiter import SamplesPerInsert
from embodied.loop import Observer, Outcome, Workers
from embodied.metrics import METRICS_FILE, read_metrics
from embodied.policies.base import Algorithm, Policy
from embodied.replay import Replay
from embodied.reward_models.base import Meter, RewardModel, Streams
from embodied.rewarding import RewardWorker, with_features
from embodied.seeding import spawn_seeds
from embodied.types import Clip, label

logger = logging.getLogger(__name__)

EPISODES = "episodes"
CHECKPOINT = "checkpoints/latest.pt"
WINDOW = 20
"""Recent episodes that the display's numbers are taken over."""


def fine_tune(job: Job) -> Outcome:
    """Run the loop to its end, from its last checkpoint if there is one, and save the result."""
    cfg, run_dir = job.cfg, job.run_dir
    _label_demonstrations(cfg, run_dir)
    prepare(cfg, run_dir)
    observe, watch = job.observe("fine_tune"), Watch(job)

    def both(row: Mapping[str, Any]) -> None:
        observe(row)
        watch(row)

    outcome: Outcome = build_loop(cfg, run_dir, both).run()
    policy = acting_policy(cfg, run_dir)
    policy.load_state_dict(outcome.best.weights)
    save_policy(policy, run_dir, "policy", cfg)
    return outcome


def build_loop(cfg: DictConfig, run_dir: Path, observe: Observer) -> Any:
    """The loop, before any of its workers is built."""
    path = run_dir / CHECKPOINT
    path.parent.mkdir(exist_ok=True)
    return instantiate(
        cfg.loop,
        workers=workers(cfg, run_dir),
        schedule=schedule(cfg),
        store=open_store(cfg, run_dir, EPISODES),
        checkpoint_path=path,
        observe=observe,
        run_seed=cfg.seed,
        monitor=build_monitor(cfg, run_dir),
    )


def schedule(cfg: DictConfig) -> Schedule:
    """The schedule that the configuration asks for."""
    tune = cfg.fine_tune
    return Schedule(
        episodes=tune.episodes,
        validate_every=tune.validate_every,
        validation_episodes=tune.validation_episodes,
        checkpoint_every=tune.checkpoint_every,
        snapshot_every=tune.snapshot_every,
        exploration=(float(tune.exploration[0]), float(tune.exploration[1])),
    )


def workers(cfg: DictConfig, run_dir: Path) -> Workers:
    """Factories of the run's workers; each builds its own parts, where it is called."""
    return Workers(
        actor=partial(build_actor, cfg, run_dir),
        rewarder=partial(build_rewarder, cfg, run_dir),
        learner=partial(build_learner, cfg, run_dir),
    )


def build_actor(cfg: DictConfig, run_dir: Path) -> ActorWorker:
    """Environment, acting policy, encoder, operator and, if it needs one, progress meter."""
    operator: Operator = instantiate(cfg.operator)
    meter = meter_of(build_reward(cfg, run_dir)) if operator.needs_progress else None
    return ActorWorker(
        env=build_env(cfg),
        policy=acting_policy(cfg, run_dir),
        encoder=build_encoder(cfg),
        operator=operator,
        store=open_store(cfg, run_dir, EPISODES),
        meter=meter,
    )


def build_rewarder(cfg: DictConfig, run_dir: Path, part: str = EPISODES) -> RewardWorker:
    """The trained reward, and the dataset that its labels belong to."""
    reward = build_reward(cfg, run_dir)
    return RewardWorker(
        model=reward,
        encoder=build_cached_encoder(cfg),
        store=open_store(cfg, run_dir, part),
        version=reward.version,
        judge=build_judge(cfg, run_dir) if part == EPISODES else None,
    )


def build_learner(cfg: DictConfig, run_dir: Path) -> LearnerWorker:
    """Algorithm and replay, with the demonstrations that the policy was cloned from."""
    tune = cfg.fine_tune
    learner = LearnerWorker(
        algorithm=_algorithm(cfg, run_dir),
        replay=Replay(tune.capacity),
        limiter=SamplesPerInsert(
            ratio=float(tune.updates_per_step),
            minimum=tune.minimum_steps,
            slack=float(tune.slack_steps),
        ),
        batch_size=tune.batch_size,
        chunk=cfg.policy.chunk,
        mix={"demo": tune.demo_share, "online": tune.online_share, "human": tune.human_share},
        publish_every=tune.publish_every,
        seed=spawn_seeds(cfg.seed, ["replay"])["replay"],
        collapse=tune.collapse,
        snapshot_every=tune.snapshot_every,
    )
    store, encoder = open_store(cfg, run_dir, "demos"), build_cached_encoder(cfg)
    for name in policy_demonstrations(cfg, store):
        labels = store.read_labels(name)
        assert labels is not None, "the stage labels them before the loop begins"
        episode = with_features(store.read(store.index_of(name)), encoder)
        learner.ingest(label(episode, labels, keep_images=False))
    return learner


def policy_demonstrations(cfg: DictConfig, store: EpisodeStore) -> list[str]:
    """Names of the demonstrations that the policy is cloned from."""
    return sorted(store.episode_ids())[: cfg.demos.policy]


def _label_demonstrations(cfg: DictConfig, run_dir: Path) -> None:
    rewarder = build_rewarder(cfg, run_dir, "demos")
    store = open_store(cfg, run_dir, "demos")
    for name in policy_demonstrations(cfg, store):
        rewarder.label([rewarder.read(name)])


def acting_policy(cfg: DictConfig, run_dir: Path) -> Policy:
    """A policy that the algorithm's weights fit, as it is before the first update."""
    return _algorithm(cfg, run_dir).acting_policy()


def _algorithm(cfg: DictConfig, run_dir: Path) -> Algorithm:
    """The algorithm at its start: it improves the cloned policy."""
    base = load_policy(run_dir, "policy_base", build_encoder(cfg))
    seed = spawn_seeds(cfg.seed, ["algorithm"])["algorithm"]
    algorithm: Algorithm = instantiate(cfg.algorithm, policy=base, seed=seed % 2**31)
    return algorithm


def meter_of(model: RewardModel) -> Meter:
    """What estimates progress while an episode runs."""
    return model.meter() if isinstance(model, Streams) else ClipMeter(model)


class ClipMeter:
    """A meter for any causal reward: scores all frames so far, again after each."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model
        self.done = 0.0
        self._instruction = ""
        self._seen: list[Mapping[str, np.ndarray]] = []

    def begin(self, instruction: str) -> None:
        """Start a new episode."""
        self._instruction, self._seen, self.done = instruction, [], 0.0

    def update(self, features: Mapping[str, np.ndarray]) -> float:
        """Progress in [0, 1] after one more frame; a clip of one frame has made none."""
        self._seen.append(features)
        if len(self._seen) == 1:
            return 0.0
        joined = {camera: np.stack([seen[camera] for seen in self._seen]) for camera in features}
        (scores,) = self._model.score(
            [Clip(frames={}, features=joined, instruction=self._instruction)]
        )
        self.done = float(scores.done[-1])
        return float(scores.progress[-1])


class Watch:
    """Tells the display about the loop's metrics, of a resumed run about the earlier ones too."""

    def __init__(self, job: Job) -> None:
        self._display, self._total = job.display, int(job.cfg.fine_tune.episodes)
        rows = read_metrics(job.run_dir / METRICS_FILE)
        told = [row for row in rows if "episode_id" in row and "learned_success" in row]
        self._rows: dict[str, Mapping[str, Any]] = {str(row["episode_id"]): row for row in told}
        """By the episode's name: a resumed run may tell of one again."""
        doing = f"Waiting for the {'next' if told else 'first'} episode."
        self._display.show(
            Status(stage="fine-tune", doing=doing, total=self._total, **self._numbers())
        )

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one row; a dropped episode is told in a line of its own."""
        if "episode_id" in row:
            self._rows[str(row["episode_id"])] = row
            doing = f"Learning from {row['episode_id']}; collecting the next one."
            self._display.update(doing=doing, **self._numbers())
        elif "judgement" in row:
            self._display.update(doing=f"Version {row['validated_version']}: {row['judgement']}.")
        elif "relabelled" in row:
            count, version = row["relabelled"], row["reward_version"]
            doing = f"Labelling {count} episodes again by reward version {version}."
            self._display.update(doing=doing)
            logger.warning("%s", doing)
        elif "restarted" in row:
            self._display.update(doing=f"The {row['restarted']} died and was started again.")
        elif row.get("alarm"):
            logger.warning("%s", row["alarm"])
        elif "dropped_id" in row:
            logger.warning("%s", row["dropped_because"])

    def _numbers(self) -> dict[str, Any]:
        """Of the last episodes, validations among them."""
        recent = sorted(self._rows.values(), key=lambda row: int(row["episode"]))[-WINDOW:]
        if not recent:
            return {}
        returns = [row["return"] for row in recent if row["return"] is not None]
        steps = sum(row["steps"] for row in recent)
        return {
            "done": int(recent[-1]["episode"]) + 1,
            "accepted": float(np.mean([row["learned_success"] for row in recent])),
            "reward": float(np.mean(returns)) if returns else math.nan,
            "interventions": sum(row["intervention_steps"] for row in recent) / max(1, steps),
        }
