"""Success on seeds that training never uses, by the simulator's word, for people to read."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from embodied.actor import ActorWorker
from embodied.config import instantiate
from embodied.display import Status
from embodied.job import Job, build_encoder, build_env, load_policy, open_store, processes
from embodied.messages import Request
from embodied.pool import in_processes
from embodied.seed_ranges import episode_seed
from embodied.statistics import Interval, wilson

NOBODY = {"_target_": "embodied.hardware.silent.SilentOperator"}
"""The policy is evaluated on its own."""


def evaluate_policy(job: Job, policy: str, part: str, episodes: int) -> Interval:
    """Success of a policy of the run, without exploration and without an operator.

    Args:
        job: The run.
        policy: ``policy_base`` or ``policy``.
        part: Dataset that the episodes go to; those already in it are not repeated.
        episodes: How many.

    Returns:
        Share of successes with Wilson's interval.
    """
    store = job.store(part)
    missing = [n for n in range(episodes) if _request(n).episode_id not in store.episode_ids()]
    doing = f"Rolling out {policy} on unseen seeds."
    job.display.show(Status(stage=part, doing=doing, done=episodes - len(missing), total=episodes))
    set_up = partial(_evaluator, job.cfg, job.run_dir, policy, part)
    write = job.observe(part)
    for done, name in enumerate(in_processes(set_up, missing, processes(job.cfg)), start=1):
        write({"evaluated_id": name})
        known = [bool(store.summary(i).success) for i in range(len(store))]
        job.display.update(
            done=episodes - len(missing) + done, success=sum(known) / max(1, len(known))
        )
    wanted = {_request(n).episode_id for n in range(episodes)}
    found = [store.summary(i) for i in range(len(store))]
    successes = [s.success is True for s in found if s.episode_id in wanted]
    return wilson(sum(successes), len(successes))


def _request(number: int) -> Request:
    """Evaluation episodes are the same in every run."""
    seed = episode_seed("evaluation", 0, number)
    return Request(number=number, seed=seed, source="validation", explore=False)


def _evaluator(cfg: DictConfig, run_dir: Path, policy: str, part: str) -> Callable[[int], str]:
    encoder = build_encoder(cfg)
    ends_early = {"terminate_on_success": True} if "terminate_on_success" in cfg.env else {}
    actor = ActorWorker(
        env=build_env(cfg, **ends_early),
        policy=load_policy(run_dir, policy, encoder),
        encoder=encoder,
        operator=instantiate(OmegaConf.create(NOBODY)),
        store=open_store(cfg, run_dir, part),
        keep_features=False,
    )
    return lambda number: actor.collect(_request(number)).episode_id
