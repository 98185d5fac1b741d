"""The learner: replay, algorithm, published weights, best-so-far and roll-back.

It takes labelled episodes and gives weights. It never calls an environment or a reward model, and
has no way to learn what the simulator thinks (`types.label`).
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from embodied import checkpoint
from embodied.errors import BadConfig, BadInput, remedy
from embodied.limiter import SamplesPerInsert
from embodied.messages import Published, Report
from embodied.policies.base import Algorithm, Weights
from embodied.replay import Replay
from embodied.selection import BestSoFar, Judgement
from embodied.types import LabelledEpisode, Labels


class LearnerWorker:
    """Improves the policy by as many updates as the limiter allows for the steps it was given.

    Args:
        algorithm: What an update does.
        replay: Empty or restored; owned by the learner from here on.
        limiter: Counts environment steps as inserts and updates as samples.
        batch_size: Chunks per batch.
        chunk: Steps per chunk.
        mix: Shares of demonstrations, online and human experience in a batch.
        publish_every: Updates between two versions.
        seed: Of the order of samples.
        collapse: See `BestSoFar`.
        snapshot_every: Episodes of the driver between two snapshots of the weights that act, kept
            for evaluation; 0 for none.
    """

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        replay: Replay,
        limiter: SamplesPerInsert,
        batch_size: int,
        chunk: int,
        mix: Mapping[str, float] | None,
        publish_every: int,
        seed: int,
        collapse: float,
        snapshot_every: int = 0,
    ) -> None:
        if publish_every < 1:
            raise BadConfig(f"publish_every is {publish_every}; it needs at least 1 update.")
        self._algorithm, self._replay, self._limiter = algorithm, replay, limiter
        self._batch_size, self._chunk, self._mix = batch_size, chunk, mix
        self._publish_every, self._snapshot_every = publish_every, snapshot_every
        self._generator = torch.Generator().manual_seed(seed)
        self._selection = BestSoFar(collapse)
        self._updates = 0
        self._sums: dict[str, tuple[float, int]] = {}
        self._published = Published(version=0, weights=algorithm.weights())
        self._ingested: list[str] = []
        self._candidates = {0: self._snapshot()}

    @property
    def ingested(self) -> tuple[str, ...]:
        """Ids of all episodes that it learns from, in the order in which they came."""
        return tuple(self._ingested)

    @property
    def updates(self) -> int:
        """Made since the run began."""
        return self._updates

    def ingest(self, *episodes: LabelledEpisode) -> None:
        """Learn from these, too. One that is known already is left out: the call may be repeated.

        Raises:
            BadInput: for a validation episode.
        """
        for episode in episodes:
            if episode.source == "validation":
                raise BadInput(f"{episode.episode_id} is kept for validation; it is not learnt.")
            if episode.episode_id in self._ingested:
                continue
            self._replay.add(episode)
            self._ingested.append(episode.episode_id)
            if episode.source != "demo":
                self._limiter.insert(len(episode))

    def reward_versions(self) -> dict[str, int]:
        """Which version of the reward labelled each roll-out that it holds, by id."""
        held = map(self._replay.episode, self._replay.episode_ids())
        return {e.episode_id: e.labels.reward_version for e in held if e.source != "demo"}

    def relabel(self, labels: Mapping[str, Labels]) -> None:
        """See known episodes as a newer reward version does."""
        for episode_id, newer in labels.items():
            self._replay.replace_labels(episode_id, newer)

    def update(self, at_most: int) -> Report:
        """Make up to ``at_most`` updates, fewer where the limiter says so."""
        rows: list[dict[str, float]] = []
        published = None
        for _ in range(at_most):
            if not self._limiter.can_sample():
                break
            self._update_once()
            if self._updates % self._publish_every == 0:
                rows.append(self._row())
                published = self._publish(self._algorithm.weights())
        return Report(
            updates=self._updates,
            metrics=rows,
            published=published,
            may_insert=self._limiter.can_insert(),
            idle=not self._limiter.can_sample(),
        )

    def published(self) -> Published:
        """The newest published weights."""
        return self._published

    def nominate(self) -> Published:
        """Publish the present policy, and keep it until `judge` is called with its version."""
        published = self._publish(self._algorithm.weights())
        self._candidates[published.version] = self._snapshot()
        return published

    def judge(self, version: int, accepted: Sequence[bool]) -> tuple[Judgement, Published]:
        """Decide on a nominated version; on a collapse, go back to the best one.

        Returns:
            The judgement, and the weights to go on with.
        """
        previous = self._selection.best.version
        judgement = self._selection.judge(version, accepted)
        keep = self._selection.best.version
        self._candidates = {keep: self._candidates[keep]}
        if judgement == "rolled back":
            self._algorithm.load_state_dict(copy.deepcopy(self._candidates[previous]["algorithm"]))
            self._publish(self._algorithm.weights())
        return judgement, self._published

    def candidate(self, version: int) -> Published:
        """A version that was nominated and not judged yet, or the best one."""
        return Published(version=version, weights=self._candidates[version]["weights"])

    def result(self) -> Published:
        """The best version so far."""
        best = self._selection.best.version
        return self.candidate(best)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue exactly."""
        return {
            "algorithm": self._algorithm.state_dict(),
            "replay": self._replay.state_dict(),
            "limiter": self._limiter.state_dict(),
            "generator": self._generator.get_state(),
            "selection": self._selection.state_dict(),
            "updates": self._updates,
            "sums": dict(self._sums),
            "version": self._published.version,
            "weights": self._published.weights,
            "ingested": list(self._ingested),
            "candidates": self._candidates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._algorithm.load_state_dict(state["algorithm"])
        self._replay.load_state_dict(state["replay"])
        self._limiter.load_state_dict(state["limiter"])
        self._generator.set_state(state["generator"])
        self._selection.load_state_dict(state["selection"])
        self._updates = state["updates"]
        self._sums = dict(state["sums"])
        self._published = Published(version=state["version"], weights=state["weights"])
        self._ingested = list(state["ingested"])
        self._candidates = dict(state["candidates"])

    def save(self, path: Path, driver: Mapping[str, Any]) -> None:
        """Write a checkpoint: the learner's state, and the driver's beside it."""
        number = int(driver.get("number", 0))
        if self._snapshot_every and number > 0 and number % self._snapshot_every == 0:
            checkpoint.save(snapshot_path(path, number), {"weights": self._algorithm.weights()})
        checkpoint.save(path, {"learner": self.state_dict(), "driver": dict(driver)})

    def load(self, path: Path, version_above: int = -1) -> dict[str, Any]:
        """Continue from a checkpoint; returns the driver's state.

        Demonstrations keep the labels that they came with, where those are newer.

        Args:
            path: Written by `save`.
            version_above: Newest version that actors have seen, where that is later than the
                checkpoint: what is published from here on gets higher numbers.
        """
        with remedy(
            f"Delete {path.parent}, and `embodied resume` learns again from the stored episodes."
        ):
            state = checkpoint.load(path)
        came_with = {name: self._replay.episode(name).labels for name in self._replay.episode_ids()}
        self.load_state_dict(state["learner"])
        for name in came_with.keys() & set(self._replay.episode_ids()):
            older = self._replay.episode(name).labels.reward_version
            if came_with[name].reward_version > older:
                self.relabel({name: came_with[name]})
        if version_above > self._published.version:
            self._published = Published(version=version_above, weights=self._published.weights)
            self._publish(self._published.weights)
        driver: dict[str, Any] = state["driver"]
        return driver

    def _update_once(self) -> None:
        batches = [
            self._replay.sample(self._batch_size, self._chunk, self._generator, self._mix)
            for _ in range(self._algorithm.batches_per_update)
        ]
        self._limiter.sample(1)
        for name, value in self._algorithm.update(batches).items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        self._updates += 1

    def _row(self) -> dict[str, float]:
        """Means over the updates that had a value; one NaN shows."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return {"updates": float(self._updates), **means}

    def _publish(self, weights: Weights) -> Published:
        self._published = Published(version=self._published.version + 1, weights=weights)
        return self._published

    def _snapshot(self) -> dict[str, Any]:
        state = copy.deepcopy(self._algorithm.state_dict())
        return {"algorithm": state, "weights": self._algorithm.weights()}


def snapshot_path(checkpoint_path: Path, episodes: int) -> Path:
    """Where the weights that acted after so many online episodes are kept."""
    return checkpoint_path.with_name(f"episode-{episodes:06d}.pt")
