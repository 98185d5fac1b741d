"""Success on seeds that training never uses, by the simulator's word, for people to read."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from embodied.actor import ActorWorker
from embodied.config import instantiate
from embodied.dataset import EpisodeStore
from embodied.display import Status
from embodied.errors import BadConfig
from embodied.job import Job, build_encoder, build_env, load_policy, open_store, processes
from embodied.messages import Request
from embodied.policies.base import Policy, TakesTarget
from embodied.pool import in_processes
from embodied.seed_ranges import episode_seed
from embodied.statistics import Interval, wilson
from embodied.types import FrameEncoder

NOBODY = {"_target_": "embodied.hardware.silent.SilentOperator"}
"""The policy is evaluated on its own."""


def evaluate_policy(
    job: Job,
    policy: str,
    part: str,
    episodes: int,
    *,
    explore: float = 0.0,
    target: Mapping[str, float] | None = None,
) -> Interval:
    """Success of a policy of the run, without an operator.

    Args:
        job: The run.
        policy: ``policy_base`` or ``policy``.
        part: Dataset that the episodes go to; those already in it are not repeated.
        episodes: How many.
        explore: How boldly it acts, in [0, 1]; by default it does not explore.
        target: What it acts towards; None for what it was told last.

    Returns:
        Share of successes with Wilson's interval.

    Raises:
        BadConfig: for a target of a policy that takes none.
        UnknownName: for an attribute that the policy does not have.
    """
    if target is not None:  # what is wrong with it is told here: a process of its own would die
        _loaded(job.run_dir, policy, build_encoder(job.cfg), target)
    store = job.store(part)
    wanted = {evaluation_request(n).episode_id: n for n in range(episodes)}
    missing = [n for name, n in wanted.items() if name not in store.episode_ids()]
    doing = f"Rolling out {policy} on unseen seeds."
    job.display.show(Status(stage=part, doing=doing, done=episodes - len(missing), total=episodes))
    set_up = partial(_stored_evaluator, job.cfg, job.run_dir, policy, part, explore, target)
    write = job.observe(part)
    for done, name in enumerate(in_processes(set_up, missing, processes(job.cfg)), start=1):
        write({"evaluated_id": name})
        known = [bool(store.summary(i).success) for i in range(len(store))]
        job.display.update(
            done=episodes - len(missing) + done, success=sum(known) / max(1, len(known))
        )
    found = [store.summary(i) for i in range(len(store))]
    successes = [s.success is True for s in found if s.episode_id in wanted]
    return wilson(sum(successes), len(successes))


def evaluation_request(number: int, explore: float = 0.0) -> Request:
    """Evaluation episodes are the same in every run."""
    seed = episode_seed("evaluation", 0, number)
    return Request(number=number, seed=seed, source="validation", explore=explore)


def evaluator(
    cfg: DictConfig, policy: Policy, encoder: FrameEncoder, store: EpisodeStore | None
) -> ActorWorker:
    """Rolls out a policy on its own; an episode may end with the task."""
    ends_early = {"terminate_on_success": True} if "terminate_on_success" in cfg.env else {}
    return ActorWorker(
        env=build_env(cfg, **ends_early),
        policy=policy,
        encoder=encoder,
        operator=instantiate(OmegaConf.create(NOBODY)),
        store=store,
        keep_features=False,
    )


def _stored_evaluator(
    cfg: DictConfig,
    run_dir: Path,
    policy: str,
    part: str,
    explore: float,
    target: Mapping[str, float] | None,
) -> Callable[[int], str]:
    encoder = build_encoder(cfg)
    loaded = _loaded(run_dir, policy, encoder, target)
    actor = evaluator(cfg, loaded, encoder, open_store(cfg, run_dir, part))
    return lambda number: actor.collect(evaluation_request(number, explore)).episode_id


def _loaded(
    run_dir: Path, name: str, encoder: FrameEncoder, target: Mapping[str, float] | None
) -> Policy:
    policy = load_policy(run_dir, name, encoder)
    if target is None:
        return policy
    if not isinstance(policy, TakesTarget):
        raise BadConfig(
            f"the {name} of {run_dir} takes no target, as those do that were aligned with "
            "align.update=conditioned; leave evaluate.target out."
        )
    policy.target = target
    return policy
