"""Numbers of the dashboard, all computed from the label log."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from embodied.first_checks import HUMAN
from embodied.preferences.agreement import (
    alpha_interval,
    gold_accuracy,
    proposal_agreement,
    self_consistency,
    side_bias,
)
from embodied.preferences.answers import Answer
from embodied.preferences.labels import standing
from embodied.preferences.records import UNDONE
from embodied.preferences.store import PreferenceStore
from embodied.preferences.tables import LABEL, REWARD_VERSION
from embodied.statistics import wilson

HOUR_S = 3600
HOURS = 7 * 24
"""Whose answers are drawn."""
DOUBTED = 12
"""Clips that are listed as those which the model doubts most."""


def news(store: PreferenceStore, rater_id: int) -> dict[str, Any]:
    """What the page asks for every few seconds: the rater's labels, and the newest model.

    Labels are those that stand: an undo is a row, and takes another one away.
    """
    worth = sa.case((LABEL.c.choice == UNDONE, -1), else_=1)
    count = sa.select(sa.func.coalesce(sa.func.sum(worth), 0)).where(LABEL.c.rater_id == rater_id)
    last = sa.select(REWARD_VERSION).order_by(REWARD_VERSION.c.version.desc()).limit(1)
    with store.database.reading() as connection:
        labels = connection.execute(count).scalar_one()
        versions = [row._asdict() for row in connection.execute(last)]
    return {
        "labels": int(labels),
        "model": versions[0] if versions else None,
        "improved": improved(versions[0]) if versions else None,
    }


def improved(version: Mapping[str, Any]) -> bool | None:
    """Whether a version is better than the one before, on the same answers; None: nothing to say.

    Of a share of few answers that is no proof; the interval stands beside it.
    """
    now, before = version["accuracy"], version["accuracy_before"]
    return None if now is None or before is None else bool(now > before)


def dashboard(store: PreferenceStore, served: Collection[int]) -> dict[str, Any]:
    """Everything on the dashboard; numbers that nothing is known of are None.

    What is said of answers is said of people's. A scripted rater, whose answers may be assumed
    ones, has a row among the raters, and is counted in ``scripted``.

    Args:
        store: What was answered and learnt.
        served: Clips whose films can be shown; the model may have scored another dataset's.
    """
    rows = store.labels()
    kept = standing(rows)
    labels = [label for label in kept if label["rater_kind"] == HUMAN]
    shown = [row for row in store.clip_scores() if row["clip_id"] in served]
    scores = sorted(shown, key=lambda row: -row["uncertainty"])
    alpha = alpha_interval(labels)
    found = {
        "labels": len(labels),
        "scripted": len(kept) - len(labels),
        "undone": sum(row["choice"] == UNDONE and row["rater_kind"] == HUMAN for row in rows),
        "answers": dict(Counter(label["choice"] for label in labels)),
        "asked_because": _asked_because(labels),
        "per_hour": _per_hour(labels),
        "alpha": None if alpha is None else alpha.to_dict(),
        "consistency": self_consistency(labels).to_dict(),
        "gold": gold_accuracy(labels).to_dict(),
        "raters": _raters(kept),
        "doubted": [{k: r[k] for k in ("clip_id", "uncertainty")} for r in scores][:DOUBTED],
        "versions": store.reward_versions(),
        "proposals": _proposed(labels, store.proposals()),
    }
    return {name: _finite(value) for name, value in found.items()}


def _asked_because(labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Answers to each kind of query, and the shares that say nothing: bad queries have many."""
    choices: dict[str, list[str]] = {}
    for label in labels:
        choices.setdefault(label["acquisition"], []).append(label["choice"])
    return [
        {
            "acquisition": kind,
            "answers": len(given),
            "cant_tell": wilson(given.count(Answer.CANT_TELL), len(given)).to_dict(),
            "skip": wilson(given.count(Answer.SKIP), len(given)).to_dict(),
        }
        for kind, given in sorted(choices.items(), key=lambda item: -len(item[1]))
    ]


def _raters(labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Each rater, people first, and in the order in which they signed in."""
    own: dict[tuple[bool, int], list[Any]] = {}
    for label in labels:
        own.setdefault((label["rater_kind"] != HUMAN, label["rater_id"]), []).append(label)
    return [_rater(own[key]) for key in sorted(own)]


def _rater(labels: Sequence[Any]) -> dict[str, Any]:
    times = sorted(label["response_ms"] for label in labels if label["response_ms"] is not None)
    return {
        "rater": labels[0]["rater"],
        "kind": labels[0]["rater_kind"],
        "labels": len(labels),
        "median_s": times[len(times) // 2] / 1000 if times else None,
        "consistency": self_consistency(labels).to_dict(),
        "gold": gold_accuracy(labels).to_dict(),
        "side": side_bias(labels),
    }


def _proposed(labels: Sequence[Any], proposals: Sequence[Any]) -> list[dict[str, Any]]:
    """How many proposals each model made, and how often people who answered agree."""
    made = Counter(row["source"] for row in proposals)
    return [
        {"source": source, "proposals": made[source], "agreement": agreement.to_dict()}
        for source, agreement in proposal_agreement(labels, proposals).items()
    ]


def _per_hour(labels: Sequence[Any]) -> list[dict[str, int]]:
    """Answers in each hour from the first to the last answer, of the last `HOURS` at most."""
    answers = Counter(int(label["utc_s"] // HOUR_S) for label in labels)
    if not answers:
        return []
    last = max(answers)
    hours = range(max(min(answers), last - HOURS + 1), last + 1)
    return [{"utc_s": hour * HOUR_S, "answers": answers[hour]} for hour in hours]


def _finite(value: Any) -> Any:
    """NaN, which JSON does not have, becomes None."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
