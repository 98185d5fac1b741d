"""What the feature cache saves, and what labelling costs beside the encoder.

Times, on the processor's clock because others share the machine: the bare encoder; the same frames
from the cache; labels of episodes that come with pictures; and relabelling stored episodes by a
newer version of the reward, first with an empty cache, then with a full one.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodied.dataset import EpisodeStore
from embodied.encoders import EfficientNetLite
from embodied.feature_cache import CachedEncoder, FeatureCache
from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.progress import ProgressReward
from embodied.rewarding import RewardWorker, with_features
from embodied.testing.episodes import random_episode
from embodied.testing.rewards import WordEncoder
from embodied.types import Episode, clip_of

STEPS, SIZE, FPS, CAMERA = 40, 96, 20.0, "front"
EXTRAPOLATED = 10_000
PARTS = 4
"""Relabelling is timed in so many parts: equal parts justify the extrapolation."""


def make(number: int) -> Episode:
    """An episode in which a square moves over a textured ground; no two frames are the same."""
    rng = np.random.default_rng(number)
    episode = random_episode(rng, STEPS, (CAMERA,), size=SIZE, with_features=False)
    ground = np.kron(rng.integers(60, 180, (SIZE // 8, SIZE // 8, 3)), np.ones((8, 8, 1)))
    frames = np.repeat(ground[None].astype(np.uint8), STEPS + 1, axis=0)
    row = int(rng.integers(0, SIZE - 12))
    for t, frame in enumerate(frames):
        frame[row : row + 12, 2 * t : 2 * t + 12] = (220, 30, 30)
    return replace(
        episode,
        episode_id=f"online-{number:06d}",
        source="online",
        images={CAMERA: frames},
        instruction="push the square",
    )


def trained_reward(encoder: EfficientNetLite) -> ProgressReward:
    """The default job's reward; how well it judges does not matter here."""
    reward = ProgressReward(encoder, WordEncoder(), cameras=(CAMERA,), members=5, augmentations=0)
    clips = [clip_of(with_features(make(10**6 + number), encoder)) for number in range(6)]
    reward.fit(clips[:4], clips[4:], distractor_instructions=["water plants"], seed=0, steps=5)
    return reward


def seconds(call: Callable[[], object]) -> dict[str, float]:
    """On the processor and on the clock."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return {
        "processor_s": time.process_time() - processor,
        "wall_s": time.perf_counter() - wall,
    }


def relabel(worker: RewardWorker, names: Sequence[str]) -> dict[str, Any]:
    """Relabel in parts; the total, and the slowest part over the fastest."""
    parts = [
        seconds(partial(worker.relabel, part.tolist())) for part in np.array_split(names, PARTS)
    ]
    spent = [part["processor_s"] for part in parts]
    total = {name: sum(part[name] for part in parts) for name in parts[0]}
    return {**total, "slowest_over_fastest_part": max(spent) / min(spent)}


def main() -> None:
    """Time everything, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder = EfficientNetLite(SIZE)
    reward = trained_reward(encoder)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        hit = time_hits(encoder, root / "hits", arguments.repeats)
        share = time_labelling(encoder, reward, arguments.repeats)
        rows += [{"what": "bare encoder and hit, ms per frame", **hit}]
        rows += [{"what": "labelling episodes that come with pictures", **share}]
        store = EpisodeStore(root / "episodes", FPS)
        for number in range(arguments.episodes):
            store.append(make(number))
        cache = CachedEncoder(encoder, FeatureCache(root / "cache/f.sqlite", 2**30))
        spent = {}
        for version, state in ((2, "empty"), (3, "full")):
            worker = RewardWorker(model=reward, encoder=cache, store=store, version=version)
            spent[state] = relabel(worker, store.episode_ids())
            factor = EXTRAPOLATED / arguments.episodes
            rows.append(
                {"what": f"relabelling with a cache that is {state}", "episodes": len(store)}
                | spent[state]
                | {f"processor_s_of_{EXTRAPOLATED}": factor * spent[state]["processor_s"]}
            )
        frames = len(cache.cache)
        cache.cache.close()
        size = cache.cache.path.stat().st_size
        rows.append({"what": "cache", "frames": frames, "bytes_per_frame": size / frames})
    for row in rows:
        print(row)
    print(benchmark_result("feature_cache", rows, claims(arguments.episodes, hit, share, spent)))


def time_hits(encoder: EfficientNetLite, folder: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds per frame, bare and from the cache, in turns; and their ratios."""
    cached = CachedEncoder(encoder, FeatureCache(folder / "f.sqlite", 2**30))
    frames = np.concatenate([make(2 * 10**6 + n).images[CAMERA] for n in range(4)])
    encoder.encode(frames[:16])
    cached.encode(frames)
    bare, hits = [], []
    for _ in range(repeats):
        bare.append(1e3 * seconds(lambda: encoder.encode(frames))["processor_s"] / len(frames))
        many = seconds(lambda: [cached.encode(frames) for _ in range(10)])["processor_s"]
        hits.append(1e2 * many / len(frames))
    ratios = np.divide(bare, hits)
    return {
        "bare_ms": float(np.median(bare)),
        "hit_ms": float(np.median(hits)),
        "ratio": float(np.median(ratios)),
        "low": float(ratios.min()),
        "high": float(ratios.max()),
    }


def time_labelling(
    encoder: EfficientNetLite, reward: ProgressReward, repeats: int
) -> dict[str, Any]:
    """Frames per second of labelling over those of encoding alone, in turns."""
    worker = RewardWorker(model=reward, encoder=encoder, store=None)
    shares, bare, labelling = [], [], []
    for turn in range(repeats):
        episodes = [make(3 * 10**6 + 10 * turn + n) for n in range(6)]
        alone = seconds(partial(encode_each, encoder, episodes))
        whole = seconds(partial(worker.label, episodes))
        bare.append(6 * (STEPS + 1) / alone["processor_s"])
        labelling.append(6 * (STEPS + 1) / whole["processor_s"])
        shares.append(labelling[-1] / bare[-1])
    return {
        "bare_frames_per_s": float(np.median(bare)),
        "labelled_frames_per_s": float(np.median(labelling)),
        "share": float(np.median(shares)),
        "low": float(min(shares)),
        "high": float(max(shares)),
    }


def encode_each(encoder: EfficientNetLite, episodes: Sequence[Episode]) -> None:
    """Encode and forget."""
    for episode in episodes:
        encoder.encode(episode.images[CAMERA])


def claims(
    episodes: int, hit: dict[str, Any], share: dict[str, Any], spent: dict[str, dict[str, float]]
) -> list[Claim]:
    """What is claimed of the numbers."""
    faster = spent["empty"]["processor_s"] / spent["full"]["processor_s"]
    hours = EXTRAPOLATED / episodes * spent["full"]["processor_s"] / 3600
    return [
        Claim(
            claim="a frame that is in the cache costs this many times less than encoding it "
            "(median; least and most of the repeats)",
            target=20.0, measured=hit["ratio"], low=hit["low"], high=hit["high"],
        ),
        Claim(
            claim="labelling episodes that come with pictures reaches this share of the bare "
            "encoder's frames per second (median; least and most of the repeats)",
            target=0.9, measured=share["share"], low=share["low"], high=share["high"],
        ),
        Claim(
            claim=f"relabelling {episodes} stored episodes is this many times faster with a full "
            "cache than with an empty one",
            target=2.0, measured=faster,
        ),
        Claim(
            claim=f"hours of processor time to relabel {EXTRAPOLATED} stored episodes with a full "
            f"cache, extrapolated from {episodes}",
            target=1.0, measured=hours, comparison="<=",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
