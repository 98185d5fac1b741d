"""The stage `learn`: the answers become a ranking of the roll-outs of each start."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np

from embodied.align_answers import answers_by, preferred, rater_of, right
from embodied.align_asking import ROLLOUTS, open_asking
from embodied.align_attributes import rank_by_direction
from embodied.align_choice import ATTRIBUTES, PERSONAL, followed_in
from embodied.display import Status
from embodied.durable import write_atomically
from embodied.errors import BadInput
from embodied.job import Job, build_cached_encoder, read_part
from embodied.preferences.comparing import Compared
from embodied.preferences.embedding import components, extremes
from embodied.preferences.export import write_exports
from embodied.provenance import plain
from embodied.rewarding import with_features
from embodied.seeding import small_seed
from embodied.statistics import wilson

RANK = "embodied.reward_models.answer_ranking.rank"
RANK_FOR = "embodied.reward_models.personal_ranking.rank_for"
RANKING = "ranking.json"
FRAMES_PER_S = 10.0
"""That a reward sees of a roll-out, and that chunks are paired at; at most."""
CLIP_COMPONENTS = 48
"""Of a whole roll-out's embedding, for PAL and VPL; as `benchmarks/raters.py` has it."""

type Learner = Callable[[Compared, str], np.ndarray]
"""From answers, and a sentence for the display, to a score of each roll-out."""


def learn(job: Job) -> None:
    """Learn a reward from the answers, test it on answers that it has not seen, rank all pairs.

    Raises:
        BadInput: if no answer prefers one of two roll-outs of one start, or one person answered
            where several are needed.
        UnknownName: if the person whose taste is followed did not answer.
    """
    if job.cfg.align.reward == ATTRIBUTES:
        _write(job, rank_by_direction(job))
        return
    cfg, followed = job.cfg, followed_in(job.cfg)
    with open_asking(job) as asking:
        rolled = asking.rolled
        answers, bad = asking.answers(), asking.bad(followed)
        service = asking.service
        write_exports(service.store, service.clips, job.run_dir / "labels", service.kinds)
    told = preferred(answers_by(answers, followed))
    if followed is not None:
        followed = answers.raters[rater_of(answers, followed)]
    found: dict[str, Any] = {
        "answers": len(answers), "preferences": len(told), "raters": list(answers.raters),
        "followed": followed, "bad": bad,
    }  # fmt: skip
    reward, ranked = None, told
    if cfg.align.reward != "none":
        job.display.show(Status(stage="learn", doing="Encoding the roll-outs."))
        rank = _personal(job, answers) if cfg.align.reward in PERSONAL else _shared(job)
        reward = rank(answers, "Learning from all answers.")
        ranked = rolled.ranked(reward)
        held_out = _held_out(job, rank, answers)
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


def _held_out(job: Job, rank: Learner, answers: Compared) -> list[bool]:
    """Whether each answer is predicted by a reward that has learnt from other pairs alone.

    Of the person whose taste is followed, if somebody's is.
    """
    told = preferred(answers_by(answers, followed_in(job.cfg)))
    pairs = sorted({(min(pair), max(pair)) for pair in told})
    folds = min(int(job.cfg.align.folds), len(pairs))
    if folds < 2:
        return []
    order = np.random.default_rng(small_seed(job.cfg.seed, "folds")).permutation(len(pairs))
    asked = zip(answers.first.tolist(), answers.second.tolist(), strict=True)
    about = [(min(pair), max(pair)) for pair in asked]
    found = []
    for fold in range(folds):
        kept = {pairs[number] for number in order[fold::folds]}
        seen = answers.take(np.array([pair not in kept for pair in about], bool))
        try:
            reward = rank(seen, f"Testing on other answers, {fold + 1} of {folds}.")
        except BadInput:  # what is left without this part does not do to learn from
            continue
        found += right(reward, [pair for pair in told if (min(pair), max(pair)) in kept])
    return found


def _shared(job: Job) -> Learner:
    """RAPL or RLHF: from the answers of the person who is followed, or of everybody alike."""
    clips = _clips(job)

    def rank(seen: Compared, doing: str) -> np.ndarray:
        reward: np.ndarray = hydra.utils.get_method(RANK)(
            str(job.cfg.align.reward), clips, preferred(answers_by(seen, followed_in(job.cfg))),
            seed=small_seed(job.cfg.seed, "learn"), steps=int(job.cfg.align.reward_steps),
            report=job.progress(doing),
        )  # fmt: skip
        return reward

    return rank


def _personal(job: Job, answers: Compared) -> Learner:
    """PAL or VPL: from everybody's answers, for the person who is followed.

    Raises:
        BadInput: if nobody else answered.
    """
    name, person = str(job.cfg.align.reward), rater_of(answers, str(job.cfg.align.follow))
    followed = answers.raters[person]
    if len({*answers.rater.tolist()}) < 2:
        raise BadInput(
            f"align.reward={name} learns what tastes people have from several of them, and "
            f"{followed} alone answered. Let others answer in a new run, each under a name of "
            f"their own; or learn from {followed} alone: `embodied resume {job.run_dir} "
            "align.reward=rlhf`."
        )
    clips = components(np.stack([extremes(maps) for maps in _clips(job)]), CLIP_COMPONENTS)

    def rank(seen: Compared, doing: str) -> np.ndarray:
        job.progress(doing)(0.0)
        reward: np.ndarray = hydra.utils.get_method(RANK_FOR)(
            name, clips, **seen.numbers(), person=person, seed=small_seed(job.cfg.seed, "learn")
        )
        return reward

    return rank


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """What the metrics say of it."""
    row = {"answers": found["answers"], "preferences": found["preferences"]}
    for name in ("held_out", "learnt"):
        if name in found:
            row[f"{name}_accuracy"] = found[name]["mean"]
    return row
