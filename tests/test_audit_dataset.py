"""`embodied audit` on datasets of any origin, and for several rewards side by side."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embodied import cli
from embodied.audit_dataset import instructions_beside, split_episodes
from embodied.config import compose, save_config
from embodied.dataset import EpisodeStore
from embodied.dataset_outcomes import read_outcomes
from embodied.errors import BadInput
from embodied.given_dataset import resized
from embodied.job import same_reward
from embodied.runs import REWARD
from embodied.testing.episodes import random_episode

SMALL = [
    "encoder=pixels", "env.image_size=32", "feature_cache.max_mb=0", "env.cameras=[top]",
    "demos.reward=3", "demos.failures=3", "demos.held_out=3",
]  # fmt: skip


def own_dataset(root: Path, outcomes: Sequence[bool | None], steps: int = 6) -> Path:
    store, rng = EpisodeStore(root, 20.0), np.random.default_rng(0)
    for number, success in enumerate(outcomes):
        length = steps if success else steps // 2
        episode = random_episode(
            rng, length, ("top",), episode_id=f"e{number}", success=success, with_features=False
        )
        store.append(replace(episode, instruction="open the drawer"))
    return root


def foreign_dataset(
    root: Path, outcomes: Sequence[bool], *, column: str = "next.success", rows: int = 6
) -> Path:
    """As `lerobot-record` writes it: wide pictures, and success in the last row."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    rng = np.random.default_rng(0)
    vector = {"dtype": "float32", "shape": (2,), "names": None}
    features = {
        "observation.images.top": {
            "dtype": "video", "shape": (48, 64, 3), "names": ["height", "width", "channels"],
        },
        "observation.state": vector,
        "action": vector,
        column: {"dtype": "bool", "shape": (1,), "names": None},
    }  # fmt: skip
    recorded = LeRobotDataset.create("local/test", 10, features, root=root)
    for number, success in enumerate(outcomes):
        for row in range(rows if success else max(rows - 2, 1)):
            last = success and row == rows - 1
            recorded.add_frame(
                {
                    "observation.images.top": rng.integers(0, 256, (48, 64, 3), dtype=np.uint8),
                    "observation.state": np.zeros(2, np.float32),
                    "action": np.zeros(2, np.float32),
                    column: np.array([last]),
                    "task": ("open the drawer", "push the drawer closed")[number % 2],
                }
            )
        recorded.save_episode()
    recorded.finalize()
    return root


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence with which a command ends."""
    capsys.readouterr()
    assert cli.main([*words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert len(said) == 1, said
    return said[0]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign_dataset(
        tmp_path_factory.mktemp("foreign") / "data", [True, True, False, False] * 3
    )


def test_success_is_read_from_our_own_label_and_from_a_column_of_rows(tmp_path, foreign):
    own = EpisodeStore(own_dataset(tmp_path / "own", [True, None, False]))
    assert read_outcomes(own) == {0: True, 1: None, 2: False}
    store = EpisodeStore(foreign)
    expected = {number: number % 4 < 2 for number in range(12)}
    assert read_outcomes(store) == read_outcomes(store, "next.success") == expected


def test_without_a_column_of_success_it_says_which_could_be_named(tmp_path):
    store = EpisodeStore(foreign_dataset(tmp_path / "data", [True, False], column="grasped"))
    with pytest.raises(BadInput, match=r"success_key=NAME. Columns of true and false: grasped\."):
        read_outcomes(store)
    assert read_outcomes(store, "grasped") == {0: True, 1: False}
    with pytest.raises(BadInput, match="has no column 'graped'"):
        read_outcomes(store, "graped")
    with pytest.raises(BadInput, match="success is true or false"):
        read_outcomes(store, "index")


@pytest.mark.parametrize("said", [range(8), range(4, 12)])
def test_where_only_some_files_say_who_succeeded_the_rest_is_left_out_and_counted(
    foreign, tmp_path, capsys, said
):
    """As datasets that were merged: the column is in one of two files of metadata."""
    root = shutil.copytree(foreign, tmp_path / "merged")
    (path,) = root.glob("meta/episodes/*/*.parquet")
    table = pq.read_table(path)
    other = [n for n in range(12) if n not in said]
    succeeded = pa.array([n % 4 < 2 for n in said])
    parts = {said[0]: table.take(list(said)).append_column("success", succeeded)}
    parts[other[0]] = table.take(other)
    for number, first in enumerate(sorted(parts)):
        pq.write_table(parts[first], path.with_name(f"file-{number:03d}.parquet"))
    outcomes = read_outcomes(EpisodeStore(root))
    assert outcomes == {n: n % 4 < 2 if n in said else None for n in range(12)}
    words = [f"output={tmp_path / 'out'}", "reward=elapsed_time", *SMALL, "override_audit=true"]
    assert cli.main(["audit", str(root), *words]) == 0
    content = json.loads((tmp_path / "out/reward_card.json").read_text())
    assert content["pins"]["episodes"].endswith("Episodes of unknown outcome, left out: 4.")
    assert "left out: 4." in (tmp_path / "out/reward_card.html").read_text()


def test_no_episode_is_both_fitted_to_and_judged_by():
    outcomes = {i: (True, False, None)[i % 3] for i in range(60)}
    split = split_episodes(outcomes, (8, 12), 6, seed=0, dataset="d")
    assert [len(side) for side in (*split.fit, *split.held_out)] == [8, 12, 6, 6]
    for side, outcome in enumerate((True, False)):
        chosen = [*split.fit[side], *split.held_out[side]]
        assert len(set(chosen)) == len(chosen)
        assert all(outcomes[index] is outcome for index in chosen)
    assert split == split_episodes(outcomes, (8, 12), 6, seed=0, dataset="d")
    assert split != split_episodes(outcomes, (8, 12), 6, seed=1, dataset="d")


def test_a_small_dataset_is_shared_and_a_trained_reward_takes_none_to_fit():
    outcomes = {i: i < 9 for i in range(18)}
    split = split_episodes(outcomes, (16, 24), 20, seed=0, dataset="d")
    assert [len(side) for side in (*split.fit, *split.held_out)] == [4, 5, 5, 4]
    trained = split_episodes(outcomes, (0, 0), 20, seed=0, dataset="d")
    assert [len(side) for side in (*trained.fit, *trained.held_out)] == [0, 0, 9, 9]
    with pytest.raises(BadInput, match=r"d has 1 successes and 0 failures. .* left out: 5\."):
        split_episodes({0: True} | dict.fromkeys(range(1, 6)), (0, 0), 20, seed=0, dataset="d")
    with pytest.raises(BadInput, match="d has 3 successes and 0 failures"):
        split_episodes(dict.fromkeys(range(3), True), (0, 0), 20, seed=0, dataset="d")


def test_pictures_are_made_square_without_losing_the_edges():
    frames = np.zeros((2, 48, 64, 3), np.uint8)
    frames[:, :, :4], frames[:, :, -4:] = 200, 100
    small = resized({"top": frames}, 32)["top"]
    assert small.shape == (2, 32, 32, 3)
    assert (small[:, :, 0] == 200).all()
    assert (small[:, :, -1] == 100).all()
    assert resized({"top": frames}, None)["top"] is frames


def test_a_dataset_of_several_tasks_asks_for_each(foreign):
    asked = instructions_beside(EpisodeStore(foreign))
    assert asked[:2] == ["open the drawer", "push the drawer closed"]
    assert len(asked) == len(set(asked)) == 8


def test_a_foreign_dataset_is_judged_with_a_reward_fitted_to_another_part(
    foreign, tmp_path, capsys
):
    words = [f"output={tmp_path / 'out'}", "reward=elapsed_time", *SMALL, "override_audit=true"]
    assert cli.main(["audit", str(foreign), *words]) == 0
    assert f"{tmp_path}/out/reward_card.html and reward_card.json" in capsys.readouterr().out
    content = json.loads((tmp_path / "out/reward_card.json").read_text())
    said = "Fitted to 3 successes and 3 failures of the dataset data, judged on 3 successes and 3 "
    assert content["pins"]["episodes"].startswith(said)
    assert content["pins"]["resolution"] == {"top": "32 x 32"}
    assert said in (tmp_path / "out/reward_card.html").read_text()
    said = told(capsys, "audit", f"dataset={foreign}", *words[:-1])
    assert said.startswith("embodied: Do not train on this reward")


def test_rewards_side_by_side_have_a_page_and_a_card_each(foreign, tmp_path, capsys):
    words = [f"dataset={foreign}", f"output={tmp_path}", "rewards=[elapsed_time,perceptual_stages]"]
    assert cli.main(["audit", *words, *SMALL]) == 0
    assert "audit.html" in capsys.readouterr().out
    page = (tmp_path / "audit.html").read_text()
    for said in ("Rewards side by side", "worst perturbation", "scoring adds", "Cycle-VOC",
                 'href="reward_card-elapsed_time.html"'):  # fmt: skip
        assert said in page
    content = json.loads((tmp_path / "audit.json").read_text())
    assert set(content) == {"elapsed_time", "perceptual_stages"}
    assert content["elapsed_time"]["accepted"] is False
    assert (tmp_path / "reward_card-elapsed_time.html").is_file()


def test_what_was_recorded_otherwise_has_rows_on_the_card(foreign, tmp_path, capsys):
    other = foreign_dataset(tmp_path / "other", [True, False] * 3, rows=7)
    words = [f"dataset={foreign}", f"output={tmp_path}", "rewards=[elapsed_time]"]
    beside = [f"shifted={other}", f"other_robot={other}"]
    assert cli.main(["audit", *words, *beside, *SMALL]) == 0
    content = json.loads((tmp_path / "audit.json").read_text())
    rows = {row["name"]: row for row in content["elapsed_time"]["robustness"]}
    assert rows["other_robot"]["title"] == "another robot"
    assert rows["camera_shift"]["title"] == "camera really shifted"
    few = foreign_dataset(tmp_path / "few", [True, True, True, False])
    said = told(capsys, "audit", *words, f"other_robot={few}", *SMALL)
    assert "few has 3 successes and 1 failures; two of each are the least" in said
    said = told(capsys, "audit", *words, "other_robot=nowhere", *SMALL)
    assert "there is no such folder" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rewards=[progres]"], "did you mean progress"),
        (["env.cameras=[wrist]"], "the reward looks at camera 'wrist'"),
        (["success_key=sucess"], "has no column 'sucess'"),
        (["rewards=[]"], "names no reward"),
    ],
)
def test_what_is_wrong_with_the_words_is_told(foreign, tmp_path, capsys, words, said):
    given = ["reward=elapsed_time", *SMALL, f"output={tmp_path}", *words]
    assert said in told(capsys, "audit", f"dataset={foreign}", *given)


def test_what_is_wrong_with_the_dataset_is_told(tmp_path, capsys):
    words = ["reward=elapsed_time", *SMALL]
    nowhere = f"dataset={tmp_path / 'nowhere'}"
    assert "there is no such folder" in told(capsys, "audit", nowhere, *words)
    (tmp_path / "empty").mkdir()
    assert "it has no meta/info.json" in told(
        capsys, "audit", f"dataset={tmp_path / 'empty'}", *words
    )
    happy = own_dataset(tmp_path / "happy", [True] * 4)
    said = told(capsys, "audit", str(happy), *words)
    assert "has 4 successes and 0 failures" in said
    short = foreign_dataset(tmp_path / "short", [True, False] * 4, rows=1)
    assert "has one frame" in told(capsys, "audit", str(short), *words)
    assert not (tmp_path / "short-audit").exists()
    assert "go with dataset=FOLDER" in told(capsys, "audit", "output=x", *words)


@pytest.mark.parametrize("other", ["vlm_rm", "shuffled_time", "progress_capped"])
def test_another_reward_than_the_one_that_a_run_has_trained_is_refused(tmp_path, capsys, other):
    run = tmp_path / "run"
    (run / REWARD).parent.mkdir(parents=True)
    (run / REWARD).write_bytes(b"a trained reward")
    save_config(compose([]), run)
    said = told(capsys, "audit", str(run), f"reward={other}")
    assert "has trained another reward (ProgressReward) than was asked for" in said
    assert '"rewards=[goal_distance]"' in said
    beside = foreign_dataset(tmp_path / "beside", [True, False] * 2)
    assert said == told(capsys, "audit", str(run), f"reward={other}", f"shifted={beside}")
    assert (run / REWARD).read_bytes() == b"a trained reward"


def test_a_trained_reward_may_be_asked_with_another_pessimism():
    trained, asked = compose([]), compose(["reward.pessimism=2.0"])
    assert same_reward(trained.reward, asked.reward)
    assert not same_reward(trained.reward, compose(["reward.members=3"]).reward)
