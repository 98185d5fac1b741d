"""VLAC's published weights, written anew in the format of transformers' own InternVL.

They are published in InternVL's first format (``internvl_chat``), which only runs with code that
comes with the weights. The tensors are the same: names differ, the vision tower's query, key and
value are fused, and so are InternLM2's.

    python -m embodied.reward_models.vlac_weights VLAC PROCESSOR TARGET

PROCESSOR is the folder of a model in transformers' format with the same language model, for its
tokenizer: that of InternVL2.5-2B for the 2B weights.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from embodied.errors import BadConfig, BadInput, CorruptFile

LANGUAGE = {
    "InternLM2ForCausalLM": "llama",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
}
"""Which of transformers' architectures computes the same."""
NAMES = (
    (r"^vision_model\.encoder\.layers\.", "model.vision_tower.encoder.layer."),
    (r"^vision_model\.", "model.vision_tower."),
    (r"\.class_embedding$", ".cls_token"),
    (r"\.position_embedding$", ".position_embeddings"),
    (r"\.patch_embedding\.", ".patch_embeddings.projection."),
    (r"\.ls([12])$", r".lambda_\1"),
    (r"\.attn\.proj\.", ".attention.projection_layer."),
    (r"\.attn\.", ".attention."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"^mlp1\.0\.", "model.multi_modal_projector.layer_norm."),
    (r"^mlp1\.1\.", "model.multi_modal_projector.linear_1."),
    (r"^mlp1\.3\.", "model.multi_modal_projector.linear_2."),
    (r"^language_model\.(output|lm_head)\.", "lm_head."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"\.tok_embeddings\.", ".embed_tokens."),
    (r"\.attention\.wo\.", ".self_attn.o_proj."),
    (r"\.feed_forward\.w1\.", ".mlp.gate_proj."),
    (r"\.feed_forward\.w3\.", ".mlp.up_proj."),
    (r"\.feed_forward\.w2\.", ".mlp.down_proj."),
    (r"\.attention_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
)


def convert(source: Path, processor: Path | str, target: Path) -> None:
    """Write a model that `TransformersModel` reads.

    Args:
        source: Folder with ``config.json`` of type ``internvl_chat`` and safetensors.
        processor: Folder, or name on the hub, of a processor with the same tokenizer.
        target: Folder to write.

    Raises:
        BadInput: if there is no such model in the folder, or the tokenizer is another one.
        BadConfig: for an architecture that is not known.
        CorruptFile: if tensors are missing, left over or of other shapes.
    """
    from transformers import AutoProcessor, InternVLForConditionalGeneration

    published = _published(source)
    reader = AutoProcessor.from_pretrained(processor)
    config = config_of(published, reader.image_token_id)
    if len(reader.tokenizer) > config.text_config.vocab_size:
        raise BadInput(
            f"the tokenizer of {processor} has {len(reader.tokenizer)} tokens, the weights "
            f"{config.text_config.vocab_size}; it is another language model's."
        )
    tensors = renamed(_read(source), published["llm_config"])
    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise CorruptFile(
            f"the tensors of {source} are not those of its config: {error}"
        ) from error
    reader.image_seq_length = config.image_seq_length
    model.save_pretrained(target)
    reader.save_pretrained(target)


def _published(source: Path) -> dict[str, Any]:
    config_file = source / "config.json"
    if not config_file.is_file() or not list(source.glob("*.safetensors")):
        raise BadInput(f"{source} holds no config.json and safetensors.")
    published = json.loads(config_file.read_text())
    if published.get("model_type") != "internvl_chat":
        raise BadInput(
            f"{source} is of type '{published.get('model_type')}', not internvl_chat; a model in "
            "transformers' own format needs no conversion."
        )
    return dict(published)


def config_of(published: Mapping[str, Any], image_token_id: int) -> Any:
    """The same architecture as transformers describes it.

    Raises:
        BadConfig: for one that is not known.
    """
    from transformers import InternVLConfig

    llm, vision = published["llm_config"], published["vision_config"]
    kind = (llm.get("architectures") or ["none"])[0]
    if kind not in LANGUAGE or published.get("ps_version", "v2") != "v2":
        raise BadConfig(
            f"the language model is {kind}, pixels are shuffled by "
            f"{published.get('ps_version', 'v2')}; known are {', '.join(LANGUAGE)}, and v2."
        )
    size = int(published.get("force_image_size") or vision["image_size"])
    ratio = float(published.get("downsample_ratio", 0.5))
    shared = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "vocab_size", "rms_norm_eps", "max_position_embeddings",
    )  # fmt: skip
    text = {name: llm[name] for name in shared if name in llm}
    text |= {
        "model_type": LANGUAGE[kind],
        "rope_parameters": _rope(llm),
        "tie_word_embeddings": bool(llm.get("tie_word_embeddings", False)),
    }
    if LANGUAGE[kind] == "llama":
        text["attention_bias"] = bool(llm.get("bias", False))
    seen = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "patch_size", "norm_type", "layer_norm_eps", "hidden_act",
    )  # fmt: skip
    look = {name: vision[name] for name in seen if name in vision} | {
        "image_size": size,
        "attention_bias": bool(vision.get("qkv_bias", True)),
        "use_qk_norm": bool(vision.get("qk_normalization", False)),
    }
    return InternVLConfig(
        vision_config=look,
        text_config=text,
        image_token_id=image_token_id,
        image_seq_length=int((size // int(vision["patch_size"])) ** 2 * ratio**2),
        downsample_ratio=ratio,
        vision_feature_layer=int(published.get("select_layer", -1)),
        tie_word_embeddings=bool(llm.get("tie_word_embeddings", False)),
    )


def _rope(llm: Mapping[str, Any]) -> dict[str, Any]:
    scaling = dict(llm.get("rope_scaling") or {})
    kind = scaling.pop("type", scaling.pop("rope_type", "default"))
    return {"rope_type": kind, "rope_theta": float(llm.get("rope_theta", 10000)), **scaling}


def renamed(tensors: Mapping[str, Tensor], llm: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors under transformers' names, fused ones taken apart."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in NAMES:
            new = re.sub(pattern, replacement, new)
        if ".attention.qkv." in new:
            parts = tensor.chunk(3)
            found |= {
                new.replace(".qkv.", f".{part}_proj."): own.clone()
                for part, own in zip("qkv", parts, strict=True)
            }
        elif ".attention.wqkv." in new:
            found |= _taken_apart(new, tensor, llm)
        else:
            found[new] = tensor
    return found


def _taken_apart(name: str, fused: Tensor, llm: Mapping[str, Any]) -> dict[str, Tensor]:
    """InternLM2 keeps, for each key head, its queries, then the key, then the value."""
    keys = int(llm.get("num_key_value_heads") or llm["num_attention_heads"])
    queries = int(llm["num_attention_heads"]) // keys
    grouped = rearrange(fused, "(key part d) ... -> key part d ...", key=keys, part=queries + 2)
    parts = {"q": grouped[:, :queries], "k": grouped[:, queries:-1], "v": grouped[:, -1:]}
    return {
        name.replace(".attention.wqkv.", f".self_attn.{part}_proj."): rearrange(
            own, "key part d ... -> (key part d) ..."
        ).contiguous()
        for part, own in parts.items()
    }


def _read(source: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in sorted(source.glob("*.safetensors")):
        try:
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise CorruptFile(f"{path} cannot be read: {error}") from error
    return tensors


if __name__ == "__main__":
    convert(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
