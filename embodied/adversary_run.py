"""`embodied attack RUN`: optimise against a run's reward, and write what came of it."""

import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from embodied.adversary import (
    Adversary,
    Attack,
    Case,
    choice_attack,
    search_attack,
    tuning_attack,
    worst,
)
from embodied.adversary_choice import roll_out
from embodied.adversary_page import write_adversary
from embodied.adversary_reward import fit_reward, honest_return, load_reward, told_apart
from embodied.adversary_search import FIRST_START, Budget, search_all
from embodied.adversary_trial import Arena, Trial, again
from embodied.adversary_verdict import is_trick
from embodied.audit_pins import fingerprint
from embodied.config import instantiate, load_config
from embodied.display import Display, Status
from embodied.errors import BadConfig
from embodied.evaluation import NOBODY
from embodied.first_checks import attacked_run
from embodied.job import (
    REWARD,
    Job,
    build_encoder,
    build_env,
    load_policy,
    processes,
    same_reward,
)
from embodied.metrics import Metrics
from embodied.provenance import provenance
from embodied.run_record import read_run
from embodied.seeding import small_seed

PAGE = "adversary"
CASES = 3
"""Failures of each attack that are shown."""


def attack(cfg: DictConfig) -> None:
    """Attack the reward of a run, and write ``adversary.html`` and ``adversary.json`` into it.

    With another ``reward=...`` than the run's own, that one is fitted to the run's demonstrations,
    attacked, and written about under its own name. The run's own, asked with another pessimism, is
    attacked as it was trained.

    Raises:
        BadConfig: if no run is named, it lacks what is attacked, or a number cannot be.
        BadInput: if the run has no held-out success.
    """
    result, path = attack_and_write(cfg)
    console = Console()
    for each in result.attacks:
        told = f"{each.words.title}: {each.verdict.sentence}"
        console.print(told, highlight=False, soft_wrap=True, markup=False)
    told = f"{path} and {path.with_suffix('.json').name}"
    console.print(told, highlight=False, soft_wrap=True, markup=False)


def attack_and_write(cfg: DictConfig) -> tuple[Adversary, Path]:
    """The same without a word; returns what was found, and where the page is."""
    run_dir = _checked(cfg)
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        result = attack_reward(job)
    path = run_dir / f"{_page(cfg, run_dir)}.html"
    write_adversary(result, path)
    return result, path


def attack_reward(job: Job) -> Adversary:
    """Every attack that the configuration asks for, on the reward that it names.

    Raises:
        BadInput: if the run has no held-out success.
    """
    started, worked = time.monotonic(), _worked()
    with tempfile.TemporaryDirectory() as folder:
        stored = job.run_dir / REWARD
        if not _trained(job.cfg, job.run_dir):
            stored = fit_reward(job, Path(folder) / "reward.pt")
        arena = Arena(
            env=partial(build_env, job.cfg),
            encoder=partial(build_encoder, job.cfg),
            reward=partial(load_reward, job.cfg, stored),
            policy=partial(load_policy, job.run_dir, job.cfg.attack.policy),
        )
        result = _attack(job, arena)
    seconds = {"seconds": time.monotonic() - started, "processor_seconds": _worked() - worked}
    return replace(result, pins={**result.pins, **seconds})


def _worked() -> float:
    """Seconds of processor time that this process has taken, and those that it has waited for."""
    return sum(os.times()[:4])


def _attack(job: Job, arena: Arena) -> Adversary:
    cfg, reward, encoder = job.cfg, arena.reward().eval(), arena.encoder()
    honest = honest_return(job, reward)
    seed = small_seed(cfg.seed, "attack")
    made = [
        *(_choose(job, arena, honest, seed) if cfg.attack.rollouts else []),
        *(_search(job, arena, honest, seed) if cfg.attack.starts else []),
    ]
    attacks = (*(each.attack for each in made), *_tuned(job, honest, seed))
    if not attacks:
        raise BadConfig(
            "attack.rollouts and attack.starts are 0, and the run has not been fine-tuned with "
            "this reward; nothing is left to do."
        )
    job.display.show(Status(stage="attack", doing="Looking again at what fools the reward."))
    env = arena.env()
    try:
        cases = [
            Case(
                attack=each.attack.words.title, trial=trial, clip=clip, scores=scores,
                trick=is_trick(trial.proxy, trial.truth.success, honest),
            )
            for each in made
            for trial, (clip, scores) in zip(
                each.cases, again(each.cases, env, encoder, reward), strict=True
            )
        ]  # fmt: skip
    finally:
        env.close()
    return Adversary(
        attacks=attacks,
        cases=tuple(cases),
        honest=honest,
        pins={
            "reward": fingerprint(reward),
            "encoder": encoder.fingerprint,
            "cameras": list(reward.cameras),
            "policy": str(cfg.attack.policy),
            "task": env.task,
            "instruction": env.instruction,
            "seed": int(cfg.seed),
            "budget": OmegaConf.to_container(cfg.attack),
            "provenance": provenance(),
        },
    )


@dataclass(frozen=True, kw_only=True)
class Made:
    """An attack, and its failures that are worth a look."""

    attack: Attack
    cases: list[Trial]


def _choose(job: Job, arena: Arena, honest: float, seed: int) -> list[Made]:
    asked = job.cfg.attack
    count, policy = int(asked.rollouts), str(asked.policy)
    doing = f"Rolling out {policy}, to choose the best of."
    job.display.show(Status(stage="attack", doing=doing, total=count))
    trials = roll_out(
        arena, partial(instantiate, OmegaConf.create(NOBODY)), count, run_seed=int(job.cfg.seed),
        explore=float(asked.explore), processes=processes(job.cfg),
        shows=lambda done: job.display.update(done=done),
    )  # fmt: skip
    noise = "with" if asked.explore else "without"
    note = (
        f"{count} roll-outs of {policy} {noise} exploration, each from a start of its own; the "
        "best of n by learned return, averaged over all subsets. n = 1 is a random choice. On grey "
        "ground there are too few disjoint subsets to decide anything."
    )
    made = choice_attack(trials, honest, seed=seed, note=note)
    return [Made(attack=made, cases=worst(trials, CASES))]


def _search(job: Job, arena: Arena, honest: float, seed: int) -> list[Made]:
    asked, budget = job.cfg.attack, _budget(job.cfg)
    doing = "Searching for actions that please the reward, start by start."
    job.display.show(Status(stage="attack", doing=doing, total=int(asked.starts)))
    searches = search_all(
        arena, budget, int(asked.starts), run_seed=int(job.cfg.seed), processes=processes(job.cfg),
        shows=lambda done: job.display.update(done=done),
    )  # fmt: skip
    note = (
        f"Cross-entropy method over open-loop action sequences from {len(searches)} starts: "
        f"{budget.knots} knots per dimension, {budget.generations} generations of "
        f"{budget.candidates} candidates. Means of the {budget.elites} best so far, over starts; "
        "generation 0 is the first, before anything was chosen."
    )
    made = search_attack(searches, budget, honest, seed=seed, note=note)
    found = [trial for search in searches for trial in search.elites[-1]]
    return [Made(attack=made, cases=worst(found, CASES))]


def _tuned(job: Job, honest: float, seed: int) -> list[Attack]:
    """What the run's own fine-tuning shows, if it used this reward."""
    if not _learned_from(job.cfg, job.run_dir):
        return []
    episodes = read_run(job.run_dir).episodes
    helped = sum(episode.intervention_steps for episode in episodes)
    share = helped / max(1, sum(episode.steps for episode in episodes))
    note = (
        "The run's own reinforcement learning, which never saw the truth, in windows of online "
        f"episodes, with exploration; an operator took {share:.0%} of their steps."
    )
    found = tuning_attack(episodes, honest, seed=seed, note=note)
    return [] if found is None else [found]


def _budget(cfg: DictConfig) -> Budget:
    return Budget(**{name: int(cfg.attack[name]) for name in asdict(Budget())})


def _trained(cfg: DictConfig, run_dir: Path) -> bool:
    """Whether the run has trained this reward, or one that differs in how it is asked alone."""
    return same_reward(cfg.reward, load_config(run_dir).reward)


def _learned_from(cfg: DictConfig, run_dir: Path) -> bool:
    """Whether it is to the letter the reward that the run's policy learns from."""
    return same_reward(cfg.reward, load_config(run_dir).reward, but=())


def _page(cfg: DictConfig, run_dir: Path) -> str:
    return PAGE if _learned_from(cfg, run_dir) else f"{PAGE}-{told_apart(cfg.reward)}"


def _checked(cfg: DictConfig) -> Path:
    """The run's folder, if it can be attacked."""
    run_dir, asked = attacked_run(cfg), cfg.attack
    _budget(cfg)
    if _trained(cfg, run_dir) and not (run_dir / REWARD).is_file():
        raise BadConfig(f"{run_dir} has no reward yet; embodied resume {run_dir} trains it.")
    if asked.rollouts and not (run_dir / str(asked.policy)).is_dir():
        raise BadConfig(
            f"{run_dir} has no {asked.policy}; attack.policy is policy_base or policy, once the "
            "run has made it, and attack.rollouts=0 rolls out none."
        )
    if asked.rollouts > FIRST_START:
        raise BadConfig(f"attack.rollouts is {asked.rollouts}; at most {FIRST_START}.")
    return run_dir
