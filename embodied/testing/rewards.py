"""The contract suite of reward models, and cheap doubles of the encoders they use.

A new reward model's first test is one line: ``check_reward_model(lambda: MyReward(...), clip)``.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import final

import numpy as np
from einops import reduce
from jaxtyping import Float16, Float32, Shaped, UInt8

from embodied.errors import BadConfig, BadInput, EmbodiedError
from embodied.reward_models.base import RewardModel, Scores
from embodied.types import Clip

TOLERANCE = 1e-5
FrameArrays = Mapping[str, Shaped[np.ndarray, "time *frame"]]


@final
class HueEncoder:
    """A `FrameEncoder` whose features are the mean colour of each cell of a grid.

    Args:
        image_size: Height and width of the frames, a multiple of ``grid``.
        grid: Rows and columns of the features.
    """

    def __init__(self, image_size: int = 32, grid: int = 8) -> None:
        if image_size % grid:
            raise BadConfig(f"image_size {image_size} is not a multiple of the grid's {grid}.")
        self.image_size, self.grid = image_size, grid
        self.frames_encoded = 0

    @property
    def fingerprint(self) -> str:
        """Name and sizes."""
        return f"hue-{self.image_size}px-{self.grid}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return 3, self.grid, self.grid

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float16[np.ndarray, "batch channel row column"]:
        """Mean red, green and blue of each cell, in [0, 1].

        Raises:
            BadInput: for frames of another size.
        """
        if frames.shape[1:3] != (self.image_size, self.image_size):
            raise BadInput(f"frames are {frames.shape[1:3]}, not {self.image_size} pixels square.")
        self.frames_encoded += len(frames)
        cells = reduce(
            frames.astype(np.float32) / 255,
            "b (row h) (col w) c -> b c row col",
            "mean",
            row=self.grid,
            col=self.grid,
        )
        return np.asarray(cells, np.float16)


@final
class WordEncoder:
    """A `TextEncoder` that gives every text a random unit vector of its own."""

    size = 16
    fingerprint = "words"

    def __init__(self) -> None:
        self.texts_encoded = 0

    def encode(self, text: str) -> Float32[np.ndarray, " text"]:
        """The vector that belongs to the text."""
        self.texts_encoded += 1
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        vector = np.random.default_rng(seed).normal(size=self.size)
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def check_reward_model(
    make: Callable[[], RewardModel], clip: Clip, *, potential: bool = False
) -> None:
    """Everything that any reward model must do.

    Args:
        make: Builds the model, trained if it needs training.
        clip: A clip of four frames or more that the model can score.
        potential: Whether the reward is a difference of potentials, so that doing and undoing must
            earn nothing.

    Raises:
        AssertionError: saying which promise was broken.
    """
    if len(clip) < 4:
        raise BadInput(f"the suite needs a clip of four frames or more, not {len(clip)}.")
    model = make()
    _check_shape_and_range(clip, model)
    _check_repeatable(make, clip)
    _check_batch(clip, model)
    if model.causal:
        _check_causal(clip, model)
    if potential:
        _check_cycle(clip, model)
    _check_refusals(clip, model)


def take(clip: Clip, chosen: Sequence[int] | slice) -> Clip:
    """Some of a clip's frames, in the given order."""
    return replace(
        clip,
        frames={camera: frames[chosen].copy() for camera, frames in clip.frames.items()},
        features={camera: maps[chosen].copy() for camera, maps in clip.features.items()},
    )


def there_and_back(clip: Clip, turn: int) -> Clip:
    """The first ``turn + 1`` frames, then the same backwards to the first."""
    return take(clip, [*range(turn + 1), *range(turn - 1, -1, -1)])


def assert_same(found: Scores, expected: Scores, why: str) -> None:
    """Two scores agree within `TOLERANCE`.

    Raises:
        AssertionError: naming the field that differs.
    """
    for field in fields(Scores):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        same = np.shape(ours) == np.shape(theirs) and np.allclose(ours, theirs, atol=TOLERANCE)
        assert same, f"{field.name} {why}: {ours} is not {theirs}."


def assert_ignores_later_frames(model: RewardModel, clip: Clip) -> None:
    """Other later frames change nothing that was said before; weaker than being causal.

    Raises:
        AssertionError: naming what looks ahead.
    """
    (known,) = model.score([clip])
    for cut in range(1, len(clip)):
        (found,) = model.score([take(clip, [*range(cut), *[0] * (len(clip) - cut)])])
        for name in ("reward", "progress", "done", "uncertainty"):
            ours, theirs = getattr(found, name)[:cut], getattr(known, name)[:cut]
            same = np.allclose(ours, theirs, atol=TOLERANCE)
            assert same, f"{name} of the first {cut} frames depends on what the later ones show."
        assert min(found.done_index, cut) == min(known.done_index, cut), "done_index looks ahead."


def _check_shape_and_range(clip: Clip, model: RewardModel) -> None:
    (scores,) = model.score([clip])
    for name in ("reward", "progress", "done", "uncertainty"):
        values = getattr(scores, name)
        assert values.shape == (len(clip),), f"{name} has shape {values.shape} for {len(clip)}."
        assert values.dtype == np.float32, f"{name} is {values.dtype}, not float32."
        assert np.isfinite(values).all(), f"{name} holds NaN or infinity."
    for name in ("progress", "done"):
        values = getattr(scores, name)
        assert 0 <= values.min() <= values.max() <= 1, f"{name} leaves [0, 1]."
    assert scores.uncertainty.min() >= 0, "a standard deviation is negative."
    assert 0 <= scores.done_index <= len(clip), f"done_index is {scores.done_index}."
    accepted = scores.done_index < len(clip)
    assert scores.success == accepted, "a clip is a success exactly if it has a done_index."
    assert model.score([]) == [], "no clips have no scores."


def _check_repeatable(make: Callable[[], RewardModel], clip: Clip) -> None:
    first, second = make(), make()
    (expected,) = first.score([clip])
    assert_same(first.score([clip])[0], expected, "differs when asked again")
    assert_same(second.score([clip])[0], expected, "differs when made again")


def _check_batch(clip: Clip, model: RewardModel) -> None:
    others = [take(clip, slice(None, None, -1)), take(clip, slice(3))]
    alone = [model.score([each])[0] for each in (clip, *others)]
    together = model.score([clip, *others])
    assert len(together) == 3, f"three clips got {len(together)} scores."
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected, "depends on the clips scored beside it")


def _check_causal(clip: Clip, model: RewardModel) -> None:
    (whole,) = model.score([clip])
    for length in range(2, len(clip)):
        (part,) = model.score([take(clip, slice(length))])
        for name in ("reward", "progress", "done", "uncertainty"):
            seen, known = getattr(part, name), getattr(whole, name)[:length]
            same = np.allclose(seen, known, atol=TOLERANCE)
            assert same, f"{name} of the first {length} frames depends on later ones."
        assert part.done_index == min(whole.done_index, length), "done_index looks ahead."


def _check_cycle(clip: Clip, model: RewardModel) -> None:
    turn = min(model.score([clip])[0].done_index, len(clip)) - 1
    if turn < 1:
        return
    (scores,) = model.score([there_and_back(clip, turn)])
    assert not scores.success, "undoing counts as success."
    earned = float(scores.reward.sum())
    assert earned <= TOLERANCE * len(clip), f"doing and undoing earns {earned}."


def _check_refusals(clip: Clip, model: RewardModel) -> None:
    _refuses(model, [take(clip, slice(1))], "a clip of one frame")
    _refuses(model, [replace(clip, instruction="  ")], "a clip without instruction")
    for camera in model.cameras:
        frames = {c: f for c, f in clip.frames.items() if c != camera}
        features = {c: f for c, f in clip.features.items() if c != camera}
        frames["elsewhere"] = np.zeros((len(clip), 8, 8, 3), np.uint8)
        lacking = replace(clip, frames=frames, features=features)
        _refuses(model, [lacking], f"a clip without camera '{camera}'")
    if clip.features:
        poisoned = {c: np.full_like(maps, np.nan) for c, maps in clip.features.items()}
        _refuses(model, [replace(clip, features=poisoned)], "NaN features")
    _check_resolutions(clip, model)


def _check_resolutions(clip: Clip, model: RewardModel) -> None:
    """Clips of two resolutions in one batch are scored as each alone, or refused."""
    small = replace(
        clip,
        frames={camera: frames[:, ::2, ::2].copy() for camera, frames in clip.frames.items()},
        features={camera: maps[..., ::2, ::2].copy() for camera, maps in clip.features.items()},
    )
    try:
        alone = [model.score([each])[0] for each in (clip, small)]
    except EmbodiedError:
        _refuses(model, [clip, small], "clips of two resolutions")
        return
    for found, expected in zip(model.score([clip, small]), alone, strict=True):
        assert_same(found, expected, "depends on the resolution of another clip")


def _refuses(model: RewardModel, clips: Sequence[Clip], what: str) -> None:
    try:
        model.score(clips)
    except EmbodiedError:
        return
    raise AssertionError(f"{type(model).__name__} scores {what}; it should raise a BadInput.")
