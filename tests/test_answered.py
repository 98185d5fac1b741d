"""Answers of a real database reach the reward of a run; what is missing is said before any work."""

import shutil
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from embodied import cli
from embodied.config import compose, save_config
from embodied.dataset import EpisodeStore
from embodied.display import Display
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.first_checks import check_labels, labelled
from embodied.job import REWARD, Job, build_reward, same_reward
from embodied.metrics import Metrics
from embodied.preferences.answered import check_answers, hand_over, read_preferences
from embodied.preferences.records import Submission
from embodied.preferences.serve import build_service
from embodied.preflight import check_taught
from embodied.stages import record_all, train_reward
from embodied.testing.preferences import distances_of, pushing_dataset
from embodied.testing.rewards import HueEncoder
from embodied.testing.runs import toy_job

CAMERAS = ("front",)


def answers(
    cfg: DictConfig,
    root: Path,
    count: int,
    rater: str = "ann",
    choice: str = "",
    kind: str = "human",
) -> None:
    """A person prefers the clip that ends nearer to the ring, or always says the same."""
    service = build_service(cfg, root)
    _, who = service.store.sign_in(rater, kind)
    for _ in range(count):
        (showing,) = service.schedule.next(who, 1)
        near = []
        for number in showing.clip_ids:
            clip = service.clips[number]
            near.append(distances_of(clip.episode, 25)[clip.stop - 1])
        said = choice or ("left" if near[0] < near[1] else "right")
        uuid = f"{rater}-{len(service.store.labels()):06d}"
        service.book.answer(who, Submission(uuid=uuid, showing_id=showing.id, choice=said))
    service.close()


def configured(**preferences: object) -> DictConfig:
    cfg = compose(["env=pusht", "env.cameras=[front]", "reward=preference"])
    OmegaConf.set_struct(cfg, False)
    cfg.env.image_size = 96
    cfg.encoder = {"_target_": "embodied.testing.rewards.HueEncoder", "image_size": 96, "grid": 8}
    cfg.feature_cache.max_mb = 0
    cfg.preferences.clip_s = 1.0
    cfg.preferences.update(preferences)
    return cfg


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose clips were compared thirty times."""
    root = tmp_path_factory.mktemp("data") / "pushing"
    pushing_dataset(root, episodes=4)
    answers(configured(), root, 24)
    answers(configured(), root, 4, "bob", "tie")
    answers(configured(), root, 2, "bob", "skip")
    return root


def test_answers_come_with_the_frames_that_people_saw(root: Path) -> None:
    heard = read_preferences(configured(), str(root), CAMERAS, HueEncoder(96))
    assert heard.origin == {
        "database": f"sqlite:///{root}-preferences/labels.sqlite", "dataset": "pushing",
        "labels": 28, "last_label": 28, "rater_kinds": "human, scripted",
    }  # fmt: skip
    assert heard.raters == ("ann", "bob")
    assert len(heard.decided()) == 24
    assert (heard.target == 0.5).sum() == 4
    store = EpisodeStore(root)
    ends = {store.read(i).images["front"][k].tobytes() for i in range(4) for k in (0, 10, 15)}
    assert {clip.frames["front"][0].tobytes() for clip in heard.clips} <= ends
    assert {len(clip) for clip in heard.clips} == {10}
    assert heard.clips[0].features["front"].shape == (10, 3, 8, 8)


def test_clips_that_are_both_bad_come_as_negatives(tmp_path: Path) -> None:
    bare = tmp_path / "pushing"
    pushing_dataset(bare, episodes=2)
    cfg = configured()
    answers(cfg, bare, 2)
    assert read_preferences(cfg, str(bare), CAMERAS, HueEncoder(96)).bad == []
    answers(cfg, bare, 1, "bob", "both_bad")
    heard = read_preferences(cfg, str(bare), CAMERAS, HueEncoder(96))
    last = {int(heard.first[-1]), int(heard.second[-1])}
    assert {*heard.negatives} == last
    assert {id(clip) for clip in heard.bad} == {id(heard.clips[number]) for number in last}
    assert heard.target[-1] == 0.5


def test_kinds_of_raters_can_be_left_out(tmp_path: Path) -> None:
    bare = tmp_path / "pushing"
    pushing_dataset(bare, episodes=2)
    cfg = configured()
    answers(cfg, bare, 3)
    answers(cfg, bare, 2, "take-over", kind="scripted")
    answers(cfg, bare, 1, "take-over", "both_bad", kind="scripted")
    for kinds, raters, bad in (
        (None, ("ann", "take-over"), 2), (["human"], ("ann",), 0),
        (["scripted"], ("take-over",), 2), (["human", "scripted"], ("ann", "take-over"), 2),
    ):  # fmt: skip
        cfg.reward.rater_kinds = kinds
        heard = read_preferences(cfg, str(bare), CAMERAS, HueEncoder(96))
        assert (heard.raters, len(heard.bad)) == (raters, bad)
        assert heard.origin["rater_kinds"] == ", ".join(kinds or ["human", "scripted"])
    for kinds, said in ((["people"], "did you mean|choose one of human"), ("human", r"\[human\]")):
        cfg.reward.rater_kinds = kinds
        with pytest.raises((BadConfig, UnknownName), match=said):
            check_labels(cfg)
    other = tmp_path / "other"
    pushing_dataset(other, episodes=2)
    answers(cfg, other, 2)
    cfg.reward.rater_kinds, cfg.reward.labels = ["scripted"], str(other)
    with pytest.raises(BadInput, match="no answer of a scripted rater that says"):
        check_taught(cfg)


def test_answers_about_several_datasets_are_learnt_from_together(
    root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    pushing_dataset(other, episodes=2)
    cfg = configured()
    answers(cfg, other, 3, "bob")
    answers(cfg, other, 1, "carl", "both_bad")
    cfg.reward.text_encoder = {"_target_": "embodied.testing.rewards.WordEncoder"}
    cfg.reward.labels = [str(root), str(other)]
    check_labels(cfg)
    check_taught(cfg)
    reward = build_reward(cfg)
    hand_over(cfg, reward)
    heard = reward.models[0].preferences  # type: ignore[union-attr]
    each = [read_preferences(cfg, str(folder), CAMERAS, HueEncoder(96)) for folder in (root, other)]
    assert heard.raters == ("ann", "bob", "carl")
    assert (heard.origin["labels"], heard.origin["last_label"]) == (32, "28, 4")
    assert heard.origin["dataset"] == "pushing, other"
    begin = len(each[0].target)
    for at, one in ((0, each[0]), (begin, each[1])):
        for number in range(len(one.target)):
            for side in ("first", "second"):
                here, there = (
                    answers.clips[getattr(answers, side)[place]].frames["front"]
                    for answers, place in ((heard, at + number), (one, number))
                )
                assert (here == there).all()
            assert heard.raters[heard.rater[at + number]] == one.raters[one.rater[number]]
            assert heard.target[at + number] == one.target[number]
    assert len(heard.bad) == 2
    assert {id(clip) for clip in heard.bad} <= {
        id(clip) for clip in heard.clips[len(each[0].clips) :]
    }


def test_the_urls_of_the_file_and_the_folder_are_the_same(root: Path) -> None:
    cfg = configured()
    _, url = labelled(cfg, str(root))
    assert labelled(cfg, url) == (root, url)
    elsewhere = configured(database=url)
    assert labelled(elsewhere, str(root)) == (root, url)


def test_a_reward_hears_them_as_its_configuration_says(root: Path) -> None:
    cfg = configured()
    cfg.reward.text_encoder = {"_target_": "embodied.testing.rewards.WordEncoder"}
    cfg.reward.labels = str(root)
    check_taught(cfg)
    reward = build_reward(cfg)
    hand_over(cfg, reward)
    heard = reward.models[0].preferences
    assert heard.origin["labels"] == 28
    good = [clip for clip in heard.clips if clip.frames["front"][-1].any()][:2]
    reward.fit(good, [], distractor_instructions=[], seed=0, steps=2)
    assert reward.origin["last_label"] == 28


def test_what_is_missing_is_said_before_any_work(root: Path, tmp_path: Path) -> None:
    cfg = configured()
    with pytest.raises(BadConfig, match=r"write reward\.labels=FOLDER"):
        check_taught(cfg)
    for labels, said in (
        (tmp_path / "none", "no LeRobotDataset: there is no such folder"),
        ("postgresql+psycopg://me:secret@host/labels", r"//me@host/labels does not tell which"),
        (f"sqlite:///{tmp_path}/labels.sqlite", r"preferences\.database=URL"),
    ):
        cfg.reward.labels = str(labels)
        with pytest.raises((BadConfig, BadInput), match=said):
            check_labels(cfg)
    bare = tmp_path / "bare"
    pushing_dataset(bare, episodes=2)
    cfg.reward.labels = str(bare)
    with pytest.raises(BadInput, match=r"bare-preferences/labels\.sqlite does not exist"):
        check_taught(cfg)
    build_service(cfg, bare).close()
    answers(cfg, bare, 2, choice="skip")
    answers(cfg, bare, 2, choice="tie")
    with pytest.raises(BadInput, match="has no answer that says which of two clips is better"):
        check_taught(cfg)
    cfg.reward.labels = str(root)
    with pytest.raises(BadInput, match=r"camera 'side'.*has front, wrist"):
        check_answers(cfg, ["side"])


def test_clips_of_a_dataset_that_is_not_there_are_not_taken_for_others(
    root: Path, tmp_path: Path
) -> None:
    cfg, url = configured(), labelled(configured(), str(root))[1]
    other = tmp_path / "other"
    pushing_dataset(other, episodes=2)
    cfg.reward.labels, cfg.preferences.database = str(other), url
    with pytest.raises(BadInput, match="about clips of pushing, not of"):
        check_taught(cfg)
    again = tmp_path / "pushing"
    pushing_dataset(again, episodes=4, steps=20)
    cfg.reward.labels = str(again)
    with pytest.raises(BadInput, match="it was recorded again since"):
        check_taught(cfg)


def test_a_reward_that_hears_nobody_is_told_to_leave_labels_out(root: Path) -> None:
    cfg = configured()
    progress = build_reward(compose(["env=pusht"]))
    cfg.reward.labels = str(root)
    with pytest.raises(BadConfig, match="ProgressReward does not learn from people's answers"):
        hand_over(cfg, progress)


def test_a_run_trains_and_audits_with_it(tmp_path: Path) -> None:
    cfg = toy_job(tmp_path)
    run = tmp_path / "toy"
    run.mkdir()
    cfg.reward = compose(["reward=preference"]).reward
    cfg.reward.text_encoder = {"_target_": "embodied.testing.rewards.WordEncoder"}
    cfg.reward.model.update({"members": 2, "augmentations": 0})
    with Display() as display:
        job = Job(run_dir=run, cfg=cfg, metrics=Metrics([]), display=display)
        record_all(job)
        cfg.preferences.clip_s = 0.3
        answers(cfg, run / "failures", 12)
        cfg.reward.labels = str(run / "failures")
        save_config(cfg, run)
        train_reward(job)
    origin = build_reward(cfg, run).origin  # type: ignore[attr-defined]
    assert (origin["labels"], origin["last_label"]) == (12, 12)
    assert origin["database"].endswith("failures-preferences/labels.sqlite")
    assert cli.main(["audit", str(run)]) == 0
    stored = (run / "reward_card.json").read_text()
    assert '"last_label": 12' in stored
    assert (
        "12 labels of ann (human, scripted raters), up to number 12 in sqlite:///"
        in (run / "reward_card.html").read_text()
    )
    before = (run / REWARD).read_bytes()
    shutil.rmtree(run / "failures-preferences")
    assert cli.main(["audit", str(run)]) == 0  # what was learned needs no labels any more
    assert (run / REWARD).read_bytes() == before


def test_runs_of_earlier_versions_have_trained_the_same_rapl() -> None:
    now, earlier = compose(["reward=rapl"]).reward, compose(["reward=rapl"]).reward
    OmegaConf.set_struct(earlier, False)
    del earlier["labels"]
    assert same_reward(now, earlier)
    now.labels = "pushing"
    assert not same_reward(now, earlier)
