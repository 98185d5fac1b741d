"""What a run's rewards learn from: its clips, and the sentences that they must refuse."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from embodied.job import build_cached_encoder, other_instructions, read_part
from embodied.opposites import taught
from embodied.rewarding import with_features
from embodied.types import Clip, Episode, FrameEncoder, clip_of


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """The arguments of `TrainableReward.fit` that a run decides."""

    successes: list[Clip]
    failures: list[Clip]
    distractor_instructions: list[str]
    """Of other tasks, and what would undo the run's own."""


def lessons_of(cfg: DictConfig, run_dir: Path) -> Lessons:
    """What every reward that is trained for the run is shown, with features."""
    encoder = build_cached_encoder(cfg)
    successes = encoded(read_part(cfg, run_dir, "demos", cfg.demos.reward), encoder)
    own = sorted({clip.instruction for clip in successes})
    return Lessons(
        successes=successes,
        failures=encoded(read_part(cfg, run_dir, "failures", cfg.demos.failures), encoder),
        distractor_instructions=taught(own, other_instructions(cfg)),
    )


def encoded(episodes: Iterable[Episode], encoder: FrameEncoder) -> list[Clip]:
    """Clips of stored episodes, with features."""
    return [clip_of(with_features(episode, encoder)) for episode in episodes]
