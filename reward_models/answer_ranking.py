"""What answers about clips say of all clips: a reward is learnt from pairs, and scores every clip.

``rapl`` aligns an embedding on the pairs and matches with the clips that won most; ``rlhf`` learns
a reward per frame from the same pairs (both in `rapl_alignment`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from embodied.errors import BadInput, UnknownName
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.rapl_alignment import (
    Pair,
    Recipe,
    align,
    favourites,
    learn_return,
    return_head,
)
from embodied.reward_models.rapl_matching import new_matcher
from embodied.reward_models.transport import Matching

REWARDS = ("rapl", "rlhf")
BETA = 10.0
"""Of RAPL's Bradley-Terry model, as in `Rapl`."""
REFERENCES = 4


def rank(
    name: str,
    clips: Sequence[Maps],
    answers: Sequence[Pair],
    *,
    seed: int,
    steps: int,
    report: Callable[[float], None] | None = None,
) -> Float[np.ndarray, " clip"]:
    """A score of each clip, higher being better, learnt from answers about some of them.

    Args:
        name: One of `REWARDS`.
        clips: Features of each clip, per camera.
        answers: Pairs of clips, the preferred one first.
        seed: Of the network's start and of what it is shown when.
        steps: Updates.
        report: Is told the share of the work that is done.

    Raises:
        UnknownName: for another reward.
        BadInput: without an answer.
    """
    if name not in REWARDS:
        raise UnknownName("reward learnt from answers", name, REWARDS)
    if not answers:
        raise BadInput("a reward needs an answer that prefers one of two clips to learn from.")
    channels, cameras = clips[0][0].shape[1], len(clips[0])
    matcher = new_matcher(channels, cameras, "aligned", Matching(), seed)
    matcher.standardise.adapt(list(clips))
    maps = [[each] for each in clips]
    recipe = Recipe(seed=seed, steps=steps, report=report)
    if name == "rlhf":
        head = return_head(channels, cameras, seed)
        learn_return(matcher.standardise, head, maps, answers, recipe)
        with torch.inference_mode():
            return np.array([float(head(matcher.standardise(each)).mean()) for each in clips])
    best = favourites(answers, REFERENCES)
    align(matcher, maps, answers, best, recipe, beta=BETA)
    matcher.remember([clips[number] for number in best])
    return np.array([-matcher.match(each).distance for each in clips])
