"""The page of several rewards: every reward in every figure, on the same clips."""

import re

import numpy as np
import pytest

from embodied.audit import audit
from embodied.audit_page import render_page
from embodied.audit_page_figures import (
    curves_figure,
    most_disputed,
    said_by,
    under_instructions,
)
from embodied.card_figures import reliability_figure, selective_figure
from embodied.reward_models.base import nothing
from embodied.reward_models.controls import Constant, ElapsedTime
from embodied.testing.rewards import HueEncoder
from embodied.types import Clip

OPEN, CLOSE = "open the drawer", "push the drawer closed"


def clips(lengths):
    rng = np.random.default_rng(0)
    return [
        Clip(
            frames={"front": rng.integers(0, 256, (length, 32, 32, 3)).astype(np.uint8)},
            features={},
            instruction=OPEN,
        )
        for length in lengths
    ]


@pytest.fixture(scope="module")
def results():
    successes, failures = clips([12, 14, 30]), clips([9, 20, 10])
    models = {
        "clock": ElapsedTime(("front",), typical_length=30),
        "constant": Constant(0.4),
    }
    return {
        name: audit(
            model, successes, failures, encoder=HueEncoder(), other_instructions=["turn the dial"],
            counterfactuals=[CLOSE], fps=10.0, seed=0,
        )
        for name, model in models.items()
    }  # fmt: skip


def test_the_page_has_notes_curves_and_figures_of_all_rewards(results):
    page = render_page({**results, "broken": "it cannot be asked."}, dict.fromkeys(results, "x"))
    for result in results.values():
        assert f"What these clips cannot show ({len(result.notes)})" in page
        assert all(note in page for note in (n.replace('"', "&quot;") for n in result.notes))
        assert all(reason in page for reason in result.reasons)
    assert "it cannot be asked." in page
    ends = [two for two in re.findall(r"progress ends at clock ([\d.]+), constant 0\.40", page)]
    assert ends == ["1.00", "0.66"], "the clip about which they differ most"
    assert "Reliability plot; calibration error: clock" in page
    assert f"“{CLOSE}”" in page
    assert not re.search(r'(src|href)="http', page)


def test_a_figure_has_a_line_for_each_reward(results):
    said = said_by(results)
    for drawing in (reliability_figure(said), selective_figure(said)):
        (axes,) = drawing.axes
        assert [t.get_text() for t in axes.get_legend().get_texts()] == ["clock", "constant"]
    shown = results["clock"].held_out.successes[0]
    curves = {name: good[0] for name, (good, _) in said.items()}
    lines = curves_figure(shown, curves).axes[1].get_lines()
    drawn = [line.get_ydata() for line in lines if len(line.get_ydata()) == len(shown)]
    for line, scores in zip(drawn, curves.values(), strict=True):
        np.testing.assert_array_equal(line, scores.progress)


def test_what_successes_reach_under_each_instruction_has_a_row_for_each_reward(results):
    asked, found = under_instructions(results)
    assert asked == ["turn the dial", CLOSE]
    clock = np.mean([12 / 30, 14 / 30, 1.0])
    np.testing.assert_allclose(found[1], [0.4] * 3, atol=1e-6)
    np.testing.assert_allclose(found[0], [found[0, 0]] * 3)
    assert found[0, 0] == pytest.approx(clock, abs=0.05)


def test_the_clip_that_is_shown_is_the_most_disputed_one_or_the_middle_one():
    def ends(*values):
        return [replace_progress(value) for value in values]

    def replace_progress(value):
        scores = nothing(3)
        scores.progress[:] = value
        return scores

    assert most_disputed([ends(0.1, 0.9, 0.5), ends(0.2, 0.1, 0.5)]) == 1
    assert most_disputed([ends(0.1, 0.9, 0.5)]) == 2
