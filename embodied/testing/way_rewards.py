"""Rewards that learn from rankings of attempts, and how well they agree with what is liked.

RAPL beside what it is compared with: RLHF's head on the same features, and the same matching in
two embeddings that know no preference, ImageNet's and one of temporal cycle consistency.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from embodied.reward_models.cycle_consistency import cycle_loss
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.rapl_alignment import (
    Pair,
    Recipe,
    align,
    favourites,
    learn_return,
    pairs_of,
    return_head,
)
from embodied.reward_models.rapl_matching import Matcher, new_matcher
from embodied.reward_models.transport import Matching
from embodied.testing.ways import CAMERA, Attempt

FRAMES = 16
"""Drawn of each clip in an update."""
BETA = 10.0
"""Of RAPL's Bradley-Terry model, as in `Rapl`."""
REFERENCES = 4
"""Preferred clips that others are matched with, at most."""
BASELINES = ("RLHF head", "ImageNet-OT", "TCC-OT")
REWARDS = ("RAPL", *BASELINES)

type Clips = Sequence[Sequence[Maps]]
"""The features of each clip, in one copy."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What was learned from some rankings."""

    matchers: Mapping[str, Matcher]
    """RAPL's and those of the two embeddings."""
    head: nn.Module
    """RLHF's, on features as the matcher of RAPL standardises them."""

    def say(self, name: str, clips: Sequence[Attempt]) -> Float[np.ndarray, " clip"]:
        """How well a reward, one of `REWARDS`, likes each clip."""
        maps = [[clip.clip.features[CAMERA]] for clip in clips]
        if name == "RLHF head":
            standardise = self.matchers["RAPL"].standardise
            with torch.inference_mode():
                return np.array([float(self.head(standardise(own)).mean()) for own in maps])
        return np.array([-self.matchers[name].match(own).distance for own in maps])


def ranked(train: Sequence[Attempt], rng: np.random.Generator, count: int) -> list[list[int]]:
    """Triplets of clips, ranked by what is measured: the first n are n rankings."""
    drawn = [rng.choice(len(train), 3, replace=False) for _ in range(count)]
    return [sorted(map(int, three), key=lambda i: -train[i].liking) for three in drawn]


def learn_rewards(
    train: Sequence[Attempt], ranks: Sequence[Sequence[int]], seed: int, steps: int
) -> Learned:
    """Every reward, from the same rankings.

    Args:
        train: Clips that were ranked.
        ranks: Numbers of clips, best first.
        seed: Of the networks.
        steps: Updates of each.
    """
    pairs = pairs_of(ranks)
    best = favourites(pairs, REFERENCES)
    maps = [[[attempt.clip.features[CAMERA]]] for attempt in train]
    aligned, imagenet = (_new_matcher(maps, name, seed) for name in ("aligned", "imagenet"))
    recipe = Recipe(seed=seed, steps=steps, frames=FRAMES)
    align(aligned, maps, pairs, best, recipe, beta=BETA)
    matchers = {
        "RAPL": aligned, "ImageNet-OT": imagenet, "TCC-OT": _cycle_consistent(maps, seed, steps)
    }  # fmt: skip
    for matcher in matchers.values():
        matcher.remember([maps[number][0] for number in best])
    return Learned(matchers=matchers, head=_preference_head(maps, pairs, seed, recipe))


def _channels(maps: Clips) -> int:
    return int(maps[0][0][0].shape[1])


def _new_matcher(maps: Clips, embedding: str, seed: int) -> Matcher:
    """Untrained; its features are standardised for the training clips."""
    matcher = new_matcher(_channels(maps), 1, embedding, Matching(), seed)
    matcher.standardise.adapt([copies[0] for copies in maps])
    return matcher


def _preference_head(maps: Clips, pairs: Sequence[Pair], seed: int, recipe: Recipe) -> nn.Module:
    """RLHF: a reward per frame on the same features, by Bradley-Terry on its mean."""
    head = return_head(_channels(maps), 1, seed)
    learn_return(_new_matcher(maps, "aligned", seed).standardise, head, maps, pairs, recipe)
    return head


def _cycle_consistent(maps: Clips, seed: int, steps: int) -> Matcher:
    """TCC: the embedding aligns clips in time and knows no preference; matched as RAPL's is."""
    matcher = _new_matcher(maps, "aligned", seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        videos = [matcher.standardise(copies[0])[0] for copies in maps]
        optimizer = torch.optim.AdamW(matcher.parameters(), lr=1e-3, weight_decay=1e-4)
        matcher.train()
        for _ in range(steps):
            drawn = [videos[int(i)] for i in torch.randperm(len(videos))[:6]]
            index = [torch.randint(len(v), (FRAMES,)).sort().values for v in drawn]
            frames = torch.cat([v[i] for v, i in zip(drawn, index, strict=True)])
            embedded = matcher.head([frames]).unflatten(0, (len(drawn), FRAMES))
            time = torch.stack([i / len(v) for v, i in zip(drawn, index, strict=True)])
            optimizer.zero_grad()
            cycle_loss(embedded, time).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        matcher.eval()
    return matcher
