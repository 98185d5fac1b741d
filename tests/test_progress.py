"""A square that moves to the right edge is the task; the encoder sees mean colours of cells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.progress import ProgressReward
from embodied.reward_models.progress_lessons import times
from embodied.reward_models.progress_meter import ProgressMeter
from embodied.statistics import auroc
from embodied.testing.rewards import (
    HueEncoder,
    WordEncoder,
    assert_same,
    check_reward_model,
    take,
    there_and_back,
)
from embodied.testing.square import PUSH, clip_at, failure
from embodied.types import Clip

OTHERS = [f"do something else, number {number}" for number in range(40)]


def success(rng):
    return clip_at([*np.linspace(0, 1, rng.integers(12, 22)), 1.0, 1.0], rng)


def training(rng, shuffle=False, paraphrases=(), **settings):
    reward = ProgressReward(
        HueEncoder(),
        WordEncoder(),
        members=3,
        augmentations=1,
        linger=2,
        paraphrases=paraphrases,
        shuffle_time_labels=shuffle,
    )
    metrics = reward.fit(
        [success(rng) for _ in range(8)],
        [failure(rng) for _ in range(8)],
        **{"distractor_instructions": OTHERS, "seed": 0, "steps": 60} | settings,
    )
    return reward, metrics


@pytest.fixture(scope="module")
def trained():
    return training(np.random.default_rng(0))


@pytest.fixture(scope="module")
def reward(trained):
    return trained[0]


@pytest.fixture(scope="module")
def successes():
    rng = np.random.default_rng(77)
    return [success(rng) for _ in range(12)]


@pytest.fixture(scope="module")
def failures():
    rng = np.random.default_rng(78)
    return [failure(rng) for _ in range(12)]


def test_it_keeps_the_contract_of_a_reward_model(reward, successes):
    check_reward_model(lambda: reward, successes[0], potential=True)


def test_it_keeps_the_contract_on_features_alone(reward, successes):
    maps = reward.encoder.encode(successes[0].frames["front"])
    clip = Clip(frames={}, features={"front": maps}, instruction=PUSH)
    check_reward_model(lambda: reward, clip, potential=True)
    assert_same(reward.score([clip])[0], reward.score([successes[0]])[0], "differs by its source")


def test_it_accepts_held_out_successes_and_refuses_failures(reward, successes, failures):
    good, bad = reward.score(successes), reward.score(failures)
    assert auroc(
        np.array([s.progress[-1] for s in good]), np.array([s.progress[-1] for s in bad])
    ) == pytest.approx(1)
    assert np.mean([s.success for s in good]) > 0.8
    assert not any(s.success for s in bad)


def test_progress_follows_the_square_there_and_back(reward, successes):
    clip = successes[0]
    (forward,) = reward.score([clip])
    (cycle,) = reward.score([there_and_back(clip, len(clip) - 3)])
    half = len(clip) - 2
    assert np.corrcoef(forward.progress[:half], np.arange(half))[0, 1] > 0.97
    np.testing.assert_allclose(cycle.progress[:half], cycle.progress[::-1][:half], atol=1e-4)


def test_a_frozen_scene_makes_no_progress(reward, successes):
    for position in (0, 5, -1):
        (scores,) = reward.score([take(successes[1], [position] * 10)])
        np.testing.assert_allclose(scores.progress, scores.progress[0], atol=1e-6)


def test_looking_from_the_other_side_negates_the_delta(reward, successes):
    seen = reward.look([reward.encoder.encode(successes[0].frames["front"])])
    texts = reward.text(PUSH).expand(len(successes[0]), -1)
    for critic, frames in zip(reward.ensemble.members, seen, strict=True):
        ahead = critic.delta(frames, frames.flip(0), texts)
        torch.testing.assert_close(critic.delta(frames.flip(0), frames, texts), -ahead)
        assert (critic.delta(frames, frames, texts) == 0).all()


def test_under_another_instruction_nothing_is_done(reward, successes):
    wrong = [replace(clip, instruction="water the plants") for clip in successes]
    scores = reward.score(wrong)
    assert not any(each.success for each in scores)
    assert np.mean([each.progress[-1] for each in scores]) < 0.3
    assert np.mean([each.done[-1] for each in scores]) < 0.3


def test_in_other_words_that_it_was_told_the_task_is_the_same(reward, successes):
    other = "drive a red block eastwards"
    mixed, _ = training(np.random.default_rng(0), paraphrases=[other])
    worded = [replace(clip, instruction=other) for clip in successes]
    wrong = [replace(clip, instruction="water the plants") for clip in successes]
    assert not any(scores.success for scores in reward.score(worded))
    assert np.mean([scores.success for scores in mixed.score(worded)]) > 0.8
    assert np.mean([scores.success for scores in mixed.score(successes)]) > 0.8
    assert not any(scores.success for scores in mixed.score(wrong))


def test_a_paraphrase_is_not_refused_even_where_it_is_a_distractor(successes):
    other = "drive a red block eastwards"
    mixed, _ = training(
        np.random.default_rng(0), paraphrases=[other], distractor_instructions=[*OTHERS, other]
    )
    worded = [replace(clip, instruction=other) for clip in successes]
    assert np.mean([scores.success for scores in mixed.score(worded)]) > 0.8


def test_paraphrases_of_several_tasks_at_once_are_refused(successes):
    several = [successes[0], replace(successes[1], instruction="water the plants")]
    told = ProgressReward(HueEncoder(), WordEncoder(), members=2, paraphrases=["push it"])
    with pytest.raises(BadInput, match=r"paraphrases are those of one task.*water the plants"):
        told.fit(several, [], distractor_instructions=OTHERS, seed=0, steps=2)


def test_a_reward_that_asks_about_another_task_accepts_nothing(reward, successes, tmp_path):
    reward.save(tmp_path / "reward.pt")
    control = ProgressReward(HueEncoder(), WordEncoder(), members=3, ask_about="water the plants")
    control.load(tmp_path / "reward.pt")
    assert not any(scores.success for scores in control.score(successes))


def test_shuffled_time_labels_teach_nothing_about_time(successes):
    control, _ = training(np.random.default_rng(0), shuffle=True, steps=30)
    slopes = [np.polyfit(np.linspace(0, 1, len(s.progress)), s.progress, 1)[0] for s in
              control.score(successes)]  # fmt: skip
    assert abs(np.mean(slopes)) < 0.3


def test_the_meter_says_what_the_score_says(reward, successes, failures):
    meter = ProgressMeter(reward)
    for clip in (successes[2], failures[2]):
        meter.begin(clip.instruction)
        maps = reward.encoder.encode(clip.frames["front"])
        streamed = [(meter.update({"front": m}), meter.done, meter.uncertainty) for m in maps]
        (scores,) = reward.score([clip])
        expected = np.stack([scores.progress, scores.done, scores.uncertainty], 1)
        np.testing.assert_allclose(np.array(streamed), expected, atol=1e-5)


def test_a_meter_that_was_not_begun_or_lacks_a_camera_says_so(reward):
    meter = ProgressMeter(reward)
    with pytest.raises(BadInput, match="before begin"):
        meter.update({})
    meter.begin(PUSH)
    with pytest.raises(BadInput, match="camera 'front'"):
        meter.update({"wrist": np.zeros((3, 8, 8), np.float16)})


def test_it_comes_back_from_disk_the_same_without_encoding_a_text_again(
    reward, successes, tmp_path
):
    reward.save(tmp_path / "reward.pt")
    copy = ProgressReward(HueEncoder(), WordEncoder(), members=3)
    copy.load(tmp_path / "reward.pt")
    assert copy.version == reward.version == 1
    for found, expected in zip(copy.score(successes), reward.score(successes), strict=True):
        assert_same(found, expected, "differs after loading")
    assert copy.text_encoder.texts_encoded == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": HueEncoder(64)}, "trained with encoder hue-32px-8"),
        ({"cameras": ("wrist",)}, r"trained with cameras \['front'\]"),
        ({"members": 4}, "trained with members 3"),
    ],
)
def test_a_reward_of_another_build_is_refused(reward, tmp_path, settings, message):
    reward.save(tmp_path / "reward.pt")
    arguments = {"encoder": HueEncoder(), "members": 3} | settings
    with pytest.raises(BadConfig, match=message):
        ProgressReward(text_encoder=WordEncoder(), **arguments).load(tmp_path / "reward.pt")


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_file_that_is_no_reward_is_refused(reward, tmp_path, content):
    path = tmp_path / "reward.pt"
    reward.save(path)
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(CorruptFile, match=r"reward\.pt"):
        ProgressReward(HueEncoder(), WordEncoder(), members=3).load(path)


def test_the_same_seed_trains_the_same_reward():
    def parameters(seed):
        few = training(np.random.default_rng(1), seed=seed, steps=3)[0]
        return torch.cat([value.flatten() for value in few.state_dict().values()])

    assert torch.equal(parameters(3), parameters(3))
    assert not torch.equal(parameters(3), parameters(4))


def test_training_does_not_touch_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    rng = np.random.default_rng(1)
    reward = ProgressReward(HueEncoder(), WordEncoder(), members=2, augmentations=0)
    torch.manual_seed(5)
    reward.fit([success(rng)] * 2, [failure(rng)], distractor_instructions=OTHERS, seed=0, steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_training_reports_how_far_it_is():
    told = []
    training(np.random.default_rng(1), steps=4, progress_callback=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_every_metric_is_a_number(trained):
    metrics = trained[1]
    assert all(np.isfinite(value) for value in metrics.values())
    assert {"accept_threshold", "out_of_bag_false_accepts", "loss_done"} <= metrics.keys()


def test_features_are_used_where_they_are_and_texts_are_encoded_once(successes):
    reward, _ = training(np.random.default_rng(1), steps=2)
    maps = reward.encoder.encode(successes[0].frames["front"])
    reward.encoder.frames_encoded = reward.text_encoder.texts_encoded = 0
    with_features = replace(successes[0], features={"front": maps})
    reward.score([with_features] * 3)
    assert (reward.encoder.frames_encoded, reward.text_encoder.texts_encoded) == (0, 0)


def test_without_failures_it_still_trains(successes):
    reward = ProgressReward(HueEncoder(), WordEncoder(), members=2, augmentations=0)
    reward.fit(successes, [], distractor_instructions=OTHERS, seed=0, steps=3)
    assert len(reward.score(successes)) == len(successes)


def test_training_data_that_cannot_work_is_refused(successes):
    reward = ProgressReward(HueEncoder(), WordEncoder(), members=2)
    with pytest.raises(BadInput, match="two successes"):
        reward.fit(successes[:1], [], distractor_instructions=OTHERS, seed=0)
    with pytest.raises(BadInput, match="one distractor"):
        reward.fit(successes, [], distractor_instructions=[PUSH], seed=0)
    with pytest.raises(BadConfig, match="untrained"):
        reward.score(successes[:1])
    with pytest.raises(BadConfig, match="two members"):
        ProgressReward(HueEncoder(), WordEncoder(), members=1)


def test_features_of_another_shape_are_refused_by_name(reward, successes):
    other = Clip(
        frames={}, features={"front": np.zeros((5, 3, 4, 4), np.float16)}, instruction=PUSH
    )
    with pytest.raises(BadInput, match=r"\(3, 4, 4\) per frame.*hue-32px-8"):
        reward.score([successes[0], other])


@pytest.mark.parametrize(("length", "linger", "complete"), [(21, 0, 20), (31, 10, 20), (9, 10, 4)])
def test_time_is_complete_where_the_clip_begins_to_linger(length, linger, complete):
    order = times(length, linger)
    assert order[0] == 0
    assert np.flatnonzero(order == 1)[0] == complete
    np.testing.assert_allclose(np.diff(order[: complete + 1]), 1 / complete)
