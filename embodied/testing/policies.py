"""The contracts of policies and of algorithms: what each must do, checked in one call.

A new policy's first test is ``check_policy(lambda: MyPolicy(**SHAPES))``, a new algorithm's
``check_algorithm(lambda: MyAlgorithm(DiffusionPolicy(**SHAPES)))``. Both work on data drawn at
random, in the shapes of `SHAPES`.
"""

import io
import math
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
import torch
from torch import Tensor

from embodied.errors import BadInput
from embodied.policies.base import (
    Algorithm,
    Chunk,
    DenoisingPolicy,
    Examples,
    Policy,
    Weights,
)
from embodied.types import Batch

TOLERANCE = 1e-5
Shape = tuple[int, int, int]


class Shapes(TypedDict):
    """What every policy's constructor is told of its environment and encoder."""

    cameras: tuple[str, ...]
    feature_shape: Shape
    state_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]


SHAPES: Shapes = {
    "cameras": ("front", "side"),
    "feature_shape": (3, 4, 4),
    "state_size": 3,
    "action_low": (-1.0, -0.1),
    "action_high": (1.0, 0.3),
}
POINT: Shapes = {
    "cameras": ("front",),
    "feature_shape": (1, 1, 1),
    "state_size": 1,
    "action_low": (-1.0,),
    "action_high": (1.0,),
}
"""One number to see and one to choose."""


def examples_at_random(
    count: int, chunk: int, *, seed: int = 0, shapes: Shapes = SHAPES
) -> Examples:
    """Observations and chunks without meaning, of the right shapes and within the bounds."""
    draw = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(shapes["action_low"]), torch.tensor(shapes["action_high"])
    features = {
        camera: torch.rand(count, *shapes["feature_shape"], generator=draw)
        for camera in shapes["cameras"]
    }
    return Examples(
        features=features,
        state=torch.randn(count, shapes["state_size"], generator=draw),
        action=low + (high - low) * torch.rand(count, chunk, len(low), generator=draw),
        valid=torch.ones(count, chunk, dtype=torch.bool),
    )


def batch_at_random(count: int, chunk: int, *, seed: int = 0, shapes: Shapes = SHAPES) -> Batch:
    """A batch in which every chunk comes from an accepted episode."""
    before = examples_at_random(count, chunk, seed=2 * seed, shapes=shapes)
    after = examples_at_random(count, chunk, seed=2 * seed + 1, shapes=shapes)
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        features=before.features,
        state=before.state,
        action=before.action,
        noise=torch.randn(before.action.shape, generator=draw),
        valid=before.valid,
        corrected=torch.zeros_like(before.valid),
        reward=torch.rand(count, chunk, generator=draw),
        next_features=after.features,
        next_state=after.state,
        bootstrap=torch.ones(count),
        success=torch.ones(count, dtype=torch.bool),
        demo=torch.zeros(count, dtype=torch.bool),
    )


def check_policy(make: Callable[[], Policy], *, shapes: Shapes = SHAPES) -> None:
    """Hold a policy to the contract of `Policy`, and of `DenoisingPolicy` if it is one.

    Args:
        make: Builds the policy for ``shapes``.
        shapes: Of the observations and actions that it is tried on.

    Raises:
        AssertionError: naming the broken clause.
    """
    policy = make()
    seen = examples_at_random(8, policy.chunk, shapes=shapes)
    for explore in (0.0, 0.3, 1.0):
        check_chunk(_act(policy, seen, explore=explore), policy.chunk, shapes)
        check_randomness(policy, seen, explore=explore)
    check_missing_camera(policy, seen)
    if isinstance(policy, DenoisingPolicy):
        check_denoising(policy, seen)
        if any(parameter.requires_grad for parameter in policy.parameters()):
            check_loss(policy, seen)


def check_chunk(chunk: Chunk, length: int, shapes: Shapes) -> None:
    """Shapes are right and every action lies within the bounds, to the last bit."""
    low, high = torch.tensor(shapes["action_low"]), torch.tensor(shapes["action_high"])
    assert chunk.action.shape == chunk.noise.shape == (8, length, len(low))
    assert not chunk.action.requires_grad, "acting must not record gradients"
    inside = (chunk.action >= low) & (chunk.action <= high)
    assert inside.all(), "an action lies outside of the environment's bounds"


def check_randomness(policy: Policy, seen: Examples, *, explore: float) -> None:
    """All randomness comes from the generator, and acting changes nothing in the policy."""
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    torch.manual_seed(1)
    first = _act(policy, seen, explore=explore)
    torch.manual_seed(2)
    again = _act(policy, seen, explore=explore)
    assert torch.equal(first.action, again.action), "the same generator gives the same chunk"
    assert same_weights(before, policy.state_dict()), "acting changed the policy"


def check_missing_camera(policy: Policy, seen: Examples) -> None:
    """A camera that is missing is refused by its name."""
    camera, *others = seen.features
    features = {name: seen.features[name] for name in others}
    with pytest.raises(BadInput, match=camera):
        policy.act(features, seen.state, torch.Generator(), explore=0.0)


def check_denoising(policy: DenoisingPolicy, seen: Examples) -> None:
    """A chunk is a function of its noise and its own observation, whatever else is in the batch."""
    chunk = _act(policy, seen, explore=1.0)
    with torch.no_grad():
        condition = policy.condition(seen.features, seen.state)
        assert condition.shape == (len(seen), policy.condition_size)
        for row in range(len(seen)):
            alone = seen.take(torch.tensor([row]))
            own = policy.condition(alone.features, alone.state)
            action = policy.denoise(chunk.noise[row : row + 1], own)
            assert torch.allclose(action[0], chunk.action[row], atol=TOLERANCE), (
                f"the chunk of sample {row} depends on the samples beside it"
            )


def check_loss(policy: DenoisingPolicy, seen: Examples) -> None:
    """The loss is one finite number per chunk, and its gradient reaches every parameter."""
    policy.fit_statistics(seen)
    losses = [policy.loss(seen, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert losses[0].shape == (len(seen),)
    assert losses[0].isfinite().all()
    assert torch.equal(*losses), "the same generator gives the same loss"
    policy.zero_grad()
    losses[0].mean().backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in policy.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, f"no gradient reaches {idle}"
    policy.zero_grad()


def check_algorithm(
    make: Callable[[], Algorithm], *, shapes: Shapes = SHAPES, batch_size: int = 16
) -> None:
    """Hold an algorithm to the contract of `Algorithm`.

    Args:
        make: Builds the algorithm, the same one at each call, over a policy for ``shapes``.
        shapes: Of the batches that it is tried on.
        batch_size: Of the batches.

    Raises:
        AssertionError: naming the broken clause.
    """
    algorithm = make()
    chunk = algorithm.acting_policy().chunk

    def update(learner: Algorithm, number: int) -> dict[str, float]:
        seeds = range(
            number * learner.batches_per_update, (number + 1) * learner.batches_per_update
        )
        return learner.update(
            [batch_at_random(batch_size, chunk, seed=seed, shapes=shapes) for seed in seeds]
        )

    metrics = update(algorithm, 0)
    assert all(type(value) is float for value in metrics.values()), metrics
    assert all(math.isfinite(value) for value in metrics.values()), metrics
    check_resume(make, update)
    check_published(algorithm, lambda: update(algorithm, 1))
    check_policy(algorithm.acting_policy, shapes=shapes)


def check_resume(
    make: Callable[[], Algorithm], update: Callable[[Algorithm, int], dict[str, float]]
) -> None:
    """Two updates, a checkpoint and two more are, bit for bit, four updates."""
    straight, interrupted, resumed = make(), make(), make()
    for number in range(4):
        update(straight, number)
    for number in range(2):
        update(interrupted, number)
    resumed.load_state_dict(_through_a_file(interrupted.state_dict()))
    torch.manual_seed(99)
    for number in range(2, 4):
        update(resumed, number)
    assert same_weights(straight.weights(), resumed.weights()), "a resumed run differs"
    assert _same(straight.state_dict(), resumed.state_dict()), "a resumed run's state differs"


def check_published(algorithm: Algorithm, update: Callable[[], object]) -> None:
    """Published weights fit the acting policy, and neither changes once it is handed out."""
    acting, published = algorithm.acting_policy(), algorithm.weights()
    acting.load_state_dict(published)
    assert all(value.device.type == "cpu" for value in published.values())
    assert not any(value.requires_grad for value in published.values())
    kept = {name: value.clone() for name, value in published.items()}
    update()
    assert same_weights(kept, published), "an update changed weights that were published before"
    assert same_weights(kept, acting.state_dict()), "an update changed an actor's policy"
    for value in published.values():
        value.zero_()
    assert not same_weights(published, algorithm.weights()), "an actor can change the learner"


def same_weights(some: Weights, others: Weights) -> bool:
    """Whether both hold the same numbers, bit for bit."""
    return some.keys() == others.keys() and all(torch.equal(some[n], others[n]) for n in some)


def _act(policy: Policy, seen: Examples, *, explore: float) -> Chunk:
    generator = torch.Generator().manual_seed(7)
    return policy.act(seen.features, seen.state, generator, explore=explore)


def _through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def _same(some: Any, others: Any) -> bool:
    if isinstance(some, Tensor):
        return torch.equal(some, others)
    if isinstance(some, dict):
        return some.keys() == others.keys() and all(_same(some[k], others[k]) for k in some)
    if isinstance(some, list | tuple):
        return len(some) == len(others) and all(map(_same, some, others))
    return bool(some == others)
