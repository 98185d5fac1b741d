"""Aligning a policy: closed forms, two modes of which one is preferred, and roll-back."""

import copy
import math
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.policies.alignment import Aligner, ChunkPairs, Limits, Objective
from embodied.policies.attribute_diffusion import AttributeDiffusion, percentile
from embodied.policies.base import DenoisingPolicy, Examples, Policy
from embodied.policies.best_of_n import BestOfN
from embodied.policies.checkpoints import load_policy, save_policy
from embodied.policies.conditioned import Conditioned
from embodied.policies.diffusion import DiffusionPolicy, clone
from embodied.policies.preference_dpo import PreferenceDpo, preference_loss
from embodied.policies.reward_weighted import (
    RewardWeighted,
    accepted_weights,
    exponential_weights,
)
from embodied.policies.updates import UPDATES, RollOuts, update
from embodied.statistics import permutation_test
from embodied.testing.policies import POINT, check_policy, examples_at_random, same_weights

SEEDS = (0, 1, 2, 3)


def small(**more: object) -> DiffusionPolicy:
    torch.manual_seed(0)
    shapes = {"cameras": ("front", "side"), "feature_shape": (3, 4, 4), "state_size": 3,
              "action_low": (-1.0, -0.1), "action_high": (1.0, 0.3)}  # fmt: skip
    return DiffusionPolicy(**(shapes | more), chunk=2, steps=3, keypoints=4, width=32)  # type: ignore[arg-type]


def pairs_of(winner: Examples, loser: Examples) -> ChunkPairs:
    start = torch.zeros(len(winner), dtype=torch.long)
    return ChunkPairs(winner=winner, loser=loser, winner_start=start, loser_start=start)


def test_at_the_reference_dpo_is_log_2_and_rpro_three_times_that() -> None:
    policy = small()
    pairs = pairs_of(examples_at_random(16, 2), examples_at_random(16, 2, seed=1))
    for anchor, expected in ((0.0, 1.0), (1.0, 3.0)):
        objective = PreferenceDpo(policy, pairs, anchor=anchor, imitation=0.0)
        loss, metrics = objective.loss(policy, torch.Generator())
        assert float(loss.detach()) == pytest.approx(expected * math.log(2.0), rel=1e-5)
        assert metrics["implicit_accuracy"] == 0.5
        assert metrics["winner_error"] == metrics["reference_error"]


def test_a_pair_of_a_chunk_with_itself_has_no_contrast() -> None:
    policy, reference = small(), small()
    same = examples_at_random(16, 2)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.ones_like(parameter)
    objective = PreferenceDpo(reference, pairs_of(same, same), anchor=0.0, imitation=0.0)
    loss, _ = objective.loss(policy, torch.Generator())
    torch.autograd.backward(loss)
    gradients = [p.grad for p in policy.parameters() if p.grad is not None]
    assert gradients
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-7


def test_the_anchor_is_least_where_nothing_has_drifted() -> None:
    drifted = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    loss = preference_loss(drifted, drifted, 1.0)
    assert int(loss.argmin()) == 2
    torch.testing.assert_close(
        preference_loss(drifted, drifted, 0.0), torch.full((5,), math.log(2))
    )


def test_equal_weights_are_cloning_bit_for_bit() -> None:
    policy, cloned = small(), small()
    examples = examples_at_random(32, 2)
    objective = RewardWeighted(examples, torch.full((32,), 3.0), batch_size=16)
    loss, _ = objective.loss(policy, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    pick = torch.randint(32, (16,), generator=generator)
    own = cloned.loss(examples.take(pick), generator).mean()
    assert torch.equal(loss, own)


def test_weights_grow_with_the_reward_up_to_a_ceiling() -> None:
    reward = torch.arange(10.0)
    weights = exponential_weights(reward, temperature=0.5, ceiling=5.0)
    assert (weights.diff() >= 0).all()
    assert weights.max() == 5.0
    torch.testing.assert_close(weights, exponential_weights(7.0 * reward - 3.0, ceiling=5.0))
    assert accepted_weights(reward, share=0.3).sum() == 3


def test_what_compares_luck_or_rests_on_one_chunk_is_refused() -> None:
    one, other = examples_at_random(4, 2), examples_at_random(4, 2, seed=1)
    start = torch.arange(4)
    with pytest.raises(BadInput, match="different states"):
        ChunkPairs(winner=one, loser=other, winner_start=start, loser_start=start.flip(0))
    with pytest.raises(BadInput, match="carry the whole weight"):
        RewardWeighted(one, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    with pytest.raises(BadConfig, match="beta_per_dim"):
        PreferenceDpo(small(), pairs_of(one, other), beta_per_dim=0.0)


def test_best_of_n_keeps_the_contract_and_of_one_is_its_base() -> None:
    check_policy(lambda: BestOfN(small(), candidates=3))
    base, seen = small(), examples_at_random(8, 2)
    alone = BestOfN(base, candidates=1).act(
        seen.features, seen.state, torch.Generator(), explore=0.0
    )
    torch.testing.assert_close(
        alone.action, base.act(seen.features, seen.state, torch.Generator(), explore=0.0).action
    )


# Two modes: a policy that does +0.7 or -0.7 by chance, of which +0.7 is preferred.


def observed(action: torch.Tensor, state: torch.Tensor) -> Examples:
    return Examples(
        features={"front": torch.zeros(len(state), 1, 1, 1)},
        state=state,
        action=action,
        valid=torch.ones(action.shape[:2], dtype=torch.bool),
    )


@cache
def two_modes() -> DiffusionPolicy:
    draw = torch.Generator().manual_seed(0)
    sign = 2.0 * torch.randint(2, (256, 1, 1), generator=draw) - 1.0
    examples = observed(
        (0.7 * sign).expand(256, 2, 1).contiguous(), torch.rand(256, 1, generator=draw)
    )
    torch.manual_seed(0)
    policy = DiffusionPolicy(**POINT, chunk=2, steps=5, keypoints=4, width=128)
    clone(policy, examples, steps=800, learning_rate=2e-3, batch_size=128)
    return policy


def play(policy: Policy, seed: int, count: int = 256) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    state = torch.rand(count, 1, generator=generator)
    features = {"front": torch.zeros(count, 1, 1, 1)}
    return observed(policy.act(features, state, generator, explore=1.0).action, state)


def preferred_share(policy: Policy, seed: int) -> float:
    return float((play(policy, 1000 + seed).action[:, 0, 0] > 0.0).float().mean())


def pairs_from(seed: int) -> ChunkPairs:
    """Two roll-outs of the base policy from the same state; the higher action wins."""
    base, generator = two_modes(), torch.Generator().manual_seed(seed)
    state = torch.rand(256, 1, generator=generator)
    features = {"front": torch.zeros(256, 1, 1, 1)}
    first, second = (base.act(features, state, generator, explore=1.0).action for _ in range(2))
    ahead = (first[:, :1] > second[:, :1]).expand(first.shape)
    start = torch.arange(256)
    return ChunkPairs(
        winner=observed(torch.where(ahead, first, second), state),
        loser=observed(torch.where(ahead, second, first), state),
        winner_start=start,
        loser_start=start,
    )


def objective_of(kind: str, seed: int) -> Objective:
    if kind == "dpo":
        return PreferenceDpo(two_modes(), pairs_from(seed))
    played = play(two_modes(), seed)
    reward = played.action[:, 0, 0]
    if kind == "conditioned":
        strength = percentile(reward[:, None], among=reward[:, None])
        return Conditioned(replace(played, attributes=strength))
    weights = exponential_weights(reward) if kind == "rwr" else accepted_weights(reward, share=0.4)
    return RewardWeighted(played, weights)


def told(strength: float) -> AttributeDiffusion:
    policy = AttributeDiffusion.from_diffusion(two_modes(), ("liked",))
    policy.target = {"liked": strength}
    return policy


@pytest.mark.parametrize("kind", ["dpo", "rwr", "filtered", "conditioned"])
def test_the_preferred_mode_wins(kind: str) -> None:
    before = [preferred_share(two_modes(), seed) for seed in SEEDS]
    after = []
    for seed in SEEDS:
        policy = told(0.9) if kind == "conditioned" else copy.deepcopy(two_modes())
        rows = Aligner(
            policy, objective_of(kind, seed), play(two_modes(), 99), seed=seed,
            learning_rate=1e-3, limits=Limits(kl=math.inf),
        ).run(200, check_every=100)  # fmt: skip
        assert not any(row["rolled_back"] for row in rows)
        after.append(preferred_share(policy, seed))
    assert permutation_test(after, before, seed=0) < 0.05
    assert min(after) > 0.75


def test_a_conditioned_policy_does_what_it_is_told_last() -> None:
    policy = told(0.9)
    Aligner(
        policy, objective_of("conditioned", 0), play(two_modes(), 99), learning_rate=1e-3,
        limits=Limits(kl=math.inf),
    ).run(200, check_every=200)  # fmt: skip
    liked = preferred_share(policy, 0)
    policy.target = {"liked": 0.1}
    assert preferred_share(policy, 0) < 0.3 < 0.7 < liked


def test_a_policy_that_is_told_of_two_attributes_listens_to_each() -> None:
    played = play(two_modes(), 0)
    high = played.action[:, 0, 0].double().numpy()
    policy, _ = update(
        "conditioned", two_modes(), chunks=[played.take(torch.tensor([i])) for i in range(256)],
        start=range(256), ranked=[], reward=None, steps=400, seed=0, check_every=400,
        attributes={"low": -high, "high": high}, target={"high": 0.9}, most_drift=math.inf,
    )  # fmt: skip
    assert isinstance(policy, AttributeDiffusion)
    told = preferred_share(policy, 0)
    policy.target = {"high": 0.1}
    assert preferred_share(policy, 0) < 0.2 < 0.8 < told
    policy.target = {"low": 0.9}
    low = preferred_share(policy, 0)
    policy.target = {"low": 0.1}
    assert low < 0.2 < 0.8 < preferred_share(policy, 0)


def test_strengths_are_percentiles_among_the_roll_outs_that_are_imitated() -> None:
    kept = rolled_out() | {"succeeded": np.array([True, False, True, True, True, False])}
    kept["chunks"][2] = kept["chunks"][2].take(torch.arange(5))
    speed = np.array([7.0, -9.0, 3.0, 5.0, 9.0, -8.0])
    told = RollOuts(**kept, attributes={"speed": speed, "calm": -speed}).told()
    assert told.attributes is not None
    of_each = [row.unique(dim=0).tolist() for row in told.attributes.split([8, 5, 8, 8])]
    ranks = [0.625, 0.125, 0.375, 0.875]  # of four; the two that failed are slower still
    assert of_each == [[[rank, 1.0 - rank]] for rank in ranks]
    torch.testing.assert_close(told.action[8:13], kept["chunks"][2].action)


def test_best_of_n_prefers_the_mode_that_its_critic_learnt() -> None:
    before = [preferred_share(two_modes(), seed) for seed in SEEDS]
    after = []
    for seed in SEEDS:
        policy = BestOfN(copy.deepcopy(two_modes()), candidates=8, seed=seed)
        played = play(two_modes(), seed)
        policy.distil(played, played.action[:, 0, 0], steps=200, seed=seed)
        after.append(preferred_share(policy, seed))
        assert same_weights(policy.base.state_dict(), two_modes().state_dict())
    assert permutation_test(after, before, seed=0) < 0.05
    assert min(after) > 0.9


def test_the_anchor_bounds_how_far_the_policy_drifts() -> None:
    base = preferred_share(two_modes(), 0)
    shares, drift = {}, {}
    for anchor in (0.0, 5.0, 50.0):
        policy = copy.deepcopy(two_modes())
        objective = PreferenceDpo(two_modes(), pairs_from(0), anchor=anchor, imitation=0.0)
        (row,) = Aligner(
            policy, objective, play(two_modes(), 99), limits=Limits(kl=math.inf)
        ).run(100, check_every=100)  # fmt: skip
        shares[anchor], drift[anchor] = preferred_share(policy, 0), row["kl_proxy"]
    assert drift[0.0] > 10.0  # plain DPO unlearns both
    assert drift[50.0] < drift[5.0] < 0.5
    assert base + 0.1 < shares[5.0]
    assert abs(shares[50.0] - base) < shares[5.0] - base


class Ruin(Objective):
    """Pushes the denoising error up; after some steps its loss is no number."""

    def __init__(self, examples: Examples, nan_at: int | None) -> None:
        self.examples, self.nan_at, self.count = examples, nan_at, 0

    def loss(
        self, policy: DenoisingPolicy, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        self.count += 1
        if self.count == self.nan_at:
            return torch.tensor(float("nan"), requires_grad=True), {}
        return -policy.loss(self.examples, generator).mean(), {}


@pytest.mark.parametrize("nan_at", [None, 2])
def test_what_leaves_the_limits_is_rolled_back_to_the_last_good_weights(
    nan_at: int | None,
) -> None:
    policy = copy.deepcopy(two_modes())
    before = copy.deepcopy(policy.state_dict())
    kept = play(two_modes(), 99)
    rows = Aligner(policy, Ruin(kept, nan_at), kept, learning_rate=1e-2).run(50, check_every=10)
    assert rows[-1]["rolled_back"] == 1.0
    assert rows[-1]["step"] == (nan_at or 10)
    assert same_weights(policy.state_dict(), before)


def test_a_policy_that_loses_the_task_is_rolled_back() -> None:
    policy = copy.deepcopy(two_modes())
    before = copy.deepcopy(policy.state_dict())
    rows = Aligner(
        policy, objective_of("dpo", 0), play(two_modes(), 99), learning_rate=1e-3,
        limits=Limits(kl=math.inf, success=0.1),
        success=lambda own: 1.0 - preferred_share(own, 0),
    ).run(200, check_every=50)  # fmt: skip
    assert rows[-1]["rolled_back"] == 1.0
    assert rows[-1]["success"] < 0.4
    assert all(row["success"] >= 0.3 for row in rows[:-1])
    if len(rows) == 1:
        assert same_weights(policy.state_dict(), before)


@pytest.mark.parametrize("name", ["dpo", "best_of_n"])
@pytest.mark.parametrize(
    ("before", "after", "kept"), [(0.8, 0.6, True), (1.0, 0.8, True), (0.8, 0.5, False)]
)
def test_success_that_falls_by_as_much_as_it_may_is_kept(
    name: str, before: float, after: float, kept: bool
) -> None:
    measured = iter([before, after])
    _, (row,) = update(
        name, small(), **rolled_out(), steps=2, seed=0, most_drift=math.inf, most_lost=0.2,
        success=lambda _: next(measured),
    )  # fmt: skip
    assert row["rolled_back"] == float(not kept)


def rolled_out(starts: int = 2, each: int = 3) -> dict[str, Any]:
    """Roll-outs of eight chunks, of which those with a lower number are better."""
    count = starts * each
    return {
        "chunks": [examples_at_random(8, 2, seed=number) for number in range(count)],
        "start": [number // each for number in range(count)],
        "ranked": [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)],
        "reward": -np.arange(count, dtype=float),
        "succeeded": np.ones(count, bool),
    }


@pytest.mark.parametrize("name", UPDATES)
def test_each_update_is_chosen_by_name_and_leaves_the_base_policy_alone(
    name: str, tmp_path: Path
) -> None:
    base, told = small(), []
    before = copy.deepcopy(base.state_dict())
    policy, rows = update(
        name, base, **rolled_out(), steps=4, seed=0, check_every=2, report=told.append
    )
    assert told == rows
    assert rows[-1]["step"] == 4.0
    assert all(torch.equal(before[key], base.state_dict()[key]) for key in before)
    after = policy.state_dict()
    assert before.keys() != after.keys() or not all(torch.equal(before[k], after[k]) for k in after)
    seen = examples_at_random(4, 2)
    act = policy.act(seen.features, seen.state, torch.Generator().manual_seed(1), explore=1.0)
    encoder = {"_target_": "embodied.testing.rewards.HueEncoder", "image_size": 32, "grid": 8}
    save_policy(policy, tmp_path / "policy", encoder=encoder)
    again = load_policy(tmp_path / "policy").act(
        seen.features, seen.state, torch.Generator().manual_seed(1), explore=1.0
    )
    torch.testing.assert_close(again.action, act.action)


@pytest.mark.parametrize(("after", "kept"), [(0.95, True), (0.5, False)])
def test_best_of_n_that_loses_the_task_is_rolled_back(after: float, kept: bool) -> None:
    def success(policy: Policy) -> float:
        return after if isinstance(policy, BestOfN) else 1.0

    policy, (row,) = update("best_of_n", small(), **rolled_out(), steps=4, seed=0, success=success)
    assert isinstance(policy, BestOfN) is kept
    assert (row["success"], row["rolled_back"]) == (after, float(not kept))
    if not kept:
        assert same_weights(policy.state_dict(), small().state_dict())


def test_a_chunk_is_paired_with_the_one_of_its_time_and_start() -> None:
    kept = rolled_out()
    kept["chunks"][2] = kept["chunks"][2].take(torch.arange(5))
    pairs = RollOuts(**kept).pairs()
    assert len(pairs) == 8 + 5 + 5 + 3 * 8
    torch.testing.assert_close(pairs.winner.action[8:13], kept["chunks"][0].action[:5])
    torch.testing.assert_close(pairs.loser.action[8:13], kept["chunks"][2].action)
    assert torch.equal(pairs.winner_start, pairs.loser_start)


@pytest.mark.parametrize("name", ["rwr", "filtered"])
def test_what_a_failure_did_is_not_cloned_however_well_it_is_liked(name: str) -> None:
    rolled = rolled_out()
    assert rolled["reward"].argmax() == 0
    found = []
    for failed, seed in product((True, False), (0, 77)):
        chunks = [examples_at_random(8, 2, seed=seed), *rolled["chunks"][1:]]
        known = rolled | {"chunks": chunks, "succeeded": np.array([not failed, *[True] * 5])}
        policy, _ = update(name, small(), **known, steps=4, seed=0, most_drift=math.inf)
        found.append(policy.state_dict())
    assert same_weights(found[0], found[1])
    assert not same_weights(found[2], found[3])


def test_a_failure_is_nobodys_winner() -> None:
    kept = rolled_out() | {"succeeded": np.array([False, True, False, True, True, True])}
    rolled, chunks = RollOuts(**kept), kept["chunks"]
    pairs = rolled.pairs()
    assert len(pairs) == 8 * 5  # nothing is learnt from the two failures, 0 and 2
    torch.testing.assert_close(pairs.winner.action[:8], chunks[1].action)
    torch.testing.assert_close(pairs.loser.action[:8], chunks[0].action)
    reward = rolled.reward_of_chunks().view(6, 8)
    assert (reward[[0, 2]] == reward.min()).all()
    assert (reward[[1, 3, 4]] > reward.min()).all()


def test_an_update_without_what_it_learns_from_is_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean dpo"):
        update("dop", small(), **rolled_out(), steps=1, seed=0)
    with pytest.raises(BadInput, match="needs a reward of each roll-out"):
        update("rwr", small(), **rolled_out() | {"reward": None}, steps=1, seed=0)
    with pytest.raises(BadInput, match="no two roll-outs are ranked"):
        update("dpo", small(), **rolled_out() | {"ranked": []}, steps=1, seed=0)
