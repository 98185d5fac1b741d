"""Tables of the reward card: instructions, perturbations and cameras."""

from embodied.audit import AuditResult
from embodied.audit_losses import Robustness, worst
from embodied.audit_metrics import confusion
from embodied.card_figures import confusion_figure, margin_figure
from embodied.card_parts import count, spread, two
from embodied.html import Html, element, figure, join, section, side_by_side, table
from embodied.opposites import UNDOES


def instructions_section(result: AuditResult) -> Html:
    """How much the words change, instruction by instruction."""
    if not result.margins:
        return Html("")
    rows = [
        [join([f"“{name}”", *_relation(result, name)]), two(value.mean), spread(value)]
        for name, value in result.margins.items()
    ]
    return section(
        "Does it read the instruction?",
        *confusion_parts(result),
        side_by_side(
            figure(margin_figure(result.margins), "The margins of the table as bars."),
            table(["asked instead", "margin", "interval"], rows, numeric=(1, 2)),
        ),
        note="How much higher successes end under their own instruction than under each of these. "
        "Zero means that the words change nothing. What would undo the task is the hardest to tell "
        "apart, because the picture shows the right thing.",
    )


def _relation(result: AuditResult, instruction: str) -> list[Html]:
    """Why an instruction is a hard one, and whether it counts."""
    found = result.opposites.get(instruction)
    if found is None:
        return []
    known = found == UNDOES or instruction not in result.evidence.aside
    beside = "" if known else "; no gate counts it"
    return [element("div", found + beside, class_="note")]


def confusion_parts(result: AuditResult) -> list[Html]:
    """Clips' own task against every instruction, where the clips come from several tasks."""
    found = confusion(result.evidence, [clip.instruction for clip in result.held_out.successes])
    if len(found.own) < 2:
        return []
    return [
        figure(
            confusion_figure(found),
            "Final progress of each task's successes under each instruction.",
            caption="Mean final progress of each task's successes (rows) under each instruction "
            "(columns), numbered as below; the task's own is framed.",
        ),
        element("ol", *(element("li", f"“{text}”") for text in found.asked), class_="note"),
    ]


def robustness_section(result: AuditResult) -> Html:
    """Every perturbation's numbers, the worst first."""
    rows = [
        [
            row.title,
            element("b", two(row.drop.mean)),
            spread(row.drop),
            two(row.voc.mean),
            "" if row.clock is None else two(row.clock),
            two(row.pair_accuracy),
            two(row.moved),
            count(row.false_success),
            count(row.false_reject),
        ]
        for row in _by_drop(result.robustness)
    ]
    return section(
        "What if the picture changes, or the arm hesitates?",
        table(
            [
                "perturbation", "drop", "interval", "VOC", "clock", "pair accuracy",
                "progress moves by", "failures accepted", "successes rejected",
            ],
            rows,
            numeric=range(1, 9),
        ),
        note=f"Worst: {worst(result.robustness).title}. The drop is the larger loss of VOC and "
        "pair accuracy against the same clips unperturbed. Where a clip goes back, stops or "
        "repeats itself, VOC is the correlation with how far each frame really is, and a clock's "
        "stands beside it. Camera shifts are turns and zooms of the recorded picture unless it "
        "says that the camera was really moved; sideways is in per cent of the width, since "
        "centimetres would have to be rendered anew.",
    )  # fmt: skip


def cameras_section(result: AuditResult) -> Html:
    """Of a reward that looks at several: what it loses without each."""
    if not result.cameras:
        return Html("")
    rows = [
        [
            row.title,
            element("b", two(row.drop.mean)),
            spread(row.drop),
            two(row.voc.mean),
            two(row.pair_accuracy),
            count(row.false_success),
            count(row.false_reject),
        ]
        for row in _by_drop(result.cameras)
    ]
    hardest = worst([row for row in result.cameras if row.name.startswith("without_")])
    return section(
        "Which camera does it need?",
        table(
            [
                "cameras", "drop", "interval", "VOC", "pair accuracy", "failures accepted",
                "successes rejected",
            ],
            rows,
            numeric=range(1, 7),
        ),
        note=f"It loses most {hardest.title}. A camera that is left out shows black.",
    )  # fmt: skip


def _by_drop(rows: tuple[Robustness, ...]) -> list[Robustness]:
    return sorted(rows, key=lambda row: -row.drop.mean)
