"""`embodied attack`: a run's own reward, another one, and what cannot be attacked."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from embodied import cli
from embodied.adversary_reward import told_apart
from embodied.adversary_run import attack, attack_reward
from embodied.audit_pins import fingerprint
from embodied.config import compose, load_config, save_config
from embodied.display import Display
from embodied.errors import BadConfig
from embodied.job import Job, build_reward
from embodied.metrics import Metrics
from embodied.stages import clone_policy, record_all, train_reward
from embodied.testing.runs import toy_job

SMALL = {"rollouts": 16, "starts": 2, "generations": 2, "candidates": 6, "elites": 2, "knots": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has demonstrations, a reward and a cloned policy."""
    folder = tmp_path_factory.mktemp("runs")
    cfg = toy_job(folder)
    run_dir = folder / "toy"
    run_dir.mkdir()
    save_config(cfg, run_dir)
    with Display() as display:
        job = Job(run_dir=run_dir, cfg=cfg, metrics=Metrics([]), display=display)
        record_all(job)
        train_reward(job)
        clone_policy(job)
    return run_dir


def configured(run: Path, **asked: Any) -> DictConfig:
    cfg = load_config(run)
    cfg.run = str(run)
    cfg.attack.update(SMALL | asked)
    return cfg


def test_the_command_writes_a_page_about_the_runs_own_reward(run: Path) -> None:
    small = [f"attack.{name}={value}" for name, value in SMALL.items()]
    assert cli.main(["attack", str(run), *small]) == 0
    stored = json.loads((run / "adversary.json").read_text())
    assert [a["attempts"] for a in stored["attacks"]] == [16, 24]
    assert stored["pins"]["reward"].startswith("ProgressReward-")
    assert "Adversarial audit" in (run / "adversary.html").read_text()


def test_the_same_seed_finds_the_same(run: Path) -> None:
    found = []
    for _ in range(2):
        with Display() as display:
            cfg = configured(run)
            job = Job(run_dir=run, cfg=cfg, metrics=Metrics([]), display=display)
            found.append(attack_reward(job).to_dict())
    assert found[0]["attacks"] == found[1]["attacks"]
    assert found[0]["cases"] == found[1]["cases"]


def test_another_reward_is_fitted_to_the_run_and_has_a_page_of_its_own(run: Path) -> None:
    small = [f"attack.{name}={value}" for name, value in SMALL.items()]
    before = (run / "reward/reward.pt").read_bytes()
    assert cli.main(["attack", str(run), "reward=elapsed_time", *small]) == 0
    (written,) = run.glob("adversary-ElapsedTime-????.json")
    stored = json.loads(written.read_text())
    assert stored["pins"]["reward"].startswith("ElapsedTime-")
    assert stored["verdict"]["kind"] == "bad"
    assert (run / "reward/reward.pt").read_bytes() == before


def test_the_runs_reward_asked_with_another_pessimism_is_not_trained_again(run: Path) -> None:
    small = [f"attack.{name}={value}" for name, value in (SMALL | {"starts": 0}).items()]
    # Another seed would train another reward.
    assert cli.main(["attack", str(run), "reward.pessimism=2.0", "seed=5", *small]) == 0
    (written,) = run.glob("adversary-ProgressReward-????.json")
    own = fingerprint(build_reward(load_config(run), run))
    assert json.loads(written.read_text())["pins"]["reward"] == own


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"rollouts": 0, "starts": 0}, "nothing is left to do"),
        ({"policy": "policy"}, "has no policy; attack.policy is policy_base or policy"),
        ({"rollouts": -1}, "attack.rollouts is -1"),
        ({"rollouts": 6000}, "at most 5000"),
        ({"elites": 6}, "below attack.candidates"),
    ],
)
def test_what_cannot_be_attacked_is_refused(run: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        attack(configured(run, **asked))


def test_an_attack_needs_a_run_with_a_reward(tmp_path: Path, run: Path) -> None:
    cfg = configured(run)
    cfg.run = None
    with pytest.raises(BadConfig, match="name the run"):
        attack(cfg)
    save_config(load_config(run), tmp_path)
    cfg.run = str(tmp_path)
    with pytest.raises(BadConfig, match="has no reward yet"):
        attack(cfg)


def test_rewards_of_one_class_have_pages_of_their_own() -> None:
    names = [
        told_apart(compose(["env=pusht", f"reward={choice}"]).reward)
        for choice in ("rapl", "rapl_imagenet", "goal_distance", "elapsed_time")
    ]
    assert [name.rpartition("-")[0] for name in names] == [
        "Rapl", "Rapl", "GoalDistance", "ElapsedTime",
    ]  # fmt: skip
    assert len(set(names)) == 4
