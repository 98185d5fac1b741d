"""Every choice and experiment composes; mistakes are refused with the near names."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from embodied import choices
from embodied.config import compose, instantiate, load_config, save_config
from embodied.errors import BadConfig, CorruptFile, UnknownName

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


@pytest.mark.parametrize("group", choices.groups())
def test_every_choice_says_in_its_first_line_what_it_is(group: str) -> None:
    missing = [choice for choice, summary in choices.choices(group).items() if not summary]
    assert missing == []


def test_every_group_has_a_default_but_experiment() -> None:
    assert set(choices.defaults()) == set(choices.groups()) - {"experiment"}


def test_choices_read_as_text_agree_with_the_yaml() -> None:
    listed = {key: value for part in MAIN_FILE["defaults"][:-2] for key, value in part.items()}
    assert choices.defaults() == listed
    dotted = [
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in MAIN_FILE.items()
        if name != "defaults"
        for inner in (value if isinstance(value, dict) else [name])
    ]
    assert choices.keys() == dotted


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
    changed = load_config(tmp_path, ["evaluate.episodes=3", "logger=jsonl"])
    assert (changed.seed, changed.evaluate.episodes, changed.logger.mode) == (7, 3, "disabled")
    with pytest.raises(UnknownName, match="evaluate"):
        load_config(tmp_path, ["evaluate.episode=3"])


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
