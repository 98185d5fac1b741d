"""Checkpoints are LeRobot's, whole or refused; LeRobot's own diffusion takes our place."""

import copy
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

from embodied.encoders import Pixels
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.policies.attribute_diffusion import AttributeDiffusion
from embodied.policies.base import DenoisingPolicy, Policy
from embodied.policies.checkpoints import load_policy, save_policy
from embodied.policies.diffusion import DiffusionPolicy, clone
from embodied.policies.dsrl import DSRL
from embodied.policies.filtered import FilteredRegression
from embodied.policies.lerobot_diffusion import LeRobotDiffusion
from embodied.testing.doubles import CountingPolicy
from embodied.testing.policies import (
    SHAPES,
    Shapes,
    batch_at_random,
    check_policy,
    examples_at_random,
    same_weights,
)
from embodied.testing.rewards import HueEncoder
from embodied.types import IMAGES, STATE

HUE = {"_target_": "embodied.testing.rewards.HueEncoder", "image_size": 32, "grid": 4}
PIXELS = {"_target_": "embodied.encoders.Pixels", "image_size": 32}
FRAMES: Shapes = {**SHAPES, "feature_shape": (3, 32, 32)}


def own() -> DiffusionPolicy:
    torch.manual_seed(0)
    policy = DiffusionPolicy(**SHAPES, chunk=2, steps=3, keypoints=4, width=32, certainty=0.25)
    policy.fit_statistics(examples_at_random(16, 2))
    return policy


def told() -> AttributeDiffusion:
    torch.manual_seed(0)
    policy = AttributeDiffusion(
        **SHAPES, attributes=("high", "fast"), chunk=2, steps=3, keypoints=4, width=32
    )
    policy.fit_statistics(examples_at_random(16, 2))
    policy.target = {"fast": 0.75}
    return policy


def lerobots() -> LeRobotDiffusion:
    torch.manual_seed(0)
    policy = LeRobotDiffusion(**FRAMES, chunk=4, steps=3, down_dims=(8, 16), keypoints=4)
    examples = examples_at_random(16, 4, shapes=FRAMES)
    bright = {camera: 255.0 * maps for camera, maps in examples.features.items()}
    policy.fit_statistics(replace(examples, features=bright))
    return policy


def steered(base: DenoisingPolicy) -> Policy:
    return DSRL(base, members=2, reach=2.5).acting_policy()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("policies") / "deep" / "own"
    save_policy(own(), folder, encoder=HUE)
    return folder


def seen() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Frames of each camera, and the batch that LeRobot makes of them."""
    draw = np.random.default_rng(0)
    frames = {c: draw.integers(0, 256, (2, 32, 32, 3), np.uint8) for c in SHAPES["cameras"]}
    batch: dict[str, Any] = {STATE: torch.randn(2, 3, generator=torch.Generator().manual_seed(1))}
    for camera, images in frames.items():
        batch[IMAGES + camera] = (
            rearrange(torch.from_numpy(images).float(), "b h w c -> b c h w") / 255
        )
    return frames, batch


@pytest.mark.parametrize(
    ("make", "encoder"),
    [
        (own, HUE),
        (told, HUE),
        (lambda: steered(own()), HUE),
        (lambda: steered(told()), HUE),
        (lambda: steered(lerobots()), PIXELS),
        (lerobots, PIXELS),
    ],
    ids=["own", "told", "steered", "steered-told", "steered-lerobot", "lerobot"],
)
def test_a_saved_policy_comes_back_bit_for_bit(make: Any, encoder: Any, tmp_path: Path) -> None:
    policy = make()
    for _ in range(2):  # the second time in the place of the first
        save_policy(policy, tmp_path / "policy", encoder=encoder)
    loaded = load_policy(tmp_path / "policy")
    assert type(loaded) is type(policy)
    assert same_weights(policy.state_dict(), loaded.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    shapes = SHAPES if encoder is HUE else FRAMES
    examples = examples_at_random(2, policy.chunk, shapes=shapes)
    chunks = [
        p.act(examples.features, examples.state, torch.Generator().manual_seed(0), explore=0.0)
        for p in (policy, loaded)
    ]
    assert torch.equal(chunks[0].action, chunks[1].action)
    if isinstance(policy, AttributeDiffusion):
        assert isinstance(loaded, AttributeDiffusion)
        assert loaded.settings == policy.settings
        assert loaded.target == {"fast": 0.75}


def test_lerobots_factory_chooses_the_same_actions_as_we_do(saved: Path) -> None:
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = PreTrainedConfig.from_pretrained(saved)
    policy = get_policy_class("embodied_diffusion").from_pretrained(saved, config=config)
    before, after = make_pre_post_processors(config, str(saved))
    frames, batch = seen()
    features = {c: torch.from_numpy(HueEncoder(32, 4).encode(f)).float() for c, f in frames.items()}
    torch.manual_seed(5)
    actions = [after(policy.select_action(before(batch))) for _ in range(2)]
    expected = own().act(features, batch[STATE], torch.Generator().manual_seed(5), explore=0.0)
    assert torch.equal(torch.stack(actions, 1), expected.action)
    policy.reset()
    noise = torch.randn(2, 2, 2)
    given = policy.select_action(before(batch), noise=noise)
    ours = own()
    assert torch.equal(given, ours.denoise(noise, ours.condition(features, batch[STATE]))[:, 0])


@pytest.mark.slow
def test_lerobot_eval_rolls_out_our_policy_from_the_command_line(tmp_path: Path) -> None:
    pusht: Shapes = {
        "cameras": ("front",), "feature_shape": (3, 4, 4), "state_size": 2,
        "action_low": (0.0, 0.0), "action_high": (512.0, 512.0),
    }  # fmt: skip
    policy = DiffusionPolicy(**pusht, chunk=4, steps=2, keypoints=4, width=16)
    policy.fit_statistics(examples_at_random(16, 4, shapes=pusht))
    save_policy(policy, tmp_path / "policy", encoder=HUE | {"image_size": 96})
    command = [
        Path(sys.executable).with_name("lerobot-eval"), f"--policy.path={tmp_path}/policy",
        "--env.discover_packages_path=embodied.policies", "--policy.device=cpu",
        "--env.type=pusht", "--env.episode_length=10", "--eval.n_episodes=2",
        "--eval.batch_size=1", f"--output_dir={tmp_path}/eval",
        '--rename_map={"observation.image": "observation.images.front"}',
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "eval/eval_info.json").read_text())["overall"]
    assert found["n_episodes"] == 2
    assert np.isfinite(found["avg_sum_reward"])


def test_lerobot_trains_a_loaded_policy_further(saved: Path) -> None:
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class

    config = PreTrainedConfig.from_pretrained(saved)
    policy = get_policy_class(config.type).from_pretrained(saved, config=config)
    _, batch = seen()
    batch |= {"action": torch.zeros(2, 2, 2), "action_is_pad": torch.zeros(2, 2).bool()}
    optimizer = config.get_optimizer_preset().build(policy.get_optim_params())
    before = copy.deepcopy(policy.state_dict())
    loss, _ = policy.forward(batch)
    loss.backward()
    optimizer.step()
    assert not same_weights(before, policy.state_dict())


def test_lerobot_loads_its_own_policy_without_us(tmp_path: Path) -> None:
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    policy = lerobots()
    save_policy(policy, tmp_path / "policy", encoder=PIXELS)
    config = PreTrainedConfig.from_pretrained(tmp_path / "policy")
    assert config.type == "diffusion"
    theirs = get_policy_class("diffusion").from_pretrained(tmp_path / "policy", config=config)
    before, after = make_pre_post_processors(config, str(tmp_path / "policy"))
    frames, batch = seen()
    noise = torch.randn(2, 4, 2)
    actions = [after(theirs.select_action(before(batch), noise=noise)) for _ in range(4)]
    features = {c: torch.from_numpy(Pixels(32).encode(f)).float() for c, f in frames.items()}
    expected = policy.denoise(noise, policy.condition(features, batch[STATE]))
    assert torch.allclose(torch.stack(actions, 1), expected, atol=1e-5)


def test_lerobots_diffusion_keeps_the_contract() -> None:
    check_policy(lerobots, shapes=FRAMES)


def test_our_loss_of_lerobots_diffusion_is_lerobots() -> None:
    policy = lerobots()
    examples = examples_at_random(4, 4, shapes=FRAMES)
    ours = policy.loss(examples, torch.Generator().manual_seed(3)).mean()
    condition = policy.condition(examples.features, examples.state)
    model = policy.model.diffusion
    model._prepare_global_conditioning = lambda _: condition
    action = (examples.action - policy.low) / (policy.high - policy.low) * 2.0 - 1.0
    torch.manual_seed(3)
    theirs = model.compute_loss(
        {
            STATE: rearrange(examples.state, "b s -> b 1 s"),
            "observation.images": examples.state,
            "action": action.clamp(-1.0, 1.0),
            "action_is_pad": ~examples.valid,
        }
    )
    assert torch.allclose(ours, theirs, rtol=1e-5)


def test_cloning_and_filtered_regression_work_on_lerobots_diffusion() -> None:
    policy = lerobots()
    losses = clone(policy, examples_at_random(8, 4, shapes=FRAMES), steps=3, batch_size=4)
    assert np.isfinite(losses["clone_loss"])
    algorithm = FilteredRegression(policy)
    before = algorithm.weights()
    metrics = algorithm.update([batch_at_random(8, 4, shapes=FRAMES)])
    assert np.isfinite(metrics["policy_loss"])
    assert not same_weights(before, algorithm.weights())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "policy_preprocessor.json"])
def test_a_missing_or_damaged_file_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CorruptFile, match=name):
        load_policy(folder)
    (folder / "digests.json").unlink()
    (folder / name).write_bytes(content[: len(content) // 2])
    if name != "policy_preprocessor.json":  # without digests, only LeRobot would read it
        with pytest.raises(CorruptFile):
            load_policy(folder)
    (folder / name).unlink()
    with pytest.raises(CorruptFile, match=f"lacks {name}"):
        load_policy(folder)


def test_a_description_without_a_type_is_refused(saved: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    (folder / "digests.json").unlink()
    (folder / "config.json").write_text("{}")
    with pytest.raises(CorruptFile, match="names no type"):
        load_policy(folder)


def test_no_folder_and_no_form_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no policy at"):
        load_policy(tmp_path / "none")
    with pytest.raises(BadConfig, match="CountingPolicy has no saved form"):
        save_policy(CountingPolicy(), tmp_path / "policy", encoder=HUE)
    assert list(tmp_path.iterdir()) == []


def test_another_encoder_is_refused(saved: Path, tmp_path: Path) -> None:
    assert isinstance(load_policy(saved, encoder=HueEncoder(32, 4)), DiffusionPolicy)
    with pytest.raises(BadConfig, match="hue-32px-4, not hue-32px-8"):
        load_policy(saved, encoder=HueEncoder(32, 8))
    with pytest.raises(BadConfig, match="may only name one of `embodied`"):
        save_policy(own(), tmp_path / "policy", encoder={"_target_": "os.system", "command": "x"})


def test_a_checkpoint_that_acts_in_another_way_is_refused(tmp_path: Path) -> None:
    save_policy(lerobots(), tmp_path / "policy", encoder=PIXELS)
    path = tmp_path / "policy" / "config.json"
    (tmp_path / "policy" / "digests.json").unlink()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"noise_scheduler_type": "DDPM"}))
    with pytest.raises(BadConfig, match="noise_scheduler_type=DDPM"):
        load_policy(tmp_path / "policy")


def test_a_chunk_that_cannot_be_halved_and_maps_that_are_no_frames_are_refused() -> None:
    with pytest.raises(BadConfig, match="multiple of 4"):
        LeRobotDiffusion(**FRAMES, chunk=6)
    with pytest.raises(BadConfig, match="encoder=pixels"):
        LeRobotDiffusion(**{**SHAPES, "feature_shape": (112, 6, 6)})
