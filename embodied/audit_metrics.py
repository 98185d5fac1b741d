"""The audit's numbers, defined in `docs/audit.md`, each with its interval over clips."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from embodied.audit_evidence import Evidence
from embodied.audit_perturbations import tent
from embodied.epic import goal_distance_interval
from embodied.reward_models.base import Scores
from embodied.statistics import (
    Interval,
    auprc,
    auroc_interval,
    brier,
    cluster_bootstrap,
    expected_calibration_error,
    harmonic_mean,
    mean_interval,
    voc,
    wilson,
)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a number is called and means."""

    title: str
    better: Literal["higher", "lower", "neither"]
    meaning: str


DEFINITIONS: Mapping[str, Definition] = {
    "voc": Definition(
        title="VOC, forward", better="higher",
        meaning="rank correlation of progress and time on successes; a clock scores 1",
    ),
    "vroc": Definition(
        title="VROC, reversed", better="higher",
        meaning="the same on successes played backwards, against the true order: 1 if progress "
        "falls as the clip plays, -1 for a clock",
    ),
    "voc_f1": Definition(
        title="VOC-F1", better="higher",
        meaning="harmonic mean of the two, negative ones counting as 0",
    ),
    "cycle_voc": Definition(
        title="Cycle-VOC", better="higher",
        meaning="rank correlation with the true up and down on a success that is then undone",
    ),
    "pair_accuracy": Definition(
        title="pair accuracy, final progress", better="higher",
        meaning="share of (success, failure) pairs in which the success ends higher; ties are half",
    ),
    "pair_accuracy_mean": Definition(
        title="pair accuracy, mean progress", better="higher",
        meaning="the same by the clip's mean progress",
    ),
    "pair_accuracy_return": Definition(
        title="pair accuracy, return", better="higher",
        meaning="the same by the sum of rewards, which is what a learner maximises",
    ),
    "auroc": Definition(
        title="success AUROC", better="higher",
        meaning="separation of successes and failures by the highest done probability that holds "
        "for two frames",
    ),
    "auprc": Definition(
        title="success AUPRC", better="higher", meaning="average precision of the same probability",
    ),
    "false_success": Definition(
        title="false successes", better="lower",
        meaning="share of failures that the model accepts",
    ),
    "false_reject": Definition(
        title="false rejections", better="lower",
        meaning="share of successes that the model does not accept",
    ),
    "ece": Definition(
        title="calibration error (ECE)", better="lower",
        meaning="distance between the stated and the observed share of successes",
    ),
    "brier": Definition(
        title="Brier score", better="lower",
        meaning="squared error of the success probability; 0.25 is a coin",
    ),
    "epic": Definition(
        title="EPIC distance from the outcome", better="lower",
        meaning="distance of the progress, in first and last frames, from 1 where the task is done "
        "and 0 elsewhere; 0.71 is unrelated, 1 the opposite",
    ),
    "frozen_slope": Definition(
        title="frozen-frame slope", better="lower",
        meaning="progress per clip, up or down, while one frame is held",
    ),
    "wrong_instruction": Definition(
        title="right instruction preferred", better="higher",
        meaning="share of successes that end higher under their own instruction than under any "
        "other",
    ),
    "final_success": Definition(
        title="final progress of successes", better="neither", meaning="mean over clips",
    ),
    "final_failure": Definition(
        title="final progress of failures", better="neither", meaning="mean over clips",
    ),
    "return_success": Definition(
        title="return of successes", better="neither", meaning="mean sum of rewards",
    ),
    "return_undone": Definition(
        title="return of doing and undoing", better="neither",
        meaning="mean sum of rewards of a success that is then undone; should not exceed 0",
    ),
}  # fmt: skip


def measure(evidence: Evidence, *, seed: int) -> dict[str, Interval]:
    """Every number of `DEFINITIONS`, in its order."""
    good, bad = evidence.successes, evidence.failures
    found = {
        **_order(evidence, seed),
        "pair_accuracy": auroc_interval(*_both(final_progress, good, bad), seed=seed),
        "pair_accuracy_mean": auroc_interval(*_both(mean_progress, good, bad), seed=seed),
        "pair_accuracy_return": auroc_interval(*_both(total_reward, good, bad), seed=seed),
        **_decisions(good, bad, seed),
        "epic": goal_distance_interval(
            [as_float(s) for s in good], [as_float(s) for s in bad], seed=seed
        ),
        "frozen_slope": mean_interval(
            [float(np.mean([abs(slope(s)) for s in held])) for held in evidence.frozen], seed=seed
        ),
        "wrong_instruction": _preferred(evidence),
        "final_success": mean_interval([final_progress(s) for s in good], seed=seed),
        "final_failure": mean_interval([final_progress(s) for s in bad], seed=seed),
        "return_success": mean_interval([total_reward(s) for s in good], seed=seed),
        "return_undone": mean_interval([total_reward(s) for s in evidence.undone], seed=seed),
    }
    return {name: found[name] for name in DEFINITIONS}


def _order(evidence: Evidence, seed: int) -> dict[str, Interval]:
    forward = [voc(as_float(s)) for s in evidence.successes]
    # Against the true order of the frames, which runs down as the clip plays.
    backward = [-voc(as_float(s)) for s in evidence.reversed]
    cycle = [voc(as_float(s), tent(len(s.progress))) for s in evidence.undone]
    return {
        "voc": mean_interval(forward, seed=seed),
        "vroc": mean_interval(backward, seed=seed),
        "voc_f1": cluster_bootstrap(
            lambda pairs: harmonic_mean(*np.mean(pairs, axis=0).tolist()),
            list(zip(forward, backward, strict=True)),
            seed=seed,
        ),
        "cycle_voc": mean_interval(cycle, seed=seed),
    }


def _decisions(good: Sequence[Scores], bad: Sequence[Scores], seed: int) -> dict[str, Interval]:
    stated = _both(success_probability, good, bad)

    def calibration(p: Sequence[float], n: Sequence[float]) -> float:
        return expected_calibration_error(*_with_truth(p, n))

    return {
        "auroc": auroc_interval(*stated, seed=seed),
        "auprc": cluster_bootstrap(
            lambda p, n: auprc(np.asarray(p, float), np.asarray(n, float)), *stated, seed=seed
        ),
        "false_success": wilson(sum(s.success for s in bad), len(bad)),
        "false_reject": wilson(sum(not s.success for s in good), len(good)),
        "ece": cluster_bootstrap(calibration, *stated, seed=seed),
        "brier": cluster_bootstrap(
            lambda p, n: brier(*_with_truth(p, n)), *stated, seed=seed
        ),
    }  # fmt: skip


def _with_truth(
    positives: Sequence[float], negatives: Sequence[float]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    truth = np.array([True] * len(positives) + [False] * len(negatives))
    return np.array([*positives, *negatives], float), truth


def _both(
    statistic: Callable[[Scores], float], good: Sequence[Scores], bad: Sequence[Scores]
) -> tuple[list[float], list[float]]:
    return [statistic(s) for s in good], [statistic(s) for s in bad]


def _preferred(evidence: Evidence) -> Interval:
    """Successes that beat every other instruction, of those that were shown one."""
    margins = [clip_margins(evidence, i) for i in range(len(evidence.successes))]
    asked = [margin for margin in margins if margin]
    return wilson(sum(min(margin) > 0 for margin in asked), len(asked))


def clip_margins(evidence: Evidence, clip: int) -> list[float]:
    """Final progress of one success under its own instruction, minus that under each other."""
    own = final_progress(evidence.successes[clip])
    others = (scores[clip] for scores in evidence.wrong.values())
    return [own - final_progress(other) for other in others if other is not None]


def instruction_margins(evidence: Evidence, *, seed: int) -> dict[str, Interval]:
    """Per other instruction: how much higher successes end under their own."""
    margins = {}
    for instruction, scores in evidence.asked.items():
        found = [
            final_progress(own) - final_progress(other)
            for own, other in zip(evidence.successes, scores, strict=True)
            if other is not None
        ]
        if found:
            margins[instruction] = mean_interval(found, seed=seed)
    return margins


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What successes of several tasks are said to have reached under several instructions."""

    own: tuple[str, ...]
    asked: tuple[str, ...]
    """The tasks' own instructions first."""
    progress: Float[np.ndarray, "own asked"]
    """Mean final progress; NaN where a task was not asked about."""


def confusion(evidence: Evidence, instructions: Sequence[str]) -> Confusion:
    """Mean final progress of each task's successes under each instruction.

    Args:
        evidence: What the model said.
        instructions: Of each success.
    """
    own = tuple(dict.fromkeys(instructions))
    asked = (*own, *(text for text in evidence.asked if text not in own))
    progress = np.full((len(own), len(asked)), np.nan)
    for row, task in enumerate(own):
        clips = [i for i, text in enumerate(instructions) if text == task]
        for column, text in enumerate(asked):
            said = evidence.successes if text == task else evidence.asked.get(text, ())
            ends = [final_progress(s) for i in clips if said and (s := said[i]) is not None]
            if ends:
                progress[row, column] = np.mean(ends)
    return Confusion(own=own, asked=asked, progress=progress)


def as_float(scores: Scores) -> Float[np.ndarray, " time"]:
    """Progress in double precision."""
    return scores.progress.astype(float)


def final_progress(scores: Scores) -> float:
    """Progress at the last frame."""
    return float(scores.progress[-1])


def mean_progress(scores: Scores) -> float:
    """Mean progress over the clip."""
    return float(scores.progress.mean())


def total_reward(scores: Scores) -> float:
    """Sum of rewards, undiscounted."""
    return float(scores.reward.sum())


def success_probability(scores: Scores) -> float:
    """The highest done probability that holds for two frames; a flicker is no success."""
    held = np.minimum(scores.done[1:], scores.done[:-1])
    return float(held.max()) if len(held) else float(scores.done[0])


def slope(scores: Scores) -> float:
    """Least-squares change of progress over the whole clip."""
    if len(scores.progress) < 2:
        return 0.0
    return float(np.polyfit(np.linspace(0, 1, len(scores.progress)), scores.progress, 1)[0])
