"""What a run goes through: stages in an order, of which those that are finished are skipped."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console

from embodied.display import Display
from embodied.errors import OutOfSpace
from embodied.job import Job
from embodied.metrics import open_metrics
from embodied.run_record import RunRecord, read_run
from embodied.seeding import spawn_seeds

Stage = Callable[[Job], None]


@dataclass(frozen=True, kw_only=True)
class Course:
    """Of one kind of run."""

    stages: Mapping[str, Stage]
    """By name, in order; one that was interrupted is continued or repeated."""
    products: Mapping[str, tuple[str, ...]]
    """What a stage leaves behind in the run. Where it is missing, the stage is repeated: what was
    damaged can be deleted. Each of these comes out the same when it is made again."""
    check: Callable[[DictConfig, Path | None], None]
    """Whether a run with this configuration can work, a new one or that of a folder."""
    headline: Callable[[RunRecord], str]
    """The result of a finished run in one sentence."""

    def finished(self, job: Job, stage: str) -> bool:
        """Whether there is nothing left to do."""
        left = [job.run_dir / product for product in self.products.get(stage, ())]
        return stage in job.state()["finished"] and all(path.exists() for path in left)


def go_through(course: Course, cfg: DictConfig, run_dir: Path) -> None:
    """Run the stages that are not finished, and tell the result and where the report is.

    Time spent in an interrupted stage is kept.
    """
    metrics = open_metrics(run_dir, cfg)
    try:
        with Display() as display:
            job = Job(run_dir=run_dir, cfg=cfg, metrics=metrics, display=display)
            for number, (name, stage) in enumerate(course.stages.items(), start=1):
                if not course.finished(job, name):
                    display.enter(number, len(course.stages))
                    _run_stage(job, name, stage)
    finally:
        metrics.close()
    told = f"{course.headline(read_run(run_dir))}\n{run_dir / 'report.html'}"
    Console().print(told, highlight=False, soft_wrap=True)


def _run_stage(job: Job, name: str, stage: Stage) -> None:
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
