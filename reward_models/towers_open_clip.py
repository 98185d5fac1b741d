"""Any model of open_clip, by name and tag, from the hub, or from a local folder."""

from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from embodied.errors import BadConfig, UnknownName
from embodied.reward_models.towers import loading, look_at, pictures, unit
from embodied.types import Clip

ADVICE = (
    "Without a network, name a folder that holds open_clip_config.json and the weights "
    "(model='local-dir:/path'), or a file of weights (pretrained='/path/weights.pt')."
)


@final
class OpenClipTowers:
    """CLIP, SigLIP, CoCa and their kin, loaded when they are first asked.

    Args:
        model: An architecture such as ``ViT-L-14``, ``hf-hub:owner/name`` or ``local-dir:/path``.
        pretrained: A tag such as ``laion2b_s32b_b82k``, or a file of weights; not used with a hub
            name or a folder, which bring their own.
        device: Where the towers run.

    Raises:
        UnknownName: for an architecture that open_clip does not know.
        BadConfig: for an architecture without weights.
    """

    def __init__(self, model: str, pretrained: str | None = None, *, device: str = "cpu") -> None:
        self.model, self.pretrained, self.device = model, pretrained, device
        if ":" not in model:
            import open_clip

            if model not in open_clip.list_models():
                raise UnknownName("open_clip model", model, open_clip.list_models())
            if pretrained is None:
                raise BadConfig(f"pretrained is missing: which weights of {model}? {ADVICE}")
        self.read = lru_cache(maxsize=4096)(self._read)

    @property
    def fingerprint(self) -> str:
        """Name and tag; of a folder or file its last part: it may be moved, but not renamed."""
        weights = "" if self.pretrained is None else f"-{Path(self.pretrained).name}"
        return f"open_clip-{Path(self.model.removeprefix('local-dir:')).name}{weights}"

    def look(self, clip: Clip, camera: str) -> Float32[np.ndarray, "time embedding"]:
        """A unit vector for each frame, prepared as the model was trained.

        Raises:
            BadInput: for a clip without pictures.
            BadConfig: if the model cannot be loaded.
        """
        frames = pictures(clip, camera)
        model, prepare, _ = self._loaded

        def see(block: UInt8[np.ndarray, "block height width 3"]) -> Tensor:
            prepared = torch.stack([prepare(Image.fromarray(frame)) for frame in block])
            vectors: Tensor = model.encode_image(prepared.to(self.device))
            return vectors

        return look_at(frames, see)

    def _read(self, text: str) -> Float32[np.ndarray, " embedding"]:
        model, _, tokenize = self._loaded
        with torch.inference_mode():
            vectors = unit(model.encode_text(tokenize([text]).to(self.device)))
        return np.asarray(vectors[0])

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        import open_clip

        with loading(f"open_clip's {self.model}", ADVICE):
            model, prepare = open_clip.create_model_from_pretrained(
                self.model, pretrained=self.pretrained, device=self.device
            )
            return model.eval().requires_grad_(False), prepare, open_clip.get_tokenizer(self.model)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process by name; the model is loaded anew there."""
        again = partial(type(self), self.model, self.pretrained, device=self.device)
        return again, ()
