"""`embodied train` and `embodied resume`: an experiment from demonstrations to report."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console

from embodied.config import load_config, save_config
from embodied.display import Display
from embodied.errors import OutOfSpace
from embodied.job import Job
from embodied.metrics import open_metrics
from embodied.preflight import check_operator, check_run, check_taught
from embodied.report import headline
from embodied.run_record import read_run
from embodied.runs import create_run, note_command
from embodied.seeding import spawn_seeds
from embodied.stages import STAGES, finished


def train(cfg: DictConfig) -> None:
    """Run every stage.

    Raises:
        RewardRejected: if the audit rejects the reward.
        BadConfig: before anything is made, if it cannot work.
    """
    check_run(cfg)
    check_taught(cfg)
    check_operator(cfg)
    run_stages(cfg, create_run(cfg))


def resume(run_dir: Path, overrides: list[str]) -> None:
    """Continue a run: finished stages are not repeated, the one that was under way goes on.

    Args:
        run_dir: Of the run.
        overrides: Change the run's configuration from here on, for stages that are not finished.
    """
    cfg = load_config(run_dir, overrides)
    check_run(cfg, run_dir)
    check_taught(cfg, run_dir)
    check_operator(cfg)
    save_config(cfg, run_dir)
    note_command(run_dir, "resumed")
    run_stages(cfg, run_dir)


def run_stages(cfg: DictConfig, run_dir: Path) -> None:
    """Run the stages that are not finished, and tell the result and where the report is.

    Time spent in an interrupted stage is kept.
    """
    metrics = open_metrics(run_dir, cfg)
    try:
        with Display() as display:
            job = Job(run_dir=run_dir, cfg=cfg, metrics=metrics, display=display)
            for number, (name, stage) in enumerate(STAGES.items(), start=1):
                if not finished(job, name):
                    display.enter(number, len(STAGES))
                    _run_stage(job, name, stage)
    finally:
        metrics.close()
    told = f"{headline(read_run(run_dir))}\n{run_dir / 'report.html'}"
    Console().print(told, highlight=False, soft_wrap=True)


def _run_stage(job: Job, name: str, stage: Callable[[Job], None]) -> None:
    started = time.monotonic()
    # a new network's weights are drawn from the global generator
    torch.manual_seed(spawn_seeds(job.cfg.seed, [name])[name])
    try:
        stage(job)
    except BaseException:
        with suppress(OutOfSpace):  # which would hide what ended the stage
            job.spend(name, time.monotonic() - started, finished=False)
        raise
    job.spend(name, time.monotonic() - started, finished=True)
