"""How diagonal a plan is, and heat maps of a reward that has plans."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.audit import audit
from embodied.audit_plans import diagonal_mass, judge_plans, on_diagonal
from embodied.card import render
from embodied.card_figures import plan_figure
from embodied.reward_models.base import Matches
from embodied.reward_models.controls import ElapsedTime
from embodied.reward_models.instruction_gate import InstructionGate
from embodied.reward_models.rapl import Rapl
from embodied.testing.rewards import HueEncoder, WordEncoder
from embodied.types import Clip

OPEN = "open the drawer"


@given(times=st.integers(2, 60), others=st.integers(2, 60))
def test_a_uniform_plan_has_the_share_of_cells_and_a_sharp_one_everything(times, others):
    uniform = np.full((times, others), 1 / (times * others))
    assert diagonal_mass(uniform) == pytest.approx(on_diagonal(times, others).mean())
    assert diagonal_mass(np.eye(times) / times) == pytest.approx(1)
    backwards = np.eye(times)[::-1] / times
    assert diagonal_mass(backwards) <= 0.5 or times < 5


def sweep(rng, length, reaches=1.0):
    """A red bar over grey noise that goes to the right, a new place in each frame."""
    frames = rng.integers(90, 110, (length, 32, 32, 3), dtype=np.uint8)
    for frame, place in zip(frames, np.linspace(0, reaches, length), strict=True):
        left = round(26 * place)
        frame[:, left : left + 6] = (230, 40, 40)
    return Clip(frames={"front": frames}, features={}, instruction=OPEN)


@pytest.fixture(scope="module")
def material():
    rng = np.random.default_rng(0)
    good = [sweep(rng, int(rng.integers(16, 22))) for _ in range(12)]
    bad = [sweep(rng, 18, rng.uniform(0.1, 0.4)) for _ in range(12)]
    return good, bad


@pytest.fixture(scope="module")
def gated(material):
    return fitted(material, "sinkhorn")


def fitted(material, method):
    good, bad = material
    matching = {"references": 2, "method": method, "smoothing": 0.05}
    model = InstructionGate(Rapl(HueEncoder(), embedding="imagenet", **matching), WordEncoder())
    model.fit(good[:6], bad[:6], distractor_instructions=["turn the dial"], seed=0, steps=1)
    return model


def test_plans_are_found_inside_a_reward_that_is_made_of_others(gated, material):
    good, bad = (clips[6:] for clips in material)
    plans = judge_plans(gated, good, bad, seed=0)
    assert isinstance(gated.models[0], Matches)
    assert plans.success.plan.mass.shape[0] == len(good[plans.success.clip])
    assert plans.success.plan.mass.sum() == pytest.approx(1, abs=1e-3)
    assert plans.diagonal["successes"].low > plans.diagonal["uniform"].high + 0.2
    values = sorted(diagonal_mass(plan.mass) for plan in gated.models[0].plans(good))
    assert plans.success.diagonal == values[2], "the median of six"


def test_frames_in_no_order_are_off_the_diagonal(gated, material):
    good, bad = (clips[6:] for clips in material)
    rng = np.random.default_rng(1)
    mixed = [replace(c, frames={"front": c.frames["front"][rng.permutation(len(c))]}) for c in good]
    ordered, shuffled = (judge_plans(gated, clips, bad, seed=0) for clips in (good, mixed))
    assert shuffled.diagonal["successes"].mean < ordered.diagonal["successes"].mean - 0.2


def test_a_reward_without_plans_has_none(material):
    good, bad = material
    clock = ElapsedTime(("front",), typical_length=20)
    assert judge_plans(clock, good, bad, seed=0) is None


def test_the_card_shows_both_plans_and_their_numbers(material):
    good, bad = (clips[6:8] for clips in material)
    model = fitted(material, "nearest")
    result = audit(
        model, good, bad, encoder=HueEncoder(), other_instructions=["turn the dial"], fps=10.0,
        seed=0,
    )  # fmt: skip
    kept = sum(known.nbytes for known in model.models[0].matcher.references)
    assert result.memory_mb["model"] * 2**20 >= kept, "references count as part of the model"
    card = render(result)
    assert "Does it match like with like, in order?" in card
    for laid in (result.plans.success, result.plans.failure):
        assert f"{laid.diagonal:.0%} of the mass on the diagonal" in card
    told = result.to_dict()["plans"]
    assert told["success"] == result.plans.success.to_dict()
    image = plan_figure(result.plans.success).axes[0].images[0]
    assert image.get_array().shape == result.plans.success.plan.mass.shape
