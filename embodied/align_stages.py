"""The stages of `embodied align`, in order; one that was interrupted is continued or repeated."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import hydra
import numpy as np
import torch
from omegaconf import DictConfig

from embodied.align_answers import rolled_of
from embodied.align_asking import ROLLOUTS, ask
from embodied.align_check import check_alignment
from embodied.align_learning import RANKING, every_frame, learn, read_ranking
from embodied.align_liking import rated
from embodied.align_recording import DEMOS, record_attempts
from embodied.align_report import headline, write_report
from embodied.align_summary import write_summary
from embodied.course import Course
from embodied.display import Status
from embodied.errors import BadConfig
from embodied.evaluation import evaluate_policy, evaluator
from embodied.examples import examples_from
from embodied.first_checks import evaluated_policy
from embodied.job import (
    Job,
    build_cached_encoder,
    build_encoder,
    load_policy,
    open_store,
    processes,
    read_part,
    save_policy,
)
from embodied.messages import Request
from embodied.policies.base import DenoisingPolicy, Examples, Policy, TakesTarget
from embodied.pool import in_processes
from embodied.rewarding import with_features
from embodied.seed_ranges import episode_seed
from embodied.seeding import small_seed
from embodied.stages import cloned

UPDATE = "embodied.policies.updates.update"


def clone_base(job: Job) -> None:
    """Clone the base policy from all attempts, or take that of the run that is aligned.

    Raises:
        BadConfig: if that policy cannot be aligned.
    """
    job.display.show(Status(stage="clone", doing="Encoding the attempts."))
    if not job.cfg.run:
        cloned(job, read_part(job.cfg, job.run_dir, DEMOS), int(job.cfg.align.clone_steps))
        return
    name = evaluated_policy(job.cfg)
    policy = load_policy(Path(job.cfg.run), name, build_encoder(job.cfg))
    _denoising(policy)
    save_policy(policy, job.run_dir, "policy_base", job.cfg)


def roll_out(job: Job) -> None:
    """Roll the base policy out, several times from each start; what is there is not repeated."""
    store, wanted = job.store(ROLLOUTS), job.cfg.align
    count = int(wanted.starts * wanted.each)
    missing = [
        n for n in range(count) if _request(job.cfg, n).episode_id not in store.episode_ids()
    ]
    done, write = count - len(missing), job.observe("roll_out")
    doing = f"Rolling out from {wanted.starts} starts, {wanted.each} times each."
    job.display.show(Status(stage="roll_out", doing=doing, done=done, total=count))
    work = in_processes(partial(_roller, job.cfg, job.run_dir), missing, processes(job.cfg))
    for name in work:
        done += 1
        write({"rolled_out_id": name})
        job.display.update(done=done)


def align_policy(job: Job) -> None:
    """Update the policy by the ranking, within limits, and save it.

    Raises:
        BadInput: if the ranking is empty, nothing may be imitated, or a few chunks would carry the
            whole weight.
    """
    cfg, wanted = job.cfg, job.cfg.align
    job.display.show(Status(stage="align", doing="Encoding the roll-outs."))
    base = _denoising(load_policy(job.run_dir, "policy_base", build_encoder(cfg)))
    ranking, rolled = read_ranking(job.run_dir), rolled_of(job.store(ROLLOUTS))
    write, show = job.observe("align"), job.progress("Aligning.")

    def told(row: dict[str, float]) -> None:
        write(row)
        show(row["step"] / wanted.updates)

    reward, strengths = ranking["reward"], ranking.get("attributes")
    policy, _ = hydra.utils.get_method(UPDATE)(
        str(wanted["update"]),
        base,
        chunks=_chunks(job),
        start=rolled.start,
        ranked=ranking["ranked"],
        reward=None if reward is None else np.array(reward),
        steps=int(wanted.updates),
        seed=small_seed(cfg.seed, "align"),
        succeeded=rolled.imitable(ranking.get("bad", [])),
        attributes=None if strengths is None else {n: np.array(v) for n, v in strengths.items()},
        target=ranking.get("target"),
        check_every=int(wanted.check_every),
        most_drift=float(wanted.most_drift),
        most_lost=float(wanted.most_lost),
        success=partial(_success, cfg) if wanted.watched else None,
        report=told,
    )
    save_policy(policy, job.run_dir, "policy", cfg)


def evaluate_before(job: Job) -> None:
    """Task success of the base policy on unseen starts, and how well it is liked there."""
    _evaluate(job, "policy_base", "evaluation_before")


def evaluate_after(job: Job) -> None:
    """The same of the aligned policy, from the same starts."""
    _evaluate(job, "policy", "evaluation_after")


def report(job: Job) -> None:
    """Write `summary.json` and `report.html`."""
    job.display.show(Status(stage="report", doing="Writing the report."))
    if job.cfg.align.way:
        rated(job, ROLLOUTS)
    write_summary(job)
    write_report(job.run_dir)


STAGES: Mapping[str, Callable[[Job], None]] = {
    "record": record_attempts,
    "clone": clone_base,
    "roll_out": roll_out,
    "evaluate_before": evaluate_before,
    "ask": ask,
    "learn": learn,
    "align": align_policy,
    "evaluate_after": evaluate_after,
    "report": report,
}
PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "clone": ("policy_base",),
    "roll_out": (ROLLOUTS,),
    "evaluate_before": ("evaluation_before",),
    "learn": (RANKING,),
    "align": ("policy",),
    "evaluate_after": ("evaluation_after",),
    "report": ("summary.json", "report.html"),
}
ALIGNMENT = Course(stages=STAGES, products=PRODUCTS, check=check_alignment, headline=headline)


def _request(cfg: DictConfig, number: int) -> Request:
    """Roll-outs of one start have its seed, and noise of their own."""
    return Request(
        number=number,
        seed=episode_seed("online", cfg.seed, number // int(cfg.align.each)),
        noise_seed=small_seed(cfg.seed, f"rollout-{number}"),
        source="online",
        explore=float(cfg.align.explore),
    )


def _roller(cfg: DictConfig, run_dir: Path) -> Callable[[int], str]:
    encoder = build_encoder(cfg)
    policy = load_policy(run_dir, "policy_base", encoder)
    actor = evaluator(cfg, policy, encoder, open_store(cfg, run_dir, ROLLOUTS))
    return lambda number: actor.collect(_request(cfg, number)).episode_id


def _evaluate(job: Job, policy: str, part: str) -> None:
    wanted = job.cfg.align
    evaluate_policy(job, policy, part, int(wanted.measured), explore=float(wanted.explore))
    if wanted.way:
        rated(job, part)


def _chunks(job: Job) -> list[Examples]:
    """Of each roll-out, what followed each frame that is looked at, in the order of their names."""
    encoder, chunk = build_cached_encoder(job.cfg), int(job.cfg.policy.chunk)
    episodes = (with_features(e, encoder) for e in read_part(job.cfg, job.run_dir, ROLLOUTS))
    return [
        examples_from([e], chunk).take(torch.arange(0, len(e), every_frame(e.fps)))
        for e in episodes
    ]


def _success(cfg: DictConfig, policy: Policy) -> float:
    """Of the task, always from the same starts: what the policy is rolled back by."""
    count, was_training = int(cfg.align.watched), policy.training
    actor = evaluator(cfg, policy, build_encoder(cfg), store=None)
    requests = [
        Request(
            number=n, seed=episode_seed("validation", cfg.seed, n), source="validation",
            explore=float(cfg.align.explore),
        )
        for n in range(count)
    ]  # fmt: skip
    try:
        return sum(actor.collect(request).success is True for request in requests) / count
    finally:
        actor.close()
        policy.train(was_training)


def _denoising(policy: Policy) -> DenoisingPolicy:
    if isinstance(policy, TakesTarget):
        raise BadConfig(
            "a policy that is told what to do is not aligned again: set its target, as `embodied "
            "eval RUN 'evaluate.target={speed: 0.9}'` does, or align the run that it came from."
        )
    if not isinstance(policy, DenoisingPolicy):
        raise BadConfig(
            f"a {type(policy).__name__} cannot be aligned, only a policy that denoises its chunks: "
            "choose a run of algorithm=filtered."
        )
    return policy
