"""Every choice and experiment composes and is built; mistakes are refused with the near names."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import wandb
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from embodied import choices
from embodied.audit_gates import Gates
from embodied.config import ADDED, compose, instantiate, load_config, save_config
from embodied.envs.catalogue import tasks
from embodied.errors import BadConfig, CorruptFile, UnknownName
from embodied.fine_tuning import acting_policy, build_loop
from embodied.hardware.teleoperator import TeleoperatorOperator, _make
from embodied.job import build_encoder, build_env, build_policy, build_reward, save_policy
from embodied.loop import InlineLoop
from embodied.metrics import open_metrics, read_metrics
from embodied.policies.base import DenoisingPolicy, Policy
from embodied.preflight import check_operator, check_run
from embodied.ray_loop import RayLoop
from embodied.reward_models.base import TrainableReward
from embodied.testing.policies import Shapes, examples_at_random
from embodied.testing.teleoperator import RecordedTeleoperator
from embodied.types import STATE

ALL_CHOICES = [
    f"{group}={choice}" for group in choices.groups() for choice in choices.choices(group)
]
MAIN_FILE = yaml.safe_load((Path(__file__).parents[1] / "conf" / "config.yaml").read_text())


@pytest.mark.parametrize("override", ALL_CHOICES)
def test_every_choice_composes_and_names_only_arguments_that_its_class_takes(override: str) -> None:
    config = compose([override])
    assert "_target_" not in config
    for target in _targets(config):
        with pytest.raises(UnknownName, match="no_such_argument"):
            instantiate(OmegaConf.create({**target, "no_such_argument": 1}))


def build_environment(cfg: DictConfig, run_dir: Path) -> None:
    env = build_env(cfg)
    try:
        seen, _ = env.reset(seed=0)
        assert env.observation_space.contains(seen)
        assert tasks(env.suite)[env.task] == env.instruction
    finally:
        env.close()


def build_frame_encoder(cfg: DictConfig, run_dir: Path) -> None:
    encoder = build_encoder(cfg)
    size = cfg.env.image_size
    features = encoder.encode(np.zeros((1, size, size, 3), np.uint8))
    assert features.shape == (1, *encoder.shape)


def build_cloned_policy(cfg: DictConfig, run_dir: Path) -> None:
    """Built, cloned for two updates and saved, as the job does it."""
    encoder = build_encoder(cfg)
    policy = build_policy(cfg, encoder)
    assert isinstance(policy, DenoisingPolicy)
    env = build_env(cfg)
    env.close()
    state = env.observation_space[STATE]
    shapes = Shapes(
        cameras=tuple(env.cameras), feature_shape=encoder.shape, state_size=state.shape[0],
        action_low=tuple(env.action_space.low.tolist()),
        action_high=tuple(env.action_space.high.tolist()),
    )  # fmt: skip
    examples = examples_at_random(8, cfg.policy.chunk, shapes=shapes)
    cfg.clone.steps = 2
    metrics = instantiate(cfg.clone, policy=policy, examples=examples, seed=0)
    assert np.isfinite(metrics["clone_loss"])
    save_policy(policy, run_dir, "policy_base", cfg)


def build_algorithm(cfg: DictConfig, run_dir: Path) -> None:
    build_cloned_policy(cfg, run_dir)
    assert isinstance(acting_policy(cfg, run_dir), Policy)


def build_trainable_reward(cfg: DictConfig, run_dir: Path) -> None:
    reward = build_reward(cfg)
    assert isinstance(reward, TrainableReward)
    assert tuple(reward.cameras) == tuple(cfg.env.cameras)


def build_operator(cfg: DictConfig, run_dir: Path) -> None:
    """Where the device is missing, the operator itself is built around a recorded one."""
    if "device" not in cfg.operator:
        check_operator(cfg)
        return
    features = _make(cfg.operator.device).action_features
    assert set(cfg.operator.axes) <= set(features.get("names", features))
    action = dict.fromkeys(cfg.operator.axes, 1.0)
    operator = instantiate(cfg.operator, device=RecordedTeleoperator([action], [True]))
    assert isinstance(operator, TeleoperatorOperator)
    operator.close()


def build_run_loop(cfg: DictConfig, run_dir: Path) -> None:
    assert isinstance(build_loop(cfg, run_dir, dict), InlineLoop | RayLoop)


def build_gates(cfg: DictConfig, run_dir: Path) -> None:
    gates = instantiate(cfg.audit)
    assert isinstance(gates, Gates)
    assert gates == Gates(), "the YAML shows the defaults of the class"


def build_logger(cfg: DictConfig, run_dir: Path) -> None:
    """wandb is told the mode; it is not started, which `test_metrics.py` does."""
    asked: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "init", lambda **settings: asked.update(settings) or Silent())
        metrics = open_metrics(run_dir, cfg)
        metrics.write({"stage": "record"})
        metrics.close()
    assert read_metrics(run_dir / "metrics.jsonl") == [{"stage": "record"}]
    assert asked.get("mode", "disabled") == cfg.logger.mode


class Silent:
    """A wandb run that keeps nothing."""

    def log(self, row: dict[str, object]) -> None:
        pass

    def finish(self) -> None:
        pass


def build_experiment(cfg: DictConfig, run_dir: Path) -> None:
    check_run(cfg)
    check_operator(cfg)
    build_trainable_reward(cfg, run_dir)
    build_run_loop(cfg, run_dir)


BUILDERS: Mapping[str, Callable[[DictConfig, Path], None]] = {
    "algorithm": build_algorithm,
    "audit": build_gates,
    "encoder": build_frame_encoder,
    "env": build_environment,
    "experiment": build_experiment,
    "logger": build_logger,
    "loop": build_run_loop,
    "operator": build_operator,
    "policy": build_cloned_policy,
    "reward": build_trainable_reward,
}
BESIDE = {"policy=lerobot_diffusion": ["encoder=pixels"]}
"""What a choice needs beside it, as its first line says."""


@pytest.mark.parametrize("override", ALL_CHOICES)
def test_every_choice_is_built_with_what_the_job_gives_it(override: str, tmp_path: Path) -> None:
    group = override.partition("=")[0]
    cheap = [] if group in ("env", "experiment") else ["env=pusht"]
    BUILDERS[group](compose([*cheap, *BESIDE.get(override, []), override]), tmp_path)


@pytest.mark.parametrize("group", choices.groups())
def test_every_choice_says_in_its_first_line_what_it_is(group: str) -> None:
    missing = [choice for choice, summary in choices.choices(group).items() if not summary]
    assert missing == []


def test_every_group_has_a_default_but_experiment() -> None:
    assert set(choices.defaults()) == set(choices.groups()) - {"experiment"}


def test_choices_read_as_text_agree_with_the_yaml() -> None:
    listed = {key: value for part in MAIN_FILE["defaults"][:-2] for key, value in part.items()}
    assert choices.defaults() == listed
    settings = {name: value for name, value in MAIN_FILE.items() if name != "defaults"}
    assert choices.keys() == [key for key, _ in _flat(settings, "")]


@pytest.mark.parametrize("override", [c for c in ALL_CHOICES if not c.startswith("experiment")])
def test_settings_read_as_text_agree_with_hydra(override: str) -> None:
    group, _, choice = override.partition("=")
    composed = OmegaConf.to_container(compose([override])[group], resolve=False)
    assert isinstance(composed, dict)
    expected = dict(_flat(composed, f"{group}."))
    assert choices.settings_of(group, choice).keys() == expected.keys()
    for key, text in choices.settings_of(group, choice).items():
        if isinstance(expected[key], list):
            assert text.startswith("[")
        else:
            typed = text if isinstance(expected[key], str) else yaml.safe_load(text)
            assert typed == expected[key]


def _flat(node: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_a_misspelt_choice_lists_the_near_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean offline") as caught:
        compose(["logger=ofline"])
    assert caught.value.near[0] == "offline"


def test_a_misspelt_experiment_is_not_passed_over() -> None:
    with pytest.raises((UnknownName, BadConfig), match="nonsense"):
        compose(["experiment=nonsense"])


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("fine_tune.episodez=3", "fine_tune.episodes"),
        ("loger=offline", "logger"),
        ("seeed=1", "seed"),
        ("logger.projekt=x", "logger.project"),
        ("+demoz.policy=1", "demos.policy"),
    ],
)
def test_a_misspelt_key_lists_the_near_ones(override: str, near: str) -> None:
    with pytest.raises(UnknownName) as caught:
        compose([override])
    assert near in caught.value.near


@pytest.mark.parametrize("override", ["seed", "seed=[1", "seed=1,2", "~logger"])
def test_an_override_that_makes_no_sense_is_refused_in_one_sentence(override: str) -> None:
    with pytest.raises(BadConfig) as caught:
        compose([override])
    assert "\n" not in str(caught.value)


@given(seed=st.integers(0, 10**9), episodes=st.integers(0, 10**6))
def test_values_arrive_as_they_were_given(seed: int, episodes: int) -> None:
    config = compose([f"seed={seed}", f"fine_tune.episodes={episodes}"])
    assert (config.seed, config.fine_tune.episodes) == (seed, episodes)


def test_composes_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = compose()
    monkeypatch.chdir(tmp_path)
    assert compose() == here
    assert os.listdir(tmp_path) == []


def test_a_saved_configuration_loads_as_it_was_and_takes_overrides(tmp_path: Path) -> None:
    config = compose(["seed=7"])
    save_config(config, tmp_path)
    assert load_config(tmp_path) == config
    directed = load_config(tmp_path, ["align.sliders={smoothness: 1}"])
    save_config(directed, tmp_path)
    assert load_config(tmp_path, ["align.sliders={speed: 1}"]).align.sliders == {"speed": 1}
    save_config(config, tmp_path)
    changed = load_config(tmp_path, ["evaluate.episodes=3", "logger=jsonl"])
    assert (changed.seed, changed.evaluate.episodes, changed.logger.mode) == (7, 3, "disabled")
    with pytest.raises(UnknownName, match="evaluate"):
        load_config(tmp_path, ["evaluate.episode=3"])


def test_a_run_of_an_earlier_version_takes_the_defaults_of_what_it_lacks(tmp_path: Path) -> None:
    config = compose()
    for key in ADDED:
        section, _, name = key.rpartition(".")
        save_config(config, tmp_path)
        earlier = OmegaConf.load(tmp_path / "config.yaml")
        del (OmegaConf.select(earlier, section) if section else earlier)[name]
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(earlier))
        assert load_config(tmp_path) == config, key


@pytest.mark.parametrize("content", [None, "- 1\n", "a: [\n"])
def test_a_run_without_a_readable_configuration_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(CorruptFile, match=r"config\.yaml"):
        load_config(tmp_path)


def test_errors_of_a_constructor_reach_the_user_as_they_are() -> None:
    node = OmegaConf.create({"_target_": "embodied.errors.UnknownName", "kind": "dog"})
    with pytest.raises(BadConfig, match="_target_"):
        instantiate(OmegaConf.create({"mode": "offline"}))
    with pytest.raises(BadConfig, match="imported"):
        instantiate(OmegaConf.create({"_target_": "embodied.nowhere.Nothing"}))
    with pytest.raises(UnknownName, match="did you mean name"):
        instantiate(OmegaConf.merge(node, {"nam": "rex"}))


def _targets(node: DictConfig) -> list[DictConfig]:
    found = [node] if "_target_" in node else []
    for value in node.values():
        found += _targets(value) if isinstance(value, DictConfig) else []
    return found
