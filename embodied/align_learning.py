"""The stage `learn`: the answers become a ranking of the roll-outs of each start."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np

from embodied.align_answers import Pair, answers_of, preferred, right
from embodied.align_asking import ROLLOUTS, open_asking
from embodied.align_attributes import rank_by_direction
from embodied.align_choice import ATTRIBUTES
from embodied.display import Status
from embodied.durable import write_atomically
from embodied.job import Job, build_cached_encoder, read_part
from embodied.preferences.export import write_exports
from embodied.provenance import plain
from embodied.rewarding import with_features
from embodied.seeding import small_seed
from embodied.statistics import wilson

RANK = "embodied.reward_models.answer_ranking.rank"
RANKING = "ranking.json"
FRAMES_PER_S = 10.0
"""That a reward sees of a roll-out, and that chunks are paired at; at most."""


def learn(job: Job) -> None:
    """Learn a reward from the answers, test it on answers that it has not seen, rank all pairs.

    Raises:
        BadInput: if no answer prefers one of two roll-outs of one start.
    """
    if job.cfg.align.reward == ATTRIBUTES:
        _write(job, rank_by_direction(job))
        return
    cfg = job.cfg
    with open_asking(job) as asking:
        rolled = asking.rolled
        answers = answers_of(asking.service.store.labels(), asking.clips, rolled)
        write_exports(asking.service.store, job.run_dir / "labels")
    told = preferred(answers)
    found: dict[str, Any] = {
        "answers": len(answers), "preferences": len(told), "raters": list(answers.raters),
    }  # fmt: skip
    reward, ranked = None, told
    if cfg.align.reward != "none":
        job.display.show(Status(stage="learn", doing="Encoding the roll-outs."))
        clips = _clips(job)
        reward = _rank(job, clips, told, "Learning from all answers.")
        ranked = [(i, j) if reward[i] > reward[j] else (j, i) for i, j in rolled.pairs()]
        held_out = _held_out(job, clips, told)
        found["held_out"] = wilson(sum(held_out), len(held_out)).to_dict()
        found["learnt"] = wilson(sum(right(reward, told)), len(told)).to_dict()
    content = {
        **found,
        "rollouts": rolled.names,
        "told": told,
        "ranked": ranked,
        "reward": reward,
    }
    _write(job, content)


def _write(job: Job, content: dict[str, Any]) -> None:
    job.observe("learn")(_row(content))
    write_atomically(job.run_dir / RANKING, json.dumps(plain(content), indent=1).encode())


def read_ranking(run_dir: Path) -> dict[str, Any]:
    """All that `learn` wrote; nothing if it did not yet."""
    path = run_dir / RANKING
    found = dict(json.loads(path.read_text())) if path.exists() else {}
    pairs = {key: [(int(i), int(j)) for i, j in found[key]] for key in ("told", "ranked") if found}
    return found | pairs


def every_frame(fps: float) -> int:
    """Control steps from one frame that is looked at to the next."""
    return max(1, round(fps / FRAMES_PER_S))


def _clips(job: Job) -> list[list[np.ndarray]]:
    """Features of each roll-out, per camera, in the order of their names."""
    encoder = build_cached_encoder(job.cfg)
    episodes = (with_features(e, encoder) for e in read_part(job.cfg, job.run_dir, ROLLOUTS))
    return [[maps[:: every_frame(e.fps)] for maps in e.features.values()] for e in episodes]


def _held_out(job: Job, clips: list[list[np.ndarray]], told: Sequence[Pair]) -> list[bool]:
    """Whether each answer is predicted by a reward that has learnt from other pairs alone."""
    pairs = sorted({(min(pair), max(pair)) for pair in told})
    folds = min(int(job.cfg.align.folds), len(pairs))
    if folds < 2:
        return []
    order = np.random.default_rng(small_seed(job.cfg.seed, "folds")).permutation(len(pairs))
    found = []
    for fold in range(folds):
        kept = {pairs[number] for number in order[fold::folds]}
        unseen = [pair for pair in told if (min(pair), max(pair)) in kept]
        seen = [pair for pair in told if (min(pair), max(pair)) not in kept]
        reward = _rank(job, clips, seen, f"Testing on other answers, {fold + 1} of {folds}.")
        found += right(reward, unseen)
    return found


def _rank(
    job: Job, clips: list[list[np.ndarray]], told: Sequence[Pair], doing: str
) -> np.ndarray:  # fmt: skip
    rank = hydra.utils.get_method(RANK)
    reward: np.ndarray = rank(
        str(job.cfg.align.reward), clips, told, seed=small_seed(job.cfg.seed, "learn"),
        steps=int(job.cfg.align.reward_steps), report=job.progress(doing),
    )  # fmt: skip
    return reward


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """What the metrics say of it."""
    row = {"answers": found["answers"], "preferences": found["preferences"]}
    for name in ("held_out", "learnt"):
        if name in found:
            row[f"{name}_accuracy"] = found[name]["mean"]
    return row
