"""`report.html`: what a run did, in one file that needs nothing else. See `docs/report.md`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from embodied import html, report_figures
from embodied.dataset import EpisodeStore
from embodied.durable import write_atomically
from embodied.html import Html
from embodied.report_monitor import liked_clips
from embodied.report_operator import interventions
from embodied.report_origin import origin
from embodied.run_record import OnlineEpisode, RunRecord, read_run
from embodied.statistics import auroc_interval, wilson

REPORT_FILE = "report.html"
PAIRS = 3
"""Pairs of videos, before and after."""


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run, finished or not, and return its path.

    Raises:
        CorruptFile: if a file of the run cannot be read.
    """
    record = read_run(run_dir)
    parts = (
        _success, _videos, _reward_against_truth, _progress, liked_clips, _verdict, interventions
    )  # fmt: skip
    return write_page(record, headline(record), _tiles(record), [part(record) for part in parts])


def write_page(
    record: RunRecord, sentence: str, tiles: Iterable[tuple[str, str]], parts: Iterable[Html]
) -> Path:
    """Write ``report.html``: the result, these parts, where the time went, where it comes from."""
    run_dir = record.run_dir
    page = html.page(
        f"{record.task}: {run_dir.name}",
        html.element("h1", sentence),
        html.element("p", f"Run {run_dir.name}, task {record.task}.", class_="note"),
        html.tiles(tiles),
        *parts,
        timings(record),
        origin(record),
    )
    path = run_dir / REPORT_FILE
    write_atomically(path, page.encode())
    return path


def headline(record: RunRecord) -> str:
    """The result in one sentence."""
    before, after = record.summary.get("success_before"), record.summary.get("success_after")
    if not before or not after:
        return (
            f"{record.task}: {len(record.episodes)} online episodes so far; "
            "success before and after is not measured yet."
        )
    episodes = record.summary.get("episodes", len(record.episodes))
    helped = sum(e.intervention_steps > 0 for e in record.episodes)
    help_ = f"an operator helping in {helped} of them" if helped else "without any help"
    return (
        f"{record.task}: success went from {estimate(before)} to {estimate(after)} "
        f"within {episodes} online episodes, by a learned reward, {help_}."
    )


def estimate(value: dict[str, Any]) -> str:
    """A share with its interval, in per cent."""
    mean, low, high = (100 * value[key] for key in ("mean", "low", "high"))
    return f"{mean:.0f} % ({low:.0f} to {high:.0f} %)"


def _tiles(record: RunRecord) -> Iterator[tuple[str, str]]:
    summary = record.summary
    for name in ("before", "after"):
        value = summary.get(f"success_{name}")
        if value:
            yield f"success {name}, {value['n']} episodes", f"{100 * value['mean']:.0f} %"
    yield "online episodes", str(summary.get("episodes", len(record.episodes)))
    if summary.get("episodes_to_80") is not None:
        yield "episodes until 80 %", str(summary["episodes_to_80"])
    seconds = summary.get("operator_seconds", sum(e.operator_seconds for e in record.episodes))
    yield "operator's time", duration(float(seconds))
    if summary.get("wall_seconds"):
        yield "whole job", duration(sum(_stages(summary).values()))


def _success(record: RunRecord) -> Html:
    if not record.episodes:
        return not_yet("Success while it learned", "No online episode has finished yet.")
    drawing = report_figures.success_curve(record.episodes, record.summary)
    return html.section(
        "Success while it learned",
        html.figure(drawing, "success over online episodes"),
        note="Points: versions of the policy on seeds that training never uses, without operator "
        f"and exploration. Curves: running mean of {report_figures.WINDOW} online episodes, with "
        "both; the solid one is what the learner believes. Bars and bands are 95 % intervals.",
    )


def _videos(record: RunRecord) -> Html:
    before, after = record.store("evaluation_before"), record.store("evaluation_after")
    heading = "Before and after, same start"
    if before is None or after is None:
        return not_yet(heading, "The run has not been evaluated before and after yet.")
    rows = [
        html.side_by_side(video(before, first, "before"), video(after, second, "after"))
        for first, second in _telling_pairs(before, after)
    ]
    if not rows:
        return not_yet(heading, "The two evaluations share no seed.")
    return html.section(
        heading,
        *rows,
        note="The same unseen seeds; failures that became successes first, then successes that "
        "were lost, if there are any.",
    )


def _telling_pairs(before: EpisodeStore, after: EpisodeStore) -> list[tuple[int, int]]:
    """Indices of episodes with the same seed: one lost success, if any; improved ones; the rest."""
    at = {after.summary(i).seed: i for i in range(len(after))}
    pairs = [
        (i, at[before.summary(i).seed]) for i in range(len(before)) if before.summary(i).seed in at
    ]
    won: list[tuple[int, int]] = []
    lost: list[tuple[int, int]] = []
    rest: list[tuple[int, int]] = []
    for pair in pairs:
        was, became = before.summary(pair[0]).success, after.summary(pair[1]).success
        group = won if became and not was else lost if was and not became else rest
        group.append(pair)
    return [*won[: PAIRS - len(lost[:1])], *lost[:1], *rest, *won[PAIRS:]][:PAIRS]


def video(store: EpisodeStore, index: int, when: str) -> Html:
    """An episode of an evaluation, with how it ended."""
    camera = store.cameras[0]
    episode = store.read(index, [camera])
    outcome = {True: "success", False: "failure", None: "unknown"}[episode.success]
    caption = f"{when}: {outcome}, seed {episode.seed}, {len(episode)} steps"
    return html.video(_enlarged(episode.images[camera]), episode.fps, caption=caption)


def _enlarged(
    frames: UInt8[np.ndarray, "time height width 3"],
) -> UInt8[np.ndarray, "time tall wide 3"]:
    """Small frames grow to about 300 pixels, so that browsers need not blur them."""
    zoom = max(1, round(300 / frames.shape[1]))
    return frames.repeat(zoom, axis=1).repeat(zoom, axis=2)


def _reward_against_truth(record: RunRecord) -> Html:
    heading = "The learned reward against the truth"
    known = [e for e in record.episodes if e.true_success is not None]
    if not known:
        return not_yet(heading, "Nobody said which online episodes were successes.")
    return html.section(
        heading,
        _confusion(known),
        html.figure(report_figures.returns(record.episodes), "learned return of each episode"),
        note="Of the online episodes. The learner never sees this comparison: it is made "
        "afterwards, from what the simulator said.",
    )


def _confusion(known: list[OnlineEpisode]) -> Html:
    def count(accepted: bool, truth: bool) -> int:
        return sum(e.learned_success is accepted and e.true_success is truth for e in known)

    rows = [
        ("success", count(True, True), count(False, True)),
        ("failure", count(True, False), count(False, False)),
    ]
    failures = count(True, False) + count(False, False)
    false = wilson(count(True, False), failures)
    sentences = [f"{_share(false)} of the failures were accepted falsely."] if failures else []
    positives = [e.learned_return for e in known if e.true_success]
    negatives = [e.learned_return for e in known if not e.true_success]
    if positives and negatives:
        area = auroc_interval(positives, negatives, seed=0)
        sentences.append(
            f"The return tells successes from failures with AUROC {area.mean:.2f} "
            f"({area.low:.2f} to {area.high:.2f})."
        )
    table = html.table(["in truth", "accepted by the reward", "rejected"], rows, numeric=(1, 2))
    return html.join([table, html.element("p", " ".join(sentences))])


def _progress(record: RunRecord) -> Html:
    heading = "What the reward saw"
    store = record.store("episodes")
    if store is None:
        return not_yet(heading, "No online episode has finished yet.")
    figures = []
    for index, what in _telling_episodes(store, record.episodes):
        labels = store.read_labels(store.summary(index).episode_id)
        if labels is not None:
            camera = store.cameras[0]
            drawing = report_figures.progress(store.read(index, [camera]), labels, camera)
            figures.append(html.figure(drawing, f"progress of {what}", caption=what))
    if not figures:
        return not_yet(heading, "The episodes have no labels.")
    note = "Estimated progress with the ensemble's spread, under the frames that it was made from."
    return html.section(heading, *figures, note=note)


def _telling_episodes(
    store: EpisodeStore, episodes: tuple[OnlineEpisode, ...]
) -> Iterator[tuple[int, str]]:
    """The latest episode of each kind: right and wrong judgements, and one with help."""
    stored = set(store.episode_ids())
    kinds = {
        "accepted, and a success in truth": (True, True),
        "rejected, and a failure in truth": (False, False),
        "accepted falsely: a failure in truth": (True, False),
        "rejected falsely: a success in truth": (False, True),
    }
    for what, kind in kinds.items():
        found = [
            e.episode_id for e in episodes
            if (e.learned_success, e.true_success) == kind and e.episode_id in stored
        ]  # fmt: skip
        if found:
            yield store.index_of(found[-1]), f"Episode {found[-1]}: {what}."


def _verdict(record: RunRecord) -> Html:
    heading = "Whether the reward can be trusted"
    if not record.card:
        return not_yet(heading, "The reward was not audited.")
    accepted = bool(record.card.get("accepted"))
    reasons = [html.element("li", reason) for reason in record.card.get("reasons", [])]
    gates = [
        (gate["name"], gate.get("label", ""), gate.get("sentence", ""))
        for gate in record.card.get("gates", [])
    ]
    return html.section(
        heading,
        html.element(
            "div",
            html.element("p", html.badge("accepted" if accepted else "rejected",
                                         "good" if accepted else "bad"), " ",
                         record.card.get("headline", "")),
            html.element("ul", *reasons) if reasons else Html(""),
            class_=f"verdict {'good' if accepted else 'bad'}",
        ),
        html.details("All gates", html.table(["gate", "judged", "why"], gates)),
        html.element("p", html.element("a", "The reward card", href="reward_card.html"),
                     " has the curves; it lies beside this file."),
        note="The audit on held-out clips, before fine-tuning began.",
    )  # fmt: skip


def timings(record: RunRecord) -> Html:
    """How long each stage took."""
    stages = _stages(record.summary)
    if not stages:
        return not_yet("Where the time went", "The run has not ended.")
    total = sum(stages.values())
    rows = [(n, duration(s), f"{100 * s / max(total, 1e-9):.0f} %") for n, s in stages.items()]
    rows.append(("all", duration(total), ""))
    table = html.table(["stage", "time", "share"], rows, numeric=(1, 2))
    return html.section("Where the time went", table)


def _stages(summary: dict[str, Any]) -> dict[str, float]:
    stages = summary.get("wall_seconds") or {}
    return {str(name): float(seconds) for name, seconds in stages.items() if name != "total"}


def not_yet(heading: str, why: str) -> Html:
    """A section that says why it is empty."""
    return html.section(heading, html.element("p", why, class_="note"))


def _share(interval: Any) -> str:
    return estimate(interval.to_dict())


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
