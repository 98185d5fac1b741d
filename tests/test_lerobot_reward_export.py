"""LeRobot's own factory builds our reward from a folder, and it says what it said before."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from lerobot.configs.rewards import RewardModelConfig
from lerobot.rewards import make_reward_model, make_reward_pre_post_processors
from omegaconf import OmegaConf

from embodied.config import compose
from embodied.errors import BadConfig, BadInput
from embodied.reward_models.configuration_embodied_reward import EmbodiedConfig
from embodied.reward_models.lerobot_checkpoint import save_reward
from embodied.reward_models.modeling_embodied_reward import build
from embodied.reward_models.progress import ProgressReward
from embodied.testing.rewards import HueEncoder, WordEncoder
from embodied.testing.square import PUSH, clip_at, failure
from embodied.types import IMAGES, Clip

SETTINGS: dict[str, Any] = {
    "_target_": "embodied.reward_models.progress.ProgressReward",
    "encoder": {"_target_": "embodied.testing.rewards.HueEncoder"},
    "text_encoder": {"_target_": "embodied.testing.rewards.WordEncoder"},
    "cameras": ["front"],
    "members": 2,
}


def push(rng: np.random.Generator, end: float = 1.0) -> Clip:
    return clip_at([*np.linspace(0, end, 12), end, end], rng)


@pytest.fixture(scope="module")
def reward() -> ProgressReward:
    rng = np.random.default_rng(0)
    model = ProgressReward(HueEncoder(), WordEncoder(), members=2, augmentations=0, linger=2)
    model.fit(
        [push(rng) for _ in range(6)],
        [failure(rng) for _ in range(6)],
        distractor_instructions=["sing", "dance"],
        seed=0,
        steps=30,
    )
    return model


@pytest.fixture
def folder(reward: ProgressReward, tmp_path: Path) -> Path:
    save_reward(reward, tmp_path / "reward", settings=SETTINGS, image_size=32)
    return tmp_path / "reward"


def loaded(folder: Path, **changes: Any) -> Any:
    config = RewardModelConfig.from_pretrained(folder)
    config.pretrained_path = str(folder)
    return make_reward_model(replace(config, **changes))


def batch_of(clips: list[Clip]) -> dict[str, Any]:
    pictures = torch.from_numpy(np.stack([clip.frames["front"] for clip in clips]))
    floats = rearrange(pictures, "b t h w c -> b t c h w").float() / 255
    return {IMAGES + "front": floats, "task": [clip.instruction for clip in clips]}


def test_lerobots_factory_builds_it_and_it_says_the_same(
    reward: ProgressReward, folder: Path
) -> None:
    rng = np.random.default_rng(1)
    clips = [push(rng), push(rng, end=0.4), replace(push(rng), instruction="water the plants")]
    scores = reward.score(clips)
    said = loaded(folder).compute_reward(batch_of(clips))
    assert said.tolist() == pytest.approx([float(s.progress[-1]) for s in scores], abs=1e-6)
    accepted = loaded(folder, output="success").compute_reward(batch_of(clips))
    assert accepted.tolist() == [float(s.success) for s in scores]
    assert len(set(said.tolist())) == 3, "three different clips"


def test_bytes_are_pictures_too_and_one_instruction_may_do(folder: Path) -> None:
    rng = np.random.default_rng(2)
    batch = batch_of([push(rng), push(rng, end=0.4)])
    model = loaded(folder)
    asked = {IMAGES + "front": (batch[IMAGES + "front"] * 255).round().byte(), "task": PUSH}
    assert torch.equal(model.compute_reward(asked), model.compute_reward(batch))


def test_it_survives_lerobots_own_saving(folder: Path, tmp_path: Path) -> None:
    first = loaded(folder)
    first.save_pretrained(tmp_path / "again")
    batch = batch_of([push(np.random.default_rng(3))])
    assert torch.equal(
        loaded(tmp_path / "again").compute_reward(batch), first.compute_reward(batch)
    )


def test_its_processors_leave_the_pictures_alone(folder: Path) -> None:
    config = RewardModelConfig.from_pretrained(folder)
    before, _ = make_reward_pre_post_processors(config)
    batch = batch_of([push(np.random.default_rng(4))])
    assert torch.equal(before(dict(batch))[IMAGES + "front"], batch[IMAGES + "front"])
    assert config.observation_delta_indices == [-7, -6, -5, -4, -3, -2, -1, 0]


def test_it_loads_where_nothing_but_the_configuration_is_imported(folder: Path) -> None:
    program = (
        "import sys, embodied.reward_models.configuration_embodied_reward\n"
        "from lerobot.configs.rewards import RewardModelConfig\n"
        "from lerobot.rewards import make_reward_model\n"
        "config = RewardModelConfig.from_pretrained(sys.argv[1])\n"
        "config.pretrained_path = sys.argv[1]\n"
        "print(type(make_reward_model(config)).__name__)\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert finished.stdout.split()[-1] == "EmbodiedRewardModel"


def test_a_checkpoint_may_only_name_parts_of_this_project(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["reward"]["encoder"] = {"_target_": "os.system", "command": "false"}
    path.write_text(json.dumps(content))
    with pytest.raises(BadConfig, match=r"os\.system"):
        loaded(folder)


@pytest.mark.parametrize(
    "name", ["progress", "goal_distance", "goal_ensemble", "success_classifier", "rapl", "vlm_rm"]
)
def test_a_checkpoint_may_name_what_a_run_trains(name: str) -> None:
    settings = OmegaConf.to_container(compose([f"reward={name}"]).reward, resolve=True)
    assert isinstance(settings, dict)
    assert type(build(settings)).__name__ == settings["_target_"].rpartition(".")[2]


def test_what_is_missing_is_named(folder: Path) -> None:
    model = loaded(folder)
    batch = batch_of([push(np.random.default_rng(5))])
    with pytest.raises(BadInput, match=r"needs observation\.images\.front"):
        model.compute_reward({"task": batch["task"]})
    with pytest.raises(BadInput, match="instruction"):
        model.compute_reward({IMAGES + "front": batch[IMAGES + "front"]})
    with pytest.raises(BadInput, match="batch x time x 3"):
        model.compute_reward(batch | {IMAGES + "front": torch.zeros(1, 3, 32, 32)})
    with pytest.raises(BadConfig, match="embodied train"):
        make_reward_model(EmbodiedConfig(device="cpu"))
    features = RewardModelConfig.from_pretrained(folder)
    features.input_features = {}
    with pytest.raises(BadConfig, match=r"observation\.images\.front"):
        features.validate_features()
