"""What a reward must reach before it may drive reinforcement learning, and the verdict.

A gate is judged by the estimate. It is *decided* if the whole interval lies on the same side of the
threshold; with few clips it often is not, and the verdict says so. Pair accuracy needs a minimum
lower bound as well: too few clips for that count as not passed. `ADVISORY` gates reject only where
the interval shows the failure, and warn before that (`docs/audit.md` says why).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from embodied.statistics import Interval

ADVISORY = ("camera_drop", "ece")
"""Neither decides which episodes fine-tuning imitates: the camera of a run stands still, and the
threshold of success is chosen out of bag whatever the probabilities are called. Both estimates are
also biased upwards on a few dozen clips."""

WARNING = ("opposite",)
"""Rejects nothing: the job asks a reward about the task that it was trained for, and no other."""
WHERE_KNOWN = ("opposite",)
"""Left out where nothing was measured: of most tasks no opposite is known."""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Thresholds; the defaults are this project's proposal."""

    pair_accuracy: float = 0.75
    """At least so many (success, failure) pairs ranked rightly by final progress."""
    pair_accuracy_low: float = 0.70
    """And its interval not below this."""
    auroc: float = 0.90
    cycle_voc: float = 0.60
    frozen_slope: float = 0.02
    """At most so much progress per clip while nothing moves."""
    wrong_instruction: float = 0.80
    opposite: float = 0.25
    """Successes end at least so much higher than under an instruction that would undo them."""
    camera_drop: float = 0.10
    """At most so much lost, of VOC or pair accuracy, under a camera shift of 10 degrees."""
    ece: float = 0.08
    false_success: float = 0.05
    false_reject: float = 0.50
    """At most so many successes refused: a reward that accepts nothing makes no mistake either."""

    def judge(self, values: Mapping[str, Interval]) -> tuple["Outcome", ...]:
        """Every gate's outcome.

        Args:
            values: By the names of this class's thresholds; a missing one was not measured.
        """
        return tuple(
            _outcome(name, side, threshold, values.get(name), self._least_low(name))
            for name, (side, threshold) in self._thresholds().items()
            if name in values or name not in WHERE_KNOWN
        )

    def _thresholds(self) -> dict[str, tuple[Literal[">=", "<="], float]]:
        return {
            "pair_accuracy": (">=", self.pair_accuracy),
            "auroc": (">=", self.auroc),
            "cycle_voc": (">=", self.cycle_voc),
            "frozen_slope": ("<=", self.frozen_slope),
            "wrong_instruction": (">=", self.wrong_instruction),
            "opposite": (">=", self.opposite),
            "camera_drop": ("<=", self.camera_drop),
            "ece": ("<=", self.ece),
            "false_success": ("<=", self.false_success),
            "false_reject": ("<=", self.false_reject),
        }

    def _least_low(self, name: str) -> float | None:
        return self.pair_accuracy_low if name == "pair_accuracy" else None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one gate was judged."""

    name: str
    value: Interval | None
    """None where it was not measured."""
    comparison: Literal[">=", "<="]
    threshold: float
    least_low: float | None
    """What the interval's lower bound has to reach besides, if anything."""
    passed: bool
    decided: bool
    """Whether the interval agrees with the judgement; otherwise there are too few clips."""

    @property
    def label(self) -> str:
        """``pass`` or ``fail``, and whether that is shown."""
        if self.value is None:
            return "not measured"
        word = "fail" if not self.passed else "warning" if self.warned else "pass"
        return word if self.decided else f"{word}, not shown"

    @property
    def warned(self) -> bool:
        """Whether it passed although its estimate does not."""
        return (
            self.passed
            and self.value is not None
            and not _on_side(self.value.mean, self.comparison, self.threshold)
        )

    @property
    def needed(self) -> str:
        """The threshold as text."""
        besides = "" if self.least_low is None else f", interval from {self.least_low:g}"
        return f"{'at least' if self.comparison == '>=' else 'at most'} {self.threshold:g}{besides}"

    @property
    def title(self) -> str:
        """The gate's name for a reader."""
        return TITLES[self.name]

    @property
    def sentence(self) -> str:
        """Why the gate failed, or what could not be shown, in plain words."""
        if self.value is None:
            return UNMEASURED[self.name]
        estimate_passes = _on_side(self.value.mean, self.comparison, self.threshold)
        said = SENTENCES[self.name](self.value.mean, self.threshold)
        if not self.passed and estimate_passes:
            return (
                f"{said} Its interval reaches down to {self.value.low:.2f}, below "
                f"{self.least_low:.2f}: audit it on more clips."
            )
        if not self.decided:
            return f"{said} {self.value.n} clips are too few to be sure of it."
        return said

    def to_dict(self) -> dict[str, Any]:
        """Fields, and the sentence."""
        return {**asdict(self), "label": self.label, "sentence": self.sentence}


def _outcome(
    name: str,
    side: Literal[">=", "<="],
    threshold: float,
    value: Interval | None,
    least_low: float | None,
) -> Outcome:
    """Judge one value. One that was not measured does not stop a reward; it is not shown either."""
    if value is None or np.isnan(value.mean):
        passed, decided, value = True, False, None
    else:
        passed = _on_side(value.mean, side, threshold)
        worse, better = (value.low, value.high) if side == ">=" else (value.high, value.low)
        decided = _on_side(worse if passed else better, side, threshold) == passed
        decided &= not np.isnan(worse)
        if name in WARNING or (name in ADVISORY and not decided):
            passed = True
        if passed and least_low is not None and not value.low >= least_low:
            passed, decided = False, False
    return Outcome(
        name=name, value=value, comparison=side, threshold=threshold, least_low=least_low,
        passed=passed, decided=decided,
    )  # fmt: skip


def _on_side(value: float, side: Literal[">=", "<="], threshold: float) -> bool:
    return bool(value >= threshold if side == ">=" else value <= threshold)


TITLES: Mapping[str, str] = {
    "pair_accuracy": "pair accuracy",
    "auroc": "success AUROC",
    "cycle_voc": "Cycle-VOC",
    "frozen_slope": "frozen-frame slope",
    "wrong_instruction": "right instruction preferred",
    "opposite": "opposite instruction told apart",
    "camera_drop": "loss under a camera shift of 10°",
    "ece": "calibration error",
    "false_success": "false successes",
    "false_reject": "false rejections",
}

SENTENCES: Mapping[str, Callable[[float, float], str]] = {
    "pair_accuracy": lambda v, t: (
        f"It puts a success above a failure in {v:.0%} of pairs; {t:.0%} are needed."
    ),
    "auroc": lambda v, t: (
        "Its done probability separates successes from failures with an area of "
        f"{v:.2f}; {t:.2f} is needed and 0.50 is chance."
    ),
    "cycle_voc": lambda v, t: (
        f"Its progress follows the task being done and undone with a correlation of {v:.2f}; "
        f"{t:.2f} is needed."
    ),
    "frozen_slope": lambda v, t: (
        f"It reports a change of progress of {v:.3f} while the picture stands still; "
        f"at most {t:.3f} is allowed."
    ),
    "wrong_instruction": lambda v, t: (
        f"It prefers the right instruction to every wrong one in {v:.0%} of successes; "
        f"{t:.0%} are needed."
    ),
    "opposite": lambda v, t: (
        f"Successes end {v:.2f} lower under an instruction that would undo them; {t:.2f} is needed."
    ),
    "camera_drop": lambda v, t: (
        f"A camera shift of 10 degrees costs {v:.2f} of its ranking; at most {t:.2f} is allowed."
    ),
    "ece": lambda v, t: (
        f"Its success probability is off by {v:.2f} on average; at most {t:.2f} is allowed."
    ),
    "false_success": lambda v, t: (
        f"It accepts {v:.0%} of failures as successes; at most {t:.0%} are allowed."
    ),
    "false_reject": lambda v, t: (
        f"It does not accept {v:.0%} of successes; at most {t:.0%} are allowed."
    ),
}

UNMEASURED: Mapping[str, str] = {
    "wrong_instruction": "No other instruction was given, so it is unknown whether it reads them.",
    "camera_drop": "The clips hold no pictures, so a camera shift could not be tried.",
    **{
        name: f"The {TITLES[name]} could not be measured."
        for name in TITLES
        if name not in ("wrong_instruction", "camera_drop")
    },
}


def headline(outcomes: tuple[Outcome, ...]) -> str:
    """The verdict in one sentence; a gate that was not measured is not counted as passed."""
    measured = [outcome for outcome in outcomes if outcome.value is not None]
    failed = [outcome for outcome in measured if not outcome.passed]
    if failed:
        return (
            f"Do not train on this reward: it fails {len(failed)} of {len(measured)} gates "
            f"({', '.join(outcome.title for outcome in failed)})."
        )
    unsure = sum(not outcome.decided for outcome in measured)
    rest = f"; for {unsure} of them the clips are too few to be sure" if unsure else ""
    missing = len(outcomes) - len(measured)
    rest += f"; {missing} more could not be measured" if missing else ""
    warned = [outcome.title for outcome in measured if outcome.warned]
    if warned:
        return (
            f"This reward may be trained on: no gate rejects it, with a warning about "
            f"{' and '.join(warned)}{rest}."
        )
    return f"This reward may be trained on: it passes all {len(measured)} gates{rest}."
