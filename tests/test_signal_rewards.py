"""What rewards of one learned number per frame share, on a square that moves to the right edge."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.goal_distance import GoalDistance
from embodied.reward_models.perceptual_stages import PerceptualStages
from embodied.reward_models.success_classifier import SuccessClassifier
from embodied.statistics import auroc, voc
from embodied.testing.rewards import HueEncoder, assert_same, check_reward_model, take
from embodied.testing.square import PUSH, failures, successes
from embodied.types import Clip

ROW = 12
MAKERS = {
    "classifier": lambda **changes: SuccessClassifier(
        **{"encoder": HueEncoder(), "augmentations": 0, "linger": 2} | changes
    ),
    "goal": lambda **changes: GoalDistance(
        **{"encoder": HueEncoder(), "augmentations": 0} | changes
    ),
    "imagenet": lambda **changes: GoalDistance(
        **{"encoder": HueEncoder(), "embedding": "imagenet"} | changes
    ),
    "stages": lambda **changes: PerceptualStages(**{"encoder": HueEncoder()} | changes),
}
STEPS = {"classifier": 40, "goal": 60, "imagenet": 1, "stages": 1}
TRAINED = [name for name, steps in STEPS.items() if steps > 1]


def training(name, **changes):
    reward = MAKERS[name]()
    arguments = {"seed": 0, "steps": STEPS[name], "distractor_instructions": []} | changes
    metrics = reward.fit(successes(8, 0, row=ROW), failures(8, 1, row=ROW), **arguments)
    return reward, metrics


@pytest.fixture(scope="module", params=MAKERS)
def trained(request):
    return request.param, *training(request.param)


@pytest.fixture(scope="module")
def good():
    return successes(10, 77, row=ROW)


@pytest.fixture(scope="module")
def bad():
    return failures(10, 78, row=ROW)


def test_it_keeps_the_contract_of_a_reward_model(trained, good):
    check_reward_model(lambda: trained[1], good[0], potential=True)


def test_it_keeps_the_contract_on_features_alone(trained, good):
    _, reward, _ = trained
    maps = reward.encoder.encode(good[0].frames["front"])
    clip = Clip(frames={}, features={"front": maps}, instruction=PUSH)
    check_reward_model(lambda: reward, clip, potential=True)
    assert_same(reward.score([clip])[0], reward.score([good[0]])[0], "differs by its source")


def test_it_tells_held_out_successes_from_failures(trained, good, bad):
    _, reward, metrics = trained
    held, failed = reward.score(good), reward.score(bad)
    ends = [np.array([s.progress[-1] for s in scores]) for scores in (held, failed)]
    assert auroc(*ends) > 0.95
    assert np.mean([s.success for s in held]) > 0.7
    assert not any(s.success for s in failed)
    assert np.mean([voc(s.progress.astype(float)) for s in held]) > 0.6
    assert all(np.isfinite(value) for value in metrics.values())


def test_outcomes_that_are_mixed_up_teach_it_to_accept_nothing(trained, good):
    name, _, _ = trained
    clips = [*successes(8, 0, row=ROW), *failures(8, 1, row=ROW)]
    control = MAKERS[name]()
    control.fit(clips[::2], clips[1::2], distractor_instructions=[], seed=0, steps=STEPS[name])
    assert np.mean([s.success for s in control.score(good)]) < 0.5


def test_a_frozen_scene_makes_no_progress(trained, good):
    (scores,) = trained[1].score([take(good[1], [5] * 10)])
    np.testing.assert_allclose(scores.progress, scores.progress[0], atol=1e-6)


def test_it_comes_back_from_disk_the_same(trained, good, tmp_path):
    name, reward, _ = trained
    reward.save(tmp_path / "reward.pt")
    copy = MAKERS[name]()
    copy.load(tmp_path / "reward.pt")
    assert copy.version == reward.version == 1
    for found, expected in zip(copy.score(good), reward.score(good), strict=True):
        assert_same(found, expected, "differs after loading")


def test_a_reward_of_another_build_is_refused(trained, tmp_path):
    name, reward, _ = trained
    reward.save(tmp_path / "reward.pt")
    with pytest.raises(BadConfig, match="trained with encoder hue-32px-8"):
        MAKERS[name](encoder=HueEncoder(64)).load(tmp_path / "reward.pt")
    with pytest.raises(BadConfig, match=r"trained with cameras \['front'\]"):
        MAKERS[name](cameras=("wrist",)).load(tmp_path / "reward.pt")


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_file_that_is_no_reward_is_refused(trained, tmp_path, content):
    name, reward, _ = trained
    path = tmp_path / "reward.pt"
    reward.save(path)
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(CorruptFile, match=r"reward\.pt"):
        MAKERS[name]().load(path)


def test_a_single_flipped_bit_is_found(trained, tmp_path):
    name, reward, _ = trained
    path = tmp_path / "reward.pt"
    reward.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"reward\.pt is damaged"):
        MAKERS[name]().load(path)


def test_a_file_of_another_kind_of_reward_is_refused(tmp_path):
    training("imagenet")[0].save(tmp_path / "reward.pt")
    with pytest.raises(CorruptFile, match="something else than a PerceptualStages"):
        MAKERS["stages"]().load(tmp_path / "reward.pt")


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_seed_trains_the_same_reward(name):
    def parameters(seed):
        few = training(name, seed=seed, steps=3)[0]
        return torch.cat([value.flatten() for value in few.state_dict().values()])

    assert torch.equal(parameters(3), parameters(3))
    assert not torch.equal(parameters(3), parameters(4))


@pytest.mark.parametrize("name", TRAINED)
def test_training_does_not_touch_the_global_generator(name):
    reward = MAKERS[name]()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    reward.fit(successes(4, 0), failures(4, 1), distractor_instructions=[], seed=0, steps=2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", MAKERS)
def test_training_reports_how_far_it_is(name):
    told = []
    training(name, steps=4, progress_callback=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.parametrize("name", MAKERS)
def test_without_failures_it_still_trains(name, good):
    reward = MAKERS[name]()
    reward.fit(good, [], distractor_instructions=[], seed=0, steps=3)
    assert reward.version == 1
    assert len(reward.score(good)) == len(good)


@pytest.mark.parametrize("name", ["classifier", "imagenet", "stages"])
def test_a_single_success_is_enough_to_train(name, good, bad):
    reward = MAKERS[name]()
    reward.fit(good[:1], bad[:1], distractor_instructions=[], seed=0, steps=3)
    assert reward.version == 1


def test_cycle_consistency_needs_videos_to_compare(good, bad):
    with pytest.raises(BadInput, match="three successes"):
        MAKERS["goal"]().fit(good[:2], bad, distractor_instructions=[], seed=0, steps=3)
    MAKERS["goal"](augmentations=1).fit(good[:2], bad, distractor_instructions=[], seed=0, steps=3)


@pytest.mark.parametrize("name", MAKERS)
def test_what_cannot_work_is_refused(name, good, bad):
    reward = MAKERS[name]()
    with pytest.raises(BadInput, match="one success"):
        reward.fit([], bad, distractor_instructions=[], seed=0)
    with pytest.raises(BadConfig, match="untrained"):
        reward.score(good[:1])
    with pytest.raises(BadConfig, match="needs a camera"):
        MAKERS[name](cameras=())


def test_features_of_another_shape_are_refused_by_name(trained, good):
    other = Clip(
        frames={}, features={"front": np.zeros((5, 3, 4, 4), np.float16)}, instruction=PUSH
    )
    with pytest.raises(BadInput, match=r"\(3, 4, 4\) per frame.*hue-32px-8"):
        trained[1].score([good[0], other])


def test_features_are_used_where_they_are(trained, good):
    reward = trained[1]
    maps = reward.encoder.encode(good[0].frames["front"])
    reward.encoder.frames_encoded = 0
    reward.score([replace(good[0], features={"front": maps})] * 3)
    assert reward.encoder.frames_encoded == 0
