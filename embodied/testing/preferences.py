"""A small dataset to compare clips of: a block is pushed to a ring, and arrives or does not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from embodied.dataset import EpisodeStore
from embodied.preferences.labels import show
from embodied.preferences.records import Mode, NewQuery, Submission
from embodied.preferences.service import Service
from embodied.testing.episodes import random_episode

FPS, SIZE = 10.0, 96
RING = np.array([70.0, 28.0])
"""Column and row, in pixels."""


def pushing_dataset(
    root: Path,
    episodes: int = 6,
    steps: int = 24,
    cameras: Sequence[str] = ("front", "wrist"),
    starts: int | None = None,
) -> EpisodeStore:
    """Every other attempt succeeds; the others stop half-way.

    Args:
        root: Folder of the new dataset.
        episodes: How many.
        steps: Of each.
        cameras: The second one sees the same closer up.
        starts: How many different seeds the episodes have; by default, each its own.
    """
    store = EpisodeStore(root, fps=FPS)
    for number in range(episodes):
        rng, success = np.random.default_rng(number), number % 2 == 0
        episode = random_episode(
            rng, steps, cameras, episode_id=f"push-{number}", size=SIZE, with_features=False,
            success=success,
        )  # fmt: skip
        distances = distances_of(number, steps + 1)
        frames = np.stack([_painted(rng, distance) for distance in distances])
        closer = frames[:, 8:56, 36:84].repeat(2, axis=1).repeat(2, axis=2)
        images = {c: closer if i else frames for i, c in enumerate(cameras)}
        store.append(
            replace(
                episode,
                images=images,
                fps=FPS,
                timestamp=np.arange(steps + 1) / FPS,
                instruction="push the block into the ring",
                success=success,
                success_source="environment",
                seed=number % (starts or episodes),
            )
        )
    return store


def say(
    service: Service,
    clip_ids: Sequence[int],
    choice: str,
    rater: str = "ann",
    *,
    kind: str = "human",
    **said: Any,
) -> None:
    """Keep what a rater says of clips that need not be on the schedule.

    Args:
        service: Whose database it goes to.
        clip_ids: One to have its progress marked, two to be compared, more to be ranked.
        choice: As `Submission` has it.
        rater: Name, made if there is none.
        kind: Of the rater.
        **said: What `Submission` has beside it.
    """
    _, who = service.store.sign_in(rater, kind)
    mode: Mode = {1: "progress", 2: "pair"}.get(len(clip_ids), "rank")  # type: ignore[assignment]
    new = NewQuery(clip_ids=clip_ids, mode=mode, acquisition="random", reason="")
    (query,) = service.store.add_queries([new])
    with service.store.database.writing() as connection:
        showing = show(connection, query, who.rater_id, range(len(clip_ids)), 0.0)
    uuid = f"said-of-{showing:06d}"
    service.book.answer(who, Submission(uuid=uuid, showing_id=showing, choice=choice, **said))


def distances_of(number: int, frames: int) -> Float[np.ndarray, " frames"]:
    """Of the block from the ring in each frame, in pixels: what a true reward is made of."""
    end = 0.0 if number % 2 == 0 else 32.0
    return np.asarray(np.linspace(60.0, end, frames) + 2.0 * np.sin(np.arange(frames) + number))


def _painted(rng: np.random.Generator, distance: float) -> UInt8[np.ndarray, "96 96 3"]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    picture = np.full((SIZE, SIZE, 3), (205, 198, 184), np.uint8)
    picture[rows > SIZE * 0.8] = (150, 140, 128)
    radius = np.hypot(columns - RING[0], rows - RING[1])
    picture[(radius > 9) & (radius < 12)] = (26, 127, 55)
    block = RING + np.array([-0.8, 0.6]) * distance
    near = (np.abs(columns - block[0]) < 6) & (np.abs(rows - block[1]) < 6)
    picture[near] = (198, 40, 40)
    arm = (np.abs(columns - block[0]) < 2) & (rows < block[1] - 6)
    picture[arm] = (70, 75, 82)
    return np.clip(picture + rng.integers(-3, 4, picture.shape), 0, 255).astype(np.uint8)
