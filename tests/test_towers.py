"""Tiny CLIP and SigLIP models, built here from a configuration and read back from a folder."""

import json
import pickle

import numpy as np
import pytest
import torch

from embodied.encoders import _text_folder
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.reward_models.towers import Towers
from embodied.reward_models.towers_open_clip import OpenClipTowers
from embodied.reward_models.towers_transformers import TransformersTowers
from embodied.reward_models.vlm_rm import TextImageReward
from embodied.testing.rewards import check_reward_model
from embodied.types import Clip

SIDE = 32


def write_open_clip(folder):
    from open_clip import CLIP
    from safetensors.torch import save_file

    model = {
        "embed_dim": 8,
        "vision_cfg": {
            "image_size": SIDE, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16,
        },
        "text_cfg": {
            "context_length": 16, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1,
        },
    }  # fmt: skip
    content = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    state = {n: t.contiguous() for n, t in CLIP(**model).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def sizes(layers=1):
    return {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers,
            "num_attention_heads": 2}  # fmt: skip


def write_transformers(folder, kind):
    import transformers as tf

    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_file=str(_text_folder() / "tokenizer.json"),
        pad_token="[PAD]", bos_token="[CLS]", eos_token="[SEP]", model_max_length=16,
    )  # fmt: skip
    tokenizer.backend_tokenizer.no_padding()
    text = {
        **sizes(), "vocab_size": 30522, "max_position_embeddings": 16, "projection_dim": 8,
        "bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0,
    }  # fmt: skip
    vision = {**sizes(), "image_size": SIDE, "patch_size": 16, "projection_dim": 8}
    torch.manual_seed(0)
    if kind == "clip":
        config = tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        model = tf.CLIPModel(config)
        images = tf.CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        )
        processor = tf.CLIPProcessor(images, tokenizer)
    else:
        model = tf.SiglipModel(tf.SiglipConfig(text_config=text, vision_config=vision))
        images = tf.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
        processor = tf.SiglipProcessor(images, tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


KINDS = ("open_clip", "clip", "siglip")


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Per kind, what makes the towers of a folder."""
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        if kind == "open_clip":
            write_open_clip(folder)
            made[kind] = OpenClipTowers(f"local-dir:{folder}")
        else:
            write_transformers(folder, kind)
            made[kind] = TransformersTowers(str(folder))
    return made


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (6, 48, 48, 3), dtype=np.uint8)
    return Clip(frames={"front": frames}, features={}, instruction="open the drawer")


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_and_sentences_become_unit_vectors_of_one_space(towers, clip, kind):
    pair = towers[kind]
    assert isinstance(pair, Towers)
    seen, read = pair.look(clip, "front"), pair.read(clip.instruction)
    assert seen.shape == (6, len(read))
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(read) == pytest.approx(1, abs=1e-5)
    assert np.abs(seen[0] - seen[1]).max() > 1e-4
    assert np.abs(read - pair.read("close the door")).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_cosine_is_that_of_the_model_itself(towers, clip, kind):
    """Computed by the library's own forward pass, from its own preparation."""
    pair = towers[kind]
    cosine = pair.look(clip, "front") @ pair.read(clip.instruction)
    if kind == "open_clip":
        model, prepare, tokenize = pair._loaded
        from PIL import Image

        pixels = torch.stack([prepare(Image.fromarray(f)) for f in clip.frames["front"]])
        images, texts, _ = model(pixels, tokenize([clip.instruction]))
        expected = (images @ texts.T)[:, 0]
    else:
        model, processor = pair._loaded
        inputs = processor(
            text=[clip.instruction], images=list(clip.frames["front"]), return_tensors="pt",
            padding="max_length" if kind == "siglip" else True, max_length=16, truncation=True,
        )  # fmt: skip
        output = model(**inputs)
        expected = (output.image_embeds @ output.text_embeds.T)[:, 0]
    np.testing.assert_allclose(cosine, expected.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reward_on_real_towers_keeps_the_contract(towers, clip, kind):
    check_reward_model(lambda: TextImageReward(towers[kind]), clip)


@pytest.mark.parametrize("kind", KINDS)
def test_towers_travel_to_another_process_by_name(towers, clip, kind):
    there = pickle.loads(pickle.dumps(towers[kind]))
    assert there.fingerprint == towers[kind].fingerprint
    np.testing.assert_array_equal(there.read("a mug"), towers[kind].read("a mug"))


@pytest.mark.parametrize("kind", KINDS)
def test_features_alone_are_refused(towers, clip, kind):
    features = {"front": np.zeros((6, 3, 4, 4), np.float16)}
    with pytest.raises(BadInput, match="look at pictures"):
        towers[kind].look(Clip(frames={}, features=features, instruction="go"), "front")


def test_a_model_that_is_not_there_says_what_to_do_without_a_network(clip, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for pair in (
        OpenClipTowers(f"local-dir:{tmp_path / 'none'}"),
        OpenClipTowers("hf-hub:somebody/no-such-clip"),
        OpenClipTowers("ViT-B-32", pretrained=str(tmp_path / "no_weights.pt")),
        TransformersTowers(str(tmp_path)),
        TransformersTowers("somebody/no-such-siglip"),
    ):
        with pytest.raises(BadConfig, match=r"cannot be loaded.*Without a network, name a"):
            pair.look(clip, "front")


def test_a_misspelt_architecture_lists_the_near_ones():
    with pytest.raises(UnknownName, match="did you mean"):
        OpenClipTowers("ViT-B-23", pretrained="openai")
    with pytest.raises(BadConfig, match="which weights of ViT-B-32"):
        OpenClipTowers("ViT-B-32")
