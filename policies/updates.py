"""Ways to update a policy from roll-outs of which some are better than others, by name.

All take the same: the roll-outs' chunks, the pairs of roll-outs of one start that are ranked, and,
but for direct preference optimisation, a reward of each roll-out. Where it is known which roll-outs
did the task, none that failed is imitated, however well it is liked: whoever compares *how* a task
is done may like an attempt that keeps away from it. Neither is one that was called bad.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Shaped

from embodied.errors import BadInput, UnknownName
from embodied.policies.alignment import Aligner, ChunkPairs, Limits, Objective
from embodied.policies.attribute_diffusion import AttributeDiffusion, percentile
from embodied.policies.base import DenoisingPolicy, Examples, Policy
from embodied.policies.best_of_n import BestOfN
from embodied.policies.conditioned import Conditioned
from embodied.policies.diffusion import DiffusionPolicy
from embodied.policies.preference_dpo import PreferenceDpo
from embodied.policies.reward_weighted import (
    RewardWeighted,
    accepted_weights,
    exponential_weights,
)

UPDATES = ("dpo", "rwr", "filtered", "best_of_n", "conditioned")
"""Diffusion-DPO with RPRO's anchor, reward-weighted regression, filtered cloning, best of N; and
AlignDiff's conditioning on how well a roll-out is liked, or on attributes of it."""
ACCEPTED = 0.3
"""Share of the chunks of roll-outs that did the task, by reward, that filtered cloning imitates."""
LIKED, AIM = "liked", 0.9
"""What a conditioned policy is told of by default, and its target: to be as in the best tenth."""
KEPT = 256
"""Chunks that the KL proxy is measured on, about."""


@dataclass(frozen=True, kw_only=True)
class RollOuts:
    """Roll-outs of the policy that is to be updated, by number."""

    chunks: Sequence[Examples]
    """Of each, in order."""
    start: Sequence[int]
    """The initial state that each began in."""
    ranked: Sequence[tuple[int, int]]
    """Numbers of two roll-outs of one start, the better one first."""
    reward: Float[np.ndarray, " rollout"] | None
    """Of each; None where only pairs are known."""
    succeeded: Bool[np.ndarray, " rollout"]
    """Whether each did the task, and was not called bad; no other is imitated."""
    attributes: Mapping[str, Float[np.ndarray, " rollout"]] | None = None
    """How strong each attribute of each roll-out is, in any unit; None where none is known."""

    def every(self) -> Examples:
        """The chunks of all roll-outs, one after the other."""
        cameras = self.chunks[0].features
        return Examples(
            features={c: torch.cat([each.features[c] for each in self.chunks]) for c in cameras},
            state=torch.cat([each.state for each in self.chunks]),
            action=torch.cat([each.action for each in self.chunks]),
            valid=torch.cat([each.valid for each in self.chunks]),
        )

    def pairs(self) -> ChunkPairs:
        """The t-th chunk of each winner beside the t-th of its loser."""
        ranked = [
            sorted(pair, key=lambda number: not self.succeeded[number])  # else as it was ranked
            for pair in self.ranked
            if self.succeeded[[*pair]].any()
        ]
        if not ranked:
            raise BadInput(
                "no two roll-outs are ranked of which one did the task: there is nothing to learn "
                "from."
            )
        first = np.cumsum([0, *map(len, self.chunks)])
        rows = [
            (first[better] + t, first[worse] + t, self.start[better], self.start[worse])
            for better, worse in ranked
            for t in range(min(len(self.chunks[better]), len(self.chunks[worse])))
        ]
        every = self.every()
        winner, loser, *starts = torch.tensor(rows).unbind(1)
        return ChunkPairs(
            winner=every.take(winner),
            loser=every.take(loser),
            winner_start=starts[0],
            loser_start=starts[1],
        )

    def reward_of_chunks(self) -> Float[torch.Tensor, " chunk"]:
        """Of the roll-out that each of all chunks is from; a failure's is the least of all."""
        if self.reward is None:
            raise BadInput("this update needs a reward of each roll-out; only dpo needs none.")
        return self.of_chunks(np.where(self.succeeded, self.reward, self.reward.min()))

    def told(self) -> Examples:
        """The chunks of roll-outs that did the task, with the percentiles of their attributes.

        Among these roll-outs: of what no example has, such as the slowness of those that failed,
        the policy could not be told. By default of one attribute, the reward, among these chunks.
        """
        good = self.of_chunks(self.succeeded).bool()
        if self.attributes is None:
            liked = rearrange(self.reward_of_chunks()[good], "chunk -> chunk 1")
            strength = percentile(liked, among=liked)
        else:
            kept = np.flatnonzero(self.succeeded)
            known = torch.tensor(np.stack([v[kept] for v in self.attributes.values()], 1)).float()
            lengths = torch.tensor([len(self.chunks[number]) for number in kept])
            strength = percentile(known, among=known).repeat_interleave(lengths, 0)
        return replace(self.every().take(good.nonzero()[:, 0]), attributes=strength)

    def of_chunks(self, values: Shaped[np.ndarray, " rollout"]) -> Float[torch.Tensor, " chunk"]:
        """What belongs to the roll-out that each of all chunks is from."""
        lengths = [len(each) for each in self.chunks]
        return torch.from_numpy(np.repeat(values, lengths)).float()


def update(
    name: str,
    base: DenoisingPolicy,
    *,
    chunks: Sequence[Examples],
    start: Sequence[int],
    ranked: Sequence[tuple[int, int]],
    reward: Float[np.ndarray, " rollout"] | None,
    steps: int,
    seed: int,
    succeeded: Bool[np.ndarray, " rollout"] | None = None,
    attributes: Mapping[str, Float[np.ndarray, " rollout"]] | None = None,
    target: Mapping[str, float] | None = None,
    check_every: int = 50,
    most_drift: float = 0.5,
    most_lost: float = 0.1,
    success: Callable[[Policy], float] | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
) -> tuple[Policy, list[dict[str, float]]]:
    """A copy of a policy after an update from its roll-outs, and what was measured on the way.

    Args:
        name: One of `UPDATES`.
        base: Stays as it is.
        chunks: Of each of its roll-outs, in order.
        start: The initial state that each began in.
        ranked: Numbers of two roll-outs of one start, the better one first.
        reward: Of each roll-out; None where only pairs are known.
        steps: Updates.
        seed: Of batches and noise.
        succeeded: Whether each roll-out did the task, and was not called bad; if None, or if none
            did, all are taken alike.
        attributes: What a conditioned policy can be told of, by name: how strong it is in each
            roll-out, in any unit. By default how well each is liked, by the reward.
        target: What a conditioned policy acts towards; by default nothing, or to be liked much.
        check_every: Updates between checks.
        most_drift: `Limits.kl`; best of N changes no weights, so that nothing drifts.
        most_lost: `Limits.success`.
        success: Measures the task success of a policy, in [0, 1]; not watched if None.
        report: Is told each row of checks at once.

    Returns:
        The policy, and a row per check (`Aligner.run`; best of N has a single one).

    Raises:
        UnknownName: for another update.
        BadInput: without a pair or a reward that it needs, if a few chunks have all the weight, or
            for a policy that cannot be conditioned.
    """
    if name not in UPDATES:
        raise UnknownName("update", name, UPDATES)
    if succeeded is None or not succeeded.any():
        succeeded = np.ones(len(chunks), bool)
    rolled = RollOuts(
        chunks=chunks, start=start, ranked=ranked, reward=reward, succeeded=succeeded,
        attributes=attributes,
    )  # fmt: skip
    policy: DenoisingPolicy = copy.deepcopy(base)
    every, limits = rolled.every(), Limits(kl=most_drift, success=most_lost)
    if name == "best_of_n":
        chosen = BestOfN(policy, seed=seed)
        found = chosen.distil(every, rolled.reward_of_chunks(), steps=steps, seed=seed)
        row = {"step": float(steps), "rolled_back": 0.0} | found
        if success is not None:
            before, row["success"] = success(base), success(chosen)
            row["rolled_back"] = float(not limits.keeps_success(before, row["success"]))
        if report is not None:
            report(row)
        return (policy if row["rolled_back"] else chosen), [row]
    if name == "conditioned":
        policy = _told(base, tuple(attributes or (LIKED,)))
        usual = {LIKED: AIM} if attributes is None else {}
        policy.target = usual if target is None else target
    aligner = Aligner(
        policy, _objective(name, base, rolled, every), _kept(every), seed=seed,
        limits=limits, success=success,
    )  # fmt: skip
    return policy, aligner.run(steps, check_every, report)


def _objective(
    name: str, base: DenoisingPolicy, rolled: RollOuts, every: Examples
) -> Objective:  # fmt: skip
    if name == "dpo":
        return PreferenceDpo(base, rolled.pairs())
    if name == "conditioned":
        return Conditioned(rolled.told())
    reward, good = rolled.reward_of_chunks(), rolled.of_chunks(rolled.succeeded).bool()
    weights = torch.zeros(len(every))
    weights[good] = (
        exponential_weights(reward[good])
        if name == "rwr"
        else accepted_weights(reward[good], share=ACCEPTED)
    )
    return RewardWeighted(every, weights)


def _told(base: DenoisingPolicy, attributes: Sequence[str]) -> AttributeDiffusion:
    """A copy that can be told how strong each attribute should be."""
    if not isinstance(base, DiffusionPolicy):
        raise BadInput(f"a {type(base).__name__} cannot be conditioned; choose another update.")
    return AttributeDiffusion.from_diffusion(base, attributes)


def _kept(every: Examples) -> Examples:
    """Chunks that the KL proxy is measured on."""
    return every.take(torch.arange(0, len(every), max(1, len(every) // KEPT)))
