"""Numbers of the dashboard, all computed from the label log."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from embodied.preferences.agreement import (
    alpha_interval,
    gold_accuracy,
    proposal_agreement,
    self_consistency,
    side_bias,
)
from embodied.preferences.labels import standing
from embodied.preferences.records import UNDONE
from embodied.preferences.store import PreferenceStore
from embodied.preferences.tables import LABEL, REWARD_VERSION

HOUR_S = 3600
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


def dashboard(store: PreferenceStore) -> dict[str, Any]:
    """Everything on the dashboard; numbers that nothing is known of are None."""
    rows = store.labels()
    labels = standing(rows)
    people = {label["rater_id"]: label["rater"] for label in labels}
    scores = sorted(store.clip_scores(), key=lambda row: -row["uncertainty"])
    alpha = alpha_interval(labels)
    found = {
        "labels": len(labels),
        "undone": len(rows) - len(labels),
        "answers": dict(Counter(label["choice"] for label in labels)),
        "asked_because": dict(Counter(label["acquisition"] for label in labels)),
        "per_hour": _per_hour(labels),
        "alpha": None if alpha is None else alpha.to_dict(),
        "consistency": self_consistency(labels).to_dict(),
        "gold": gold_accuracy(labels).to_dict(),
        "raters": [
            _rater(name, [label for label in labels if label["rater_id"] == number])
            for number, name in sorted(people.items())
        ],
        "doubted": [{k: r[k] for k in ("clip_id", "value", "uncertainty")} for r in scores][
            :DOUBTED
        ],
        "versions": store.reward_versions(),
        "proposals": _proposed(labels, store.proposals()),
    }
    return {name: _finite(value) for name, value in found.items()}


def _rater(name: str, labels: Sequence[Any]) -> dict[str, Any]:
    times = sorted(label["response_ms"] for label in labels if label["response_ms"] is not None)
    return {
        "rater": name,
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
    """Answers in each hour that had some."""
    hours = Counter(int(label["utc_s"] // HOUR_S) for label in labels)
    return [{"utc_s": hour * HOUR_S, "answers": hours[hour]} for hour in sorted(hours)]


def _finite(value: Any) -> Any:
    """NaN, which JSON does not have, becomes None."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
