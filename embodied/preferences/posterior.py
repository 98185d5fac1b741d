"""What answers leave open of a reward linear in the clips' embedding, and what one more tells.

P(first > second) = (1 - mistake) sigmoid(w.z) + mistake / 2, where z is the difference of the clips
and w ~ N(0, 1 / PRECISION). Laplace's approximation: w is normal about the mode; its covariance S
is the inverse of the Fisher information there. An answer about z adds h z z' to the information,
whichever answer it is, so that it tells log(1 + h z'Sz) / 2 nats of w (Bayesian D-optimal design,
Chaloner and Verdinelli 1995), and the next question can be chosen before this one is answered.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

PRECISION = 0.3
"""Of the weights before any answer, for embeddings whose strongest direction deviates by 1."""
MISTAKE = 0.1
"""Share of answers that are thought to be drawn by chance."""
SCORINGS = 15
"""Steps of Fisher scoring to the mode."""


@final
@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Weights of a linear reward, as the answers leave them."""

    mean: Float[np.ndarray, " dim"]
    covariance: Float[np.ndarray, "dim dim"]

    def resolved(self, difference: Float[np.ndarray, "pair dim"]) -> Float[np.ndarray, " pair"]:
        """Share of the deviation of each pair's w.z that its answer takes away, in [0, 1).

        It is 1 - exp(-i) if the answer tells i nats of w.
        """
        variance = np.einsum("pd,de,pe->p", difference, self.covariance, difference, optimize=True)
        told = _fisher(difference @ self.mean)[1] * variance.clip(min=0.0)
        return np.asarray(1.0 - 1.0 / np.sqrt(1.0 + told))

    def after(self, difference: Float[np.ndarray, " dim"]) -> "Posterior":
        """What an answer about this pair will leave open, whichever it is; the mean stays."""
        told = float(_fisher(difference[None] @ self.mean)[1][0])
        along = self.covariance @ difference
        shrunk = told * np.outer(along, along) / (1.0 + told * difference @ along)
        return Posterior(mean=self.mean, covariance=self.covariance - shrunk)


def linear_posterior(
    features: Float[np.ndarray, "clip dim"],
    first: Int[np.ndarray, " answer"],
    second: Int[np.ndarray, " answer"],
    target: Float[np.ndarray, " answer"],
) -> Posterior:
    """From answers of people who are taken for one; none at all leave the prior.

    Args:
        features: Embedding of each clip.
        first: Number of a clip.
        second: Of the clip that it was compared with.
        target: Probability that the first one is preferred, in [0, 1]; 0.5 for a tie.
    """
    difference = features[first] - features[second]
    prior = PRECISION * np.eye(features.shape[1])
    mean, information = np.zeros(features.shape[1]), prior
    for _ in range(SCORINGS):
        probability, told, slope = _fisher(difference @ mean)
        surprise = (target - probability) * slope / (probability * (1.0 - probability))
        information = prior + (difference * told[:, None]).T @ difference
        mean = mean + np.linalg.solve(information, difference.T @ surprise - PRECISION * mean)
    return Posterior(mean=mean, covariance=np.linalg.inv(information))


def _fisher(
    ahead: Float[np.ndarray, " pair"],
) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """P(first) where it is so far ahead, the information h of an answer, and the slope of P."""
    sure = 1.0 / (1.0 + np.exp(-np.clip(ahead, -30.0, 30.0)))
    probability = (1.0 - MISTAKE) * sure + MISTAKE / 2.0
    slope = (1.0 - MISTAKE) * sure * (1.0 - sure)
    return probability, slope**2 / (probability * (1.0 - probability)), slope
