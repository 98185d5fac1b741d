"""What driver, actor, reward worker and learner tell each other. They share nothing else."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from embodied.hardware.base import Account
from embodied.policies.base import Weights
from embodied.types import Actor, Episode, Labels, Source

NOBODY = 0
"""Reward version of labels that no reward has given."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the driver asks an actor for: one episode, fully determined by the policy's weights."""

    number: int
    seed: int
    """Seeds the environment, and the policy's sampling where that has no seed of its own."""
    source: Source
    explore: float
    """How boldly, in [0, 1]; see `Policy.act`."""
    account: Account = field(default_factory=lambda: Account(steps=0, human_steps=0))
    noise_seed: int | None = None
    """Seeds the policy's sampling: attempts of one start differ by it."""

    @property
    def episode_id(self) -> str:
        """Name of the episode; asking again for the same number gives the same name."""
        return f"{self.source}-{self.number:06d}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights under their version's number: what actors adopt."""

    version: int
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a call of `LearnerWorker.update`."""

    updates: int
    """Made since the run began."""
    metrics: list[dict[str, float]]
    """Means over the updates between two publications, in order."""
    published: Published | None
    """The newest weights, if any were published in this call."""
    may_insert: bool
    """Whether samples have caught up with inserts, so that more episodes are wanted."""
    idle: bool
    """Whether nothing more can be done before another episode is ingested."""


@dataclass(frozen=True, kw_only=True)
class Outdated:
    """Episodes of the replay that an earlier version of the reward labelled."""

    episode_ids: tuple[str, ...]
    reward_version: int
    """That labels them again."""

    def row(self) -> dict[str, Any]:
        """As one row of metrics, under the names of `docs/metrics.md`."""
        return {"relabelled": len(self.episode_ids), "reward_version": self.reward_version}


@dataclass(frozen=True, kw_only=True)
class Note:
    """What the driver writes down about an episode: metrics for people, read by no learner."""

    episode_id: str
    source: Source
    steps: int
    human_steps: int
    interventions: int
    operator_seconds: float
    policy_version: int
    """Of the last step."""
    reward_version: int
    """Of the labels; `NOBODY` where the reward abstained because it could not be asked."""
    learned_success: bool
    """Whether the learned reward takes it for a success."""
    learned_return: float
    final_progress: float
    uncertainty: float
    """Mean over the episode's frames."""
    judge_evidence: float | None
    """Of success, from a reward that nobody learns from; None if there is none, or no answer."""
    true_success: bool | None
    """What the simulator or a person said."""

    def row(self) -> dict[str, Any]:
        """As one row of metrics, under the names of `docs/metrics.md`."""
        row = asdict(self)
        row["return"] = row.pop("learned_return")
        row["intervention_steps"] = row.pop("human_steps")
        return row


def note_of(episode: Episode, labels: Labels, judge_evidence: float | None = None) -> Note:
    """The note about a labelled episode."""
    human_steps = int((episode.actor == Actor.HUMAN).sum())
    return Note(
        episode_id=episode.episode_id,
        source=episode.source,
        steps=len(episode),
        human_steps=human_steps,
        interventions=int(np.max(episode.intervention_id)) + 1,
        operator_seconds=human_steps / episode.fps,
        policy_version=int(episode.policy_version[-1]),
        reward_version=labels.reward_version,
        learned_success=labels.success,
        learned_return=float(labels.reward.sum()),
        final_progress=float(labels.progress[-1]),
        uncertainty=float(labels.uncertainty.mean()),
        judge_evidence=judge_evidence,
        true_success=episode.success,
    )
