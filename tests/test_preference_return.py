"""A reward per frame from people's answers: what is preferred, by whom, and how surely."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.base import LearnsFromPreferences, Preferences
from embodied.reward_models.goal_distance import GoalDistance
from embodied.reward_models.instruction_gate import InstructionGate
from embodied.reward_models.preference_return import PreferenceReturn
from embodied.reward_models.rapl import Rapl
from embodied.statistics import auroc, voc
from embodied.testing.rewards import HueEncoder, WordEncoder, assert_same, check_reward_model
from embodied.testing.square import clip_at, failures, successes

ROW = 12


def parts(count, seed):
    """Parts of attempts, and how far right the square is in each on average."""
    rng = np.random.default_rng(seed)
    clips, liking = [], []
    for _ in range(count):
        places = rng.uniform(0, 1) + np.linspace(0, rng.uniform(-0.3, 0.3), 8)
        clips.append(clip_at(places.tolist(), rng, row=ROW))
        liking.append(np.clip(places, 0, 1).mean())
    return clips, np.array(liking)


def said_of(clips, liking, answers, seed, careless=0):
    """Answers of one who prefers what is further right, and as many of one who tosses a coin."""
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(len(clips), 2, replace=False) for _ in range(answers + careless)])
    target = (liking[pairs[:, 0]] > liking[pairs[:, 1]]).astype(float)
    target[answers:] = rng.integers(0, 2, careless)
    return Preferences(
        clips=clips,
        first=pairs[:, 0],
        second=pairs[:, 1],
        target=target,
        rater=np.repeat([0, 1], [answers, careless]),
        raters=("ann", "bob") if careless else ("ann",),
        origin={"database": "d", "dataset": "s", "labels": answers + careless, "last_label": 9},
    )


def fitted(heard, *, steps=60, kind=PreferenceReturn, **settings):
    reward = kind(HueEncoder(), augmentations=0, **settings)
    reward.hear(heard)
    metrics = reward.fit(
        successes(8, 1, row=ROW), failures(8, 2, row=ROW), distractor_instructions=[], seed=0,
        steps=steps,
    )  # fmt: skip
    return reward, metrics


@pytest.fixture(scope="module")
def heard():
    return said_of(*parts(24, 0), 60, 1)


@pytest.fixture(scope="module")
def trained(heard):
    return fitted(heard)


def test_it_keeps_the_contract_of_a_reward_model(trained):
    check_reward_model(lambda: trained[0], successes(1, 77, row=ROW)[0])
    assert isinstance(trained[0], LearnsFromPreferences)


@pytest.mark.parametrize("kind", [PreferenceReturn, Rapl])
def test_what_people_called_both_bad_is_a_failure(heard, kind):
    bad = failures(8, 2, row=ROW)
    more = replace(heard, clips=[*heard.clips, *bad])

    def trained_on(negatives, given):
        reward = kind(HueEncoder(), augmentations=0)
        reward.hear(replace(more, negatives=negatives))
        good = successes(8, 1, row=ROW)
        reward.fit(good, given, distractor_instructions=[], seed=0, steps=10)
        return reward.score(failures(6, 6, row=ROW))

    said, told = trained_on(range(24, 32), []), trained_on((), bad)
    for ours, theirs in zip(said, told, strict=True):
        assert_same(replace(ours, reward=theirs.reward), theirs, "a negative is not a failure")
    without = trained_on((), [])
    assert not all(map(np.array_equal, map(done, without), map(done, said)))


def done(scores):
    return scores.done


def test_parts_that_are_both_bad_do_not_change_the_scale(heard):
    short = [replace(clip, frames={"front": clip.frames["front"][:4]}) for clip in heard.clips[:3]]
    more = replace(heard, clips=[*heard.clips, *short])
    known, (reward, _) = fitted(more, steps=5), fitted(replace(more, negatives=(24, 25)), steps=5)
    assert float(reward.scale) == float(known[0].scale)


def test_unseen_clips_are_liked_in_the_order_in_which_the_person_likes_them(trained):
    clips, liking = parts(30, 7)
    said = np.array([each.mean() for each in trained[0].liking(clips)])
    assert voc(said, liking) > 0.8
    order = np.argsort(liking)
    low, high = ([clips[i] for i in chosen] for chosen in (order[:10], order[-10:]))
    assert np.mean(trained[0].compare(low, high) > 0.5) > 0.9
    both = trained[0].compare(low, high) + trained[0].compare(high, low)
    np.testing.assert_allclose(both, 1, atol=1e-6)


def test_who_prefers_the_opposite_teaches_it_the_opposite(heard):
    clips, liking = parts(30, 7)
    reward, _ = fitted(said_of(heard.clips, -parts(24, 0)[1], 60, 1), steps=40)
    assert voc(np.array([each.mean() for each in reward.liking(clips)]), liking) < -0.8


def test_successes_are_told_from_failures_and_a_typical_failure_earns_minus_one(trained):
    reward, metrics = trained
    good, bad = reward.score(successes(10, 5, row=ROW)), reward.score(failures(10, 6, row=ROW))
    assert auroc(*(np.array([s.progress[-1] for s in each]) for each in (good, bad))) > 0.95
    assert sum(s.success for s in bad) == 0
    assert np.mean([s.success for s in good]) > 0.5
    calm = PreferenceReturn(HueEncoder(), pessimism=0.0)
    calm.load_state_dict(reward.state_dict())
    calm.version = 1
    earned = [s.reward.sum() for s in calm.score(failures(8, 2, row=ROW))]
    assert np.median(earned) == pytest.approx(-1, abs=0.1)  # the first frame earns nothing
    assert {"loss", "labels", "readout_end"} <= metrics.keys()
    assert metrics["labels"] == 60


def test_the_reward_of_a_frame_is_its_liking_less_the_doubt_and_the_end(trained):
    reward, _ = trained
    clip = failures(1, 9, row=ROW)[0]
    (said,), (scores,) = reward.liking([clip]), reward.score([clip])
    assert said.std(0).max() > 0  # members differ
    expected = said.mean(0) - reward.pessimism * said.std(0) - float(reward.readout.end)
    np.testing.assert_allclose(
        scores.reward[1:], float(reward.scale) * expected[1:], rtol=1e-5, atol=1e-6
    )


def test_who_answers_by_chance_is_believed_less(heard):
    careless = said_of(heard.clips, parts(24, 0)[1], 60, 1, careless=60)
    reward, _ = fitted(careless, steps=80, members=2)
    rationality = reward.origin["rationality"]
    assert rationality["ann"] > 1.2 > 1 > rationality["bob"]
    assert reward.origin["answers"] == {"ann": 60, "bob": 60}


def test_it_comes_back_from_disk_with_what_it_learned_from(trained, tmp_path):
    reward, _ = trained
    reward.save(tmp_path / "reward.pt")
    copy = PreferenceReturn(HueEncoder(), augmentations=0)
    copy.load(tmp_path / "reward.pt")
    clip = successes(1, 4, row=ROW)[0]
    assert_same(copy.score([clip])[0], reward.score([clip])[0], "differs after loading")
    assert {"database": "d", "dataset": "s", "labels": 60, "last_label": 9}.items() <= (
        copy.origin.items()
    )
    with pytest.raises(BadConfig, match="members 3, not with 2"):
        PreferenceReturn(HueEncoder(), members=2).load(tmp_path / "reward.pt")


def test_the_same_seed_trains_the_same_reward_and_leaves_the_global_generator_alone(heard):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fitted(heard, steps=3)[0].state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = fitted(heard, steps=3)[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_rapl_aligns_on_the_same_answers(heard):
    reward, metrics = fitted(heard, kind=Rapl, smoothing=0.05)
    clips, liking = parts(30, 7)
    said = np.array([-match.distance for match in reward.match(clips)])
    assert voc(said, liking) > 0.6
    assert metrics["labels"] == reward.origin["labels"] == 60
    reward.preferences = None
    reward.fit(
        successes(8, 1, row=ROW), failures(8, 2, row=ROW), distractor_instructions=[], seed=0,
        steps=2,
    )  # fmt: skip
    assert reward.origin is None


def test_a_gate_passes_answers_on_or_says_that_its_model_learns_from_none(heard):
    gate = InstructionGate(PreferenceReturn(HueEncoder(), augmentations=0), WordEncoder())
    gate.hear(heard)
    gate.fit(successes(2, 1, row=ROW), [], distractor_instructions=[], seed=0, steps=2)
    assert gate.origin["labels"] == 60
    (scores,) = gate.score([clip_at([0.0, 1.0], np.random.default_rng(0))])
    assert scores.progress.shape == (2,)
    deaf = InstructionGate(GoalDistance(HueEncoder()), WordEncoder())
    assert deaf.origin is None
    with pytest.raises(BadConfig, match="GoalDistance does not learn from people's answers"):
        deaf.hear(heard)


def test_what_nothing_can_be_learned_from_is_refused(heard):
    with pytest.raises(BadInput, match="ties alone"):
        PreferenceReturn(HueEncoder()).hear(
            Preferences(**{**vars(heard), "target": np.full(60, 0.5)})
        )
    deaf = PreferenceReturn(HueEncoder())
    with pytest.raises(BadInput, match=r"reward\.labels=FOLDER.*it got none and 1"):
        deaf.fit(successes(1, 1), [], distractor_instructions=[], seed=0)
    deaf.hear(heard)
    with pytest.raises(BadInput, match="it got 60 and 0"):
        deaf.fit([], [], distractor_instructions=[], seed=0)
    with pytest.raises(BadConfig, match="untrained"):
        deaf.score([clip_at([0.0, 1.0], np.random.default_rng(0))])
    for wrong in ({"members": 0}, {"mistake": 1.0}, {"cameras": ()}):
        with pytest.raises(BadConfig, match="a camera, a member and a share"):
            PreferenceReturn(HueEncoder(), **wrong)
