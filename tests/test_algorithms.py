"""Algorithms keep the contract, and prefer what is rewarded, beyond chance."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch

from embodied.policies.base import Algorithm, Examples, Policy, examples_of
from embodied.policies.diffusion import DiffusionPolicy, clone
from embodied.policies.dsrl import DSRL
from embodied.policies.filtered import FilteredRegression, imitation_weight
from embodied.statistics import permutation_test
from embodied.testing.policies import (
    POINT,
    SHAPES,
    Shapes,
    batch_at_random,
    check_algorithm,
    same_weights,
)
from embodied.types import Batch


def small(shapes: Shapes = SHAPES) -> DiffusionPolicy:
    torch.manual_seed(0)
    return DiffusionPolicy(**shapes, chunk=2, steps=3, keypoints=4, width=32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FilteredRegression(small()),
        lambda: DSRL(small(), members=2, warm_up=1, agency_growth=2),
    ],
    ids=["filtered", "dsrl"],
)
def test_algorithm_keeps_the_contract(make: object) -> None:
    check_algorithm(make)  # type: ignore[arg-type]


def test_filtered_regression_on_accepted_chunks_is_cloning_bit_for_bit() -> None:
    policy, cloned = small(), small()
    algorithm = FilteredRegression(policy, seed=5, learning_rate=1e-3)
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.AdamW(cloned.parameters(), 1e-3, weight_decay=1e-4, fused=True)
    for seed in range(3):
        batch = batch_at_random(16, 2, seed=seed)
        algorithm.update([batch])
        optimizer.zero_grad()
        cloned.loss(examples_of(batch), generator).mean().backward()
        optimizer.step()
    assert same_weights(policy.state_dict(), cloned.state_dict())


@pytest.mark.parametrize("accepted", [0, 7])
def test_an_update_with_too_little_to_imitate_changes_nothing(accepted: int) -> None:
    algorithm = FilteredRegression(small(), floor=8.0)
    before = copy.deepcopy(algorithm.state_dict())
    batch = replace(batch_at_random(16, 2), success=torch.arange(16) < accepted)
    metrics = algorithm.update([batch])
    assert metrics.keys() == {"effective_samples", "imitated_share"}
    assert metrics["effective_samples"] == accepted
    assert same_weights(before["policy"], algorithm.state_dict()["policy"])
    assert torch.equal(before["generator"], algorithm.state_dict()["generator"])
    algorithm.update([replace(batch, success=torch.arange(16) < 8)])
    assert not same_weights(before["policy"], algorithm.state_dict()["policy"])


def test_what_was_rejected_leaves_no_trace_in_the_weights() -> None:
    batch = replace(batch_at_random(16, 2), success=torch.arange(16) < 10)
    other = batch.action.clone()
    other[10:] = SHAPES["action_high"][1]
    weights = []
    for action in (batch.action, other):
        algorithm = FilteredRegression(small())
        algorithm.update([replace(batch, action=action)])
        weights.append(algorithm.weights())
    assert same_weights(*weights)


def test_a_person_counts_by_the_share_of_steps_whatever_became_of_the_episode() -> None:
    batch = replace(batch_at_random(4, 4), success=torch.zeros(4, dtype=torch.bool))
    human = torch.zeros(4, 4, dtype=torch.bool)
    human[0], human[1, :2] = True, True
    valid = batch.valid.clone()
    valid[1, 3:] = False
    demo = torch.tensor([False, False, True, False])
    weight = imitation_weight(replace(batch, corrected=human, valid=valid, demo=demo))
    assert torch.allclose(weight, torch.tensor([1.0, 2.0 / 3.0, 1.0, 0.0]))


def test_steering_never_changes_the_base_policy_nor_what_was_passed() -> None:
    policy = small()
    before = copy.deepcopy(policy.state_dict())
    algorithm = DSRL(policy, members=2, warm_up=0, agency_growth=1)
    actor = copy.deepcopy(algorithm.acting_policy().actor.state_dict())
    for seed in range(3):
        algorithm.update([batch_at_random(16, 2, seed=seed)] * 2)
    acting = algorithm.acting_policy()
    assert same_weights(before, acting.base.state_dict())
    assert same_weights(before, policy.state_dict())
    assert not same_weights(actor, acting.actor.state_dict())
    assert all(parameter.requires_grad for parameter in policy.parameters())


def test_only_a_bootstrapped_chunk_is_worth_more_than_its_own_reward() -> None:
    values = {}
    for bootstrap in (0.0, 1.0):
        algorithm = DSRL(
            small(),
            members=2,
            critic_updates=1,
            warm_up=10**6,
            discount=0.9,
            target_rate=0.2,
            learning_rate=3e-3,
        )
        batch = batch_at_random(32, 2)
        batch = replace(
            batch,
            reward=torch.full((32, 2), 0.5),
            next_features=batch.features,
            next_state=batch.state,
            bootstrap=torch.full((32,), bootstrap),
        )
        for _ in range(60):
            metrics = algorithm.update([batch])
        values[bootstrap] = metrics["value"]
    own = 0.5 * (1.0 + 0.9)
    assert values[0.0] == pytest.approx(own, abs=0.1)
    assert values[1.0] > 2.0 * own


def test_padded_rewards_do_not_enter_the_value() -> None:
    algorithm = DSRL(small(), members=2, critic_updates=1, warm_up=10**6, learning_rate=3e-3)
    valid = torch.tensor([[True, False]] * 32)
    batch = replace(batch_at_random(32, 2), valid=valid, bootstrap=torch.zeros(32))
    batch = replace(batch, reward=torch.tensor([[0.5, 100.0]] * 32))
    for _ in range(60):
        metrics = algorithm.update([batch])
    assert metrics["value"] == pytest.approx(0.5, abs=0.1)


# Two modes: a policy that does +0.7 or -0.7 by chance, of which only +0.7 is rewarded.

SEEDS = (0, 1, 2, 3)


@cache
def two_modes() -> DiffusionPolicy:
    draw = torch.Generator().manual_seed(0)
    sign = 2.0 * torch.randint(2, (256, 1, 1), generator=draw) - 1.0
    examples = Examples(
        features={"front": torch.zeros(256, 1, 1, 1)},
        state=torch.rand(256, 1, generator=draw),
        action=(0.7 * sign).expand(256, 2, 1).contiguous(),
        valid=torch.ones(256, 2, dtype=torch.bool),
    )
    torch.manual_seed(0)
    policy = DiffusionPolicy(**POINT, chunk=2, steps=5, keypoints=4, width=128)
    clone(policy, examples, steps=800, learning_rate=2e-3, batch_size=128)
    return policy


def play(policy: Policy, generator: torch.Generator, count: int) -> Batch:
    """One chunk in each of many episodes; the reward accepts those that start above 0."""
    features = {"front": torch.zeros(count, 1, 1, 1)}
    state = torch.rand(count, 1, generator=generator)
    chunk = policy.act(features, state, generator, explore=1.0)
    won = chunk.action[:, 0, 0] > 0.0
    return Batch(
        features=features,
        state=state,
        action=chunk.action,
        noise=chunk.noise,
        valid=torch.ones(count, 2, dtype=torch.bool),
        corrected=torch.zeros(count, 2, dtype=torch.bool),
        reward=torch.stack([won.float(), torch.zeros(count)], 1),
        next_features=features,
        next_state=state,
        bootstrap=torch.zeros(count),
        success=won,
        demo=torch.zeros(count, dtype=torch.bool),
    )


def rewarded_share(policy: Policy, seed: int) -> float:
    won = play(policy, torch.Generator().manual_seed(1000 + seed), 256).success
    return float(won.float().mean())


def learn(algorithm: Algorithm, updates: int, seed: int, count: int) -> Policy:
    """Play with the published weights, learn from that, and publish anew, ten updates at a time."""
    generator = torch.Generator().manual_seed(seed)
    acting = algorithm.acting_policy()
    for _ in range(updates // 10):
        batch = play(acting, generator, count)
        for _ in range(10):
            algorithm.update([batch] * algorithm.batches_per_update)
        acting.load_state_dict(algorithm.weights())
    return acting


def test_cloning_keeps_both_modes() -> None:
    action = play(two_modes(), torch.Generator(), 256).action
    assert 0.35 < (action[:, 0] > 0.0).float().mean() < 0.65
    assert ((action.abs() - 0.7).abs() < 0.25).float().mean() > 0.7


def test_filtered_regression_moves_to_the_accepted_mode() -> None:
    before = [rewarded_share(two_modes(), seed) for seed in SEEDS]
    after = []
    for seed in SEEDS:
        algorithm = FilteredRegression(
            copy.deepcopy(two_modes()), seed=seed, average=0.05, learning_rate=2e-3
        )
        after.append(rewarded_share(learn(algorithm, 80, seed, 256), seed))
    assert permutation_test(after, before, seed=0) < 0.05
    assert min(after) > 0.8


def test_dsrl_prefers_the_rewarded_mode() -> None:
    before = [rewarded_share(two_modes(), seed) for seed in SEEDS]
    after = []
    for seed in SEEDS:
        algorithm = DSRL(
            two_modes(),
            seed=seed,
            members=2,
            critic_updates=1,
            warm_up=20,
            agency_growth=30,
            learning_rate=3e-3,
        )
        after.append(rewarded_share(learn(algorithm, 80, seed, 64), seed))
    assert permutation_test(after, before, seed=0) < 0.05
    assert min(after) > 0.8
