"""`embodied eval`: success on unseen seeds, with a confidence interval."""

import json
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from embodied.display import Display
from embodied.durable import write_atomically
from embodied.evaluation import evaluate_policy
from embodied.first_checks import evaluated_policy
from embodied.job import Job
from embodied.metrics import Metrics
from embodied.provenance import plain, provenance


def evaluate(cfg: DictConfig) -> None:
    """Evaluate a run's policy: the fine-tuned one if there is one, else the cloned one.

    Writes the episodes to ``evaluation_<policy>_<task>/``, the result beside them as a JSON file,
    and prints both paths.

    Raises:
        BadConfig: if no run is named, or it has no policy yet.
    """
    policy = evaluated_policy(cfg)
    run_dir = Path(cfg.run)
    part = f"evaluation_{policy}_{cfg.env.get('task', 'task')}"
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        success = evaluate_policy(job, policy, part, cfg.evaluate.episodes)
    result = {**provenance(), "policy": policy, "success": success.to_dict()}
    write_atomically(run_dir / f"{part}.json", json.dumps(plain(result), indent=1).encode())
    told = (
        f"{policy}: success {success}, n = {success.n}\n"
        f"{run_dir / part}.json: the result, with its provenance\n"
        f"{run_dir / part}: its episodes; embodied view {run_dir} --part {part} shows them"
    )
    Console().print(told, highlight=False, soft_wrap=True, markup=False)
