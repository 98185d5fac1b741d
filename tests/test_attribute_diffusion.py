"""A target decides what a diffusion policy does; without one it does what it was shown."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.policies.attribute_diffusion import AttributeDiffusion, percentile
from embodied.policies.base import Examples
from embodied.policies.diffusion import DiffusionPolicy, clone
from embodied.statistics import permutation_test
from embodied.testing.policies import POINT, SHAPES, check_policy, examples_at_random

SEEDS = (0, 1, 2, 3)


def small(**settings: float) -> AttributeDiffusion:
    torch.manual_seed(0)
    return AttributeDiffusion(
        **SHAPES, attributes=("high", "fast"), chunk=2, steps=3, keypoints=4, width=32, **settings
    )


def aimed(**target: float) -> AttributeDiffusion:
    policy = small()
    policy.target = target
    return policy


@pytest.mark.parametrize("target", [{}, {"fast": 0.3}, {"high": 1.0, "fast": 0.0}])
def test_it_keeps_the_contract_with_and_without_a_target(target: dict[str, float]) -> None:
    check_policy(lambda: aimed(**target))


def test_it_begins_as_the_policy_that_it_is_made_of_whatever_it_is_told() -> None:
    torch.manual_seed(3)
    base = DiffusionPolicy(**SHAPES, chunk=2, steps=3, keypoints=4, width=32)
    seen = examples_at_random(6, 2)
    base.fit_statistics(seen)
    policy = AttributeDiffusion.from_diffusion(base, ("liked",))
    for target in ({}, {"liked": 0.9}):
        policy.target = target
        found, wanted = (
            each.act(seen.features, seen.state, torch.Generator().manual_seed(1), explore=1.0)
            for each in (policy, base)
        )
        torch.testing.assert_close(found.action, wanted.action)
    own = policy.loss(seen, torch.Generator().manual_seed(2))
    assert own.isfinite().all()
    before = base.state_dict()["summary.0.weight"].clone()
    policy.base.summary[0].weight.data.add_(1.0)
    assert torch.equal(base.state_dict()["summary.0.weight"], before)


def test_a_target_is_what_was_set_last_and_nothing_else() -> None:
    policy = aimed(high=0.25, fast=1.0)
    assert policy.target == {"high": 0.25, "fast": 1.0}
    policy.target = {"fast": 0.0}
    assert policy.target == {"fast": 0.0}
    policy.target = {}
    assert policy.target == {}


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_a_target_that_cannot_be_is_refused_and_the_old_one_stays(strength: float) -> None:
    policy = aimed(high=0.5)
    with pytest.raises(BadInput, match="the target of 'fast' is"):
        policy.target = {"high": 0.1, "fast": strength}
    with pytest.raises(UnknownName, match="did you mean fast"):
        policy.target = {"fst": 0.5}
    assert policy.target == {"high": 0.5}


def test_examples_of_other_attributes_and_settings_without_sense_are_refused() -> None:
    policy, seen = small(), examples_at_random(4, 2)
    for attributes, told in ((torch.rand(4, 3), "3 attributes, the policy 2: high, fast"),
                             (torch.full((4, 2), 1.5), "they must lie in")):  # fmt: skip
        with pytest.raises(BadInput, match=told):
            policy.loss(with_attributes(seen, attributes), torch.Generator())
    with pytest.raises(BadConfig, match="each once"):
        AttributeDiffusion(**SHAPES, attributes=("high", "high"))
    for wrong in ({"bins": 1}, {"guidance": -0.5}, {"drop_all": 1.0}):
        with pytest.raises(BadConfig, match="2 bins or more"):
            AttributeDiffusion(**SHAPES, attributes=("high",), **wrong)  # type: ignore[arg-type]


def with_attributes(seen: Examples, attributes: torch.Tensor) -> Examples:
    return Examples(
        features=seen.features, state=seen.state, action=seen.action, valid=seen.valid,
        attributes=attributes,
    )  # fmt: skip


def acted(policy: AttributeDiffusion, seen: Examples) -> torch.Tensor:
    return policy.act(
        seen.features, seen.state, torch.Generator().manual_seed(0), explore=1.0
    ).action


def test_guidance_of_0_ignores_the_target_and_of_1_is_the_network_that_was_told() -> None:
    seen = examples_at_random(8, 2)
    free, unguided, told = small(), small(guidance=0.0), small(guidance=1.0)
    unguided.target = told.target = {"high": 0.9}
    torch.testing.assert_close(acted(unguided, seen), acted(free, seen))
    noise = told.base.draw(8, torch.Generator().manual_seed(0), explore=1.0)
    joined = told._joined(seen.state, torch.tensor([[0.9, float("nan")]]).expand(8, 2))
    known = told.base.condition(seen.features, joined)
    torch.testing.assert_close(acted(told, seen), told.base.denoise(noise, known))
    assert not torch.allclose(acted(told, seen), acted(free, seen), atol=1e-4)


@given(strength=st.floats(0.0, 1.0), other=st.floats(0.0, 1.0))
def test_the_code_tells_strengths_apart_and_an_unknown_one_is_empty(
    strength: float, other: float
) -> None:
    policy = small()
    code = policy._code(torch.tensor([[strength, other], [float("nan"), other]]))
    assert code.shape == (2, 20)
    place = code[0, :10] @ torch.linspace(0.0, 1.0, 10)
    assert float(place) == pytest.approx(strength, abs=1e-5)
    assert float(code[0, :10].sum()) == pytest.approx(1.0, abs=1e-5)
    assert not code[1, :10].any()
    assert torch.equal(code[0, 10:], code[1, 10:])


@given(st.lists(st.floats(-9.0, 9.0), min_size=1, max_size=30))
def test_percentiles_keep_the_order_lie_within_the_bounds_and_average_to_a_half(
    values: list[float],
) -> None:
    strength = torch.tensor(values)[:, None]
    found = percentile(strength, strength)[:, 0]
    assert ((found > 0) & (found < 1)).all()
    assert float(found.mean()) == pytest.approx(0.5, abs=1e-5)
    assert (found[strength[:, 0].argsort()].diff() >= 0).all()
    beyond = percentile(torch.tensor([[-10.0], [10.0]]), strength)
    assert beyond[:, 0].tolist() == [0.0, 1.0]


def test_percentiles_of_what_has_no_order_are_refused() -> None:
    with pytest.raises(BadInput, match="finite"):
        percentile(torch.tensor([[float("nan")]]), torch.zeros(3, 1))
    with pytest.raises(BadInput, match="needs known clips"):
        percentile(torch.zeros(1, 1), torch.zeros(0, 1))


def test_attributes_are_masked_as_often_as_it_is_told() -> None:
    told: list[torch.Tensor] = []
    policy = small(drop_each=0.2, drop_all=0.25)
    seen = with_attributes(examples_at_random(4000, 2), torch.full((4000, 2), 0.5))
    policy.base.summary.register_forward_pre_hook(lambda _, inputs: told.append(inputs[0]))
    policy.fit_statistics(seen)
    policy.loss(seen, torch.Generator().manual_seed(0))
    known = torch.stack([told[0][:, -20:-10].any(1), told[0][:, -10:].any(1)], 1)
    both = float((~known).all(1).float().mean())
    assert both == pytest.approx(0.25 + 0.75 * 0.2**2, abs=0.03)
    for share in known.float().mean(0):
        assert float(share) == pytest.approx(0.75 * 0.8, abs=0.03)


# Two modes: +0.7 in three demonstrations of ten and -0.7 in seven; +0.7 is the stronger.

SHARE = 0.3


@cache
def two_modes(shuffled: bool = False) -> AttributeDiffusion:
    draw = torch.Generator().manual_seed(0)
    up = torch.randperm(256, generator=draw)[:, None] < 256 * SHARE
    action = torch.where(up, 0.7, -0.7)
    judged = action + 0.01 * torch.rand(256, 1, generator=draw)
    strength = percentile(judged, judged)
    if shuffled:
        strength = strength[torch.randperm(256, generator=draw)]
    examples = Examples(
        features={"front": torch.zeros(256, 1, 1, 1)},
        state=torch.rand(256, 1, generator=draw),
        action=action[:, None].expand(256, 2, 1).contiguous(),
        valid=torch.ones(256, 2, dtype=torch.bool),
        attributes=strength,
    )
    torch.manual_seed(0)
    policy = AttributeDiffusion(
        **POINT, attributes=("up",), chunk=2, steps=5, keypoints=4, width=128, drop_all=0.5
    )
    clone(policy, examples, steps=400, learning_rate=4e-3, batch_size=128)
    return policy


def share_up(policy: AttributeDiffusion, seed: int, **target: float) -> float:
    """Of the chunks that are near a mode; what lies between them belongs to neither."""
    own = copy.deepcopy(policy)
    own.target = target
    generator = torch.Generator().manual_seed(1000 + seed)
    state = torch.rand(512, 1, generator=generator)
    action = own.act({"front": torch.zeros(512, 1, 1, 1)}, state, generator, explore=1.0).action
    first = action[:, 0, 0]
    near = (first.abs() - 0.7).abs() < 0.2
    assert near.float().mean() > 0.6
    return float((first[near] > 0.0).float().mean())


def test_the_target_decides_the_mode_and_not_if_strengths_were_shuffled() -> None:
    high, low = ([share_up(two_modes(), seed, up=up) for seed in SEEDS] for up in (0.85, 0.35))
    assert permutation_test(high, low, seed=0) < 0.05
    assert min(high) > 0.9
    assert max(low) < 0.1
    by_chance = [share_up(two_modes(shuffled=True), seed, up=0.85) for seed in SEEDS]
    assert permutation_test(high, by_chance, seed=0) < 0.05


def test_without_a_target_the_modes_mix_as_they_were_shown() -> None:
    shares = [share_up(two_modes(), seed) for seed in SEEDS]
    assert sum(shares) / len(shares) == pytest.approx(SHARE, abs=0.1)
