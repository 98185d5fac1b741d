import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.reward_models.transport import (
    Costs,
    Matching,
    cosine_costs,
    distance,
    frame_costs,
    plan_of,
)

EXACT = {"tolerance": 1e-7, "iterations": 4000}


def clips(seed, lengths, dim=8):
    """Random walks, as the embedded frames of a clip are; float64."""
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=(n, dim)).cumsum(0) + 3) for n in lengths]


def pairs(seed, lengths=((9, 12), (14, 5), (6, 6))):
    first, second = zip(*lengths, strict=True)
    return cosine_costs(clips(seed, first), clips(seed + 1000, second))


def costs_of(matrix):
    cost = torch.as_tensor(matrix)[None]
    return Costs(
        cost=cost,
        length=torch.tensor([cost.shape[1]]),
        other_length=torch.tensor([cost.shape[2]]),
    )


def inner(costs, plan):
    """The plan of each pair without its padding."""
    sizes = zip(costs.length.tolist(), costs.other_length.tolist(), strict=True)
    return [p[:t, :s].numpy() for p, (t, s) in zip(plan, sizes, strict=True)]


@pytest.mark.parametrize("epsilon", [0.03, 0.1])
def test_the_plan_is_that_of_pot(epsilon):
    ot = pytest.importorskip("ot")
    costs = pairs(0)
    plans = inner(costs, plan_of(costs, Matching(smoothing=epsilon, **EXACT)))
    matrices = inner(costs, costs.cost)
    for plan, cost in zip(plans, matrices, strict=True):
        rows, columns = (np.full(n, 1 / n) for n in cost.shape)
        expected = ot.sinkhorn(
            rows, columns, cost, epsilon, "sinkhorn_log", numItermax=10_000, stopThr=1e-7
        )
        np.testing.assert_allclose(plan, expected, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 1.0]), st.booleans())
def test_every_frame_of_both_clips_is_used_equally(seed, epsilon, banded):
    rng = np.random.default_rng(seed)
    lengths = [tuple(map(int, rng.integers(1, 12, 2))) for _ in range(3)]
    costs = pairs(seed, lengths)
    band = 0.3 if banded else None
    plan = plan_of(costs, Matching(smoothing=epsilon, band=band, tolerance=1e-5, iterations=4000))
    for own, (time, other) in zip(inner(costs, plan), lengths, strict=True):
        np.testing.assert_allclose(own.sum(1), 1 / time, atol=2e-5)
        np.testing.assert_allclose(own.sum(0), 1 / other, atol=2e-5)
    assert float(plan.sum()) == pytest.approx(3, abs=1e-5)


@pytest.mark.parametrize("method", ["sinkhorn", "nearest", "soft_dtw"])
def test_a_plan_does_not_depend_on_the_pairs_beside_it(method):
    costs = pairs(3)
    together = inner(costs, plan_of(costs, Matching(method=method)))
    for number, expected in enumerate(together):
        alone = costs_of(inner(costs, costs.cost)[number])
        np.testing.assert_allclose(plan_of(alone, Matching(method=method))[0], expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tiny_epsilon_neither_underflows_nor_overflows(dtype):
    cost = torch.from_numpy(np.random.default_rng(0).uniform(0, 2, (1, 20, 20))).to(dtype)
    plan = plan_of(costs_of(cost[0]), Matching(smoothing=1e-3, iterations=8_000, tolerance=1e-3))
    assert torch.isfinite(plan).all()
    torch.testing.assert_close(plan.sum(2), torch.full((1, 20), 0.05, dtype=dtype), atol=1e-3,
                               rtol=0)  # fmt: skip


def test_a_clip_is_matched_with_itself_frame_by_frame():
    walk = clips(0, [10])
    costs = cosine_costs(walk, walk)
    for method in ("sinkhorn", "nearest", "soft_dtw"):
        plan = plan_of(costs, Matching(method=method, smoothing=1e-4, iterations=200))
        np.testing.assert_allclose(np.diag(plan[0]), 0.1, atol=1e-3)
        assert float(distance(costs, plan)) == pytest.approx(0, abs=1e-6)


def test_without_a_band_the_order_of_frames_does_not_matter_and_with_one_it_does():
    walk = clips(1, [12])
    backwards = [walk[0].flip(0)]
    forth, back = cosine_costs(walk, walk), cosine_costs(backwards, walk)
    for band, least, most in ((None, -1e-6, 1e-6), (0.1, 0.02, 2)):
        matching = Matching(smoothing=0.03, band=band, **EXACT)
        worse = distance(back, plan_of(back, matching)) - distance(forth, plan_of(forth, matching))
        assert least < float(worse) < most


def test_a_band_keeps_the_plan_near_the_diagonal():
    costs = pairs(5, [(20, 20)])
    plan = plan_of(costs, Matching(band=0.2, smoothing=0.03, **EXACT))[0]
    time = (torch.arange(20) + 0.5) / 20
    assert plan[(time[:, None] - time).abs() > 0.2 + 1e-6].sum() == 0


def test_the_gradient_of_the_distance_is_that_of_the_regularised_cost():
    matching = Matching(smoothing=0.3, **EXACT)

    def regularised(*embedded):
        costs = cosine_costs(embedded[:2], embedded[2:])
        plan = plan_of(costs, matching)
        return distance(costs, plan) + 0.3 * torch.special.xlogy(plan, plan).sum((1, 2))

    embedded = [clip.requires_grad_() for clip in clips(2, [3, 4, 4, 3], dim=3)]
    assert torch.autograd.gradcheck(regularised, embedded, atol=1e-4)


def test_soft_dtw_is_the_gradient_of_the_best_soft_alignment():
    gamma = 0.2

    def soft_dtw_cost(cost):
        reached = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
        reached[0, 0] = 0
        for t, s in np.ndindex(cost.shape):
            ways = -np.array([reached[t, s], reached[t, s + 1], reached[t + 1, s]]) / gamma
            reached[t + 1, s + 1] = cost[t, s] - gamma * np.logaddexp.reduce(ways)
        return reached[-1, -1]

    cost = np.random.default_rng(0).uniform(0, 1, (5, 7))
    gradient = np.zeros_like(cost)
    for cell in np.ndindex(cost.shape):
        step = np.zeros_like(cost)
        step[cell] = 1e-5
        gradient[cell] = (soft_dtw_cost(cost + step) - soft_dtw_cost(cost - step)) / 2e-5
    plan = plan_of(costs_of(cost), Matching(method="soft_dtw", smoothing=gamma))[0]
    np.testing.assert_allclose(plan, gradient / gradient.sum(1, keepdims=True) / 5, atol=1e-6)


def test_soft_dtw_keeps_the_order_and_the_nearest_frame_does_not():
    walk = clips(4, [8])
    costs = cosine_costs([walk[0].flip(0)], walk)
    near, ordered = (
        distance(costs, plan_of(costs, Matching(method=method))) for method in ("nearest",
                                                                                 "soft_dtw")
    )  # fmt: skip
    assert float(near) == pytest.approx(0, abs=1e-9)
    assert float(ordered) > 0.01


@pytest.mark.parametrize("method", ["sinkhorn", "nearest", "soft_dtw"])
def test_a_single_frame_is_matched_with_all_others(method):
    costs = pairs(6, [(1, 4), (4, 1), (1, 1)])
    plan = plan_of(costs, Matching(method=method))
    assert plan.sum((1, 2)).tolist() == pytest.approx([1, 1, 1])
    torch.testing.assert_close(frame_costs(costs, plan).sum(1), distance(costs, plan))


def test_costs_that_are_no_numbers_and_clips_without_frames_are_refused():
    with pytest.raises(BadInput, match="numbers"):
        cosine_costs([torch.tensor([[1.0, float("nan")]])], [torch.ones(1, 2)])
    with pytest.raises(BadInput, match="need a frame"):
        cosine_costs([torch.ones(0, 2)], [torch.ones(1, 2)])
    with pytest.raises(BadInput, match="numbers"):
        plan_of(costs_of(np.full((2, 2), np.nan)), Matching())
    with pytest.raises(BadInput, match="a frame"):
        plan_of(costs_of(np.zeros((0, 2))), Matching())


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(UnknownName, match="nearest, sinkhorn, soft_dtw"):
        Matching(method="greedy")
    with pytest.raises(BadConfig, match="positive"):
        Matching(smoothing=0.0)
    with pytest.raises(BadConfig, match=r"-0\.1"):
        Matching(band=-0.1)
