"""The judge's arithmetic, on a double that sees brightness, and on a tiny real model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.base import Compares
from embodied.reward_models.frames_asked import frames_asked, frames_held
from embodied.reward_models.judge import GenerativeJudge
from embodied.reward_models.judge_opinion import opinion_of
from embodied.reward_models.judge_questions import choose_frames
from embodied.reward_models.vlm import Answer, Token, Unanswered, probability_of_yes
from embodied.reward_models.vlm_transformers import TransformersModel
from embodied.testing.rewards import assert_ignores_later_frames, check_reward_model, take
from embodied.testing.vision_language import BrightnessModel, tiny_model
from embodied.types import Clip

DARK, BRIGHT = 20, 230


def clip_from(light, instruction="switch on the lamp"):
    """A clip whose frames have the given brightness."""
    frames = np.repeat(np.asarray(light, np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)
    return Clip(frames={"front": frames}, features={}, instruction=instruction)


def brightening(length=12, end=BRIGHT):
    return clip_from(np.linspace(DARK, end, length))


def flickering(length=12):
    return clip_from([DARK + 20 * (i % 2) for i in range(length)])


def judge(model=None, **options):
    settings = {"every": 2, "frames": 3} | options
    return GenerativeJudge(model or BrightnessModel(), ["front"], **settings)


OPTIONS = [{}, {"pairwise": True}, {"every": 3, "choice": "changes"}, {"every": 1}]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_judge_keeps_the_contract(options):
    check_reward_model(lambda: judge(**options), brightening())


@pytest.mark.parametrize("options", OPTIONS)
def test_a_judge_looks_at_no_later_frame_and_is_causal_if_asked_about_all(options):
    assert_ignores_later_frames(judge(**options), brightening())
    assert judge(**options).causal == (options.get("every") == 1)


@given(st.integers(2, 40), st.integers(1, 12))
def test_frames_asked_about_are_never_far_apart_and_the_last_two_are_among_them(length, every):
    asked, held = frames_asked(length, every), frames_held(length, every)
    assert asked[0] == 0
    assert {length - 2, length - 1} <= set(asked)
    assert set(np.diff(asked)) <= set(range(1, every + 1))
    assert len(asked) <= -(-length // every) + 2
    newest = [max(frame for frame in asked if frame <= t) for t in range(length)]
    assert np.array(asked)[held].tolist() == newest


@pytest.mark.parametrize("length", range(10, 16))
def test_a_success_in_the_last_two_frames_is_seen_in_a_clip_of_any_length(length):
    ends_well, never = clip_from([DARK] * (length - 2) + [BRIGHT] * 2), clip_from([DARK] * length)
    rare, always = judge(every=5), judge(every=1)
    for reward in (rare, always):
        reward.fit([ends_well] * 4, [never] * 4, distractor_instructions=[], seed=0)
    (found, refused), (expected, _) = (r.score([ends_well, never]) for r in (rare, always))
    assert found.success
    assert not refused.success
    assert found.done_index == expected.done_index == length - 1
    np.testing.assert_allclose(found.progress[-2:], expected.progress[-2:], atol=1e-6)


def test_a_judge_with_a_real_architecture_keeps_the_contract(tmp_path):
    model = TransformersModel(str(tiny_model(tmp_path)), alternatives=1000)
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    clip = Clip(frames={"front": noise}, features={}, instruction="open the drawer")
    check_reward_model(lambda: judge(model, least_mass=0.0, every=3), clip)


def test_progress_follows_what_the_model_sees_and_undoing_lowers_it():
    (scores,) = judge(every=1).score([clip_from([DARK, 120, BRIGHT, 120, DARK])])
    assert scores.progress.argmax() == 2
    np.testing.assert_allclose(scores.progress, scores.progress[::-1], atol=1e-6)


def test_after_calibration_successes_are_accepted_and_failures_are_not():
    rng = np.random.default_rng(0)
    reward = judge()
    good = [brightening(end=end) for end in rng.integers(170, 200, 8)]
    metrics = reward.fit(good, [flickering() for _ in range(8)], distractor_instructions=[], seed=0)
    accepted, refused = reward.score([brightening(end=190), flickering()])
    assert (metrics["readout_false_accepts"], metrics["readout_false_rejects"]) == (0, 0)
    assert accepted.success
    assert accepted.progress[-1] > 0.9
    assert not refused.success
    assert refused.reward.sum() < 0.2 < accepted.reward.sum()


def test_another_instruction_is_another_question():
    reward = judge(BrightnessModel(knows=["lamp"]))
    wrong = replace(brightening(), instruction="water the plants")
    right, other = reward.score([brightening(), wrong])
    assert right.progress[-1] > 0.8
    assert other.progress.max() < 0.1


def test_a_pair_is_asked_about_in_both_orders_so_that_a_bias_for_the_second_cancels():
    class Biased:
        fingerprint = "biased"

        def answer(self, questions, *, max_tokens):
            likely = {"yes": 0.8, "no": 0.2}
            token = Token(text="yes", probabilities=likely)
            return [Answer(text="yes", tokens=(token,)) for _ in questions]

    (opinion,) = judge(Biased(), pairwise=True).opinions([brightening()])
    np.testing.assert_allclose(opinion.signal, 0, atol=1e-9)
    np.testing.assert_allclose(opinion.doubt, 0.6)
    assert judge(Biased()).compare([brightening()], [flickering()]) == pytest.approx([0.5])


def test_comparing_tells_which_attempt_is_ahead_and_is_antisymmetric():
    reward = judge(pairwise=True)
    assert isinstance(reward, Compares)
    first, second = [flickering(), brightening()], [brightening(), flickering()]
    ahead = reward.compare(first, second)
    assert ahead[0] > 0.7
    np.testing.assert_allclose(ahead + reward.compare(second, first), 1, atol=1e-6)
    with pytest.raises(BadInput, match="1 clips cannot be compared with 2"):
        reward.compare(first[:1], second)


def test_aspects_are_asked_about_one_by_one_and_weighed():
    model = BrightnessModel(knows=["lamp"])
    criteria = {"task": "The {instruction} is done.", "care": "Nothing was broken."}
    reward = judge(model, criteria=criteria, weights={"task": 3.0, "care": 1.0})
    (opinion,) = reward.opinions([brightening()])
    assert list(opinion.aspects) == ["task", "care"]
    assert opinion.aspects["care"].max() < 0.1 < opinion.aspects["task"].max()
    mean = 0.75 * opinion.aspects["task"] + 0.25 * opinion.aspects["care"]
    np.testing.assert_allclose(opinion.signal, mean)


def test_the_model_is_told_the_criterion_and_the_principles():
    model = BrightnessModel()
    judge(model, principles=["Stay clear of the cup."]).score([brightening()])
    told = " ".join(part for part in model.asked[0].parts if isinstance(part, str))
    assert "switch on the lamp" in told
    assert "- Stay clear of the cup." in told


def test_reasons_are_put_before_the_answer_and_can_be_read():
    model = BrightnessModel()
    reward = judge(model, reason_tokens=50, every=100)
    reward.score([brightening()])
    told = [" ".join(p for p in q.parts if isinstance(p, str)) for q in model.asked]
    assert "What was observed: Light: 0.08." in told[3]
    assert reward.explain(brightening()) == {"task": "Light: 0.90."}


def test_an_unanswered_clip_abstains_and_the_others_do_not():
    first, second = judge(BrightnessModel(fails=8), every=6).score([brightening(), brightening()])
    assert first.uncertainty.max() == 0
    assert first.progress[-1] > 0.4
    np.testing.assert_array_equal(second.uncertainty, 1)
    assert not second.success
    assert not second.reward.any()


def test_without_abstaining_an_unanswered_clip_is_an_error():
    strict = judge(BrightnessModel(fails=2), abstain=False)
    with pytest.raises(Unanswered, match="told to fail"):
        strict.score([brightening()])
    with pytest.raises(Unanswered, match="told to fail"):
        judge(BrightnessModel(fails=2)).fit([brightening()], [], distractor_instructions=[], seed=0)


def test_calibration_comes_back_from_disk_and_fits_no_other_question(tmp_path):
    reward, path = judge(), tmp_path / "judge.pt"
    reward.fit([brightening()], [flickering()], distractor_instructions=[], seed=0)
    reward.save(path)
    copy = judge()
    copy.load(path)
    assert copy.version == 1
    (found,), (expected,) = copy.score([brightening()]), reward.score([brightening()])
    np.testing.assert_array_equal(found.progress, expected.progress)
    with pytest.raises(BadConfig, match="every 2, not with 3"):
        judge(every=3).load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CorruptFile, match=r"judge\.pt"):
        copy.load(path)


@pytest.mark.parametrize("choice", ["spread", "changes"])
@pytest.mark.parametrize("budget", [1, 2, 5, 40])
def test_frames_shown_keep_to_the_budget_and_end_with_the_newest(choice, budget):
    clip = clip_from([DARK] * 10 + [DARK + 10 * i for i in range(10)] + [DARK] * 10)
    for end in (0, 1, 12, 29):
        chosen = choose_frames(clip, "front", end, budget, choice)
        assert len(chosen) <= budget
        assert chosen == sorted(set(chosen))
        assert chosen[-1] == end
        assert budget == 1 or chosen[0] == 0


def test_choosing_by_change_spends_no_frames_on_waiting():
    clip = clip_from([DARK] * 20 + [DARK + 10 * i for i in range(1, 11)])
    chosen = choose_frames(clip, "front", 29, 6, "changes")
    assert [frame for frame in chosen[1:] if frame < 19] == []


@pytest.mark.parametrize(
    ("likely", "expected"),
    [
        ({"Yes": 0.6, " yes": 0.2, "No": 0.2}, 0.8),
        ({"\u2581no": 0.9, "maybe": 0.1}, 0.0),
        ({"\u0120YES.": 0.3, "\u0120no": 0.1}, 0.75),
    ],
)
def test_yes_counts_in_all_ways_of_writing_it(likely, expected):
    answer = Answer(text="", tokens=(Token(text=next(iter(likely)), probabilities=likely),))
    assert probability_of_yes(answer, 0.1) == pytest.approx(expected)


def test_blanks_before_the_answer_are_passed_over_and_other_words_are_not():
    blank = Token(text="\n", probabilities={"\n": 1.0})
    yes = Token(text="yes", probabilities={"yes": 0.9, "no": 0.1})
    sorry = Token(text="Sorry", probabilities={"Sorry": 0.98, "yes": 0.01, "no": 0.01})
    assert probability_of_yes(Answer(text="yes", tokens=(blank, yes)), 0.1) == 0.9
    refusal = probability_of_yes(Answer(text="Sorry, yes", tokens=(sorry, yes)), 0.1)
    assert isinstance(refusal, Unanswered)
    assert "neither yes nor no" in str(refusal)
    silent = probability_of_yes(Answer(text="yes", tokens=(replace(yes, probabilities={}),)), 0.1)
    assert "logprobs" in str(silent)


def test_the_last_opinion_holds_until_the_next():
    opinion = opinion_of([0.1, 0.5, 0.8, 0.9], {"a": 1.0}, hold=frames_held(8, 3), pairwise=False)
    np.testing.assert_array_equal(opinion.signal, [0.1] * 3 + [0.5] * 3 + [0.8, 0.9])


def test_a_judge_needs_frames_criteria_and_weights_that_fit():
    features = Clip(frames={}, features={"front": np.zeros((4, 1, 2, 2))}, instruction="go")
    with pytest.raises(BadInput, match="looks at frames"):
        judge().score([features])
    with pytest.raises(BadConfig, match="weight above 0"):
        judge(weights={"care": 1.0})
    with pytest.raises(BadConfig, match="criterion"):
        judge(criteria={})
    assert judge().score([take(brightening(), slice(2))])[0].progress.shape == (2,)


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(BadConfig, match="no/such/folder"):
        judge(TransformersModel("no/such/folder")).score([brightening()])
    with pytest.raises(BadConfig, match="float31"):
        TransformersModel("here", dtype="float31")
