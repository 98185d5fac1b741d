"""What cannot work is told before anything is recorded, and before a person is asked anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from embodied.align_choice import check_names
from embodied.dataset import EpisodeStore
from embodied.dataset_layout import INFO
from embodied.envs.base import TaskEnv
from embodied.errors import BadConfig, BadInput
from embodied.first_checks import check_values
from embodied.job import build_env
from embodied.preferences.serve import listen
from embodied.preferences.teachers import teacher_named
from embodied.seed_ranges import episode_seed
from embodied.types import IMAGES, STATE

PARTS = ("demos", "rollouts", "evaluation_before", "evaluation_after")


def check_alignment(cfg: DictConfig, run_dir: Path | None = None) -> None:
    """Build the environment once, and try what the stages will need.

    Args:
        cfg: The configuration.
        run_dir: Of a run that exists: its episodes must have the cameras.

    Raises:
        BadConfig: naming what cannot work: a key, the environment, or a port that is taken.
        UnknownName: for a name that does not exist.
        BadInput: if stored episodes lack a camera.
    """
    check_values(cfg)
    check_names(cfg)
    teacher_named(str(cfg.align.teacher))
    if cfg.align.explore > 1:
        raise BadConfig(f"align.explore is {cfg.align.explore}; it is from 0 to 1.")
    env = build_env(cfg)
    try:
        _check_starts(env, int(cfg.seed))
        for root in (run_dir / part for part in PARTS) if run_dir is not None else ():
            _check_cameras(root, env.cameras)
    finally:
        env.close()
    if cfg.align.rater == "person":
        listen(str(cfg.preferences.host), int(cfg.preferences.port)).close()


def _check_starts(env: TaskEnv, seed: int) -> None:
    """The same seed must begin an episode alike: a robot cannot, nobody puts its world back."""
    start = episode_seed("online", seed, 0)
    first, second = (_copied(env.reset(seed=start)[0]) for _ in range(2))
    same = np.allclose(first[STATE], second[STATE], atol=1e-4) and all(
        np.array_equal(first[IMAGES + camera], second[IMAGES + camera]) for camera in env.cameras
    )
    if not same:
        raise BadConfig(
            f"{env.suite}'s {env.task} does not begin alike when it is reset with the same seed, "
            "as on a robot: roll-outs of one start are what is compared. Align in a simulation."
        )


def _copied(observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: np.array(value) for name, value in observation.items()}


def _check_cameras(root: Path, cameras: tuple[str, ...]) -> None:
    stored = EpisodeStore(root).cameras if (root / INFO).exists() else ()
    missing = [camera for camera in cameras if stored and camera not in stored]
    if missing:
        raise BadInput(
            f"env.cameras names '{missing[0]}'; the episodes in {root} have {', '.join(stored)}. "
            "Another camera needs a new run."
        )
