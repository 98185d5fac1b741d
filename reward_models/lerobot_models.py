"""LeRobot's own reward models, loaded by LeRobot's own code; each reads one number off a frame."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8

from embodied.errors import BadConfig

Frames = UInt8[np.ndarray, "time height width 3"]
Asked = Float[np.ndarray, " asked"]
IMAGE_KEY = "observation.images.embodied"


@runtime_checkable
class FrameReader(Protocol):
    """Reads one number off each of some frames of an attempt; more is better."""

    causal: bool
    """Whether later frames do not matter."""

    def read(self, frames: Frames, asked: Sequence[int], task: str) -> Asked:
        """The number at each of the frames asked about."""
        ...


def load_topreward(path: str, *, frames: int, batch_size: int, device: str) -> FrameReader:
    """TOPReward: log P("True") that the frames so far fulfil the instruction.

    Args:
        path: A Qwen3-VL model, on the hub or in a folder. The reward has no weights of its own.
        frames: Of the attempt so far that are shown.
        batch_size: Frames asked about per forward pass.
        device: Of the weights.

    Raises:
        BadConfig: if it cannot be loaded.
    """
    with _explained("topreward", path):
        from lerobot.rewards import make_reward_model_config

        config = make_reward_model_config(
            "topreward", vlm_name=path, image_key=IMAGE_KEY, max_frames=None, device=device
        )
        return _prefix_reader(config, frames, batch_size)


def load_robometer(
    path: str, *, base: str, frames: int, batch_size: int, device: str
) -> FrameReader:
    """Robometer: its progress head at the newest frame, in [0, 1].

    Args:
        path: A checkpoint as LeRobot saves it, on the hub or in a folder.
        base: Model whose tokenizer and image processor it uses; the checkpoint's own if empty.
        frames: Of the attempt so far that are shown.
        batch_size: Frames asked about per forward pass.
        device: Of the weights.

    Raises:
        BadConfig: if it cannot be loaded, or `qwen-vl-utils` is not installed.
    """
    with _explained("robometer", path):
        from lerobot.configs.rewards import RewardModelConfig

        config: Any = RewardModelConfig.from_pretrained(path)
        config.pretrained_path, config.device = path, device
        config.image_key, config.max_frames, config.reward_output = IMAGE_KEY, None, "progress"
        config.base_model_id = base or config.base_model_id
        return _prefix_reader(config, frames, batch_size)


def load_sarm(path: str, *, clip: str, batch_size: int, device: str) -> FrameReader:
    """SARM: stage and progress within it, in [0, 1], from frames before and after.

    Its processor would fetch CLIP from the hub by a fixed name, and needs a package that makes up
    words; so frames and text are encoded here, by the same CLIP from any folder. A clip has no
    joint states: they are given as zero, which after SARM's normalisation is their mean.

    Args:
        path: A checkpoint as LeRobot saves it, on the hub or in a folder.
        clip: CLIP ViT-B/32, on the hub or in a folder.
        batch_size: Frames asked about per forward pass.
        device: Of the weights.

    Raises:
        BadConfig: if it cannot be loaded.
    """
    with _explained("sarm", path):
        from lerobot.configs.rewards import RewardModelConfig
        from lerobot.rewards import make_reward_model
        from transformers import CLIPModel, CLIPProcessor

        config: Any = RewardModelConfig.from_pretrained(path)
        config.pretrained_path, config.device = path, device
        tower = CLIPModel.from_pretrained(clip).to(device).eval()
        model = make_reward_model(config).eval()
        return _SARMReader(model, tower, CLIPProcessor.from_pretrained(clip), batch_size)


def _prefix_reader(config: Any, frames: int, batch_size: int) -> FrameReader:
    from lerobot.rewards import make_reward_model, make_reward_pre_post_processors

    prepare, _ = make_reward_pre_post_processors(config)
    return _PrefixReader(make_reward_model(config).eval(), prepare, frames, batch_size)


@final
class _PrefixReader:
    """Shows as many frames of every attempt so far, from its first to the one asked about."""

    causal = True

    def __init__(
        self, model: Any, prepare: Callable[[Any], Any], frames: int, batch_size: int
    ) -> None:
        self._model, self._prepare = model, prepare
        self._frames, self._batch_size = frames, batch_size

    def read(self, frames: Frames, asked: Sequence[int], task: str) -> Asked:
        """What the model says of each frame asked about."""
        found: list[float] = []
        for begin in range(0, len(asked), self._batch_size):
            part = asked[begin : begin + self._batch_size]
            chosen = [np.linspace(0, end, self._frames).round().astype(int) for end in part]
            shown = rearrange(torch.from_numpy(frames[np.stack(chosen)]), "b t h w c -> b t c h w")
            batch = self._prepare({IMAGE_KEY: shown.float() / 255, "task": [task] * len(part)})
            with torch.inference_mode():
                found += self._model.compute_reward(batch).float().tolist()
        return np.array(found)


@final
class _SARMReader:
    """Shows the window around each frame that the model was trained on, clamped at the ends."""

    causal = False

    def __init__(self, model: Any, tower: Any, processor: Any, batch_size: int) -> None:
        self._model, self._tower, self._processor = model, tower, processor
        self._batch_size = batch_size

    def read(self, frames: Frames, asked: Sequence[int], task: str) -> Asked:
        """What the model says of each frame asked about."""
        half = self._model.config.n_obs_steps // 2
        offsets = np.arange(-half, half + 1) * self._model.config.frame_gap
        seen = self._encode(frames)
        text = self._encode_text(task)
        found: list[float] = []
        for begin in range(0, len(asked), self._batch_size):
            part = np.array(asked[begin : begin + self._batch_size])
            windows = np.clip(part[:, None] + offsets, 0, len(frames) - 1)
            said = self._model.calculate_rewards(
                text_embeddings=text.expand(len(part), -1),
                video_embeddings=seen[torch.from_numpy(windows)],
                frame_index=half,
            )
            found += np.asarray(said, np.float64).tolist()
        return np.array(found)

    @torch.inference_mode()
    def _encode(self, frames: Frames) -> torch.Tensor:
        inputs = self._processor(images=list(frames), return_tensors="pt").to(self._tower.device)
        return _pooled(self._tower.get_image_features(**inputs))

    @torch.inference_mode()
    def _encode_text(self, task: str) -> torch.Tensor:
        inputs = self._processor.tokenizer([task], return_tensors="pt", truncation=True)
        return _pooled(self._tower.get_text_features(**inputs.to(self._tower.device)))


def _pooled(output: Any) -> torch.Tensor:
    """CLIP's embedding: transformers 5 wraps it."""
    found: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return found.cpu()


@contextmanager
def _explained(kind: str, path: str) -> Iterator[None]:
    """Whatever keeps LeRobot from loading a model, in one sentence."""
    import httpx

    if os.sep in path and path.startswith((".", os.sep)) and not Path(path).is_dir():
        raise BadConfig(f"there is no folder {path} to load {kind} from.")
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadConfig(f"LeRobot cannot load {kind} from '{path}': {reason}") from error
