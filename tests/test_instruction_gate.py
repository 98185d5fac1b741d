from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.encoders import SentenceEncoder
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.controls import Constant, ElapsedTime
from embodied.reward_models.instruction_gate import InstructionGate
from embodied.testing.rewards import WordEncoder, assert_same, check_reward_model
from embodied.types import Clip

OPEN = "open the drawer"


def clip_of(length, instruction=OPEN):
    frames = np.random.default_rng(length).integers(0, 256, (length, 8, 8, 3), dtype=np.uint8)
    return Clip(frames={"front": frames}, features={}, instruction=instruction)


def gated(encoder=None, distractors=("open the window",), **settings):
    gate = InstructionGate(ElapsedTime(), encoder or WordEncoder(), **settings)
    gate.fit([clip_of(8)], [], distractor_instructions=distractors, seed=0)
    return gate


@pytest.fixture(scope="module")
def sentences():
    return SentenceEncoder()


def test_it_keeps_the_contract_of_a_reward_model():
    check_reward_model(gated, clip_of(10))


def test_it_keeps_the_contract_under_a_wrong_instruction():
    check_reward_model(gated, clip_of(10, "water the plants"), potential=True)


def test_the_instruction_that_it_was_trained_on_changes_nothing():
    gate, clock = gated(), ElapsedTime()
    clock.fit([clip_of(8)], [], distractor_instructions=[], seed=0)
    assert_same(gate.score([clip_of(10)])[0], clock.score([clip_of(10)])[0], "is gated")


@given(st.text(min_size=1).filter(str.strip))
def test_no_other_instruction_earns_anything(instruction):
    (scores,) = gated(threshold=1.0).score([clip_of(10, f"not {instruction}")])
    assert not scores.success
    assert not scores.progress.any()
    assert not scores.reward.any()


@pytest.mark.parametrize(
    "paraphrase", ["open the drawer please", "pull the drawer open", "slide out the drawer"]
)
def test_a_paraphrase_is_let_in(sentences, paraphrase):
    assert gated(sentences).opens(paraphrase)


@pytest.mark.parametrize("other", ["water the plants", "press the button", "open the door"])
def test_another_task_is_kept_out(sentences, other):
    assert not gated(sentences).opens(other)


def test_an_opposite_is_kept_out_where_it_is_known_as_one(sentences):
    assert gated(sentences).opens("close the drawer"), "its cosine is 0.9"
    told = gated(sentences, distractors=["close the drawer"])
    assert not told.opens("close the drawer")
    assert not told.opens("please close the drawer")
    assert told.opens("please open the drawer")


def test_an_instruction_of_a_training_clip_is_right_even_if_it_is_listed_as_wrong():
    assert gated(distractors=[OPEN]).opens(OPEN)


def test_it_comes_back_from_disk_without_encoding_a_text_again(tmp_path):
    gated().save(tmp_path / "gate.pt")
    copy = InstructionGate(ElapsedTime(), WordEncoder())
    copy.load(tmp_path / "gate.pt")
    assert copy.version == 1
    for instruction in (OPEN, "open the window"):
        clip = clip_of(9, instruction)
        assert_same(copy.score([clip])[0], gated().score([clip])[0], "differs after loading")
    assert copy.text_encoder.texts_encoded == 0


def test_a_gate_around_another_reward_is_refused(tmp_path):
    gated().save(tmp_path / "gate.pt")
    with pytest.raises(BadConfig, match=r"trained with parts \['ElapsedTime'\]"):
        InstructionGate(Constant(), WordEncoder()).load(tmp_path / "gate.pt")


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_file_that_is_no_gate_is_refused(tmp_path, content):
    path = tmp_path / "gate.pt"
    gated().save(path)
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(CorruptFile, match=r"gate\.pt"):
        InstructionGate(ElapsedTime(), WordEncoder()).load(path)


def test_a_file_that_another_reward_wrote_is_refused(tmp_path):
    ElapsedTime().save(tmp_path / "clock.json")
    with pytest.raises(CorruptFile, match=r"clock\.json"):
        InstructionGate(ElapsedTime(), WordEncoder()).load(tmp_path / "clock.json")


def test_a_gate_without_instructions_says_so():
    gate = InstructionGate(Constant(), WordEncoder())
    with pytest.raises(BadConfig, match="knows no instruction"):
        gate.score([clip_of(5)])
    with pytest.raises(BadConfig, match="cosine"):
        InstructionGate(Constant(), WordEncoder(), threshold=1.5)


def test_errors_of_the_wrapped_reward_reach_the_user():
    gate = InstructionGate(ElapsedTime(), WordEncoder())
    with pytest.raises(BadInput, match="one success"):
        gate.fit([], [replace(clip_of(4))], distractor_instructions=[], seed=0)


def test_training_reports_how_far_it_is():
    told = []
    gate = InstructionGate(ElapsedTime(), WordEncoder())
    gate.fit([clip_of(8)], [], distractor_instructions=[], seed=0, progress_callback=told.append)
    assert told[-1] == 1
