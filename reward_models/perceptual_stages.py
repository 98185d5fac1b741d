"""Unsupervised perceptual rewards (Sermanet, Xu & Levine, arXiv 1612.06699): steps without labels.

A demonstration is split where its frozen features vary least within the parts. For each step the
features are selected that are typical of it and of no other step; the reward of a step is the
Gaussian log-likelihood of these features, and later steps weigh more. Nothing is trained. See
`docs/rewards/perceptual_stages.md`.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import nn

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.readout import Signal
from embodied.reward_models.signal_reward import Course, Reader, SignalReward
from embodied.types import FrameEncoder

LEAST = 3
"""Fewest frames of a step."""
CONTRAST = 5.0
"""The paper's alpha: what the difference of means weighs against the deviations."""
FLOOR = 0.1
"""Least standard deviation: a handful of demonstrations agree by chance."""


@final
class PerceptualStages(SignalReward):
    """Progress is how likely the frame is under the later steps of the demonstrations.

    Args:
        encoder: Makes features of clips that come without, and of augmented copies.
        cameras: Cameras that are looked at; they must not move.
        stages: Steps that each demonstration is split into, the initial state being the first.
        selected: Features per step.
        discover: False splits into equal times instead, to see what the discovery is worth.
        augmentations: Copies of each demonstration under another camera pose and light.
        discount: Per frame, as the learner's; the reward is a difference of discounted potentials.
        bonus: Paid once, when the clip counts as complete.

    Raises:
        BadConfig: for fewer than two stages, or a selection of none.
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        cameras: Sequence[str] = ("front",),
        *,
        stages: int = 3,
        selected: int = 32,
        discover: bool = True,
        augmentations: int = 0,
        discount: float = 0.99,
        bonus: float = 1.0,
    ) -> None:
        if stages < 2 or selected < 1:
            raise BadConfig(f"two stages and one feature are the least, not {stages}, {selected}.")
        super().__init__(
            encoder,
            cameras,
            StageReader(encoder.shape[0], len(cameras), stages, selected),
            augmentations=augmentations,
            discount=discount,
            bonus=bonus,
            settings={"stages": stages, "selected": selected},
        )
        self.discover = discover

    def learn(self, course: Course) -> tuple[Reader, dict[str, float]]:
        """Find the steps, and the features of each; ``begin_<step>`` is a mean share of time."""
        stages, selected = self.settings["stages"], self.settings["selected"]
        reader = StageReader(self.encoder.shape[0], len(self.cameras), stages, selected)
        reader.standardise.adapt([copies[0] for copies in course.successes])
        split = split_by_deviation if self.discover else split_evenly
        frames, step, shares = [], [], []
        for copies in course.successes:
            seen = [reader.cells(maps) for maps in copies]
            begins = split(seen[0], stages)
            shares.append(begins / len(seen[0]))
            of_frame = np.searchsorted(begins, np.arange(len(seen[0])), side="right") - 1
            frames += seen
            step += [of_frame] * len(seen)
        reader.describe(np.concatenate(frames), np.concatenate(step))
        course.report(1.0)
        means = np.mean(shares, axis=0)
        return reader, {f"begin_{n}": float(means[n]) for n in range(1, stages)}


class StageReader(Reader):
    """What is typical of each step after the first.

    Args:
        channels: Channels of the feature maps.
        cameras: Number of cameras.
        stages: Steps, the initial state among them.
        selected: Features per step.
    """

    def __init__(self, channels: int, cameras: int, stages: int, selected: int) -> None:
        super().__init__()
        self.standardise = Standardiser(channels, cameras)
        shape = (stages - 1, selected)
        self.chosen = nn.Buffer(torch.zeros(shape, dtype=torch.int64))
        self.mean = nn.Buffer(torch.zeros(shape))
        self.deviation = nn.Buffer(torch.ones(shape))

    def describe(
        self, frames: Float[np.ndarray, "frame feature"], step: Int[np.ndarray, " frame"]
    ) -> None:
        """Select the features of each step, and remember their mean and deviation."""
        selected = self.chosen.shape[1]
        if frames.shape[1] < selected:
            raise BadInput(f"{selected} features cannot be chosen from {frames.shape[1]}.")
        for row in range(len(self.chosen)):
            inside = step == row + 1
            best = np.argsort(-contrast(frames[inside], frames[~inside]))[:selected]
            own = frames[inside][:, best]
            self.chosen[row] = torch.from_numpy(best)
            self.mean[row] = torch.from_numpy(own.mean(0))
            self.deviation[row] = torch.from_numpy(np.maximum(own.std(0), FLOOR))

    def read(self, maps: Maps) -> Signal:
        """Weighted log-likelihood of the steps, up to constants; step i weighs 2^(i - 1)."""
        found = self.cells(maps)[:, self.chosen.numpy()]
        away = (found - self.mean.numpy()) / self.deviation.numpy()
        likelihood = -reduce(np.square(away), "frame step feature -> frame step", "mean")
        weight = 2.0 ** np.arange(likelihood.shape[1])
        return np.asarray(likelihood @ (weight / weight.sum()), np.float64)

    def cells(self, maps: Maps) -> Float[np.ndarray, "frame feature"]:
        """Every cell of the standardised maps of all cameras."""
        standardised = self.standardise(maps)
        return np.concatenate(
            [rearrange(m.numpy(), "f row col c -> f (row col c)") for m in standardised], 1
        )


def contrast(
    inside: Float[np.ndarray, "frame feature"], outside: Float[np.ndarray, "other feature"]
) -> Float[np.ndarray, " feature"]:
    """Alpha |mu+ - mu-| - (sigma+ + sigma-): how well each feature tells a step from the others."""
    apart = np.abs(inside.mean(0) - outside.mean(0))
    return np.asarray(CONTRAST * apart - inside.std(0) - outside.std(0))


def split_evenly(
    frames: Float[np.ndarray, "frame feature"], stages: int
) -> Int[np.ndarray, " stage"]:
    """First frame of each of so many steps of equal length: the steps follow from time alone."""
    return np.asarray(np.arange(stages) * len(frames) // stages)


def split_by_deviation(
    frames: Float[np.ndarray, "frame feature"], stages: int
) -> Int[np.ndarray, " stage"]:
    """First frame of each step: the mean deviation of features within steps is the least possible.

    The paper's recursion tries all splits; this finds the same one by dynamic programming.

    Raises:
        BadInput: for a clip that is too short for steps of `LEAST` frames.
    """
    if len(frames) < LEAST * stages:
        raise BadInput(
            f"a demonstration of {len(frames)} frames has no {stages} steps of {LEAST} frames."
        )
    cost = deviations(frames)
    best, came_from = cost[0], []
    for _ in range(1, stages):
        total = best[:, None] + cost
        came_from.append(total.argmin(0))
        best = total.min(0)
    end, begins = len(frames), [0]
    for before in reversed(came_from):
        end = int(before[end])
        begins.insert(1, end)
    return np.array(begins)


def deviations(
    frames: Float[np.ndarray, "frame feature"],
) -> Float[np.ndarray, "begin end"]:
    """Mean standard deviation of the frames ``begin`` to ``end - 1``; infinite below `LEAST`."""
    values = frames.astype(np.float64)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0)])
    squares = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values**2, 0)])
    cost = np.full((len(frames) + 1, len(frames) + 1), np.inf)
    for begin in range(len(frames) - LEAST + 1):
        count = np.arange(LEAST, len(frames) - begin + 1)[:, None]
        mean = (sums[begin + LEAST :] - sums[begin]) / count
        spread = (squares[begin + LEAST :] - squares[begin]) / count - mean**2
        cost[begin, begin + LEAST :] = np.sqrt(np.maximum(spread, 0)).mean(1)
    return cost
