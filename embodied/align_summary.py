"""`summary.json` of a run that aligned a policy: its results as data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embodied.align_answers import right
from embodied.align_asking import ROLLOUTS
from embodied.align_choice import taste
from embodied.align_learning import read_ranking
from embodied.align_liking import Rated, by_start, known_ratings, way_of
from embodied.dataset import EpisodeStore
from embodied.durable import write_atomically
from embodied.job import Job, build_encoder, load_policy
from embodied.metrics import METRICS_FILE, read_metrics
from embodied.policies.base import TakesTarget
from embodied.provenance import plain, provenance
from embodied.runs import SUMMARY_FILE
from embodied.statistics import mean_interval, voc, wilson

PARTS = ("before", "after")
CHECKED = (
    "implicit_accuracy", "winner_error", "loser_error", "reference_error", "kl_proxy",
    "effective_samples", "critic_loss", "alignment_loss", "success", "rolled_back", "step",
)  # fmt: skip
"""Of the last check of an update, where it measures them."""


def write_summary(job: Job) -> None:
    """Write the results of a finished run."""
    content = {
        **provenance(),
        "run": job.run_dir.name,
        "aligned_run": Path(job.cfg.run).name if job.cfg.run else None,
        "suite_and_task": [row for row in (job.cfg.env.get("task"),) if row],
        "seed": job.cfg.seed,
        "rater": job.cfg.align.rater,
        "reward": job.cfg.align.reward,
        "update": job.cfg.align["update"],
        "direction": read_ranking(job.run_dir).get("direction"),
        "told": _told(job),
        "rollouts": len(job.store(ROLLOUTS)),
        **{f"success_{part}": _success(job.store(f"evaluation_{part}")) for part in PARTS},
        "answers": _answers(job),
        "alignment": _last_check(job.run_dir),
        "way": _way(job) if job.cfg.align.way else None,
        "wall_seconds": job.state()["seconds"],
    }
    write_atomically(job.run_dir / SUMMARY_FILE, json.dumps(plain(content), indent=1).encode())


def _success(store: EpisodeStore) -> dict[str, Any]:
    told = [store.summary(i).success is True for i in range(len(store))]
    return wilson(sum(told), len(told)).to_dict()


def _answers(job: Job) -> dict[str, Any]:
    """How many, whose, and how well the reward predicts those that it has not learnt from.

    And how many roll-outs were called bad, so that they are not imitated.
    """
    found = read_ranking(job.run_dir)
    kept = {key: found[key] for key in ("answers", "preferences", "raters", "followed", "held_out",
                                      "learnt") if key in found}  # fmt: skip
    return kept | {"bad": len(found.get("bad", []))}


def _told(job: Job) -> dict[str, Any] | None:
    """What the policy can be told of, and what it acts towards; None if it takes no target."""
    if job.cfg.align["update"] != "conditioned":
        return None
    policy = load_policy(job.run_dir, "policy", build_encoder(job.cfg))
    if not isinstance(policy, TakesTarget):
        return None
    target = {name: round(strength, 6) for name, strength in policy.target.items()}
    return {"attributes": list(policy.attributes), "target": target}


def _last_check(run_dir: Path) -> dict[str, Any]:
    rows = [row for row in read_metrics(run_dir / METRICS_FILE) if row.get("stage") == "align"]
    return {key: rows[-1][key] for key in CHECKED if rows and key in rows[-1]}


def _way(job: Job) -> dict[str, Any]:
    """Liking and metric before and after, their difference by start, and the ranking in truth.

    In truth for the person whose taste is followed, who may like the opposite of the way.
    """
    way, seed, liked = way_of(job.cfg), int(job.cfg.seed), taste(job.cfg) > 0
    parts = [f"evaluation_{part}" for part in PARTS]
    sides = [_by(liked, by_start(job.store(part), job.run_dir, part)) for part in parts]
    starts = sorted(sides[0].keys() & sides[1].keys())
    rolled = _by(liked, known_ratings(job.run_dir, ROLLOUTS))
    other = {"higher": "lower", "lower": "higher"}[way.better]
    found: dict[str, Any] = {
        "name": way.name, "text": way.text if liked else f"the opposite of: {way.text}",
        "unit": way.unit, "better": way.better if liked else other,
        "compared_starts": len(starts),
    }  # fmt: skip
    spread = float(np.std([rating.liking for rating in rolled.values()]))
    for name in ("liking", "metric"):
        before, after = ([getattr(side[s], name) for s in starts] for side in sides)
        change = [b - a for a, b in zip(before, after, strict=True)]
        for when, values in (("before", before), ("after", after), ("change", change)):
            found[f"{name}_{when}"] = mean_interval(values, seed=seed).to_dict()
    change = found["liking_change"]
    found["liking_gain"] = {k: v if k == "n" else v / max(spread, 1e-9) for k, v in change.items()}
    return found | _in_truth(read_ranking(job.run_dir), rolled)


def _by[Key](liked: bool, ratings: Mapping[Key, Rated]) -> dict[Key, Rated]:
    """As somebody likes them who likes the way, or its opposite."""
    return {k: r if liked else replace(r, liking=-r.liking) for k, r in ratings.items()}


def _in_truth(ranking: Mapping[str, Any], ratings: Mapping[str, Rated]) -> dict[str, Any]:
    """Of what was learnt from, how much is so: known of a simulated person alone."""
    liking = [ratings[name].liking for name in ranking["rollouts"]]
    found: dict[str, Any] = {}
    for key, pairs in (("ranked_right", ranking["ranked"]), ("answered_right", ranking["told"])):
        unequal = [(i, j) for i, j in pairs if liking[i] != liking[j]]
        found[key] = _share(right(liking, unequal))
    if ranking["reward"] is not None:
        found["reward_rank_correlation"] = voc(np.array(ranking["reward"]), np.array(liking))
    return found


def _share(told: Sequence[bool]) -> dict[str, Any]:
    return wilson(sum(told), len(told)).to_dict()
