"""`embodied record`: demonstrations, failures and held-out episodes as LeRobotDatasets."""

from pathlib import Path

from omegaconf import DictConfig

from embodied.display import Display
from embodied.job import Job
from embodied.metrics import open_metrics
from embodied.preflight import check_run
from embodied.recording import record_all
from embodied.runs import create_run


def record(cfg: DictConfig) -> None:
    """Record into a run: the named one, where what is missing is added, or a new one."""
    check_run(cfg, Path(cfg.run) if cfg.run else None)
    run_dir = Path(cfg.run) if cfg.run else create_run(cfg)
    metrics = open_metrics(run_dir, cfg)
    try:
        with Display() as display:
            record_all(Job(run_dir=run_dir, cfg=cfg, metrics=metrics, display=display))
    finally:
        metrics.close()
