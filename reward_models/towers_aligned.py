"""A small in-domain CLIP: two frozen towers that come inside packages, aligned by two small heads.

EfficientNet-Lite0 sees, MiniLM reads (`embodied/encoders.py`); neither knows the other's space. The
heads are trained on rendered scenes and generated sentences (`envs/scenes.py`) with SigLIP's
sigmoid loss (Zhai et al. 2023), in which any number of sentences may be true of a picture.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn
from torch.nn import functional

from embodied.encoders import TextEncoder
from embodied.errors import BadInput
from embodied.reward_models.stored_reward import read_named, write_named
from embodied.reward_models.towers import pictures, unit
from embodied.types import Clip, FrameEncoder

SHIPPED = Path(__file__).with_name("towers_aligned.pt")
"""Heads trained by `benchmarks/vlm_rm.py` on all Meta-World tasks; see `docs/rewards/vlm_rm.md`."""
KIND = "pair of aligned towers"
SPACE = 64
THINGS = 64
"""What the image head looks for in each cell: of half it reports the place, of half the amount."""
GROUPS = 8
PER_GROUP = 8
"""Scenes of so many tasks, and so many of each, make a batch: stages of one task must differ."""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What the heads are aligned on."""

    maps: Float[np.ndarray, "scene channel row column"]
    group: Int[np.ndarray, " scene"]
    """Scenes of a group meet in a batch: those of one task."""
    texts: Float32[np.ndarray, "sentence text"]
    true: Bool[np.ndarray, "scene sentence"]
    """Whether a sentence is true of a scene."""


class Heads(nn.Module):
    """From frozen features of a picture, and of a sentence, into the common space."""

    def __init__(self, shape: tuple[int, int, int], text: int) -> None:
        super().__init__()
        channels, rows, columns = shape
        self.mean = nn.Buffer(torch.zeros(channels, 1, 1))
        self.scale = nn.Buffer(torch.ones(channels, 1, 1))
        self.find = nn.Conv2d(channels, THINGS, 1)
        grid = torch.stack(
            torch.meshgrid(
                torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij"
            )
        )
        self.grid = nn.Buffer(grid, persistent=False)
        self.see = nn.Sequential(
            nn.Linear(THINGS + THINGS // 2, 128), nn.GELU(), nn.Dropout(0.2),
            nn.Linear(128, SPACE),
        )  # fmt: skip
        self.read = nn.Sequential(nn.Dropout(0.2), nn.Linear(text, SPACE))
        self.sharpness = nn.Parameter(torch.tensor(2.3))
        self.offset = nn.Parameter(torch.tensor(-2.0))

    def look(
        self, maps: Float[Tensor, "batch channel row column"]
    ) -> Float[Tensor, "batch embedding"]:
        """Vectors of pictures, of any length."""
        found = self.find((maps - self.mean) / self.scale)
        places, amounts = found.chunk(2, 1)
        weight = rearrange(places, "b c row col -> b c (row col)").softmax(-1)
        weight = weight.unflatten(-1, self.grid.shape[1:])
        where = einsum(weight, self.grid, "b c row col, side row col -> b c side")
        amount = reduce(amounts.relu(), "b c row col -> b c", "mean")
        seen: Tensor = self.see(torch.cat([rearrange(where, "b c side -> b (c side)"), amount], 1))
        return seen


@final
class AlignedTowers:
    """Towers that need no download and look at features that the actors computed anyway.

    Args:
        encoder: Of pictures, as the heads were trained with.
        text_encoder: Of sentences, likewise.
        path: Of the heads; those that come with the package if not given.

    Raises:
        BadInput: if there is no such file.
        CorruptFile: if the heads cannot be read back whole.
        BadConfig: if they were trained with other encoders.
    """

    def __init__(
        self, encoder: FrameEncoder, text_encoder: TextEncoder, path: str | Path | None = None
    ) -> None:
        self.encoder, self.text_encoder = encoder, text_encoder
        self.path = SHIPPED if path is None else Path(path)
        stored = read_named(self.path, KIND, _identity(encoder, text_encoder))
        self.heads = Heads(encoder.shape, text_encoder.size)
        self.heads.load_state_dict(stored["state"])
        self.heads.eval().requires_grad_(False)
        self.read = lru_cache(maxsize=4096)(self._read)

    @property
    def fingerprint(self) -> str:
        """Hash of the heads; they belong to their encoders."""
        digest = hashlib.sha256()
        for tensor in self.heads.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        return f"aligned-{digest.hexdigest()[:12]}"

    def look(self, clip: Clip, camera: str) -> Float32[np.ndarray, "time embedding"]:
        """A unit vector for each frame; the clip's features are used if they are the encoder's.

        Raises:
            BadInput: for features of another encoder without the pictures.
        """
        maps = clip.features.get(camera)
        if maps is None or maps.shape[1:] != self.encoder.shape:
            maps = self.encoder.encode(pictures(clip, camera))
        with torch.inference_mode():
            return unit(self.heads.look(torch.from_numpy(np.asarray(maps, np.float32))))

    def _read(self, text: str) -> Float32[np.ndarray, " embedding"]:
        vector = torch.from_numpy(np.array(self.text_encoder.encode(text), np.float32))
        with torch.inference_mode():
            return np.asarray(unit(self.heads.read(rearrange(vector, "d -> 1 d")))[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process by its file."""
        return type(self), (self.encoder, self.text_encoder, self.path)


def align(
    lessons: Lessons,
    *,
    seed: int,
    steps: int = 1000,
    progress_callback: Callable[[float], None] | None = None,
) -> Heads:
    """Train the heads so that a sentence is near the pictures that it is true of.

    Raises:
        BadInput: without scenes of two groups, or with a scene of which no sentence is true.
    """
    if len(np.unique(lessons.group)) < 2 or not lessons.true.any(1).all():
        raise BadInput("towers are aligned on scenes of two tasks, each with a true sentence.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        maps = torch.from_numpy(np.asarray(lessons.maps, np.float32))
        texts, true = torch.from_numpy(lessons.texts), torch.from_numpy(lessons.true)
        _, channels, rows, columns = maps.shape
        heads = Heads((channels, rows, columns), texts.shape[1])
        heads.mean.copy_(reduce(maps, "n c row col -> c 1 1", "mean"))
        heads.scale.copy_(maps.std((0, 2, 3))[:, None, None] + 1e-3)
        rng = np.random.default_rng(seed)
        optimiser = torch.optim.AdamW(heads.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            scenes = torch.from_numpy(_batch(lessons.group, rng))
            said = torch.tensor([int(rng.choice(np.flatnonzero(true[i]))) for i in scenes])
            loss = _loss(heads, maps[scenes], texts[said], true[scenes][:, said])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if progress_callback is not None:
                progress_callback((step + 1) / steps)
    return heads.eval()


def write_heads(path: Path, heads: Heads, encoder: FrameEncoder, text_encoder: TextEncoder) -> None:
    """Write heads for `AlignedTowers` to read."""
    write_named(path, KIND, _identity(encoder, text_encoder), {"state": heads.state_dict()})


def _identity(encoder: FrameEncoder, text_encoder: TextEncoder) -> dict[str, str]:
    return {"encoder": encoder.fingerprint, "text_encoder": text_encoder.fingerprint}


def _batch(
    group: Int[np.ndarray, " scene"], rng: np.random.Generator
) -> Int[np.ndarray, " chosen"]:
    groups = np.unique(group)
    drawn = rng.choice(groups, min(GROUPS, len(groups)), replace=False)
    return np.concatenate([rng.choice(np.flatnonzero(group == g), PER_GROUP) for g in drawn])


def _loss(
    heads: Heads,
    maps: Float[Tensor, "batch channel row column"],
    texts: Float[Tensor, "batch text"],
    true: Bool[Tensor, "batch batch"],
) -> Float[Tensor, ""]:
    """SigLIP's, with true and false pairs weighing the same in sum."""
    seen = functional.normalize(heads.look(maps), dim=1)
    said = functional.normalize(heads.read(texts), dim=1)
    agreement = einsum(seen, said, "scene d, sentence d -> scene sentence")
    logits = heads.sharpness.exp() * agreement + heads.offset
    right, wrong = functional.softplus(-logits[true]), functional.softplus(logits[~true])
    return (right.mean() + wrong.mean()) / 2
