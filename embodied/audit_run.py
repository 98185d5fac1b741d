"""`embodied audit`: judge the reward of a run."""

from pathlib import Path

from omegaconf import DictConfig

from embodied.display import Display
from embodied.errors import BadConfig
from embodied.job import Job
from embodied.metrics import Metrics
from embodied.recording import record_all
from embodied.runs import create_run
from embodied.stages import audit_reward, train_reward


def audit(cfg: DictConfig) -> None:
    """Audit the reward of a run; without one, record, train a reward and audit it.

    Raises:
        RewardRejected: if it is rejected and ``override_audit`` is not set.
        BadConfig: if the run named has no reward yet.
    """
    run_dir = Path(cfg.run) if cfg.run else create_run(cfg)
    if cfg.run and not (run_dir / "reward" / "reward.pt").exists():
        raise BadConfig(f"{run_dir} has no reward yet; continue it: embodied resume {run_dir}.")
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        if not cfg.run:
            record_all(job)
            train_reward(job)
        audit_reward(job)
