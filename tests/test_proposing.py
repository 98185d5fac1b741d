"""A model proposes for what is queued and shown; its opinion is never a label."""

from pathlib import Path

import pytest

from embodied.config import compose
from embodied.errors import BadConfig, EmbodiedError, UnknownName
from embodied.first_checks import compared_dataset
from embodied.preferences.dashboard import dashboard
from embodied.preferences.proposing import Proposer
from embodied.preferences.records import NewQuery, Submission
from embodied.preferences.service import open_service
from embodied.preferences.trainer_process import TrainerJob
from embodied.preferences.trainer_work import build_proposer
from embodied.reward_models.judge import GenerativeJudge
from embodied.testing.preferences import pushing_dataset
from embodied.testing.vision_language import BrightnessModel
from embodied.types import Clip


def test_a_judge_proposes_for_queue_and_showings_and_the_dashboard_compares(tmp_path: Path) -> None:
    dataset = pushing_dataset(tmp_path / "pushing", episodes=4, cameras=["front"])
    url = f"sqlite:///{tmp_path / 'labels.sqlite'}"
    service = open_service(dataset, url, tmp_path / "films", clip_s=3.0)
    store = service.store
    ann = store.sign_in("ann")[1]
    (shown,) = service.schedule.next(ann, 1)
    queued = store.add_queries(
        NewQuery(clip_ids=pair, acquisition="disagreement", reason="r", reward_version=version)
        for pair, version in (((1, 2), 1), ((3, 2), 2), ((2, 1), 2))
    )
    judge = GenerativeJudge(BrightnessModel(), ["front"])
    proposer = Proposer(store, dataset, judge, "judge")
    done = [proposer.propose() for _ in range(4)]
    assert done == [queued[1], queued[2], shown.query_id, None]  # an old queue is not asked about
    assert store.labels() == []
    said = {row["query_id"]: row["probability_first"] for row in store.proposals()}
    three, two = (
        Clip(
            frames=dataset.read_frames(clip.episode, ["front"], clip.start, clip.stop),
            features={},
            instruction=clip.instruction,
        )
        for clip in store.clips([3, 2])
    )
    (ahead,) = judge.compare([two], [three])  # the probability that the second one is better
    assert said[queued[1]] == pytest.approx(ahead, abs=1e-6)
    first = said[shown.query_id] > 0.5
    choice = "left" if (shown.order == (0, 1)) == first else "right"
    service.book.answer(ann, Submission(uuid="agrees-1", showing_id=shown.id, choice=choice))
    (found,) = dashboard(store, service.clips)["proposals"]
    assert (found["source"], found["proposals"]) == ("judge", 3)
    assert (found["agreement"]["mean"], found["agreement"]["n"]) == (1.0, 1)
    service.close()


def test_a_model_that_gives_no_answer_is_not_asked_the_same_again(tmp_path: Path) -> None:
    dataset = pushing_dataset(tmp_path / "pushing", episodes=4, cameras=["front"])
    url = f"sqlite:///{tmp_path / 'labels.sqlite'}"
    service = open_service(dataset, url, tmp_path / "films", clip_s=3.0)
    service.schedule.next(service.store.sign_in("ann")[1], 1)
    judge = GenerativeJudge(BrightnessModel(fails=1), ["front"])
    proposer = Proposer(service.store, dataset, judge, "judge")
    with pytest.raises(EmbodiedError, match="told to fail"):
        proposer.propose()
    assert proposer.propose() is None
    assert service.store.proposals() == []
    service.close()


def test_episodes_of_another_dataset_of_the_same_name_are_not_judged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'labels.sqlite'}"
    one = pushing_dataset(tmp_path / "one" / "rollouts", episodes=4, cameras=["front"])
    other = pushing_dataset(tmp_path / "other" / "rollouts", cameras=["front"], steps=20)
    assert one.revision(0) != other.revision(0)
    service = open_service(one, url, tmp_path / "films", clip_s=3.0)
    service.schedule.next(service.store.sign_in("ann")[1], 1)
    judge = GenerativeJudge(BrightnessModel(), ["front"])
    assert Proposer(service.store, other, judge, "judge").propose() is None
    assert Proposer(service.store, one, judge, "judge").propose() is not None
    service.close()


def test_only_a_reward_that_compares_can_propose(tmp_path: Path) -> None:
    dataset = pushing_dataset(tmp_path / "pushing", episodes=2, cameras=["front"])
    service = open_service(dataset, f"sqlite:///{tmp_path / 'l.sqlite'}", tmp_path, clip_s=3.0)
    config = compose(["preferences.proposals=elapsed_time"])
    job = TrainerJob(
        config=config, root=dataset.root, database="", clips=[1, 2], groups=service.groups
    )
    with pytest.raises(BadConfig, match="elapsed_time, which cannot compare"):
        build_proposer(job, service.store)
    with pytest.raises(UnknownName, match="judge"):
        compared_dataset(compose(["preferences.proposals=jugde"]), dataset=str(dataset.root))
    service.close()
