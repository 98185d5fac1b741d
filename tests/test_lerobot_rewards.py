"""LeRobot's own reward models, loaded by its own code from tiny checkpoints made here."""

import sys
import types

import numpy as np
import pytest
import torch
from einops import rearrange

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.reward_models import lerobot_models
from embodied.reward_models.lerobot import LeRobotReward
from embodied.testing.rewards import assert_ignores_later_frames, check_reward_model
from embodied.testing.vision_language import tiny_model
from embodied.types import Clip


def noise(length=6, seed=0, size=64):
    frames = np.random.default_rng(seed).integers(0, 256, (length, size, size, 3), dtype=np.uint8)
    return Clip(frames={"front": frames}, features={}, instruction="open the drawer")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("qwen"), "qwen3_vl"))


@pytest.fixture(scope="module")
def robometer(tmp_path_factory, qwen):
    """A checkpoint with random heads, saved by LeRobot."""
    from lerobot.rewards import make_reward_model, make_reward_model_config

    config = make_reward_model_config(
        "robometer", pretrained_path=None, base_model_id=qwen, torch_dtype="float32", device="cpu"
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("robometer")
    make_reward_model(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sarm(tmp_path_factory):
    """A checkpoint with random weights, saved by LeRobot, and a tiny CLIP."""
    from lerobot.rewards import make_reward_model, make_reward_model_config
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from embodied.testing.vision_language import byte_tokenizer

    torch.manual_seed(0)
    config = make_reward_model_config(
        "sarm", image_dim=16, text_dim=16, hidden_dim=24, num_heads=2, num_layers=1, frame_gap=2,
        device="cpu",
    )  # fmt: skip
    folder, clip = tmp_path_factory.mktemp("sarm"), tmp_path_factory.mktemp("clip")
    make_reward_model(config).save_pretrained(folder)
    layers = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2,
              "intermediate_size": 32}  # fmt: skip
    tokenizer = byte_tokenizer(["<|endoftext|>", "<|im_end|>"])
    tower = CLIPModel(
        CLIPConfig(
            text_config=layers | {"vocab_size": len(tokenizer), "eos_token_id": 1},
            vision_config=layers | {"image_size": 32, "patch_size": 16},
            projection_dim=16,
        )
    )
    tower.save_pretrained(clip)
    size = {"height": 32, "width": 32}
    CLIPProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size),
        tokenizer=tokenizer,
    ).save_pretrained(clip)
    return str(folder), str(clip)


@pytest.fixture
def vision_info(monkeypatch):
    """The one function of `qwen-vl-utils` that Robometer calls, for pictures."""
    import importlib.util

    module = types.ModuleType("qwen_vl_utils")
    module.__spec__ = importlib.util.spec_from_loader("qwen_vl_utils", None)

    def process_vision_info(conversations, **_):
        images = [
            part["image"].resize((64, 64))
            for conversation in conversations
            for message in conversation
            for part in message["content"]
            if part["type"] == "image"
        ]
        return images, None, {}

    module.process_vision_info = process_vision_info
    monkeypatch.setitem(sys.modules, "qwen_vl_utils", module)
    monkeypatch.setattr(
        "lerobot.rewards.robometer.processor_robometer.require_package", lambda *_, **__: None
    )


def fitted(reward, *clips):
    reward.fit(clips, [], distractor_instructions=[], seed=0)
    return reward


def test_topreward_keeps_the_contract(qwen):
    clip = noise()
    check_reward_model(
        lambda: fitted(LeRobotReward("topreward", qwen, ["front"], every=1, frames=4), clip), clip
    )
    rare = fitted(LeRobotReward("topreward", qwen, ["front"], every=3, frames=4), clip)
    assert_ignores_later_frames(rare, clip)


def test_topreward_is_the_log_probability_of_true_as_lerobot_computes_it(qwen):
    from lerobot.rewards import (
        make_reward_model,
        make_reward_model_config,
        make_reward_pre_post_processors,
    )

    clip = noise(4)
    ours = LeRobotReward("topreward", qwen, ["front"], every=1, frames=4).ask(clip)
    key = "observation.images.top"
    config = make_reward_model_config("topreward", vlm_name=qwen, image_key=key, device="cpu")
    prepare, _ = make_reward_pre_post_processors(config)
    shown = rearrange(torch.from_numpy(clip.frames["front"]), "t h w c -> 1 t c h w") / 255
    batch = prepare({key: shown, "task": "open the drawer"})
    theirs = make_reward_model(config).compute_reward(batch)
    assert ours[-1] == pytest.approx(float(theirs[0]), abs=1e-4)
    assert (ours < 0).all()


def test_topreward_without_calibration_says_so(qwen):
    with pytest.raises(BadConfig, match="no scale of its own"):
        LeRobotReward("topreward", qwen, ["front"]).score([noise()])


def test_robometer_keeps_the_contract(robometer, qwen, vision_info):
    def make():
        return LeRobotReward("robometer", robometer, ["front"], base=qwen, every=2, frames=3)

    signal = make().ask(noise())
    assert 0 <= signal.min() < signal.max() <= 1
    check_reward_model(make, noise())


def test_robometer_names_the_package_that_it_lacks(robometer, qwen):
    with pytest.raises(BadConfig, match="qwen"):
        LeRobotReward("robometer", robometer, ["front"], base=qwen).score([noise()])


def test_sarm_keeps_the_contract(sarm):
    folder, clip = sarm

    def make():
        return LeRobotReward("sarm", folder, ["front"], base=clip, every=2)

    signal = make().ask(noise())
    assert 0 <= signal.min() < signal.max() <= 1
    check_reward_model(make, noise())
    assert not make().causal


def test_calibration_comes_back_from_disk_and_fits_no_other_model(qwen, tmp_path):
    reward = fitted(LeRobotReward("topreward", qwen, ["front"]), noise())
    reward.save(tmp_path / "reward.pt")
    copy = LeRobotReward("topreward", qwen, ["front"])
    copy.load(tmp_path / "reward.pt")
    (found,), (expected,) = copy.score([noise()]), reward.score([noise()])
    np.testing.assert_array_equal(found.progress, expected.progress)
    with pytest.raises(BadConfig, match="every 5, not with 3"):
        LeRobotReward("topreward", qwen, ["front"], every=3).load(tmp_path / "reward.pt")


@pytest.mark.parametrize("kind", ["topreward", "robometer", "sarm"])
def test_a_model_that_is_not_there_is_named(kind, tmp_path):
    reward = LeRobotReward(kind, str(tmp_path / "nowhere"), ["front"])
    with pytest.raises(BadConfig, match=r"nowhere"):
        reward.ask(noise())
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(BadConfig, match=r"LeRobot cannot load .*nowhere"):
        reward.ask(noise())


def test_what_cannot_work_is_refused(monkeypatch):
    with pytest.raises(UnknownName, match="robometer"):
        LeRobotReward("robometre", "x", ["front"])
    with pytest.raises(BadConfig, match="camera"):
        LeRobotReward("sarm", "x", [])
    features = Clip(frames={}, features={"front": np.zeros((4, 1, 2, 2))}, instruction="go")
    with pytest.raises(BadInput, match="looks at frames"):
        LeRobotReward("sarm", "x", ["front"]).ask(features)


def test_the_instruction_and_the_frames_so_far_reach_the_model(monkeypatch):
    seen = []

    class Stub:
        causal = True

        def read(self, frames, asked, task):
            seen.append((len(frames), list(asked), task))
            return np.linspace(0, 1, len(asked))

    monkeypatch.setattr(lerobot_models, "load_topreward", lambda path, **_: Stub())
    reward = fitted(LeRobotReward("topreward", "x", ["front"], every=4), noise(10))
    assert seen == [(10, [0, 4, 8, 9], "open the drawer")]
    (scores,) = reward.score([noise(10)])
    np.testing.assert_allclose(scores.progress, [0] * 4 + [1 / 3] * 4 + [2 / 3, 1], atol=1e-6)
    assert not reward.causal
    assert LeRobotReward("topreward", "x", ["front"], every=1).causal
