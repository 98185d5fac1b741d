"""`report.html` of a run that aligned a policy, in one file that needs nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied import align_figures, html
from embodied.align_liking import Rated, by_start
from embodied.dataset import EpisodeStore
from embodied.html import Html
from embodied.metrics import METRICS_FILE, read_metrics
from embodied.report import duration, estimate, not_yet, video, write_page
from embodied.run_record import RunRecord, read_run

PAIRS = 3
"""Unseen starts that are shown, before and after."""
COLUMNS = 8
"""Frames of a film strip."""


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run, and return its path.

    Raises:
        CorruptFile: if a file of the run cannot be read.
    """
    record = read_run(run_dir)
    return write_page(
        record,
        headline(record),
        _tiles(record),
        [_before_and_after(record), _starts(record), _answers(record), _alignment(record)],
    )


def headline(record: RunRecord) -> str:
    """The result in one sentence."""
    summary = record.summary
    if not summary.get("success_before") or not summary.get("success_after"):
        return f"{record.task}: the policy is not aligned yet."
    way, kept = summary["way"], (
        f"task success went from {estimate(summary['success_before'])} to "
        f"{estimate(summary['success_after'])}"
    )  # fmt: skip
    told = f"after {summary['answers']['answers']} answers"
    if followed := summary["answers"].get("followed"):
        told += f", to the taste of {followed}"
    if not way:
        return f"{record.task}: {told}, {kept}."
    return (
        f"{way['text']}: {told}, {_number(way['metric_before'])} became "
        f"{_number(way['metric_after'])} {way['unit']}; {kept}."
    )


def _number(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def _tiles(record: RunRecord) -> Iterator[tuple[str, str]]:
    summary = record.summary
    answers, way = summary["answers"], summary["way"]
    yield f"answers of {', '.join(answers['raters'])}", str(answers["answers"])
    if "held_out" in answers:
        yield (
            "answers that the reward predicts, unseen",
            f"{100 * answers['held_out']['mean']:.0f} %",
        )
    if way:
        gain = way["liking_gain"]
        said = f"change of liking, in deviations, over {way['compared_starts']} starts"
        yield said, f"{gain['mean']:+.2f}"
    for side in ("before", "after"):
        value = summary[f"success_{side}"]
        yield f"task success {side}, {value['n']} episodes", f"{100 * value['mean']:.0f} %"
    yield (
        "updates, rolled back" if _rolled_back(summary) else "updates",
        str(int(summary["alignment"].get("step", 0))),
    )
    seconds = [value for name, value in summary["wall_seconds"].items() if name != "total"]
    yield "whole run", duration(sum(seconds))


def _rolled_back(summary: Mapping[str, Any]) -> bool:
    return bool(summary["alignment"].get("rolled_back"))


def _before_and_after(record: RunRecord) -> Html:
    summary = record.summary
    way = summary["way"]
    drawings = [html.figure(align_figures.before_and_after(summary), "before and after")]
    note = "Unseen starts, the same before and after; bars are means with 95 % intervals."
    sentence = Html("")
    if way:
        sides = [_ratings_by_seed(record, side) for side in ("before", "after")]
        starts = sorted(sides[0].keys() & sides[1].keys())
        before, after = ([side[s].metric for s in starts] for side in sides)
        drawing = align_figures.by_start(before, after, way["unit"], way["better"])
        drawings.append(html.figure(drawing, "each start before and after"))
        change, gain = way["metric_change"], way["liking_gain"]
        sentence = html.element(
            "p",
            f"Start by start the metric changed by {_number(change)}; {way['better']} is liked. "
            f"Liking changed by {_number(gain)} deviations of the base policy's roll-outs.",
        )
        note += " What is liked is told by the simulator; no learner read it."
    return html.section("Before and after", html.side_by_side(*drawings), sentence, note=note)


def _ratings_by_seed(record: RunRecord, side: str) -> dict[int, Rated]:
    part = f"evaluation_{side}"
    store = record.store(part)
    return {} if store is None else by_start(store, record.run_dir, part)


def _starts(record: RunRecord) -> Html:
    heading = "Same unseen start, before and after"
    before, after = record.store("evaluation_before"), record.store("evaluation_after")
    if before is None or after is None:
        return not_yet(heading, "The policy was not measured before and after yet.")
    at = {after.summary(i).seed: i for i in range(len(after))}
    pairs = [
        (i, at[before.summary(i).seed]) for i in range(len(before)) if before.summary(i).seed in at
    ]
    rows = []
    for first, second in _typical(record, before, pairs):
        rows.append(
            html.side_by_side(video(before, first, "before"), video(after, second, "after"))
        )
        rows.append(html.side_by_side(_strip(before, first), _strip(after, second)))
    note = (
        "The starts in which the change of liking is the median, then the quartiles."
        if (record.summary["way"])
        else "The first starts."
    )
    return html.section(heading, *rows, note=note)


def _typical(
    record: RunRecord, before: EpisodeStore, pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Pairs that stand for all: chosen by rank, not by how well they look."""
    if not record.summary["way"]:
        return list(pairs[:PAIRS])
    sides = [_ratings_by_seed(record, side) for side in ("before", "after")]

    def change(pair: tuple[int, int]) -> float:
        seed = before.summary(pair[0]).seed
        return sides[1][seed].liking - sides[0][seed].liking

    ranked = sorted(pairs, key=change)
    places = dict.fromkeys(round(share * (len(ranked) - 1)) for share in (0.5, 0.75, 0.25))
    return [ranked[place] for place in places]


def _strip(store: EpisodeStore, index: int) -> Html:
    camera = store.cameras[0]
    frames = store.read(index, [camera]).images[camera]
    return html.film_strip(frames, "frames from start to end", columns=COLUMNS)


def _answers(record: RunRecord) -> Html:
    summary, wanted = record.summary, record.config["align"]
    answers, way = summary["answers"], summary["way"]
    who = ", ".join(answers["raters"])
    if summary["rater"] == "scripted":
        who = "scripted raters " if len(answers["raters"]) > 1 else "a scripted rater "
        who += f"(B-Pref's '{wanted['teacher']}'): {', '.join(answers['raters'])}"
    followed, bad = answers.get("followed"), answers.get("bad")
    rows = [
        ("answers", f"{answers['answers']}, by {who}"),
        *([("whose taste is followed", followed)] if followed else []),
        (f"of these prefer one{f', by {followed}' if followed else ''}",
         str(answers["preferences"])),
        ("roll-outs compared", f"{summary['rollouts']}, {wanted['each']} from each start"),
        *([("of these called bad, and not imitated", str(bad))] if bad else []),
        ("reward", str(summary["reward"])),
    ]  # fmt: skip
    for key, said in (
        ("held_out", "answers predicted by a reward that has not learnt from them"),
        ("learnt", "answers that it has learnt from, and agrees with"),
    ):
        if key in answers:
            rows.append((said, estimate(answers[key])))
    if direction := summary.get("direction"):
        said = direction["answers"]
        sliders = (f"{n} {v:+g} ({said[n]} answers)" for n, v in direction["sliders"].items() if v)
        rows.append(("sliders", ", ".join(sliders)))
        rows.append(("floor of safety", f"{direction['floor']:g} ({said['safety']} answers)"))
    for key, said in (
        ("answered_right", "answers that are right, by the simulator"),
        ("ranked_right", "pairs of one start, ranked right"),
    ):
        if way and way[key]["n"]:
            rows.append((said, estimate(way[key])))
    if way and "reward_rank_correlation" in way:
        said = f"{way['reward_rank_correlation']:.2f}"
        rows.append(("rank correlation of reward and liking, over all roll-outs", said))
    return html.section("Answers", html.table(["what", "value"], rows))


def _alignment(record: RunRecord) -> Html:
    rows = read_metrics(record.run_dir / METRICS_FILE)
    checked = [row for row in rows if row.get("stage") == "align"]
    begun = [i for i, row in enumerate(checked) if i and row["step"] <= checked[i - 1]["step"]]  # type: ignore[operator]
    checked = checked[begun[-1] if begun else 0 :]  # of the last attempt, if one was interrupted
    if not checked:
        return not_yet("Alignment", "The policy was not updated yet.")
    back = _rolled_back(record.summary)
    verdict = html.element(
        "p",
        html.badge("rolled back" if back else "not rolled back", "unsure" if back else "good"),
        " The last policy within the limits was put back."
        if back
        else " Every check was within the limits.",
    )
    deceives = "If the errors of winners and losers rise together, a high accuracy deceives."
    return html.section(
        "Alignment",
        verdict,
        *_told(record.summary.get("told")),
        _chosen(checked[-1])
        if "critic_loss" in checked[-1]
        else html.figure(align_figures.checks(checked), "what was watched at each check"),
        note=deceives if "winner_error" in checked[-1] else "",
    )


def _chosen(row: Mapping[str, Any]) -> Html:
    """Of best of N, which is checked once."""
    rows = [("critic's squared error, in variances of the reward", f"{row['critic_loss']:.2f}")]
    if row.get("success") is not None:
        rows.append(("task success on the watched starts", f"{100 * row['success']:.0f} %"))
    return html.table(["what", "value"], rows)


def _told(told: Mapping[str, Any] | None) -> Iterator[Html]:
    """Of a policy that takes a target: what it acts towards, and how that is set anew."""
    if not told:
        return
    target = ", ".join(f"{name} {strength:g}" for name, strength in told["target"].items())
    other = f"embodied eval RUN 'evaluate.target={{{told['attributes'][0]}: 0.1}}'"
    yield html.element(
        "p",
        f"The policy can be told of {', '.join(told['attributes'])}: of each, the share of its "
        f"roll-outs that are weaker. It acts towards {target or 'nothing'}; {other} measures what "
        "it does when it is told something else.",
    )
