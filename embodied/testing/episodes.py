"""Random valid episodes, and Hypothesis strategies over them, for everybody's tests.

Every value is distinguishable: the images of step t differ from those of step t+1, so a test can
tell when frames, actions or rewards were shifted or swapped.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from jaxtyping import Float, Int, UInt8

from embodied.types import Actor, Episode, LabelledEpisode, Labels, Source, label

FEATURE_SHAPE = (4, 3, 3)
"""Channels, rows and columns of the random features."""


def random_episode(
    rng: np.random.Generator,
    steps: int = 12,
    cameras: Sequence[str] = ("front",),
    *,
    episode_id: str | None = None,
    size: int = 32,
    state_dim: int = 4,
    action_dim: int = 2,
    chunk: int = 4,
    interventions: Sequence[tuple[int, int]] = (),
    source: Source = "online",
    with_features: bool = True,
    terminated: bool = False,
    success: bool | None = None,
) -> Episode:
    """A valid episode of ``steps`` steps whose values are random but smooth enough for video.

    Args:
        rng: All randomness comes from here.
        steps: Number of actions; there is one more observation.
        cameras: Names of the cameras.
        episode_id: Random if not given.
        size: Height and width of the frames in pixels; even, for video.
        state_dim: Dimensions of the proprioceptive state.
        action_dim: Dimensions of an action.
        chunk: Steps that are executed from one chunk; an intervention starts a new one.
        interventions: Half-open ranges of steps ``(start, stop)`` in which a human acts.
        source: Where the episode comes from. Demonstrations are human from start to end.
        with_features: Whether to attach features of `FEATURE_SHAPE` per camera.
        terminated: Whether the environment ended the episode; it is truncated otherwise.
        success: What the simulator says.
    """
    if source == "demo":
        interventions = ((0, steps),)
    intervention_id = _intervention_ids(steps, interventions)
    by_human = intervention_id >= 0
    policy_action = rng.uniform(-1, 1, (steps, action_dim)).astype(np.float32)
    human_action = rng.uniform(-1, 1, (steps, action_dim)).astype(np.float32)
    human_action[~by_human] = np.nan
    noise = rng.standard_normal((steps, action_dim)).astype(np.float32)
    noise[by_human] = np.nan
    features = {c: _random_features(rng, steps) for c in cameras} if with_features else {}
    return Episode(
        episode_id=episode_id or f"episode-{rng.integers(2**62):016x}",
        task="push",
        instruction="push the puck to the goal",
        source=source,
        seed=int(rng.integers(2**31)),
        fps=20.0,
        images={camera: random_frames(rng, steps + 1, size) for camera in cameras},
        state=rng.standard_normal((steps + 1, state_dim)).astype(np.float32),
        action=np.where(by_human[:, None], human_action, policy_action),
        policy_action=policy_action,
        human_action=human_action,
        policy_noise=noise,
        actor=np.where(by_human, Actor.HUMAN, Actor.POLICY).astype(np.uint8),
        intervention_id=intervention_id,
        policy_version=np.full(steps, int(rng.integers(100)), dtype=np.int64),
        chunk_index=_chunk_indices(intervention_id, chunk),
        timestamp=np.arange(steps + 1, dtype=np.float64) / 20.0,
        terminated=terminated,
        truncated=not terminated,
        success=success,
        success_source="unknown" if success is None else "environment",
        features=features,
        encoder="random" if with_features else "",
    )


def random_labels(
    rng: np.random.Generator, steps: int, *, reward_version: int = 1, done_index: int | None = None
) -> Labels:
    """Labels that fit an episode of ``steps`` steps; never done unless ``done_index`` says when."""
    done_index = steps + 1 if done_index is None else done_index
    return Labels(
        reward=rng.uniform(-1, 1, steps).astype(np.float32),
        progress=rng.uniform(0, 1, steps + 1).astype(np.float32),
        done=(np.arange(steps + 1) >= done_index).astype(np.float32),
        uncertainty=rng.uniform(0, 0.2, steps + 1).astype(np.float32),
        success=done_index <= steps,
        done_index=done_index,
        reward_version=reward_version,
    )


def random_labelled_episode(
    rng: np.random.Generator,
    steps: int = 12,
    cameras: Sequence[str] = ("front",),
    *,
    episode_id: str | None = None,
    interventions: Sequence[tuple[int, int]] = (),
    source: Source = "online",
    terminated: bool = False,
    done_index: int | None = None,
    reward_version: int = 1,
    keep_images: bool = False,
) -> LabelledEpisode:
    """What a learner knows of a `random_episode`; features only, unless ``keep_images``."""
    episode = random_episode(
        rng,
        steps,
        cameras,
        episode_id=episode_id,
        interventions=interventions,
        source=source,
        terminated=terminated,
    )
    labels = random_labels(rng, steps, reward_version=reward_version, done_index=done_index)
    return label(episode, labels, keep_images=keep_images)


def ever_further(episode: LabelledEpisode) -> LabelledEpisode:
    """The episode with a progress that surely rises at every step: every intervention helped."""
    progress = np.arange(len(episode) + 1, dtype=np.float32)
    labels = replace(episode.labels, progress=progress, uncertainty=np.zeros_like(progress))
    return episode.relabel(labels)


def random_frames(
    rng: np.random.Generator, count: int, size: int
) -> UInt8[np.ndarray, "count size size 3"]:
    """A coloured gradient with a square that moves on every frame, on a random course."""
    ramp = np.linspace(0, 120, size)
    colour = rng.uniform(0.3, 1.0, 3)
    background = (ramp[:, None, None] + ramp[None, :, None]) * colour
    frames = np.repeat(background[None], count, axis=0).astype(np.uint8)
    side = max(2, size // 5)
    corners = np.cumsum(rng.integers(1, 4, (count, 2)), axis=0) % (size - side)
    for frame, (row, column) in zip(frames, corners, strict=True):
        frame[row : row + side, column : column + side] = (250, 40, 60)
    return frames


def episodes(
    max_steps: int = 16, cameras: Sequence[str] = ("front",)
) -> st.SearchStrategy[Episode]:
    """Strategy over valid episodes: any length, source, ending and set of interventions."""

    def of_length(steps: int) -> st.SearchStrategy[Episode]:
        return st.builds(
            random_episode,
            st.integers(0, 2**32 - 1).map(np.random.default_rng),
            st.just(steps),
            st.just(cameras),
            interventions=intervention_ranges(steps),
            source=st.sampled_from(("demo", "online")),
            terminated=st.booleans(),
            success=st.sampled_from((True, False, None)),
        )

    return st.integers(1, max_steps).flatmap(of_length)


def labelled_episodes(
    max_steps: int = 16, cameras: Sequence[str] = ("front",)
) -> st.SearchStrategy[LabelledEpisode]:
    """Strategy over labelled episodes, done at any observation or never."""

    def labelled(episode: Episode) -> st.SearchStrategy[LabelledEpisode]:
        rng = np.random.default_rng(episode.seed)
        done_at = st.none() | st.integers(1, len(episode) + 1)
        return done_at.map(
            lambda done_index: label(
                episode, random_labels(rng, len(episode), done_index=done_index), keep_images=False
            )
        )

    return episodes(max_steps, cameras).flatmap(labelled)


def intervention_ranges(steps: int) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    """Strategy over ordered, separate ranges of steps in which a human acts."""
    edges = st.sets(st.integers(0, steps), max_size=6).map(sorted)
    return edges.map(lambda e: tuple(zip(e[::2], e[1::2], strict=False)))


def _random_features(
    rng: np.random.Generator, steps: int
) -> Float[np.ndarray, "count channel row column"]:
    return rng.standard_normal((steps + 1, *FEATURE_SHAPE)).astype(np.float16)


def _intervention_ids(
    steps: int, interventions: Sequence[tuple[int, int]]
) -> Int[np.ndarray, " time"]:
    ids = np.full(steps, -1, dtype=np.int64)
    for number, (start, stop) in enumerate(interventions):
        ids[start:stop] = number
    return ids


def _chunk_indices(
    intervention_id: Int[np.ndarray, " time"], chunk: int
) -> Int[np.ndarray, " time"]:
    indices = np.zeros_like(intervention_id)
    for t in range(1, len(indices)):
        handed_over = intervention_id[t] != intervention_id[t - 1]
        indices[t] = 0 if handed_over else (indices[t - 1] + 1) % chunk
    return indices
