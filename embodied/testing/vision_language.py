"""Vision-language models for tests: a double that sees brightness, and tiny real architectures.

`tiny_model` builds a model with random weights and a byte-level tokenizer in a local folder, as one
would be downloaded: nothing that it says makes sense, but every step from pixels to probabilities
is the real one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, final

from embodied.errors import BadInput
from embodied.reward_models.vlm import Answer, Picture, Question, Token, Unanswered

Family = Literal["internvl", "qwen2_vl", "qwen3_vl"]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% elif c['type'] == 'video' %}VIDEO"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@final
class BrightnessModel:
    """Says yes, in any case, the more surely the brighter the last frame that it is shown is.

    Args:
        knows: Words of which the question must have one; any other is answered by no.
        fails: Every how many questions there is no answer; never if 0.
    """

    fingerprint = "brightness"

    def __init__(self, knows: Sequence[str] = (), fails: int = 0) -> None:
        self.knows, self.fails = tuple(knows), fails
        self.asked: list[Question] = []

    def answer(
        self, questions: Sequence[Question], *, max_tokens: int
    ) -> list[Answer | Unanswered]:
        """Yes or no, with probabilities; a remark where many tokens are wished for."""
        return [self._answer(question, max_tokens) for question in questions]

    def _answer(self, question: Question, max_tokens: int) -> Answer | Unanswered:
        self.asked.append(question)
        if self.fails and len(self.asked) % self.fails == 0:
            return Unanswered("the double was told to fail.")
        pictures = [part for part in question.parts if not isinstance(part, str)]
        words = " ".join(part for part in question.parts if isinstance(part, str))
        if not pictures:
            raise BadInput("the double needs a picture.")
        light = float(pictures[-1].mean() / 255)
        if "Clip A:" in words:
            light = 0.5 + (light - float(_last_of_first(question).mean() / 255)) / 2
        if self.knows and not any(known in words for known in self.knows):
            light = 0.02
        if max_tokens > 10:
            return Answer(text=f"Light: {light:.2f}.", tokens=())
        likely = {"Yes": light * 0.6, " yes": light * 0.3, "no": (1 - light) * 0.9}
        word = max(likely, key=lambda text: likely[text])
        return Answer(text=word, tokens=(Token(text=word, probabilities=likely),))


def _last_of_first(question: Question) -> Picture:
    """The last frame of clip A."""
    before: Picture | None = None
    for part in question.parts:
        if isinstance(part, str) and "Clip B:" in part:
            break
        before = before if isinstance(part, str) else part
    assert before is not None
    return before


def tiny_model(folder: Path, family: Family = "internvl", seed: int = 0) -> Path:
    """Write a random model of a real architecture, with its processor, into a folder."""
    import torch

    torch.manual_seed(seed)
    build = {"internvl": _internvl, "qwen2_vl": _qwen, "qwen3_vl": _qwen}[family]
    processor, model = build(family)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def byte_tokenizer(special: Sequence[str], **names: str) -> Any:
    """Bytes, and the words that an answer may consist of."""
    from tokenizers import (  # type: ignore[import-untyped]
        AddedToken,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[AddedToken(token, special=True) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["yes no Yes No True False"] * 50, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=names,
    )


def _internvl(_family: str) -> tuple[Any, Any]:
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    tokenizer = byte_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<v>"],
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<v>",
    )
    size = {"height": 28, "width": 28}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=False),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=1,
        chat_template=CHAT.replace("IMAGE", "<IMG_CONTEXT>"),
    )
    config = InternVLConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "image_size": 28, "patch_size": 14, "attention_bias": True,
        },
        text_config={
            "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64,
            "vocab_size": len(tokenizer), "max_position_embeddings": 8192,
        },
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=1,
        tie_word_embeddings=False,
    )  # fmt: skip
    return processor, InternVLForConditionalGeneration(config)


def _qwen(family: str) -> tuple[Any, Any]:
    import transformers

    name = {"qwen2_vl": "Qwen2VL", "qwen3_vl": "Qwen3VL"}[family]
    special = [
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
        "<|image_pad|>", "<|video_pad|>",
    ]  # fmt: skip
    tokenizer = byte_tokenizer(special, image_token="<|image_pad|>", video_token="<|video_pad|>")
    patch = 14 if family == "qwen2_vl" else 16
    pixels = {"shortest_edge": 4 * patch**2, "longest_edge": 16 * patch**2}
    video_processor = {"qwen2_vl": "Qwen2VLVideoProcessor", "qwen3_vl": "Qwen3VLVideoProcessor"}
    processor = getattr(transformers, f"{name}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(patch_size=patch, size=pixels),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, video_processor[family])(size=pixels),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>").replace(
            "VIDEO", "<|vision_start|><|video_pad|><|vision_end|>"
        ),
    )
    return processor, _qwen_model(transformers, name, tokenizer, patch)


def _qwen_model(transformers: Any, name: str, tokenizer: Any, patch: int) -> Any:
    text: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": len(tokenizer),
        "max_position_embeddings": 8192,
    }  # fmt: skip
    if name == "Qwen2VL":
        text["rope_scaling"] = {"type": "mrope", "mrope_section": [1, 1, 2]}
        vision: dict[str, Any] = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2}
    else:
        text["head_dim"] = 8
        text["rope_scaling"] = {"rope_type": "default", "mrope_section": [2, 1, 1]}
        vision = {
            "depth": 1, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2,
            "intermediate_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        }  # fmt: skip
    config = getattr(transformers, f"{name}Config")(
        text_config=text,
        vision_config=vision | {"patch_size": patch},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config)
