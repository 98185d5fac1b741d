"""CLIP, SigLIP and SigLIP 2 through transformers, from the hub or a local folder."""

from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from embodied.errors import BadConfig
from embodied.reward_models.towers import loading, look_at, pictures, unit
from embodied.types import Clip

ADVICE = (
    "Without a network, name a local folder that holds config.json, the weights and the "
    "processor, as `save_pretrained` of the model and of its processor write them."
)
KINDS = ("get_image_features", "get_text_features")


@final
class TransformersTowers:
    """A model with image and text features, loaded when it is first asked.

    Args:
        model: Name on the hub such as ``google/siglip2-so400m-patch14-384``, or a local folder.
        device: Where the towers run.
    """

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        self.model, self.device = model, device
        self.read = lru_cache(maxsize=4096)(self._read)

    @property
    def fingerprint(self) -> str:
        """The name's last part: a folder may be moved, but not renamed."""
        return f"transformers-{Path(self.model).name}"

    def look(self, clip: Clip, camera: str) -> Float32[np.ndarray, "time embedding"]:
        """A unit vector for each frame, prepared as the model was trained.

        Raises:
            BadInput: for a clip without pictures.
            BadConfig: if the model cannot be loaded, or has no image and text features.
        """
        frames = pictures(clip, camera)
        model, processor = self._loaded

        def see(block: UInt8[np.ndarray, "block height width 3"]) -> Tensor:
            inputs = processor(images=list(block), return_tensors="pt").to(self.device)
            return _vectors(model.get_image_features(**inputs))

        return look_at(frames, see)

    def _read(self, text: str) -> Float32[np.ndarray, " embedding"]:
        model, processor = self._loaded
        inputs = processor(
            text=[text],
            # SigLIP was trained on sentences padded to the full length, without a mask
            padding="max_length" if "siglip" in model.config.model_type else True,
            max_length=model.config.text_config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        with torch.inference_mode():
            vectors = unit(_vectors(model.get_text_features(**inputs)))
        return np.asarray(vectors[0])

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoProcessor

        with loading(self.model, ADVICE):
            model = AutoModel.from_pretrained(self.model)
            processor = AutoProcessor.from_pretrained(self.model)
        if not all(callable(getattr(model, kind, None)) for kind in KINDS):
            raise BadConfig(
                f"{self.model} is a {type(model).__name__}, which has no image and text features; "
                "name a CLIP or SigLIP model."
            )
        return model.to(self.device).eval().requires_grad_(False), processor

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process by name; the model is loaded anew there."""
        return partial(type(self), self.model, device=self.device), ()


def _vectors(output: Any) -> Tensor:
    """The projected vectors; transformers 5 wraps what 4 returned as a tensor."""
    vectors: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return vectors
