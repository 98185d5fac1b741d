"""Labelled episodes in memory, and batches of action chunks drawn from them.

Episodes are kept whole, so that a chunk's successor is always the next observation of its own
episode, and memory holds each observation once. Features stay float16 and images uint8; only a
drawn batch is converted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from embodied.corrections import helpful_steps
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.replay_storage import compact, from_state, nbytes_of, to_state
from embodied.types import Batch, LabelledEpisode, Labels

POOLS = ("demo", "online", "human")
"""Demonstrations; roll-outs; and those steps of roll-outs in which a person helped."""

Pick = tuple[LabelledEpisode, int]
"""An episode, and the step that a chunk starts at."""


class Replay:
    """Draws chunks from labelled episodes.

    Args:
        capacity: Steps of roll-outs to keep; the oldest are dropped, demonstrations never are.
        aligned: Chunks start only where an executed chunk started (``chunk_index == 0``), not at
            any step.
    """

    def __init__(self, capacity: int, *, aligned: bool = False) -> None:
        if capacity <= 0:
            raise BadConfig(f"the capacity of a replay must be positive, not {capacity} steps.")
        self.capacity = capacity
        self.aligned = aligned
        self._episodes: dict[str, LabelledEpisode] = {}
        self._helpful: dict[str, Bool[np.ndarray, " time"]] = {}
        self._index: dict[str, Int[np.ndarray, "start 2"]] | None = None

    def __len__(self) -> int:
        """Steps held, demonstrations included."""
        return sum(map(len, self._episodes.values()))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        return sum(nbytes_of(episode) for episode in self._episodes.values())

    def episode_ids(self) -> list[str]:
        """Ids of the episodes held, oldest first."""
        return list(self._episodes)

    def episode(self, episode_id: str) -> LabelledEpisode:
        """An episode as it is held, for relabelling.

        Raises:
            UnknownName: It was never added, or has been dropped.
        """
        if episode_id not in self._episodes:
            raise UnknownName("episode in replay", episode_id, self._episodes)
        return self._episodes[episode_id]

    def add(self, episode: LabelledEpisode) -> list[str]:
        """Hold an episode, and drop the oldest roll-outs beyond the capacity.

        Returns:
            Ids of the dropped episodes.

        Raises:
            BadInput: A validation episode, one that is held already, or one above the capacity.
        """
        if episode.source == "validation":
            raise BadInput(
                f"episode {episode.episode_id} is kept aside for validation: never learn from it."
            )
        if episode.episode_id in self._episodes:
            raise BadInput(f"episode {episode.episode_id} is in the replay already.")
        if episode.source == "online" and len(episode) > self.capacity:
            raise BadInput(
                f"episode {episode.episode_id} has {len(episode)} steps, the replay holds "
                f"{self.capacity}."
            )
        _check_labels(episode, episode.labels)
        self._episodes[episode.episode_id] = compact(episode)
        self._index = None
        return self._evict()

    def replace_labels(self, episode_id: str, labels: Labels) -> bool:
        """Score an episode anew, with a reward version that is not older.

        Returns:
            False if the episode has been dropped in the meantime.

        Raises:
            BadInput: The version is older than that of the present labels, or does not fit.
        """
        if episode_id not in self._episodes:
            return False
        episode = self._episodes[episode_id]
        if labels.reward_version < episode.labels.reward_version:
            raise BadInput(
                f"episode {episode_id} is labelled by reward version "
                f"{episode.labels.reward_version}; version {labels.reward_version} is older."
            )
        _check_labels(episode, labels)
        self._episodes[episode_id] = episode.relabel(labels)
        self._index = None
        return True

    def sample(
        self,
        batch_size: int,
        chunk: int,
        generator: torch.Generator,
        mix: Mapping[str, float] | None = None,
    ) -> Batch:
        """Draw chunks uniformly within each pool, in the shares that ``mix`` asks for.

        Args:
            batch_size: Number of chunks.
            chunk: Steps of each, padding included.
            generator: All randomness comes from here.
            mix: Shares of `POOLS`, normalised to 1. A pool without data gives its share to the
                others. Counts are exact to one chunk, and exact on average. By default every step
                is as likely as any other.

        Raises:
            BadInput: There is nothing to draw from.
            BadConfig: A share is negative.
            UnknownName: A share of something that is not a pool.
        """
        index = self._starts()
        available = {pool: len(starts) for pool, starts in index.items()}
        if mix is None:
            mix = {pool: float(available[pool]) for pool in ("demo", "online")}
        shares = _shares(mix, available)
        held = list(self._episodes.values())
        picks: list[Pick] = []
        for pool, count in zip(shares, _counts(shares, batch_size, generator), strict=True):
            drawn = torch.randint(available[pool], (int(count),), generator=generator)
            rows = index[pool][drawn.numpy()]
            picks += [(held[episode], int(start)) for episode, start in rows]
        return _collate(picks, chunk, self._helpful)

    def state_dict(self) -> dict[str, Any]:
        """Everything held, as tensors, strings and numbers; shares memory with the replay."""
        return {"episodes": [to_state(episode) for episode in self._episodes.values()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace everything held."""
        episodes = (from_state(values) for values in state["episodes"])
        self._episodes = {episode.episode_id: compact(episode) for episode in episodes}
        self._index = None

    def _evict(self) -> list[str]:
        online = [e for e in self._episodes.values() if e.source == "online"]
        excess = sum(map(len, online)) - self.capacity
        dropped = []
        for episode in online:
            if excess <= 0:
                break
            excess -= len(episode)
            dropped.append(episode.episode_id)
            del self._episodes[episode.episode_id]
        return dropped

    def _starts(self) -> dict[str, Int[np.ndarray, "start 2"]]:
        """Per pool, the number of the episode and the step of each possible start."""
        if self._index is None:
            self._helpful = {name: helpful_steps(e) for name, e in self._episodes.items()}
            parts: dict[str, list[Int[np.ndarray, "start 2"]]] = {pool: [] for pool in POOLS}
            for number, episode in enumerate(self._episodes.values()):
                steps = np.arange(steps_until_done(episode))
                if self.aligned:
                    steps = steps[episode.chunk_index[steps] == 0]
                pairs = np.stack([np.full_like(steps, number), steps], axis=1)
                parts[episode.source].append(pairs)
                if episode.source == "online":
                    parts["human"].append(pairs[self._helpful[episode.episode_id][steps]])
            none = np.empty((0, 2), dtype=np.int64)
            self._index = {pool: np.concatenate([none, *p]) for pool, p in parts.items()}
        return self._index


def steps_until_done(episode: LabelledEpisode) -> int:
    """Steps to learn from: those up to the first observation at which the task is complete."""
    return min(len(episode), episode.labels.done_index)


def _collate(
    picks: Sequence[Pick], chunk: int, helpful: Mapping[str, Bool[np.ndarray, " time"]]
) -> Batch:
    batch = len(picks)
    first = picks[0][0]
    steps = {
        name: np.zeros((batch, chunk, *tail), dtype)
        for name, tail, dtype in (
            ("action", first.action.shape[1:], np.float32),
            ("policy_noise", first.action.shape[1:], np.float32),
        )
    }
    corrected = np.zeros((batch, chunk), bool)
    reward = np.zeros((batch, chunk), np.float32)
    length = np.empty(batch, np.int64)
    bootstrap = np.ones(batch, np.float32)
    for i, (episode, start) in enumerate(picks):
        end = steps_until_done(episode)
        stop = min(start + chunk, end)
        length[i] = stop - start
        for name, values in steps.items():
            values[i, : stop - start] = getattr(episode, name)[start:stop]
        corrected[i, : stop - start] = helpful[episode.episode_id][start:stop]
        reward[i, : stop - start] = episode.labels.reward[start:stop]
        ends = episode.labels.done_index <= len(episode) or episode.terminated
        bootstrap[i] = 0.0 if ends and stop == end else 1.0
    valid = np.arange(chunk) < length[:, None]
    before = picks
    after = [(e, start + int(n)) for (e, start), n in zip(picks, length, strict=True)]
    return Batch(
        features=_observed(before),
        state=torch.from_numpy(np.stack([e.state[t] for e, t in before])),
        action=torch.from_numpy(steps["action"]),
        noise=torch.from_numpy(steps["policy_noise"]),
        valid=torch.from_numpy(valid),
        corrected=torch.from_numpy(corrected),
        reward=torch.from_numpy(reward),
        next_features=_observed(after),
        next_state=torch.from_numpy(np.stack([e.state[t] for e, t in after])),
        bootstrap=torch.from_numpy(bootstrap),
        success=torch.tensor([e.labels.success for e, _ in picks]),
        demo=torch.tensor([e.source == "demo" for e, _ in picks]),
    )


def _observed(moments: Sequence[Pick]) -> dict[str, Float[Tensor, "batch channel row column"]]:
    """Features per camera, or the images themselves in [0, 1] if there are no features."""
    first = moments[0][0]
    if first.features:
        return {c: _gathered([e.features[c][t] for e, t in moments]) for c in first.features}
    images = {c: _gathered([e.images[c][t] for e, t in moments]) for c in first.images}
    return {c: rearrange(frames, "b h w c -> b c h w") / 255 for c, frames in images.items()}


def _gathered(arrays: Sequence[Shaped[np.ndarray, "..."]]) -> Float[Tensor, "batch ..."]:
    return torch.from_numpy(np.stack(arrays)).float()


def _shares(mix: Mapping[str, float], available: Mapping[str, int]) -> dict[str, float]:
    """Shares of the pools that have data, which sum to 1."""
    for pool, share in mix.items():
        if pool not in POOLS:
            raise UnknownName("pool of the replay", pool, POOLS)
        if not share >= 0:
            raise BadConfig(f"the share of {pool} is {share}; shares must not be negative.")
    wanted = {pool: share for pool, share in mix.items() if share > 0 and available[pool]}
    if not wanted:
        held = ", ".join(f"{count} {pool}" for pool, count in available.items())
        raise BadInput(f"nothing to draw for the shares {dict(mix)}; steps held: {held}.")
    total = sum(wanted.values())
    return {pool: share / total for pool, share in wanted.items()}


def _counts(
    shares: Mapping[str, float], batch_size: int, generator: torch.Generator
) -> Int[np.ndarray, " pool"]:
    """Systematic rounding: within one of the exact share, and exact in expectation."""
    offset = torch.rand(1, generator=generator).item()
    edges = np.cumsum([0.0, *shares.values()]) * batch_size + offset
    edges[[0, -1]] = 0, batch_size
    return np.diff(np.floor(edges).astype(np.int64))


def _check_labels(episode: LabelledEpisode, labels: Labels) -> None:
    found, expected = len(labels.reward), len(episode)
    if found != expected:
        raise BadInput(
            f"labels of episode {episode.episode_id} cover {found} steps, not {expected}."
        )
    if not np.isfinite(labels.reward).all():
        raise BadInput(f"labels of episode {episode.episode_id} hold a reward of NaN or infinity.")
