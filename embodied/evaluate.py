"""`embodied eval`: success on unseen seeds, with a confidence interval."""

import json
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from embodied.display import Display
from embodied.durable import write_atomically
from embodied.evaluation import evaluate_policy
from embodied.first_checks import evaluated_policy, given_target
from embodied.job import Job
from embodied.metrics import Metrics
from embodied.provenance import plain, provenance


def evaluate(cfg: DictConfig) -> None:
    """Evaluate a run's policy: the fine-tuned one if there is one, else the cloned one.

    Writes the episodes to ``evaluation_<policy>_<task>/``, the result beside them as a JSON file,
    and prints both paths. What a policy is told that takes a target is part of that name.

    Raises:
        BadConfig: if no run is named, it has no policy yet, or that takes no target.
        UnknownName: for an attribute that the policy does not have.
    """
    policy, target = evaluated_policy(cfg), given_target(cfg)
    run_dir = Path(cfg.run)
    part = f"evaluation_{policy}_{cfg.env.get('task', 'task')}{_named(target)}"
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        success = evaluate_policy(job, policy, part, cfg.evaluate.episodes, target=target)
    result = {**provenance(), "policy": policy, "target": target, "success": success.to_dict()}
    write_atomically(run_dir / f"{part}.json", json.dumps(plain(result), indent=1).encode())
    told = (
        f"{policy}: success {success}, n = {success.n}\n"
        f"{run_dir / part}.json: the result, with its provenance\n"
        f"{run_dir / part}: its episodes; embodied view {run_dir} --part {part} shows them"
    )
    Console().print(told, highlight=False, soft_wrap=True, markup=False)


def _named(target: Mapping[str, float] | None) -> str:
    """Episodes of one target are not taken for those of another."""
    if target is None:
        return ""
    return "".join(f"_{name}_{target[name]}" for name in sorted(target)) or "_untold"
