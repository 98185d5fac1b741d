"""The monitor's second opinion: a reward that nobody learns from, trained once per run."""

import json
from pathlib import Path

import torch
from omegaconf import DictConfig

from embodied import choices
from embodied.config import choose
from embodied.durable import write_atomically
from embodied.errors import BadConfig, CorruptFile, RewardUnavailable, UnknownName, remedy
from embodied.job import build_cached_encoder, build_reward, read_part
from embodied.lessons import encoded, lessons_of
from embodied.monitor import Monitor
from embodied.reward_models.base import RewardModel, TrainableReward
from embodied.seeding import small_seed
from embodied.types import Clip

JUDGE = "reward/judge.pt"
HELD_OUT = "reward/held_out.json"
NONE = "none"
TAUGHT = "preference"
"""The reward that learns from answers, which only the run's own reward is given."""


def check_judge(cfg: DictConfig) -> None:
    """Refuse a judge that does not exist, or that nobody can teach.

    Raises:
        UnknownName: naming the rewards.
        BadConfig: for a reward that learns from people's answers alone.
    """
    known = (*choices.choices("reward"), NONE)
    if cfg.monitor.judge not in known:
        raise UnknownName("judge", str(cfg.monitor.judge), known)
    if cfg.monitor.judge == TAUGHT:
        raise BadConfig(
            f"a judge is trained on demonstrations and failures, and {TAUGHT} learns from people's "
            "answers; choose another monitor.judge."
        )


def build_monitor(cfg: DictConfig, run_dir: Path) -> Monitor:
    """The monitor that the configuration asks for.

    Raises:
        CorruptFile: if what the held-out clips said cannot be read.
    """
    path = run_dir / HELD_OUT
    try:
        held_out = json.loads(path.read_text()) if path.exists() else []
    except ValueError as error:
        advice = f"delete it, and `embodied resume {run_dir}` makes it again"
        raise CorruptFile(f"{path} is not JSON ({error}); {advice}.") from error
    settings = cfg.monitor
    return Monitor(
        held_out,
        window=settings.window,
        p_value=settings.p_value,
        clips=settings.clips,
        pause=settings.pause,
        run=str(run_dir),
    )


def build_judge(cfg: DictConfig, run_dir: Path) -> TrainableReward | None:
    """The trained judge; None if the configuration wants none."""
    if cfg.monitor.judge == NONE:
        return None
    judge = build_reward(_as_reward(cfg))
    with remedy(f"Delete it, and `embodied resume {run_dir}` trains it again."):
        judge.load(run_dir / JUDGE)
    return judge


def prepare(cfg: DictConfig, run_dir: Path) -> None:
    """Train the judge, and note how sure the reward is of held-out clips; once per run."""
    with torch.random.fork_rng(devices=[]):  # the stage's own draws stay what they are
        if not (run_dir / HELD_OUT).exists():
            clips = encoded(read_part(cfg, run_dir, "held_out"), build_cached_encoder(cfg))
            doubts = disagreements(build_reward(cfg, run_dir), clips)
            write_atomically(run_dir / HELD_OUT, json.dumps(doubts).encode())
        if cfg.monitor.judge != NONE and not (run_dir / JUDGE).exists():
            judge = build_reward(_as_reward(cfg))
            lessons = lessons_of(cfg, run_dir)
            judge.fit(
                lessons.successes,
                lessons.failures,
                distractor_instructions=lessons.distractor_instructions,
                seed=small_seed(cfg.seed, "judge"),
            )
            judge.save(run_dir / JUDGE)


def disagreements(reward: RewardModel, clips: list[Clip]) -> list[float]:
    """Mean uncertainty of each clip; none from a reward that cannot be asked."""
    try:
        return [float(score.uncertainty.mean()) for score in reward.eval().score(clips)]
    except RewardUnavailable:
        return []


def _as_reward(cfg: DictConfig) -> DictConfig:
    """The configuration with the judge in the reward's place.

    It learns from the clips as they are: encoding augmented copies would cost more than all else.
    """
    changed = choose(cfg, "reward", cfg.monitor.judge)
    for part in (changed.reward, changed.reward.get("model") or {}):
        if "augmentations" in part:
            part["augmentations"] = 0
    return changed
