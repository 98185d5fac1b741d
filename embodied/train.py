"""`embodied train` and `embodied resume`: an experiment from demonstrations to report."""

from pathlib import Path

from omegaconf import DictConfig

from embodied.align_stages import ALIGNMENT
from embodied.config import load_config, save_config
from embodied.course import Course, go_through
from embodied.errors import UnknownName
from embodied.runs import create_run, note_command
from embodied.stages import TRAINING

COURSES: dict[str, Course] = {"train": TRAINING, "align": ALIGNMENT}
"""By ``job`` of the configuration."""


def train(cfg: DictConfig) -> None:
    """Run every stage.

    Raises:
        RewardRejected: if the audit rejects the reward.
        BadConfig: before anything is made, if it cannot work.
    """
    TRAINING.check(cfg, None)
    go_through(TRAINING, cfg, create_run(cfg))


def resume(run_dir: Path, overrides: list[str]) -> None:
    """Continue a run: finished stages are not repeated, the one that was under way goes on.

    Args:
        run_dir: Of the run.
        overrides: Change the run's configuration from here on, for stages that are not finished.

    Raises:
        UnknownName: if the configuration names no kind of run.
    """
    cfg = load_config(run_dir, overrides)
    if cfg.job not in COURSES:
        raise UnknownName("job", str(cfg.job), COURSES)
    course = COURSES[cfg.job]
    course.check(cfg, run_dir)
    save_config(cfg, run_dir)
    note_command(run_dir, "resumed")
    go_through(course, cfg, run_dir)
