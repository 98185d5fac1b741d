"""`embodied audit`: judge the reward of a run."""

from pathlib import Path

from omegaconf import DictConfig

from embodied.display import Display
from embodied.job import REWARD, Job
from embodied.metrics import Metrics
from embodied.preflight import check_run
from embodied.recording import record_all
from embodied.runs import create_run
from embodied.stages import audit_reward, train_reward


def audit(cfg: DictConfig) -> None:
    """Audit the reward of a run, named or new; one that has none yet is recorded and trained.

    Raises:
        RewardRejected: if it is rejected and ``override_audit`` is not set.
    """
    check_run(cfg, Path(cfg.run) if cfg.run else None)
    run_dir = Path(cfg.run) if cfg.run else create_run(cfg)
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        if not (run_dir / REWARD).exists():
            record_all(job)
            train_reward(job)
        audit_reward(job)
