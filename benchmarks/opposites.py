"""Whether a reward that is taught what would undo its task tells doing from undoing.

The reward of a recorded run is trained as the job trains it: with the instructions of other tasks
alone to refuse, with sentences that would undo its own task besides, and with its own task in other
words on top; for several seeds. All are audited on the run's held-out clips, and asked under
sentences that none of them ever saw: some that would undo the task, and some that say the same in
yet other words.

    python benchmarks/opposites.py --run runs/drawer-0
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from embodied.audit import AuditResult, audit
from embodied.audit_evidence import score_all
from embodied.audit_metrics import final_progress
from embodied.config import instantiate, load_config
from embodied.job import build_cached_encoder, build_reward, other_instructions, read_part
from embodied.opposites import reserved, taught
from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.base import RewardModel
from embodied.rewarding import with_features
from embodied.seeding import small_seed
from embodied.statistics import mean_interval
from embodied.types import Clip, clip_of

UNDOING = {
    "open the drawer": (
        "push the drawer closed",
        "push the drawer back in",
        "put the drawer back into the cabinet",
        "return the drawer to its closed position",
        "lock the drawer",
        "do not open the drawer",
    ),
    "open the door": (
        "push the door closed",
        "swing the door shut",
        "bring the door back to its frame",
        "lock the door",
        "do not open the door",
    ),
}
"""Written by hand, apart from what `embodied.opposites` makes; most verbs are on no list of it."""
SAYING_IT_OTHERWISE = {
    "open the drawer": (
        "draw the drawer out of the cabinet",
        "pull the drawer open",
        "pull out the drawer",
        "slide the drawer open",
        "open the cabinet's drawer",
    ),
    "open the door": ("swing the door wide", "pull the door open", "open up the door"),
}
TAUGHT_WORDS = {
    "open the drawer": (
        "get the drawer open",
        "open up the drawer",
        "the drawer should be open",
        "please open the drawer",
    ),
    "open the door": ("get the door open", "the door should be open", "please open the door"),
}
"""The task in other words, as a user would give them; none of those that are asked."""
ARMS = ("other tasks alone", "and what would undo it", "and other words")
NUMBERS = (
    "camera_drop", "pair_accuracy", "auroc", "cycle_voc", "frozen_slope", "wrong_instruction",
    "ece", "false_success", "false_reject", "voc",
)  # fmt: skip
LOWER_IS_BETTER = ("camera_drop", "frozen_slope", "ece", "false_success", "false_reject")
SLACK = 0.02
"""So much worse, in the mean over the seeds, does not count as worse."""


def main() -> None:
    """Train and judge both, seed by seed; print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/benchmark/unsorted-0"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    asked = parser.parse_args()
    cfg = load_config(asked.run)
    clips = {part: read(cfg, asked.run, part) for part in ("demos", "failures", "held_out")}
    rows: list[dict[str, Any]] = []
    for seed in asked.seeds:
        for arm in ARMS:
            rows.append(judge(cfg, clips, seed, arm))
            print(rows[-1], flush=True)
    print(table(rows))
    print(benchmark_result("opposites", rows, claims(rows)))


def read(cfg: DictConfig, run: Path, part: str) -> list[tuple[Clip, bool]]:
    """Clips with features, and whether each succeeded."""
    most = {"demos": cfg.demos.reward, "failures": cfg.demos.failures}.get(part)
    encoder = build_cached_encoder(cfg)
    episodes = [with_features(episode, encoder) for episode in read_part(cfg, run, part, most)]
    return [(clip_of(episode), bool(episode.success)) for episode in episodes]


def judge(
    cfg: DictConfig, clips: dict[str, list[tuple[Clip, bool]]], seed: int, arm: str
) -> dict[str, Any]:
    """Train one reward, and ask it everything."""
    good = [clip for clip, done in clips["held_out"] if done]
    bad = [clip for clip, done in clips["held_out"] if not done]
    own, others = good[0].instruction, other_instructions(cfg)
    reward, encoder = build_reward(cfg), build_cached_encoder(cfg)
    if arm == ARMS[2]:
        reward.paraphrases = TAUGHT_WORDS[own]
    reward.fit(
        [clip for clip, _ in clips["demos"]],
        [clip for clip, _ in clips["failures"]],
        distractor_instructions=others if arm == ARMS[0] else taught([own], others),
        seed=small_seed(seed, "reward"),
    )
    result = audit(
        reward, good, bad, encoder=encoder, other_instructions=others, fps=20.0,
        seed=small_seed(seed, "audit"), gates=instantiate(cfg.audit),
    )  # fmt: skip
    undoing = (*UNDOING[own], *reserved([own]))
    return {
        "seed": seed,
        "arm": arm,
        "own": float(np.mean([final_progress(s) for s in result.evidence.successes])),
        "undoing": lower(reward, good, result, undoing),
        "said_otherwise": lower(reward, good, result, SAYING_IT_OTHERWISE[own]),
        "undone_accepted": accepted(reward, good, undoing),
        "otherwise_accepted": accepted(reward, good, SAYING_IT_OTHERWISE[own]),
        **{name: value.mean for name, value in result.metrics.items() if name in NUMBERS},
        "camera_drop": next(r.drop.mean for r in result.robustness if r.name == "camera_10"),
    }


def lower(
    reward: RewardModel, clips: Sequence[Clip], result: AuditResult, texts: Sequence[str]
) -> dict[str, float]:
    """How much lower successes end under each text than under their own, mean over clips."""
    ends = [final_progress(scores) for scores in result.evidence.successes]
    return {
        text: float(np.mean(np.subtract(ends, [final_progress(s) for s in under])))
        for text in texts
        for under in [score_all(reward, [replace(clip, instruction=text) for clip in clips])]
    }


def accepted(reward: RewardModel, clips: Sequence[Clip], texts: Sequence[str]) -> float:
    """Share of successes that count as such under these texts, mean over the texts."""
    asked = [replace(clip, instruction=text) for text in texts for clip in clips]
    return float(np.mean([scores.success for scores in score_all(reward, asked)]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the seeds, with the least and the most, as Markdown."""
    head = f"| {' | '.join(ARMS)} |"
    rule = "|---" * (len(ARMS) + 1) + "|"
    lines = [f"| successes end lower by {head}", rule]
    for kind in ("undoing", "said_otherwise"):
        for text in rows[0][kind]:
            values = [{**row, "value": row[kind][text]} for row in rows]
            lines.append(f"| “{text}” | {told(values, 'value')} |")
    lines += ["", f"| number {head}", rule]
    for name in ("own", "undone_accepted", "otherwise_accepted", *NUMBERS):
        lines.append(f"| {name} | {told(rows, name)} |")
    return "\n".join(lines)


def told(rows: Sequence[dict[str, Any]], name: str) -> str:
    """A cell for each arm: mean over the seeds, least and most."""
    cells = []
    for arm in ARMS:
        values = [row[name] for row in rows if row["arm"] == arm]
        cells.append(f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    return " | ".join(cells)


def claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """That the unseen sentences are told apart, and nothing else gets worse."""
    before, after, worded = ([row for row in rows if row["arm"] == arm] for arm in ARMS)
    margins = [np.mean([*row["undoing"].values()]) for row in after]
    worse = {
        name: (1 if name in LOWER_IS_BETTER else -1)
        * float(np.mean([row[name] for row in after]) - np.mean([row[name] for row in before]))
        for name in NUMBERS
    }
    least = [min(row["undoing"].values()) for row in after]
    gains, leaks = (
        mean_interval(
            [mixed[key] - plain[key] for mixed, plain in zip(worded, after, strict=True)], seed=0
        )
        for key in ("otherwise_accepted", "undone_accepted")
    )
    hardest = max(worse, key=lambda name: worse[name])
    return [
        Claim(
            claim="successes end lower under sentences that would undo the task and were never "
            "taught, mean over the sentences (mean, least and most of the seeds)",
            target=0.5, measured=float(np.mean(margins)), low=min(margins), high=max(margins),
            whole_interval=True,
        ),
        Claim(
            claim="the same for the hardest of these sentences",
            target=0.25, measured=float(np.mean(least)), low=min(least), high=max(least),
            whole_interval=True,
        ),
        Claim(
            claim=f"the number of the card that got worse most ({hardest}), by how much",
            target=SLACK, measured=worse[hardest], comparison="<=",
        ),
        Claim(
            claim="successes accepted under other words that were never taught, with mixing minus "
            "without mixing",
            target=0.0, measured=gains.mean, low=gains.low, high=gains.high, whole_interval=True,
        ),
        Claim(
            claim="the same under sentences that would undo the task",
            target=0.02, measured=leaks.mean, low=leaks.low, high=leaks.high, comparison="<=",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
