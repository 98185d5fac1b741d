"""The diffusion policy keeps the contract, fits what it is shown, and its noise decides."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import BadInput
from embodied.policies.base import Examples
from embodied.policies.diffusion import DiffusionPolicy, clone
from embodied.testing.policies import (
    POINT,
    SHAPES,
    Shapes,
    check_policy,
    examples_at_random,
    same_weights,
)


def small(seed: int = 0, *, shapes: Shapes = SHAPES, **settings: float) -> DiffusionPolicy:
    torch.manual_seed(seed)
    return DiffusionPolicy(**shapes, chunk=2, keypoints=4, width=32, **settings)


def test_diffusion_policy_keeps_the_contract() -> None:
    check_policy(small)


def test_a_policy_is_rebuilt_from_its_settings() -> None:
    policy, other = small(0), small(1)
    rebuilt = DiffusionPolicy(**policy.settings)
    assert not same_weights(policy.state_dict(), other.state_dict())
    rebuilt.load_state_dict(policy.state_dict())
    assert rebuilt.settings == policy.settings
    assert rebuilt.settings["certainty"] == 0.5


@settings(max_examples=20)
@given(low=st.floats(-100.0, 99.0), span=st.floats(0.01, 100.0), noise=st.floats(-5.0, 5.0))
def test_actions_never_leave_the_bounds_by_a_single_bit(
    low: float, span: float, noise: float
) -> None:
    shapes: Shapes = {**POINT, "action_low": (low,), "action_high": (low + span,)}
    policy = small(shapes=shapes)
    with torch.no_grad():
        policy.network[-1].bias.fill_(-10.0 * noise)
        chunk = policy.denoise(torch.full((1, 2, 1), noise), torch.zeros(1, 128))
    assert policy.low <= chunk.min()
    assert chunk.max() <= policy.high


def test_the_noise_grows_from_the_certainty_to_the_whole_with_boldness() -> None:
    policy = small(certainty=0.25)
    seen = examples_at_random(4, 2)
    whole, half, part = (
        policy.act(
            seen.features, seen.state, torch.Generator().manual_seed(1), explore=explore
        ).noise
        for explore in (1.0, 0.5, 0.0)
    )
    assert torch.equal(part, 0.25 * whole)
    assert torch.equal(half, 0.625 * whole)


def test_padded_steps_do_not_change_the_loss() -> None:
    policy = small()
    seen = examples_at_random(4, 2)
    valid = torch.tensor([[True, False]] * 4)

    def loss(action: torch.Tensor) -> torch.Tensor:
        examples = Examples(features=seen.features, state=seen.state, action=action, valid=valid)
        error = policy.loss(examples, torch.Generator().manual_seed(0))
        return torch.autograd.grad(error.sum(), policy.network[-1].bias)[0]

    gradient = loss(seen.action)
    assert gradient[:2].abs().min() > 0.0
    assert torch.equal(gradient[2:], torch.zeros(2))


def test_statistics_make_the_policy_blind_to_the_scale_of_its_inputs() -> None:
    seen = examples_at_random(64, 2)
    scaled = Examples(
        features={camera: 50.0 * maps - 3.0 for camera, maps in seen.features.items()},
        state=1000.0 * seen.state + 7.0,
        action=seen.action,
        valid=seen.valid,
    )
    found = []
    for examples in (seen, scaled):
        policy = small()
        policy.fit_statistics(examples)
        found.append(policy.condition(examples.features, examples.state))
    assert torch.allclose(*found, atol=0.05)


def copying(count: int, seed: int = 0) -> Examples:
    """Actions that are 0.8 times the state."""
    state = 2.0 * torch.rand(count, 1, generator=torch.Generator().manual_seed(seed)) - 1.0
    return Examples(
        features={"front": torch.zeros(count, 1, 1, 1)},
        state=state,
        action=torch.stack([0.8 * state] * 2, 1),
        valid=torch.ones(count, 2, dtype=torch.bool),
    )


def test_cloning_fits_a_function_of_the_state() -> None:
    policy, shown, asked = small(shapes=POINT), copying(256), copying(64, seed=1)
    told: list[float] = []
    metrics = clone(policy, shown, steps=300, learning_rate=2e-3, progress_callback=told.append)
    chunk = policy.act(asked.features, asked.state, torch.Generator(), explore=0.0)
    error = (chunk.action - asked.action).abs().mean()
    assert error < 0.15, "guessing the mean would be off by 0.4"
    assert 0.0 < metrics["clone_loss"] < 0.5
    assert told == sorted(told)


def test_the_same_seed_clones_the_same_policy() -> None:
    first, again, other = small(shapes=POINT), small(shapes=POINT), small(shapes=POINT)
    for policy, seed in ((first, 0), (again, 0), (other, 1)):
        clone(policy, copying(32), steps=5, seed=seed)
    assert same_weights(first.state_dict(), again.state_dict())
    assert not same_weights(first.state_dict(), other.state_dict())


def test_a_missing_camera_is_named() -> None:
    with pytest.raises(BadInput, match="needs camera 'side'; it got front"):
        small().condition({"front": torch.zeros(1, 3, 4, 4)}, torch.zeros(1, 3))
