"""The reward card's heat maps, of a reward that matches clips with references."""

from embodied.audit import AuditResult
from embodied.audit_plans import BAND
from embodied.card_figures import plan_figure
from embodied.card_parts import spread, two
from embodied.html import Html, element, figure, section, side_by_side, table


def plans_section(result: AuditResult) -> list[Html]:
    """Plans of a success and of a failure, and how diagonal all of them are."""
    if result.plans is None:
        return []
    shown = (("Success", result.plans.success), ("Failure", result.plans.failure))
    return [
        section(
            "Does it match like with like, in order?",
            side_by_side(
                *(
                    element(
                        "div",
                        element("h3", f"{outcome} {laid.clip}"),
                        figure(plan_figure(laid), f"{outcome} {laid.clip}: {laid.told}."),
                    )
                    for outcome, laid in shown
                )
            ),
            table(
                ["mass on the diagonal", "mean", "interval"],
                [[name, two(v.mean), spread(v)] for name, v in result.plans.diagonal.items()],
                numeric=(1, 2),
            ),
            note="Each held-out clip is matched with the reference that it is nearest to; shown is "
            "the median clip of each outcome. On the diagonal (dashed) lie frames whose shares of "
            f"their clips differ by at most {BAND:g}. A plan no more diagonal than a uniform one "
            "knows nothing of order.",
        )
    ]
