"""DSRL: reinforcement learning in the noise space of a frozen diffusion policy.

Wagenmaker et al., "Steering Your Diffusion Policy with Latent Space Reinforcement Learning"
(arXiv 2506.15799). The diffusion policy is a deterministic function of its first noise; a small
actor chooses that noise instead of drawing it. Every chunk it can choose is one that the base
policy could have made, so exploration stays near the demonstrations. There are two kinds of
critics, as in the paper's noise-aliased variant. An ensemble Q(s, a) learns from executed chunks,
whoever executed them (a person's have no noise). A critic in noise space is fitted to it on noises
drawn anew, Q(s, w) = Q(s, pi(s, w)); the actor climbs that one, with the entropy bonus of SAC.
"""

import copy
from collections.abc import Mapping
from typing import Any, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from embodied.policies.base import Algorithm, Chunk, DenoisingPolicy, Policy, Weights
from embodied.types import Batch


@final
class NoiseActor(nn.Module):
    """Gaussian over a chunk's first noise, squashed to +-``reach``."""

    def __init__(self, condition: int, size: int, *, reach: float, width: int = 128) -> None:
        super().__init__()
        self.reach = reach
        self.network = nn.Sequential(
            nn.Linear(condition, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, 2 * size),
        )  # fmt: skip

    def forward(
        self,
        condition: Float[Tensor, "batch condition"],
        unit: Float[Tensor, "batch size"],
    ) -> tuple[Float[Tensor, "batch size"], Float[Tensor, " batch"]]:
        """The noise that a standard normal draw becomes, and its log-probability."""
        mean, log_scale = self.network(condition).chunk(2, -1)
        log_scale = log_scale.clamp(-4.0, 0.5)
        flat = mean + log_scale.exp() * unit
        squashed = torch.tanh(flat)
        log_density = (-0.5 * unit.square() - log_scale).sum(1)
        correction = torch.log(1.0 - squashed.square() + 1e-6).sum(1)
        return self.reach * squashed, log_density - correction


@final
class Critics(nn.Module):
    """An ensemble of Q functions of an observation's condition and a flat chunk or noise."""

    def __init__(self, condition: int, size: int, *, members: int, width: int = 192) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(condition + size, width), nn.LayerNorm(width), nn.ReLU(),
                nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(),
                nn.Linear(width, 1),
            )
            for _ in range(members)
        )  # fmt: skip

    def forward(
        self,
        condition: Float[Tensor, "batch condition"],
        choice: Float[Tensor, "batch size"],
    ) -> Float[Tensor, "member batch"]:
        """Each member's value."""
        joined = torch.cat([condition, choice], 1)
        return torch.stack([rearrange(member(joined), "b 1 -> b") for member in self.members])


@final
class SteeredPolicy(Policy):
    """A frozen denoising policy whose noise is chosen by an actor."""

    def __init__(self, base: DenoisingPolicy, *, reach: float = 1.5) -> None:
        super().__init__()
        self.base, self.chunk = base, base.chunk
        condition = base.condition_size
        self.actor = NoiseActor(condition, base.chunk * base.action_size, reach=reach)
        self.agency = nn.Buffer(torch.zeros(()))
        """Probability that the actor, rather than chance, chooses the noise; grows in training."""

    @torch.no_grad()
    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """A chunk from a chosen noise; without exploration, from the actor's mean.

        Any exploration draws from the actor's whole distribution, as soft actor-critic does.
        """
        condition = self.base.condition(features, state)
        size = self.base.chunk * self.base.action_size
        unit = torch.randn(len(state), size, generator=generator)
        chosen, _ = self.actor(condition, unit if explore else torch.zeros_like(unit))
        chance = torch.rand(len(state), 1, generator=generator) >= self.agency
        flat = torch.where(chance, (0.5 + 0.5 * explore) * unit, chosen)
        noise = rearrange(flat, "b (chunk action) -> b chunk action", chunk=self.chunk)
        return Chunk(action=self.base.denoise(noise, condition), noise=noise)


@final
class DSRL(Algorithm):
    """Soft actor-critic over the noise of a frozen diffusion policy.

    Args:
        policy: The base policy. It is copied, and the copy never changes.
        seed: Of all noise.
        reach: Greatest noise that the actor can choose, in standard deviations.
        members: Critics; targets use the least of two drawn at random (REDQ).
        critic_updates: Critic updates per actor update, each with a batch of its own.
        discount: Per environment step.
        entropy: Weight of the entropy bonus.
        learning_rate: Of all networks.
        target_rate: Share of the critics that enters their targets at each update.
        warm_up: Updates before the actor begins to learn and to act.
        agency_growth: Updates in which the actor's share of the choices grows from 0 to 1.
    """

    def __init__(
        self,
        policy: DenoisingPolicy,
        *,
        seed: int = 0,
        reach: float = 1.5,
        members: int = 5,
        critic_updates: int = 2,
        discount: float = 0.99,
        entropy: float = 0.01,
        learning_rate: float = 5e-4,
        target_rate: float = 0.01,
        warm_up: int = 300,
        agency_growth: int = 600,
    ) -> None:
        self._discount, self._entropy = discount, entropy
        self._critic_updates, self._target_rate = critic_updates, target_rate
        self._warm_up, self._agency_growth = warm_up, agency_growth
        self._generator = torch.Generator().manual_seed(seed)
        base = copy.deepcopy(policy).requires_grad_(False)
        self._base, self._updates = base, 0
        size = base.chunk * base.action_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._policy = SteeredPolicy(base, reach=reach)
            self._critics = Critics(base.condition_size, size, members=members)
            self._noise_critics = Critics(base.condition_size, size, members=2)
        self._targets = copy.deepcopy(self._critics).requires_grad_(False)
        critics = [*self._critics.parameters(), *self._noise_critics.parameters()]
        self._critic_optimizer = torch.optim.AdamW(critics, learning_rate, fused=True)
        self._actor_optimizer = torch.optim.AdamW(
            self._policy.actor.parameters(), learning_rate, fused=True
        )

    @property
    def batches_per_update(self) -> int:
        """One batch for each critic update; the last one also trains the actor."""
        return self._critic_updates

    def update(self, batches: list[Batch]) -> dict[str, float]:
        """Critics, then the actor.

        Returns:
            ``critic_loss``, ``noise_critic_loss``, ``actor_loss``, ``value`` (mean),
            ``value_spread`` (among the members), ``entropy`` (of the actor) and ``agency``.
        """
        metrics: dict[str, float] = {}
        for batch in batches:
            condition = self._base.condition(batch.features, batch.state)
            metrics = self._learn_critics(batch, condition)
        if self._updates >= self._warm_up:
            metrics |= self._learn_actor(condition)
        self._updates += 1
        grown = (self._updates - self._warm_up) / self._agency_growth
        self._policy.agency.fill_(min(1.0, max(0.0, grown)))
        return metrics | {"agency": float(self._policy.agency)}

    def acting_policy(self) -> SteeredPolicy:
        """The base policy with the present actor."""
        return copy.deepcopy(self._policy)

    def weights(self) -> Weights:
        """The base policy with the present actor."""
        return {name: value.detach().clone() for name, value in self._policy.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, generator and counter."""
        return {
            "policy": self._policy.state_dict(),
            "critics": self._critics.state_dict(),
            "noise_critics": self._noise_critics.state_dict(),
            "targets": self._targets.state_dict(),
            "critic_optimizer": self._critic_optimizer.state_dict(),
            "actor_optimizer": self._actor_optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._policy.load_state_dict(state["policy"])
        self._critics.load_state_dict(state["critics"])
        self._noise_critics.load_state_dict(state["noise_critics"])
        self._targets.load_state_dict(state["targets"])
        self._critic_optimizer.load_state_dict(state["critic_optimizer"])
        self._actor_optimizer.load_state_dict(state["actor_optimizer"])
        self._generator.set_state(state["generator"])
        self._updates = state["updates"]

    def _learn_critics(
        self, batch: Batch, condition: Float[Tensor, "batch condition"]
    ) -> dict[str, float]:
        target = self._target(batch)
        values = self._critics(condition, _flat(batch.action))
        loss = (values - target).square().mean()
        noise, chunk = self._imagine(condition)
        with torch.no_grad():
            believed = self._critics(condition, chunk).mean(0)
        noise_loss = (self._noise_critics(condition, noise) - believed).square().mean()
        self._critic_optimizer.zero_grad()
        (loss + noise_loss).backward()
        self._critic_optimizer.step()
        self._follow()
        return {
            "critic_loss": float(loss.detach()),
            "noise_critic_loss": float(noise_loss.detach()),
            "value": float(values.detach().mean()),
            "value_spread": float(values.detach().std(0).mean()),
        }

    @torch.no_grad()
    def _target(self, batch: Batch) -> Float[Tensor, " batch"]:
        """Discounted rewards of the chunk, and the value of what the policy would do next."""
        valid = batch.valid.float()
        powers = self._discount ** torch.arange(valid.shape[1])
        earned = (batch.reward * valid * powers).sum(1)
        condition = self._base.condition(batch.next_features, batch.next_state)
        _, chunk = self._imagine(condition)
        pair = torch.randperm(len(self._targets.members), generator=self._generator)[:2]
        future = self._targets(condition, chunk)[pair].amin(0)
        worth: Tensor = earned + self._discount ** valid.sum(1) * batch.bootstrap * future
        return worth

    def _imagine(
        self, condition: Float[Tensor, "batch condition"]
    ) -> tuple[Float[Tensor, "batch size"], Float[Tensor, "batch size"]]:
        """A noise that the present policy might start from, and the chunk it becomes."""
        size = self._base.chunk * self._base.action_size
        unit = torch.randn(len(condition), size, generator=self._generator)
        with torch.no_grad():
            chosen, _ = self._policy.actor(condition, unit)
            share = torch.rand(len(condition), 1, generator=self._generator)
            noise = torch.where(share < 0.5 * (1.0 + self._policy.agency), chosen, unit)
            noise = noise if self._updates >= self._warm_up else unit
            stacked = rearrange(noise, "b (chunk a) -> b chunk a", chunk=self._base.chunk)
            chunk = self._base.denoise(stacked, condition)
        return noise, _flat(chunk)

    def _learn_actor(self, condition: Float[Tensor, "batch condition"]) -> dict[str, float]:
        size = self._base.chunk * self._base.action_size
        unit = torch.randn(len(condition), size, generator=self._generator)
        noise, log_density = self._policy.actor(condition, unit)
        value = self._noise_critics(condition, noise).amin(0)
        loss = (self._entropy * log_density - value).mean()
        self._actor_optimizer.zero_grad()
        loss.backward()
        self._actor_optimizer.step()
        return {
            "actor_loss": float(loss.detach()),
            "entropy": float(-log_density.detach().mean()),
        }

    @torch.no_grad()
    def _follow(self) -> None:
        for slow, fast in zip(self._targets.parameters(), self._critics.parameters(), strict=True):
            slow.lerp_(fast, self._target_rate)


def _flat(chunk: Float[Tensor, "batch chunk action"]) -> Float[Tensor, "batch size"]:
    return rearrange(chunk, "b chunk action -> b (chunk action)")
