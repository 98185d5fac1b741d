"""What several people who disagree said of clips, as one person's score of every clip.

`Pal` and `Vpl` learn from everybody's answers what tastes there are; the person's own answers then
say which one is theirs.
"""

import numpy as np
import torch
from jaxtyping import Float, Int

from embodied.errors import BadInput, UnknownName
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.pal import Pal
from embodied.reward_models.vpl import CONTEXT, Vpl

REWARDS = ("pal", "vpl")


def rank_for(
    name: str,
    clips: Float[np.ndarray, "clip dim"],
    *,
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
    target: Float[np.ndarray, " pair"],
    rater: Int[np.ndarray, " pair"],
    person: int,
    seed: int,
) -> Float[np.ndarray, " clip"]:
    """A person's score of each clip, higher being better, learnt from the answers of several.

    Args:
        name: One of `REWARDS`.
        clips: Embeddings, of all clips.
        first: Numbers of clips.
        second: Likewise.
        target: Probability that the first clip is the better one; of everybody's answers.
        rater: Who answered, from 0.
        person: Whose score it is; one of the raters.
        seed: Of the network's start.

    Raises:
        UnknownName: for another reward.
        BadInput: if the person answered nothing; with VPL, if nobody answered five times.
    """
    if name not in REWARDS:
        raise UnknownName("reward of several people", name, REWARDS)
    answers = Comparisons.from_numbers(first, second, target, rater)
    embedded = torch.from_numpy(clips).float()
    own, size = answers.of(person), embedded.shape[1]
    if name == "pal":
        pal = Pal(size, raters=int(answers.rater.max()) + 1, seed=seed)
        pal.fit(embedded, answers)
        with torch.no_grad():
            return np.asarray(pal(embedded, pal.adapt(embedded, own)[None])[0].numpy())
    vpl, known = Vpl(size, seed=seed), _of_the_known(answers)
    vpl.fit(embedded, known)
    with torch.no_grad():
        return np.asarray(vpl(embedded, vpl.adapt(embedded, own, known)).numpy())


def _of_the_known(answers: Comparisons) -> Comparisons:
    """Of those who answered often enough for VPL to learn from them."""
    enough = answers.rater.bincount()[answers.rater] > CONTEXT[0]
    if not enough.any():
        raise BadInput(
            f"VPL learns from people with {CONTEXT[0] + 1} answers or more that prefer one of two "
            "clips, and nobody gave so many; ask for more, or choose pal."
        )
    return answers.take(enough)
