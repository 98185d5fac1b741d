"""`embodied eval`: success on unseen seeds, with a confidence interval."""

import json
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from embodied.display import Display
from embodied.durable import write_atomically
from embodied.errors import BadConfig
from embodied.evaluation import evaluate_policy
from embodied.job import Job
from embodied.metrics import Metrics
from embodied.provenance import plain, provenance


def evaluate(cfg: DictConfig) -> None:
    """Evaluate a run's policy: the fine-tuned one if there is one, else the cloned one.

    Writes the episodes to ``evaluation_<policy>_<episodes>/`` and the result beside them.

    Raises:
        BadConfig: if no run is named, or it has no policy yet.
    """
    if not cfg.run:
        raise BadConfig("name the run whose policy to evaluate: embodied eval runs/<name>.")
    run_dir = Path(cfg.run)
    policies = [name for name in ("policy", "policy_base") if (run_dir / name).is_dir()]
    if not policies:
        raise BadConfig(f"{run_dir} has no policy yet; continue it with embodied resume {run_dir}.")
    part = f"evaluation_{policies[0]}_{cfg.env.get('task', 'task')}"
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        success = evaluate_policy(job, policies[0], part, cfg.evaluate.episodes)
    result = {**provenance(), "policy": policies[0], "success": success.to_dict()}
    write_atomically(run_dir / f"{part}.json", json.dumps(plain(result), indent=1).encode())
    Console().print(f"{policies[0]}: success {success}, n = {success.n}", highlight=False)
