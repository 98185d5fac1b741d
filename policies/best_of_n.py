"""Best of N: draw chunks from a policy that stays as it is, and execute the one judged best.

As IDQL (arXiv 2304.10573) selects. A visual reward scores what was seen, not what would be done; so
it is distilled first: a small critic learns the reward of a whole roll-out from the observation and
the chunk (Monte Carlo, no bootstrap).
"""

from collections.abc import Mapping
from typing import final

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from embodied.errors import BadConfig
from embodied.policies.base import Chunk, DenoisingPolicy, Examples, Policy


@final
class BestOfN(Policy):
    """A frozen policy behind a critic of its chunks.

    Args:
        base: Draws the chunks; not changed.
        candidates: The N; with 1 it is the base policy.
        width: Of the critic.
        seed: Of the critic's start.

    Raises:
        BadConfig: without a candidate.
    """

    def __init__(
        self, base: DenoisingPolicy, *, candidates: int = 8, width: int = 128, seed: int = 0
    ) -> None:
        super().__init__()
        if candidates < 1:
            raise BadConfig(f"best-of-N needs a candidate, not {candidates}.")
        self.base, self.chunk, self.candidates = base, base.chunk, candidates
        size = base.condition_size + base.chunk * base.action_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic = nn.Sequential(
                nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                nn.Linear(width, 1),
            )  # fmt: skip

    def distil(
        self,
        examples: Examples,
        reward: Float[Tensor, " chunk"],
        *,
        steps: int = 500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> dict[str, float]:
        """Teach the critic what chunks' roll-outs earned; ``critic_loss`` is the last tenth's mean.

        Args:
            examples: Chunks.
            reward: Of the roll-out that each chunk comes from; brought to mean 0, deviation 1.
            steps: Updates.
            batch_size: Chunks per update.
            learning_rate: Of AdamW.
            seed: Of the batches.
        """
        target = (reward - reward.mean()) / reward.std(correction=0).clamp(min=1e-6)
        with torch.no_grad():
            condition = self.base.condition(examples.features, examples.state)
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(self.critic.parameters(), learning_rate, weight_decay=1e-2)
        losses = []
        for _ in range(steps):
            pick = torch.randint(len(target), (batch_size,), generator=generator)
            found = self._judge(condition[pick], examples.action[pick])
            loss = (found - target[pick]).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
        tail = losses[-max(1, steps // 10) :]
        return {"critic_loss": sum(tail) / len(tail)}

    @torch.no_grad()
    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """The best of N chunks that the base policy draws, as boldly as it is told."""
        times = self.candidates
        many = {camera: repeat(maps, "b c h w -> (n b) c h w", n=times)
                for camera, maps in features.items()}  # fmt: skip
        states = repeat(state, "b s -> (n b) s", n=times)
        drawn = self.base.act(many, states, generator, explore=explore)
        condition = repeat(self.base.condition(features, state), "b c -> (n b) c", n=times)
        best = rearrange(self._judge(condition, drawn.action), "(n b) -> n b", n=times).argmax(0)
        row = torch.arange(len(best))
        action, noise = (
            rearrange(each, "(n b) chunk action -> n b chunk action", n=times)[best, row]
            for each in (drawn.action, drawn.noise)
        )
        return Chunk(action=action, noise=noise)

    def _judge(
        self,
        condition: Float[Tensor, "batch condition"],
        action: Float[Tensor, "batch chunk action"],
    ) -> Float[Tensor, " batch"]:
        flat = rearrange(action, "b chunk action -> b (chunk action)")
        value: Tensor = self.critic(torch.cat([condition, flat], 1))
        return value[:, 0]
