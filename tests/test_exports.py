"""What LeRobot itself reads of exported scores."""

import ast
import importlib.util
import json
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embodied import cli
from embodied.config import compose
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput, CorruptFile
from embodied.exports import learned, write_columns, write_progress
from embodied.first_checks import database_url
from embodied.label import WEIGHED
from embodied.preferences.service import open_service
from embodied.testing.episodes import random_episode, random_labels
from embodied.testing.preferences import pushing_dataset, say


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def scored(tmp_path, rng):
    """A dataset of this project, and labels of its episodes."""
    store = EpisodeStore(tmp_path / "data", 20.0)
    episodes = [random_episode(rng, steps, ("front",)) for steps in (5, 8)]
    for episode in episodes:
        paid = np.ones(len(episode), np.float32)
        store.append(replace(episode, simulator_reward=paid))
    return store.root, {i: random_labels(rng, len(e)) for i, e in enumerate(episodes)}


def columns_of(labels):
    return {i: learned(each) for i, each in labels.items()}


def opened(root):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("local/test", root=root, video_backend="pyav")


def bytes_below(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_lerobot_opens_the_copy_and_sees_the_scores_of_each_step(scored, tmp_path):
    root, labels = scored
    before = bytes_below(root)
    write_columns(root, columns_of(labels), tmp_path / "out")
    assert bytes_below(root) == before
    assert (root / "simulator").is_dir()
    assert not (tmp_path / "out/simulator").exists(), "who learns from the copy is told too much"
    ours, theirs = opened(tmp_path / "out"), opened(root)
    assert len(ours) == len(theirs) == 13
    for row in range(13):
        found, expected = ours[row], theirs[row]
        episode, frame = int(found["episode_index"]), int(found["frame_index"])
        for name in ("reward", "progress", "done", "uncertainty"):
            said = getattr(labels[episode], name)[frame]
            assert found[f"learned.{name}"].item() == pytest.approx(float(said))
        for name in expected:
            if isinstance(expected[name], torch.Tensor):
                torch.testing.assert_close(
                    found[name], expected[name], rtol=0, atol=0, equal_nan=True
                )
    assert ours.meta.stats["learned.progress"]["count"].item() == 13


def test_a_copy_can_be_scored_again_and_the_newest_scores_count(scored, tmp_path, rng):
    root, labels = scored
    write_columns(root, columns_of(labels), tmp_path / "once")
    newer = {i: random_labels(rng, len(each.reward)) for i, each in labels.items()}
    write_columns(tmp_path / "once", columns_of(newer), tmp_path / "twice")
    found = opened(tmp_path / "twice")[12]["learned.progress"].item()
    assert found == pytest.approx(float(newer[1].progress[7]))


def weighter_of(path, **extra_params):
    """LeRobot's, for a policy with chunks of two steps."""
    from lerobot.utils.sample_weighting import SampleWeightingConfig, make_sample_weighter

    class Policy:
        class config:
            chunk_size = 2

    config = SampleWeightingConfig(type="rabc", progress_path=str(path), extra_params=extra_params)
    return make_sample_weighter(config, Policy, torch.device("cpu"))


def test_lerobots_weights_for_imitation_follow_the_progress(scored, tmp_path):
    root, _ = scored
    progress = {0: np.linspace(0, 1, 6), 1: np.linspace(1, 0, 9)}
    path = tmp_path / "progress.parquet"
    write_progress(root, progress, path, made_by="MyReward")

    weighter = weighter_of(path)
    weights, _ = weighter.compute_batch_weights({"index": torch.tensor([0, 1, 6, 7])})
    assert weights.tolist() == pytest.approx([2, 2, 0, 0], abs=1e-4)
    assert weighter.get_stats()["num_frames"] == 13


def test_a_dataset_that_lerobot_recorded_gets_scores_for_every_row(tmp_path, rng):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    picture = {"dtype": "video", "shape": (32, 32, 3), "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": (2,), "names": None}
    features = {"observation.images.top": picture, "observation.state": vector, "action": vector}
    recorded = LeRobotDataset.create("local/test", 10, features, root=tmp_path / "data")
    for _ in range(2):
        for _ in range(6):
            frame = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            zeros = np.zeros(2, np.float32)
            recorded.add_frame(
                {"observation.images.top": frame, "observation.state": zeros, "action": zeros,
                 "task": "pick"}
            )  # fmt: skip
        recorded.save_episode()
    recorded.finalize()
    labels = {i: random_labels(rng, 5) for i in range(2)}
    write_columns(tmp_path / "data", columns_of(labels), tmp_path / "out")
    last = opened(tmp_path / "out")[11]
    assert last["learned.progress"].item() == pytest.approx(float(labels[1].progress[5]))
    assert last["learned.reward"].item() == 0


def test_an_export_is_whole_or_not_there(scored, tmp_path):
    root, labels = scored
    columns = columns_of(labels)
    with pytest.raises(BadInput, match="episode 1 of the dataset was not scored"):
        write_columns(root, {0: columns[0]}, tmp_path / "out")
    with pytest.raises(BadInput, match=r"has 8 rows, its labels cover 6"):
        write_columns(root, {0: columns[0], 1: columns[0]}, tmp_path / "out")
    (root / "meta/info.json").write_text("{")
    with pytest.raises(CorruptFile, match=r"info\.json"):
        write_columns(root, columns_of(labels), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match="exists"):
        write_columns(root, columns_of(labels), tmp_path / "out")
    with pytest.raises(BadInput, match="holds no rows"):
        write_progress(tmp_path / "out", {}, tmp_path / "p.parquet", "x")


CONSTANT = ["reward=elapsed_time", "encoder=pixels", "reward.cameras=[front]"]


def test_the_command_writes_both_and_says_how_to_use_them(scored, tmp_path, monkeypatch, capsys):
    root, _ = scored

    def build(cfg, run_dir=None):
        from embodied.reward_models.controls import ElapsedTime

        reward = ElapsedTime(["front"])
        reward.version, reward.typical_length = 3, 5
        return reward

    monkeypatch.setattr("embodied.label.build_reward", build)
    monkeypatch.setattr("embodied.label.build_cached_encoder", lambda cfg: _Blind())
    assert cli.main(["label", f"dataset={root}", *CONSTANT]) == 0
    told = capsys.readouterr().out
    assert "2 episodes" in told
    target = tmp_path / "data-labelled"
    program, *words = shlex.split(told.splitlines()[-1])
    assert program == "lerobot-train"
    config = training_config(words, monkeypatch)
    assert config.dataset.root == str(target)
    assert config.sample_weighting.progress_path == str(target / "progress.parquet")
    assert not config.output_dir.exists()
    row = opened(target)[4]
    assert row["learned.progress"].item() == 1.0
    assert (target / "progress.parquet").is_file()
    assert cli.main(["label", f"dataset={root}", *CONSTANT]) == 2
    assert "exists; choose another output=FOLDER" in capsys.readouterr().err


def training_config(words, monkeypatch):
    """What `lerobot-train` makes of these words."""
    import draccus
    from lerobot.configs.train import TrainPipelineConfig
    from lerobot.policies import factory  # noqa: F401 makes the types of policies known

    monkeypatch.setattr(sys, "argv", ["lerobot-train", *words])
    config = draccus.parse(TrainPipelineConfig, args=words)
    config.validate()
    return config


def test_the_policies_that_are_named_are_those_whose_loss_lerobot_can_weigh():
    folder = Path(importlib.util.find_spec("lerobot").origin).parent / "policies"
    weighed = set()
    for path in folder.glob("*/modeling_*.py"):
        tree = ast.parse(path.read_text())
        policies = [
            node for node in tree.body
            if isinstance(node, ast.ClassDef)
            and any(getattr(base, "id", "") == "PreTrainedPolicy" for base in node.bases)
        ]  # fmt: skip
        for method in (method for policy in policies for method in policy.body):
            if isinstance(method, ast.FunctionDef) and method.name == "forward":
                if "reduction" in {argument.arg for argument in method.args.args}:
                    weighed.add(path.parent.name)
    assert weighed == set(WEIGHED)


def test_the_command_names_what_is_missing(tmp_path, capsys):
    assert cli.main(["label"]) == 2
    assert "name what to label" in capsys.readouterr().err
    assert cli.main(["label", f"dataset={tmp_path / 'nothing'}"]) == 2
    assert "is no LeRobotDataset" in capsys.readouterr().err


class _Blind:
    fingerprint, shape = "blind", (1, 1, 1)

    def encode(self, frames):
        return np.zeros((len(frames), 1, 1, 1), np.float16)


def test_a_copy_is_what_info_json_says(scored, tmp_path):
    root, labels = scored
    write_columns(root, columns_of(labels), tmp_path / "out")
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert {name for name in info["features"] if name.startswith("learned.")} == {
        "learned.reward", "learned.progress", "learned.done", "learned.uncertainty",
    }  # fmt: skip
    assert not (Path(tmp_path) / "out/meta/embodied.json").exists()
    assert len(EpisodeStore(tmp_path / "out")) == 2


@pytest.fixture(scope="module")
def pushes(tmp_path_factory):
    return pushing_dataset(tmp_path_factory.mktemp("data") / "pushing", episodes=3, steps=12)


@pytest.fixture
def asked(pushes, tmp_path):
    """A copy of a dataset, beside which people's labels are kept as the page keeps them."""
    root = shutil.copytree(pushes.root, tmp_path / "data")
    service = open_service(
        EpisodeStore(root), database_url(compose([]), root), tmp_path / "films", clip_s=2.0
    )
    yield root, service
    service.close()


def test_lerobot_reads_what_people_said(asked, tmp_path, capsys, monkeypatch):
    root, service = asked
    clips = sorted(service.clips)
    say(service, [clips[0]], "marked", progress=[[1.0, 0.0], [5.0, 1.0], [11.0, 0.0]])
    span = {"side": 0, "start": 2, "stop": 4, "good": False}
    say(service, clips[:2], "right", intervals=[span])
    assert cli.main(["label", f"dataset={root}", "labels=people"]) == 0
    told = capsys.readouterr().out
    assert "People spoke of 2 of 3 episodes" in told
    target = tmp_path / "data-labelled"
    config = training_config(shlex.split(told.splitlines()[-1])[1:], monkeypatch)
    assert config.dataset.root == str(target)
    copy = opened(target)
    rows = [copy[row] for row in range(len(copy))]
    found = {
        name: np.array([row[f"preference.{name}"].item() for row in rows]).reshape(3, 12)
        for name in ("progress", "good", "won", "both_bad")
    }
    line = np.interp(np.arange(12), [1, 5, 11], [0, 1, 0])
    line[0] = np.nan
    np.testing.assert_allclose(found["progress"][0], line, rtol=1e-6)
    assert np.isnan(found["progress"][1:]).all()
    assert np.flatnonzero(found["good"][0] == 0).tolist() == [2, 3]
    assert [np.unique(won).tolist() for won in found["won"][:2]] == [[0], [1]]
    assert np.isnan(found["won"][2]).all()
    assert (found["both_bad"][:2] == 0).all()
    assert copy.meta.stats["preference.progress"]["count"].item() == 11
    scores = {episode: random_labels(np.random.default_rng(episode), 12) for episode in range(3)}
    write_columns(target, columns_of(scores), tmp_path / "both")
    both = opened(tmp_path / "both")[5]
    assert both["learned.progress"].item() == pytest.approx(float(scores[0].progress[5]))
    assert both["preference.progress"].item() == 1
    weighter = weighter_of(config.sample_weighting.progress_path, fallback_weight=0.5)
    assert weighter.get_stats()["num_frames"] == 11
    weights, _ = weighter.compute_batch_weights({"index": torch.tensor([0, 1, 6, 12])})
    assert weights.tolist() == pytest.approx([1, 2, 0, 1], abs=1e-4)  # nobody marked 0 and 12


def test_what_people_did_not_say_is_told(asked, tmp_path, capsys):
    root, service = asked
    words = ["label", f"dataset={root}"]
    assert cli.main([*words, "labels=robots"]) == 2
    assert "people" in capsys.readouterr().err
    assert cli.main([*words, "labels=people"]) == 2
    assert f"serve-preferences dataset={root}` asks people" in capsys.readouterr().err
    clips = sorted(service.clips)[:2]
    say(service, clips, "left", "script", kind="scripted")
    assert cli.main([*words, "labels=people"]) == 2  # a script is nobody
    assert "of a human rater" in capsys.readouterr().err
    assert cli.main([*words, "labels=people", "evaluate.target={speed: 1}"]) == 2
    assert "of `embodied eval RUN` alone" in capsys.readouterr().err
    say(service, clips, "both_bad")
    assert cli.main([*words, "labels=people", "preferences.rater_kinds=[robots]"]) == 2
    assert "scripted" in capsys.readouterr().err
    assert not (tmp_path / "data-labelled").exists()
    assert cli.main([*words, "labels=people"]) == 0
    assert "Nobody marked progress" in capsys.readouterr().out
    assert not (tmp_path / "data-labelled/people_progress.parquet").exists()
    assert opened(tmp_path / "data-labelled")[0]["preference.both_bad"].item() == 1
    moved = shutil.copytree(root, tmp_path / "elsewhere")
    assert cli.main(["label", f"dataset={moved}", "labels=people"]) == 2
    assert "there are no labels of" in capsys.readouterr().err
