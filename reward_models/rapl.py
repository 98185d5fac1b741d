"""RAPL (arXiv 2310.07932, 2412.04835): a visual reward from a few preferences.

All preferences go into the embedding of frames (`rapl_alignment.py`). The reward of a frame is then
minus what it costs to match it with a preferred clip (`rapl_matching.py`):
r(o_t) = -sum_s C_ts P*_ts, C being the cosine cost and P* the optimal transport plan
(`transport.py`). Here the embedding is a small head on frozen features; see `docs/rewards/rapl.md`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32
from scipy.special import expit
from torch import nn

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import Plan, Preferences, Scores
from embodied.reward_models.features import maps_of, variants_of
from embodied.reward_models.rapl_alignment import Pair, Recipe, align, favourites, pairs_of
from embodied.reward_models.rapl_matching import Match, Matcher, new_matcher
from embodied.reward_models.readout import Readout
from embodied.reward_models.taught_reward import TaughtReward
from embodied.reward_models.transport import Matching
from embodied.types import Clip, FrameEncoder

PAIRS = 150
"""Drawn from successes and failures where there are no preferences; as many answers as RAPL asks
for."""
HELD_OUT = 4
"""Every fourth clip, or triplet, is kept for the readout."""


@dataclass(frozen=True, kw_only=True)
class Triplet:
    """Three clips of one task, as a person ranks them."""

    best: Clip
    better: Clip
    worse: Clip


@final
class Rapl(TaughtReward):
    """Minus the cost of matching a clip with preferred ones, in an embedding that knows why.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies in training.
        cameras: Cameras that are looked at.
        embedding: ``aligned`` on triplets, or ``imagenet``, the frozen features themselves.
        references: Preferred clips that are kept to be matched with; the best one counts.
        method: How frames are matched: ``sinkhorn``, ``nearest`` or ``soft_dtw``.
        smoothing: Epsilon or gamma of the matching.
        band: Width of the plan around the diagonal, as a share of the clip; any if None.
        beta: Of the Bradley-Terry model.
        augmentations: Copies of each training clip under another camera pose and light.
        discount: Per frame, as the learner's.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        UnknownName: for another embedding or method.
        BadConfig: without a camera or a reference.
    """

    causal = False

    def __init__(
        self,
        encoder: FrameEncoder,
        cameras: Sequence[str] = ("front",),
        *,
        embedding: str = "aligned",
        references: int = 4,
        method: str = "sinkhorn",
        smoothing: float = 0.01,
        band: float | None = None,
        beta: float = 10.0,
        augmentations: int = 1,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        super().__init__()
        if not cameras or references < 1:
            raise BadConfig(
                f"RAPL needs a camera and a reference, not {len(cameras)} and {references}."
            )
        self.encoder, self.cameras = encoder, tuple(cameras)
        self.embedding, self.beta, self.bonus = embedding, beta, bonus
        self.augmentations = augmentations if embedding == "aligned" else 0
        self.most_references = references
        self.matching = Matching(method=method, smoothing=smoothing, band=band)
        self.matcher = self._new_matcher(0)
        self.readout = Readout(discount=discount, bonus=bonus)
        self.scale = nn.Buffer(torch.tensor(1.0))
        """Reward per distance: a typical clip to be avoided earns -1."""
        self.eval()

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores of each clip; features that a clip lacks are computed, all others are used.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the reward is untrained.
        """
        return [self._scores(match) for match in self.match(clips)]

    def match(self, clips: Sequence[Clip]) -> list[Match]:
        """The preferred clip that each clip is nearest to, and the plan between the two.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: if the reward is untrained.
        """
        return [self.matcher.match(maps_of(clip, self.cameras, self.encoder)) for clip in clips]

    def plans(self, clips: Sequence[Clip]) -> list[Plan]:
        """What `match` found, without the costs."""
        return [
            Plan(reference=match.reference, mass=match.plan.numpy()) for match in self.match(clips)
        ]

    def compare(
        self, first: Sequence[Clip], second: Sequence[Clip]
    ) -> Float32[np.ndarray, " pair"]:
        """Probability that the second clip of each pair is preferred, by the model it learned."""
        before, after = (
            np.array([match.distance for match in self.match(clips)]) for clips in (first, second)
        )
        return np.asarray(expit(self.beta * (before - after)), np.float32)

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Train anew on the answers that it heard, or else on pairs of a success and a failure.

        With answers, the clips that won more than they lost are the references, and successes and
        failures teach the readout alone; what people called "both bad" is a failure.

        Args:
            successes: Clips that end with the task complete.
            failures: Clips that never complete it; only ``imagenet``, and who heard answers, can do
                without.
            distractor_instructions: Not used: the reward does not read.
            seed: Of the head, the pairs and the augmentation.
            steps: Updates of the head.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            ``loss`` of the alignment, how many ``labels`` it learned from if it heard any, and what
            `Readout.fit` returns.

        Raises:
            BadInput: with fewer than two successes, or without a failure to compare them with;
                with answers, without a success.
        """
        recipe = Recipe(seed=seed, steps=steps, report=progress_callback)
        if self.preferences is not None:
            return self._learn_answers(self.preferences, successes, failures, recipe)
        if len(successes) < 2 or (self.embedding == "aligned" and not failures):
            raise BadInput(
                "RAPL needs two successes or more, and a failure to compare with them; got "
                f"{len(successes)} and {len(failures)}."
            )
        rng = np.random.default_rng(seed)
        (good, kept_good), (bad, kept_bad) = _hold_out(successes, 2), _hold_out(failures, 1)
        drawn = [
            (good[rng.integers(len(good))], bad[rng.integers(len(bad))])
            for _ in range(PAIRS)
            if bad
        ]
        return self._learn(drawn, good[: self.most_references], kept_good, kept_bad, recipe)

    def align(
        self,
        triplets: Sequence[Triplet],
        *,
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Train anew on preferences; the clips that win most often become the references.

        The readout takes what is preferred for success and what is not for failure, in triplets
        that are held out; their clips may be known from others.

        Args:
            triplets: Of clips of one task, ranked.
            seed: Of the head and the augmentation.
            steps: Updates of the head.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            ``loss`` of the alignment, and what `Readout.fit` returns.

        Raises:
            BadInput: without a triplet.
        """
        if not triplets:
            raise BadInput("RAPL needs a ranked triplet of clips or more to be aligned on.")
        learnt, kept = _hold_out(triplets, 1)
        clips = {id(clip): clip for t in learnt for clip in (t.best, t.better, t.worse)}
        ranked = pairs_of([(id(t.best), id(t.better), id(t.worse)) for t in learnt])
        recipe = Recipe(seed=seed, steps=steps, report=progress_callback)
        return self._learn(
            [(clips[better], clips[worse]) for better, worse in ranked],
            [clips[key] for key in favourites(ranked, self.most_references)],
            [triplet.better for triplet in kept],
            [triplet.worse for triplet in kept],
            recipe,
        )

    def identity(self) -> dict[str, Any]:
        """The encoder, the cameras and whether the embedding was aligned."""
        return {
            "encoder": self.encoder.fingerprint,
            "cameras": list(self.cameras),
            "embedding": self.embedding,
        }

    def _learn_answers(
        self,
        heard: Preferences,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        recipe: Recipe,
    ) -> dict[str, float]:
        """Train on what people decided; ties say nothing of an order."""
        ranked, clips = heard.decided(), heard.clips
        found = self._learn(
            [(clips[better], clips[worse]) for better, worse in ranked],
            [clips[number] for number in favourites(ranked, self.most_references)],
            successes,
            [*failures, *heard.bad],
            recipe,
        )
        self.note_origin(heard)
        return found | {"labels": float(heard.origin["labels"])}

    def _learn(
        self,
        pairs: Sequence[tuple[Clip, Clip]],
        preferred: Sequence[Clip],
        liked: Sequence[Clip],
        disliked: Sequence[Clip],
        recipe: Recipe,
    ) -> dict[str, float]:
        """Train the head on pairs, keep references, and calibrate on clips that it never saw."""
        rng = np.random.default_rng(recipe.seed)
        clips = {id(clip): clip for pair in [*pairs, preferred] for clip in pair}
        copies = {
            key: variants_of(clip, self.cameras, self.encoder, self.augmentations, rng)
            for key, clip in clips.items()
        }
        number = {key: place for place, key in enumerate(copies)}
        self.matcher, self.origin = self._new_matcher(recipe.seed), None
        self.matcher.standardise.adapt([own[0] for own in copies.values()])
        metrics = {}
        if self.embedding == "aligned":
            ranked: list[Pair] = [(number[id(first)], number[id(second)])
                                  for first, second in pairs]  # fmt: skip
            metrics["loss"] = align(
                self.matcher, list(copies.values()), ranked,
                [number[id(clip)] for clip in preferred], recipe, beta=self.beta,
            )  # fmt: skip
        self.matcher.remember([copies[id(clip)][0] for clip in preferred])
        self.version += 1
        if recipe.report is not None:
            recipe.report(1.0)
        return metrics | self._calibrate(liked, disliked)

    def _calibrate(self, liked: Sequence[Clip], disliked: Sequence[Clip]) -> dict[str, float]:
        good, bad = self.match(liked), self.match(disliked)
        typical = float(np.median([match.distance for match in bad or good]))
        self.scale.fill_(1 / max(typical, 1e-6))
        return self.readout.fit([m.nearness() for m in good], [m.nearness() for m in bad])

    def _scores(self, match: Match) -> Scores:
        """Completion from the readout, reward from the plan."""
        scores = self.readout.scores(match.nearness())
        reward = -float(self.scale) * match.frame_cost.astype(np.float32)
        reward[0] = 0.0
        reward[scores.done_index : scores.done_index + 1] += self.bonus
        return replace(scores, reward=reward)

    def _new_matcher(self, seed: int) -> Matcher:
        channels, cameras = self.encoder.shape[0], len(self.cameras)
        return new_matcher(channels, cameras, self.embedding, self.matching, seed)


def _hold_out[T](items: Sequence[T], least: int) -> tuple[list[T], list[T]]:
    """What to learn from, and what to be judged by: the same, where there is too little."""
    kept = list(items[HELD_OUT - 1 :: HELD_OUT])
    rest = [item for number, item in enumerate(items) if number % HELD_OUT != HELD_OUT - 1]
    return (rest, kept) if kept and len(rest) >= least else (list(items), list(items))
