"""Any image-text-to-text model that `transformers` knows, from the hub or a local folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from embodied.errors import BadConfig
from embodied.reward_models.vlm import Answer, Question, Token, Unanswered

DTYPES = ("auto", "float32", "bfloat16", "float16")


@final
class TransformersModel:
    """A `VisionLanguageModel` that runs in this process, loaded when it is first asked.

    Args:
        path: Name on the hub, or a local folder.
        device: Of the weights.
        dtype: Of the weights; ``auto`` takes that of the file.
        batch_size: Questions per forward pass.
        alternatives: Likeliest tokens per place whose probabilities are told.

    Raises:
        BadConfig: for a batch that is empty, or an unknown dtype.
    """

    def __init__(
        self,
        path: str,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        batch_size: int = 8,
        alternatives: int = 20,
    ) -> None:
        if batch_size < 1 or alternatives < 2:
            raise BadConfig(
                f"a batch holds one question or more and a place two alternatives or more, not "
                f"{batch_size} and {alternatives}."
            )
        if dtype not in DTYPES:
            raise BadConfig(f"dtype is '{dtype}'; choose one of {', '.join(DTYPES)}.")
        self.path, self.device, self.dtype = path, device, dtype
        self.batch_size, self.alternatives = batch_size, alternatives
        self._loaded: tuple[Any, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """The path's last part: a model may be moved, but not renamed."""
        return Path(self.path).name

    def answer(
        self, questions: Sequence[Question], *, max_tokens: int
    ) -> list[Answer | Unanswered]:
        """An answer to each question, of ``max_tokens`` or fewer, found greedily.

        Raises:
            BadConfig: if the model cannot be loaded.
        """
        found: list[Answer | Unanswered] = []
        for begin in range(0, len(questions), self.batch_size):
            found += self._answer(questions[begin : begin + self.batch_size], max_tokens)
        return found

    def _answer(self, questions: Sequence[Question], max_tokens: int) -> list[Answer]:
        processor, model = self._load()
        inputs = processor(
            text=[_text(processor, question) for question in questions],
            images=[_pictures(question) for question in questions] if _sees(questions) else None,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(model.device, model.dtype)
        with torch.inference_mode():
            said = model.generate(
                **inputs,
                max_new_tokens=max_tokens,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
        places = torch.stack(said.logits, 1).float().softmax(-1)
        chosen = said.sequences[:, -places.shape[1] :]
        ends = _end_tokens(model)
        return [
            self._read(processor.tokenizer, ids.tolist(), own, ends)
            for ids, own in zip(chosen, places, strict=True)
        ]

    def _read(
        self, tokenizer: Any, ids: list[int], places: Float[Tensor, "place token"], ends: set[int]
    ) -> Answer:
        """The answer up to the token that ends it."""
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        top = places.topk(min(self.alternatives, places.shape[-1]), -1)
        tokens = []
        for place in range(length):
            probabilities: dict[str, float] = {}
            for likely, token in zip(
                top.values[place].tolist(), top.indices[place].tolist(), strict=True
            ):
                text = tokenizer.decode([token])
                probabilities[text] = probabilities.get(text, 0.0) + likely
            tokens.append(Token(text=tokenizer.decode([ids[place]]), probabilities=probabilities))
        text = tokenizer.decode(ids[:length], skip_special_tokens=True)
        return Answer(text=text, tokens=tuple(tokens))

    def _load(self) -> tuple[Any, Any]:
        """Processor and model."""
        if self._loaded is None:
            from transformers import AutoModelForImageTextToText, AutoProcessor

            try:
                processor = AutoProcessor.from_pretrained(self.path)
                model = AutoModelForImageTextToText.from_pretrained(self.path, dtype=self.dtype)
            except (OSError, ValueError, KeyError, ImportError) as error:
                reason = " ".join(str(error).split())[:200]
                raise BadConfig(
                    f"the model '{self.path}' cannot be loaded: {reason} Give the folder of an "
                    "image-text-to-text model, or its name where the hub can be reached."
                ) from error
            self._loaded = processor, model.to(self.device).eval()
        return self._loaded


def _text(processor: Any, question: Question) -> str:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in question.parts
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if question.system:
        system = [{"type": "text", "text": question.system}]
        messages.insert(0, {"role": "system", "content": system})
    text: str = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


def _pictures(question: Question) -> list[Image.Image]:
    return [Image.fromarray(part) for part in question.parts if not isinstance(part, str)]


def _sees(questions: Sequence[Question]) -> bool:
    return any(not isinstance(part, str) for question in questions for part in question.parts)


def _end_tokens(model: Any) -> set[int]:
    found = model.generation_config.eos_token_id
    return set(found) if isinstance(found, list) else {found}
