"""How fast the reward worker labels episodes, against the bare encoder on the same frames.

    python benchmarks/labelling.py [RUN] [--episodes 20] [--repeats 5]

``RUN`` is a run that has a reward and held-out episodes, by default the one that `fine_tuning.py`
makes of the default job. Both ways take turns in one process on one
core. How often the encoders are called is counted: each frame once, each sentence at most once.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32, UInt8

from embodied.config import load_config
from embodied.encoders import TextEncoder
from embodied.job import build_encoder, build_reward, open_store
from embodied.provenance import Claim, benchmark_result
from embodied.rewarding import RewardWorker
from embodied.types import Episode, FrameEncoder


class Counted:
    """A frame encoder that counts its frames."""

    def __init__(self, inner: FrameEncoder) -> None:
        self._inner, self.frames = inner, 0
        self.fingerprint, self.shape = inner.fingerprint, inner.shape

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float16[np.ndarray, "batch channel row column"]:
        """Features of frames."""
        self.frames += len(frames)
        return self._inner.encode(frames)


class CountedText:
    """A sentence encoder that counts its sentences."""

    def __init__(self, inner: TextEncoder) -> None:
        self._inner, self.sentences = inner, 0
        self.fingerprint, self.size = inner.fingerprint, inner.size

    def encode(self, text: str) -> Float32[np.ndarray, " text"]:
        """Unit vector of a sentence."""
        self.sentences += 1
        return self._inner.encode(text)


def main() -> None:
    """Measure, and write `benchmarks/results/labelling.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/benchmark/default-0"))
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cfg = load_config(options.run, [])
    store = open_store(cfg, options.run, "held_out")
    episodes = [store.read(i) for i in range(min(options.episodes, len(store)))]
    rows = measure(cfg, options.run, episodes, options.repeats)
    ratios = [row["labelled_per_s"] / row["encoded_per_s"] for row in rows]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    claims = [
        Claim(
            claim="frames labelled per second over frames that the bare encoder encodes "
            "(median; quartiles)",
            target=0.9, measured=float(middle), low=float(low), high=float(high),
        ),
        Claim(
            claim="times that each frame is encoded while it is labelled", target=1,
            measured=max(row["encoded_per_frame"] for row in rows), comparison="<=",
        ),
        Claim(
            claim="sentences encoded for each instruction", target=1,
            measured=max(row["sentences"] for row in rows), comparison="<=",
        ),
    ]  # fmt: skip
    benchmark_result("labelling", rows, claims)


def measure(cfg: Any, run: Path, episodes: list[Episode], repeats: int) -> list[dict[str, Any]]:
    """Rates of both ways, in turns."""
    bare, counted = build_encoder(cfg), Counted(build_encoder(cfg))
    reward = build_reward(cfg, run)
    text = CountedText(reward.text_encoder)
    reward.text_encoder = text
    worker = RewardWorker(model=reward, encoder=counted, store=None)
    pictures = [frames for episode in episodes for frames in episode.images.values()]
    count = sum(map(len, pictures))
    bare.encode(pictures[0])
    worker.label(episodes[:1])
    rows = []
    for _ in range(repeats):
        begun = time.perf_counter()
        for frames in pictures:
            bare.encode(frames)
        encoded, counted.frames = time.perf_counter() - begun, 0
        begun = time.perf_counter()
        worker.label(episodes)
        labelled = time.perf_counter() - begun
        rows.append(
            {
                "frames": count,
                "encoded_per_s": count / encoded,
                "labelled_per_s": count / labelled,
                "encoded_per_frame": counted.frames / count,
                "sentences": text.sentences,
            }
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
