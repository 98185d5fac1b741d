"""Tasks are directions in which a square is pushed; one direction is never trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.encoders import SentenceEncoder
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.progress_lessons import Encoded, lay_out
from embodied.reward_models.reference_attention import TIMES, TOKENS, InContextCritic
from embodied.reward_models.reference_critic import ReferenceCritic
from embodied.reward_models.reference_fit import Known, draw_bags
from embodied.reward_models.reference_training import Tasks, draw_group, token_places
from embodied.statistics import auroc, voc
from embodied.testing import square
from embodied.testing.rewards import HueEncoder, WordEncoder, assert_same, check_reward_model

OTHERS = [f"do something else, number {number}" for number in range(20)]
TURNS = {"right": 0, "down": 1, "left": 2, "up": 3}
KNOWN, UNSEEN = ("right", "down", "left"), "up"


def turned(clip, direction):
    frames = np.rot90(clip.frames["front"], -TURNS[direction], axes=(1, 2)).copy()
    return replace(clip, frames={"front": frames}, instruction=f"push the square {direction}")


def successes(direction, count, seed):
    return [turned(clip, direction) for clip in square.successes(count, seed)]


def failures(direction, count, seed):
    return [turned(clip, direction) for clip in square.failures(count, seed)]


def untrained(**settings):
    arguments = {
        "encoder": HueEncoder(), "text_encoder": WordEncoder(), "members": 2,
        "linger": square.LINGER,
    }  # fmt: skip
    return ReferenceCritic(**(arguments | settings))


def trained(steps=80, seed=0, directions=KNOWN, **settings):
    reward = untrained(**settings)
    metrics = reward.fit(
        [clip for n, each in enumerate(directions) for clip in successes(each, 6, n)],
        [clip for n, each in enumerate(directions) for clip in failures(each, 4, 50 + n)],
        distractor_instructions=OTHERS,
        seed=seed,
        steps=steps,
    )
    return reward, metrics


@pytest.fixture(scope="module")
def fitted():
    return trained()


@pytest.fixture(scope="module")
def reward(fitted):
    return fitted[0]


@pytest.fixture(scope="module")
def reading():
    """Trained on real sentence vectors."""
    return trained(text_encoder=SentenceEncoder())[0]


@pytest.fixture(scope="module")
def demonstration():
    return successes(UNSEEN, 1, 99)[0]


@pytest.fixture
def alone(reward, tmp_path):
    """The same reward, which remembers no demonstration."""
    reward.save(tmp_path / "alone.pt")
    copy = untrained()
    copy.load(tmp_path / "alone.pt")
    copy.forget_references()
    return copy


def shown(clips, demonstration):
    return [replace(clip, references=(demonstration,)) for clip in clips]


def final(scores):
    return np.array([each.progress[-1] for each in scores])


def test_it_keeps_the_contract_of_a_reward_model(reward, demonstration):
    clip = successes("right", 1, 77)[0]
    check_reward_model(lambda: reward, clip, potential=True)
    check_reward_model(lambda: reward, shown([clip], demonstration)[0], potential=True)


def test_it_keeps_the_contract_on_features_alone(reward):
    clip = successes("down", 1, 78)[0]
    bare = replace(clip, frames={}, features={"front": reward.encoder.encode(clip.frames["front"])})
    check_reward_model(lambda: reward, bare, potential=True)
    assert_same(reward.score([bare])[0], reward.score([clip])[0], "differs by its source")


def test_one_demonstration_of_an_unseen_task_tells_what_progress_is(reward, demonstration):
    good = reward.score(shown(successes(UNSEEN, 10, 7), demonstration))
    bad = reward.score(shown(failures(UNSEEN, 10, 8), demonstration))
    order = [voc(scores.progress[: -square.LINGER].astype(float)) for scores in good]
    assert np.mean(order) > 0.9
    assert auroc(final(good), final(bad)) > 0.9


def test_without_a_demonstration_the_unseen_task_stays_unknown(alone):
    assert final(alone.score(successes(UNSEEN, 10, 7))).mean() < 0.4


def test_beside_a_demonstration_of_something_else_nothing_is_done(reward):
    pretended = replace(successes("down", 1, 5)[0], instruction=f"push the square {UNSEEN}")
    assert final(reward.score(shown(successes(UNSEEN, 10, 7), pretended))).mean() < 0.2


def test_under_another_instruction_than_the_demonstration_nothing_is_done(reward, demonstration):
    clips = shown(successes(UNSEEN, 10, 7), demonstration)
    wrong = reward.score([replace(clip, instruction="water the plants") for clip in clips])
    assert final(wrong).mean() < final(reward.score(clips)).mean() - 0.4
    assert not any(scores.success for scores in wrong)


@pytest.mark.parametrize(
    ("direction", "said"),
    [("right", "move the square to the right"), ("down", "shift the square downwards")],
)
def test_a_paraphrase_is_judged_beside_the_nearest_sentences_demonstration(
    reading, direction, said
):
    clips = [replace(clip, instruction=said) for clip in successes(direction, 3, 70)]
    for own, clip in {each: successes(each, 6, n)[0] for n, each in enumerate(KNOWN)}.items():
        beside = reading.score(shown(clips, clip))
        for found, expected in zip(reading.score(clips), beside, strict=True):
            if own == direction:
                assert_same(found, expected, "is judged beside something else")
            else:
                assert np.abs(found.progress - expected.progress).max() > 0.1


def test_a_paraphrase_keeps_its_progress_and_another_task_has_none(reading):
    clips = successes("right", 6, 70)
    ends = {
        said: final(reading.score([replace(clip, instruction=said) for clip in clips]))
        for said in ("move the square to the right", "water the plants", "open the drawer")
    }
    assert ends.pop("move the square to the right").mean() > 0.5
    assert max(end.mean() for end in ends.values()) < 0.2


def test_a_wrong_instruction_is_refused_by_the_demonstrations_that_are_remembered(reward, alone):
    clips = [
        replace(clip, instruction="water the plants")
        for each in KNOWN
        for clip in successes(each, 4, 70)
    ]
    scores = reward.score(clips)
    assert final(scores).max() < 0.1
    assert not any(each.success for each in scores)
    assert final(alone.score(clips)).max() > 0.1


def test_trained_tasks_are_told_from_failures_and_accepted(reward):
    good = [reward.score(successes(each, 5, 70))[n] for each in KNOWN for n in range(5)]
    bad = [reward.score(failures(each, 5, 71))[n] for each in KNOWN for n in range(5)]
    assert auroc(final(good), final(bad)) > 0.95
    assert np.mean([scores.success for scores in good]) > 0.6
    assert not any(scores.success for scores in bad)


def test_a_demonstration_is_remembered_until_it_is_forgotten(
    reward, alone, demonstration, tmp_path
):
    reward.save(tmp_path / "reward.pt")
    copy = untrained()
    copy.load(tmp_path / "reward.pt")
    clips = successes(UNSEEN, 3, 7)
    copy.add_reference(demonstration)
    assert copy.remembered == (*reward.remembered, demonstration.instruction)
    expected = reward.score(shown(clips, demonstration))
    for found, given in zip(copy.score(clips), expected, strict=True):
        assert_same(found, given, "differs by where the demonstration comes from")
    copy.forget_references()
    assert copy.remembered == ()
    for found, expected in zip(copy.score(clips), alone.score(clips), strict=True):
        assert_same(found, expected, "depends on a demonstration that was forgotten")


def test_a_reward_trained_elsewhere_takes_one_demonstration_and_trains_nothing(
    reward, demonstration, tmp_path
):
    reward.save(tmp_path / "elsewhere.pt")
    here = untrained(trained=str(tmp_path / "elsewhere.pt"))
    others = successes(UNSEEN, 2, 55)
    assert here.fit([demonstration, *others], [], distractor_instructions=[], seed=0) == {}
    assert here.version == reward.version + 1
    for name, value in reward.state_dict().items():
        assert torch.equal(value, here.state_dict()[name])
    clips = successes(UNSEEN, 3, 7)
    for ours, theirs in zip(
        here.score(clips), reward.score(shown(clips, demonstration)), strict=True
    ):
        assert_same(ours, theirs, "differs from the reward that it was trained as")


def test_a_reward_trained_elsewhere_learns_from_failures_what_counts_as_a_success(reward, tmp_path):
    trusting = untrained()
    reward.save(tmp_path / "reward.pt")
    trusting.load(tmp_path / "reward.pt")
    trusting.ensemble.success.copy_(torch.tensor([1.0, 5.0]))  # accepts nearly everything
    trusting.save(tmp_path / "elsewhere.pt")
    here = untrained(trained=str(tmp_path / "elsewhere.pt"))
    lessons = successes(UNSEEN, 8, 55), failures(UNSEEN, 8, 56)
    others = failures(UNSEEN, 10, 8)
    assert any(scores.success for scores in trusting.score(shown(others, lessons[0][0])))
    metrics = here.fit(*lessons, distractor_instructions=[], seed=0)
    assert metrics["out_of_bag_false_accepts"] < 0.1
    critics, before = here.ensemble.critics.state_dict(), reward.ensemble.critics.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in critics.items())
    assert any(scores.success for scores in here.score(successes(UNSEEN, 10, 7)))
    assert not any(scores.success for scores in here.score(others))


def test_it_comes_back_from_disk_the_same_with_its_demonstrations(reward, tmp_path):
    reward.save(tmp_path / "reward.pt")
    copy = untrained()
    copy.load(tmp_path / "reward.pt")
    assert copy.remembered == reward.remembered
    clips = [clip for each in KNOWN for clip in successes(each, 2, 31)]
    for found, expected in zip(copy.score(clips), reward.score(clips), strict=True):
        assert_same(found, expected, "differs after loading")
    assert copy.text_encoder.texts_encoded == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": HueEncoder(64)}, "trained with encoder hue-32px-8"),
        ({"cameras": ("wrist",)}, r"trained with cameras \['front'\]"),
        ({"members": 3}, "trained with members 2"),
    ],
)
def test_a_reward_of_another_build_is_refused(reward, tmp_path, settings, message):
    reward.save(tmp_path / "reward.pt")
    with pytest.raises(BadConfig, match=message):
        untrained(**settings).load(tmp_path / "reward.pt")
    (tmp_path / "reward.pt").write_bytes(b"nonsense")
    with pytest.raises(CorruptFile, match=r"reward\.pt"):
        untrained().load(tmp_path / "reward.pt")


def test_the_same_seed_trains_the_same_reward_and_leaves_the_global_generator_alone():
    rewards = [untrained() for _ in range(3)]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for reward, seed in zip(rewards, (3, 3, 4), strict=True):
        clips = successes("up", 3, 1), failures("up", 2, 1)
        reward.fit(*clips, distractor_instructions=OTHERS, seed=seed, steps=2)
    assert torch.equal(torch.rand(3), expected)
    first, second, third = (reward.state_dict() for reward in rewards)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(not torch.equal(value, third[name]) for name, value in first.items())


def test_one_task_without_failures_is_enough_to_train(demonstration):
    reward = untrained()
    reward.fit(successes("up", 3, 1), [], distractor_instructions=OTHERS, seed=0, steps=2)
    assert len(reward.score([demonstration])) == 1


def test_every_metric_is_a_number(fitted):
    metrics = fitted[1]
    assert {"loss_shown_other_done", "loss_alone_value", "accept_threshold"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


def test_what_cannot_work_is_refused(demonstration):
    with pytest.raises(BadInput, match="two successes"):
        untrained().fit([demonstration], [], distractor_instructions=OTHERS, seed=0)
    own = [demonstration.instruction]
    with pytest.raises(BadInput, match="one distractor"):
        untrained().fit([demonstration] * 2, [], distractor_instructions=own, seed=0)
    with pytest.raises(BadConfig, match="untrained"):
        untrained().score([demonstration])
    with pytest.raises(BadConfig, match="two members"):
        untrained(members=1)


def test_a_demonstration_that_lacks_a_camera_is_refused_by_name(reward, demonstration):
    blind = replace(demonstration, frames={"wrist": demonstration.frames["front"]})
    with pytest.raises(BadInput, match="camera 'front'"):
        reward.score(shown([demonstration], blind))
    with pytest.raises(BadInput, match="camera 'front'"):
        reward.add_reference(blind)


def test_frames_are_related_to_their_own_demonstration_only():
    critic = InContextCritic(3, 1, 16).eval()
    frames, tokens = torch.randn(2 * 5, 8, 8, 3), torch.randn(2 * TOKENS, 8, 8, 3)
    both = critic.relate(critic.look([frames]), critic.look([tokens]))
    for group in range(2):
        own = critic.look([frames[group * 5 : (group + 1) * 5]])
        alone = critic.relate(own, critic.look([tokens[group * TOKENS : (group + 1) * TOKENS]]))
        torch.testing.assert_close(both[group * 5 : (group + 1) * 5], alone)


def test_looking_from_the_other_side_negates_the_delta():
    critic = InContextCritic(3, 1, 16).eval()
    before, after, text = torch.randn(6, 64), torch.randn(6, 64), torch.randn(6, 16)
    for instruction in (None, torch.randn(6, 16)):
        goal = critic.goal(text, instruction)
        ahead = critic.delta(before, after, goal)
        torch.testing.assert_close(critic.delta(after, before, goal), -ahead)
        assert (critic.delta(before, before, goal) == 0).all()


@pytest.mark.parametrize(("length", "linger"), [(40, 10), (20, 0), (4, 10), (9, 8)])
def test_what_is_looked_at_of_a_demonstration_reaches_completion_and_its_end(length, linger):
    places = token_places(length, linger)
    assert len(places) == TOKENS == len(TIMES)
    assert places[0] == TIMES[0] == 0
    complete = (TIMES == 1).nonzero()[0]
    assert places[complete] == max(length - 1 - linger, length // 2)
    assert places[-1] == length - 1
    assert (places.diff() >= 0).all()


def encoded(count):
    maps = np.random.default_rng(0).normal(size=(12, 3, 4, 4)).astype(np.float32)
    return [Encoded(variants=[[maps]], text=torch.full((2,), float(n))) for n in range(count)]


def test_a_demonstration_stands_beside_other_clips_of_its_task_never_beside_itself():
    clips = encoded(8)
    strands = lay_out(clips, torch.zeros(1, 3), torch.ones(1, 3), linger=2)
    task = torch.arange(8) % 2
    success = torch.arange(8) < 6
    tasks = Tasks(
        strands=strands, task=task, success=success, weight=torch.ones(8),
        wrong_texts=torch.zeros(1, 2), linger=2,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for strand in range(6):
        group = draw_group(tasks, strand, generator)
        clips_of = {kind: frames.div(12, rounding_mode="floor") for kind, frames in group.items()}
        assert (clips_of["tokens"] == strand).all()
        assert (clips_of["pairs"] != strand).all()
        for kind, own, good in (("pairs", 0, True), ("failed", 0, False), ("other", 1, True)):
            assert (task[clips_of[kind]] == (strand + own) % 2).all()
            assert (success[clips_of[kind]] == good).all()


def test_of_many_tasks_a_member_misses_whole_ones_of_few_it_misses_clips():
    rng = np.random.default_rng(0)
    many = Known(clips=encoded(24), success=[True, False] * 12, task=[n // 4 for n in range(24)])
    unseen = draw_bags(many, 3, rng) == 0
    assert (unseen.sum(0) == 1).all()
    assert (unseen.reshape(3, 6, 4).all(2) == unseen.reshape(3, 6, 4).any(2)).all()
    few = Known(clips=encoded(8), success=[True, False] * 4, task=[0] * 8)
    assert ((draw_bags(few, 2, rng) == 0).sum(0) == 1).all()


def test_a_task_that_has_only_failed_so_far_is_learned_from_too():
    reward = untrained()
    metrics = reward.fit(
        [clip for each in KNOWN for clip in successes(each, 3, 1)],
        [clip for each in (*KNOWN, UNSEEN) for clip in failures(each, 2, 50)],
        distractor_instructions=OTHERS,
        seed=0,
        steps=2,
    )
    assert np.isfinite(list(metrics.values())).all()
