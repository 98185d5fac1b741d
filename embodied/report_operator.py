"""The part of a report that is about the operator."""

from embodied import html, report_figures
from embodied.html import Html
from embodied.operator_part import OperatorPart, operator_part
from embodied.run_record import RunRecord


def interventions(record: RunRecord) -> Html:
    """How much the operator did, and what came of it; see `docs/interventions.md`."""
    heading, part = "The operator's part", operator_part(record)
    if not part.steps:
        why = html.element("p", "No online episode has finished yet.", class_="note")
        return html.section(heading, why)
    if not part.human_steps:
        return html.section(heading, html.element("p", "Nobody intervened."))
    said = [_share(part)]
    if part.seconds:
        said += [_successes(part), _gain(record, part)]
    drawing = report_figures.interventions(record.episodes)
    return html.section(
        heading,
        *(html.element("p", sentence) for sentence in said if sentence),
        html.figure(drawing, "interventions"),
        note="Operator's time is the time in which the operator acted, steps over frames per "
        "second; watching is not in it.",
    )


def _share(part: OperatorPart) -> str:
    validations = (
        f", {part.validations} validations included, in which nobody may intervene"
        if part.validations
        else ""
    )
    return (
        f"The operator took {100 * part.share:.1f} % of the steps of all {part.episodes} online "
        f"episodes{validations}: {part.human_steps} of {part.steps} steps, {part.seconds:.0f} s, "
        f"in {part.helped} episodes."
    )


def _successes(part: OperatorPart) -> str:
    truth = "" if part.helped_true is None else f" In truth {part.helped_true} are successes."
    return (
        f"Of the {part.helped} episodes with help the reward accepted {part.helped_accepted}: "
        f"{part.successes_per_minute:.1f} successes with help per operator minute. Those without "
        f"help are not counted.{truth}"
    )


def _gain(record: RunRecord, part: OperatorPart) -> str:
    before, after = (record.summary.get(f"success_{when}") for when in ("before", "after"))
    if not before or not after:
        return ""
    gain = 100 * (after["mean"] - before["mean"])
    return (
        f"On unseen seeds the policy alone went from {100 * before['mean']:.0f} % to "
        f"{100 * after['mean']:.0f} %: {gain:+.0f} points over the base policy, "
        f"{part.gain_per_minute(gain):+.1f} points per operator minute. What it would have learnt "
        "without help is in that, too."
    )
