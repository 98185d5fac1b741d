"""VLAC's prompts, parsing and values; its weights' format on a tiny model of the architecture."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import BadConfig, BadInput, CorruptFile, UnknownName
from embodied.reward_models.vlac import VLACReward
from embodied.reward_models.vlac_prompts import (
    critic_question,
    critic_share,
    done_probability,
    done_question,
)
from embodied.reward_models.vlac_values import RULES, inverse, mixed, simple, values
from embodied.reward_models.vlac_weights import convert
from embodied.reward_models.vlm import Answer, Question, Token, Unanswered
from embodied.reward_models.vlm_transformers import TransformersModel
from embodied.testing.rewards import (
    assert_ignores_later_frames,
    check_reward_model,
    there_and_back,
)
from embodied.testing.vision_language import tiny_model
from embodied.types import Clip

DARK, BRIGHT = 20, 230
FRAME = np.zeros((8, 8, 3), np.uint8)


def answer(text, *places):
    """An answer whose tokens are the places, or its characters."""
    tokens = places or tuple({character: 1.0} for character in text)
    return Answer(
        text=text,
        tokens=tuple(Token(text=max(p, key=lambda t: p[t]), probabilities=p) for p in tokens),
    )


class Critic:
    """Compares brightness, as VLAC compares progress; ``bias`` favours the second image."""

    fingerprint = "critic"

    def __init__(self, bias=0.0, knows="lamp", silent=False):
        self.bias, self.knows, self.silent = bias, knows, silent
        self.asked = []

    def answer(self, questions, *, max_tokens):
        return [self._answer(question) for question in questions]

    def _answer(self, question):
        self.asked.append(question)
        words = "".join(part for part in question.parts if isinstance(part, str))
        light = [p.mean() / 255 for p in question.parts if not isinstance(p, str)]
        if self.silent:
            return Unanswered("the double is silent.")
        if words.endswith("<done>"):
            done = 1 / (1 + np.exp(-20 * (light[-1] - 0.65))) if self.knows in words else 0.01
            return answer(str(round(done)), {"1": float(done), "0": float(1 - done)})
        first, second = light[-2:]
        remains = 1 - first if second >= first else 1 - second
        share = (second - first) / max(remains, 0.01) if self.knows in words else 0.0
        return answer(f"{round(100 * (share + self.bias)):+d}")


def clip_from(light, instruction="switch on the lamp"):
    frames = np.repeat(np.asarray(light, np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)
    return Clip(frames={"front": frames}, features={}, instruction=instruction)


def brightening(length=12, end=BRIGHT):
    return clip_from(np.linspace(DARK, end, length))


def vlac(model=None, **options):
    return VLACReward(model or Critic(), ["front"], **({"every": 2} | options))


@pytest.fixture(scope="module")
def speaking(tmp_path_factory):
    """A tiny model of VLAC's architecture that says nothing but numbers."""
    import torch
    from transformers import AutoTokenizer, InternVLForConditionalGeneration

    folder = tiny_model(tmp_path_factory.mktemp("tiny"))
    model = InternVLForConditionalGeneration.from_pretrained(folder)
    known = AutoTokenizer.from_pretrained(folder).get_vocab()
    spoken = [known[character] for character in "+-0123456789"]
    keep = torch.zeros(len(model.lm_head.weight), 1)
    keep[spoken] = 30.0
    model.lm_head.weight.data *= keep
    model.save_pretrained(folder)
    return folder


def test_the_adapter_keeps_the_contract():
    check_reward_model(vlac, brightening())
    check_reward_model(lambda: vlac(reverse=False, every=3, rule="simple"), brightening())
    check_reward_model(lambda: vlac(every=1), brightening())


def test_the_adapter_looks_at_no_later_frame_and_is_causal_if_asked_about_all():
    for every in (1, 5):
        assert_ignores_later_frames(vlac(every=every), brightening())
        assert vlac(every=every).causal == (every == 1)


@pytest.mark.parametrize("length", range(10, 16))
def test_a_success_in_the_last_two_frames_is_seen_in_a_clip_of_any_length(length):
    ends_well = clip_from([DARK] * (length - 2) + [BRIGHT] * 2)
    (scores,) = vlac(every=5).score([ends_well])
    assert scores.done_index == length - 1
    assert scores.progress[-2] > 0.8 > 0.1 > scores.progress[-3]


def test_the_adapter_keeps_the_contract_on_the_real_architecture(speaking):
    model = TransformersModel(str(speaking), alternatives=20)
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    clip = Clip(frames={"front": noise}, features={}, instruction="open the drawer")
    check_reward_model(lambda: vlac(model), clip)
    (reading,) = vlac(model).read([clip])
    assert not isinstance(reading, Unanswered)
    assert np.ptp(reading.done) > 0


RECORDED_PAIR = (
    "Image-1: <image>\nImage-2: <image>\nCompare two images and evaluate whether the second image "
    "is closer to achieving task objectives compared to the first image. + score means the second "
    "image is closer, - score means the first image is closer\nResponse the relative progressing "
    "of target task follow <score>. The target task is: <task> Put up the bowl. </task> <score>"
)


def prompt(question):
    """The prompt with its pictures as tags; a line ends after each, which the template adds."""
    text = "".join(part if isinstance(part, str) else "<image>" for part in question.parts)
    return text.replace("<image>\n", "<image>")


def test_prompts_are_word_for_word_those_of_the_training():
    task = "Put up the bowl."
    assert prompt(critic_question(task, FRAME, FRAME)) == RECORDED_PAIR
    shown = prompt(
        critic_question(task, FRAME, FRAME, beginning=FRAME, references=[FRAME, FRAME, FRAME])
    )
    assert shown == (
        "<trajectory> <task> Put up the bowl. </task>: 0% <image>\n 50% <image>\n 100% <image>\n"
        "</trajectory>0% <image>\nThis image is the trajectory beginning of the following two "
        "images\n" + RECORDED_PAIR
    )
    assert prompt(done_question(task, FRAME)) == (
        "<image>The 1 means yes, the 0 means no. Check if the robot has completed its task: "
        "<task> Put up the bowl. </task> <done>"
    )
    assert prompt(done_question(task, FRAME, FRAME)) == (
        "<goal> <task> Put up the bowl. </task>: <image>\n<goal>\n<image>\n The 1 means yes, the 0 "
        "means no. Refer to the goal, check if the robot has completed its task: "
        "<task> Put up the bowl. </task> <done>"
    )


def test_pictures_are_shown_at_the_size_of_the_training():
    question = critic_question("x", FRAME, FRAME[:4])
    assert isinstance(question, Question)
    sizes = {part.shape for part in question.parts if not isinstance(part, str)}
    assert sizes == {(448, 448, 3)}


@pytest.mark.parametrize(
    ("said", "share"),
    [("12", 0.12), ("-5%", -0.05), ("+ 7", 0.07), ("300", 1.0), ("-12.5", -0.125), ("0", 0.0),
     ("<think> first image progressing: 40% </think>-3", -0.03)],
)  # fmt: skip
def test_percentages_are_read_in_all_ways_of_writing_them(said, share):
    assert critic_share(answer(said), soft=False) == pytest.approx(share)


def test_an_answer_without_a_percentage_is_none():
    assert isinstance(critic_share(answer("closer"), soft=True), Unanswered)
    assert isinstance(done_probability(answer("perhaps")), Unanswered)
    lost = Unanswered("gone")
    assert critic_share(lost, soft=True) is lost
    assert done_probability(lost) is lost


@given(st.integers(-100, 100))
def test_soft_decoding_of_sure_digits_is_the_number(number):
    assert critic_share(answer(f"{number}"), soft=True) == pytest.approx(number / 100)
    assert critic_share(answer(f"{number:+d}%"), soft=True) == pytest.approx(number / 100)


def test_soft_decoding_takes_the_mean_of_each_digit_at_its_place():
    said = answer("-34", {"-": 1.0}, {"3": 0.75, "5": 0.25}, {"4": 0.5, "8": 0.5, "x": 0.1})
    assert critic_share(said, soft=True) == pytest.approx(-(3.5 * 10 + 6) / 100)
    unlikely = answer("3", {"3": 0.9, "9": 0.05})
    assert critic_share(unlikely, soft=True) == pytest.approx(0.03)
    whole = answer("9", {"9": 0.5, "11": 0.5, "-9": 0.3})
    assert critic_share(whole, soft=True) == pytest.approx(0.10)


def test_a_done_answer_is_a_probability_where_probabilities_are_known():
    assert done_probability(answer("1", {"1": 0.6, "0": 0.2, "x": 0.2})) == pytest.approx(0.75)
    sure = Answer(text="1", tokens=(Token(text="1", probabilities={}),))
    assert done_probability(sure) == 1.0


shares = st.floats(-1, 1)


@given(st.floats(0, 1), shares)
def test_the_mixed_rule_stays_between_nothing_and_everything(value, critic):
    assert 0 <= mixed(value, critic) <= 1


@given(st.floats(0, 0.9), st.floats(0, 0.8))
def test_the_inverse_rule_undoes_a_step_forwards_exactly(value, critic):
    ahead = inverse(value, critic)
    if 1 - ahead > 0.01:
        assert inverse(ahead, -critic) == pytest.approx(value, abs=1e-9)


@given(st.floats(0, 1), st.floats(0, 1))
def test_all_rules_agree_on_steps_forwards(value, critic):
    assert {rule(value, critic) for rule in RULES.values()} == {simple(value, critic)}


def test_equal_shares_of_what_remains_add_up_and_small_ones_can_be_ignored():
    np.testing.assert_allclose(values([0.5, 0.5], "simple"), [0, 0.5, 0.75])
    np.testing.assert_allclose(values([-0.5, 0.02], "simple"), [0, -0.5, -0.47])
    np.testing.assert_allclose(values([0.5, 0.02], "simple", dead_band=0.1), [0, 0.5, 0.5])


def test_progress_follows_the_attempt_and_undoing_lowers_it():
    (scores,) = vlac(every=1).score([there_and_back(brightening(), 11)])
    assert scores.progress.argmax() == 11
    assert scores.progress[-1] < 0.3
    assert scores.done[11] > 0.5 > scores.done[-1]


def test_reversing_pairs_cancels_a_bias_and_tells_that_there_was_one():
    still = clip_from([60] * 10)
    (biased,) = vlac(Critic(bias=0.2), reverse=False).read([still])
    (both,) = vlac(Critic(bias=0.2)).read([still])
    assert biased.value[-1] > 0.5
    np.testing.assert_allclose(both.value, 0, atol=1e-9)
    assert both.doubt[-1] > 0.2
    assert biased.doubt.max() == 0


def test_after_calibration_successes_are_accepted_and_others_are_not():
    rng = np.random.default_rng(0)
    reward = vlac()
    good = [brightening(end=end) for end in rng.integers(215, 235, 6)]
    bad = [brightening(end=end) for end in rng.integers(30, 90, 6)]
    metrics = reward.fit(good, bad, distractor_instructions=[], seed=0)
    accepted, refused, wrong = reward.score(
        [brightening(end=225), brightening(end=60), replace(brightening(), instruction="dance")]
    )
    assert metrics["negative_rate"] == 0
    assert (accepted.success, refused.success, wrong.success) == (True, False, False)
    assert accepted.progress[-1] > 0.9
    assert wrong.progress.max() < 0.1


def test_a_reference_is_shown_to_the_critic_and_its_end_to_the_done_prompt():
    model = Critic()
    vlac(model, reference_frames=3).score([replace(brightening(), references=(brightening(20),))])
    critic = next(q for q in model.asked if not q.parts[-1].endswith("<done>"))
    done = next(q for q in model.asked if q.parts[-1].endswith("<done>"))
    light = [part.mean() for part in critic.parts if not isinstance(part, str)]
    assert len(light) == 3 + 1 + 2
    assert light[:4] == pytest.approx([DARK, 119, BRIGHT, DARK], abs=1)
    assert [p.mean() for p in done.parts if not isinstance(p, str)] == [BRIGHT, DARK]


def pictures_shown(model, clip, reward):
    """Brightness of what the critic is shown in its first question about a clip."""
    model.asked.clear()
    reward.score([clip])
    critic = next(q for q in model.asked if not q.parts[-1].endswith("<done>"))
    return [part.mean() for part in critic.parts if not isinstance(part, str)]


@pytest.fixture
def one_shot():
    model = Critic()
    reward = vlac(model, reference_frames=3)
    lessons = [brightening(end=220), brightening(end=210)], [clip_from([60] * 12)]
    reward.fit(*lessons, distractor_instructions=[], seed=0)
    return model, reward


def test_the_first_success_is_shown_beside_attempts_that_bring_none(one_shot):
    model, reward = one_shot
    example = [DARK, 110, 220]
    light = pictures_shown(model, clip_from([30] * 6), reward)
    assert light == pytest.approx([*example, 30, 30, 30], abs=1)
    done = next(q for q in model.asked if q.parts[-1].endswith("<done>"))
    assert [p.mean() for p in done.parts if not isinstance(p, str)] == [220, 30]
    own = replace(clip_from([30] * 6), references=(clip_from([40] * 6),))
    assert pictures_shown(model, own, reward)[:3] == [40, 40, 40]


def test_a_success_of_another_instruction_is_not_shown(one_shot):
    model, reward = one_shot
    assert len(pictures_shown(model, clip_from([30] * 6, "open the drawer"), reward)) == 2


def test_what_is_shown_is_not_calibrated_on(one_shot):
    model, _ = one_shot
    told = [q for q in model.asked if q.parts[-1].endswith("<done>")]
    assert len(told) == 2 * len([0, 2, 4, 6, 8, 10, 11])
    assert {q.parts[1].mean() for q in told} == {220}


def test_the_demonstration_comes_back_from_disk_and_fewer_frames_of_it_are_refused(
    one_shot, tmp_path
):
    one_shot[1].save(tmp_path / "vlac.pt")
    model = Critic()
    copy = vlac(model, reference_frames=3)
    copy.load(tmp_path / "vlac.pt")
    assert pictures_shown(model, clip_from([30] * 6), copy)[:3] == pytest.approx(
        [DARK, 110, 220], abs=1
    )
    with pytest.raises(BadConfig, match="reference_frames 3, not with 2"):
        vlac(reference_frames=2).load(tmp_path / "vlac.pt")


def test_without_frames_of_a_reference_none_is_shown():
    model = Critic()
    reward = vlac(model, reference_frames=0)
    reward.fit([brightening()] * 2, [clip_from([60] * 12)], distractor_instructions=[], seed=0)
    own = replace(brightening(), references=(brightening(20),))
    assert len(pictures_shown(model, own, reward)) == 2


def test_a_silent_model_leads_to_abstention_and_no_calibration():
    (scores,) = vlac(Critic(silent=True)).score([brightening()])
    np.testing.assert_array_equal(scores.uncertainty, 1)
    with pytest.raises(Unanswered, match="silent"):
        vlac(Critic(silent=True)).fit([brightening()], [], distractor_instructions=[], seed=0)


def test_calibration_comes_back_from_disk(tmp_path):
    reward, path = vlac(), tmp_path / "vlac.pt"
    reward.fit([brightening()], [clip_from([60] * 12)], distractor_instructions=[], seed=0)
    reward.save(path)
    copy = vlac()
    copy.load(path)
    (found,), (expected,) = copy.score([brightening()]), reward.score([brightening()])
    np.testing.assert_array_equal(found.done, expected.done)
    with pytest.raises(BadConfig, match="rule mix_f, not with simple"):
        vlac(rule="simple").load(path)


def test_what_cannot_work_is_refused():
    with pytest.raises(UnknownName, match="mix_f"):
        vlac(rule="mixf")
    with pytest.raises(BadConfig, match="camera"):
        VLACReward(Critic(), [])
    with pytest.raises(BadConfig, match="2 frames of a reference or none"):
        vlac(reference_frames=1)
    features = Clip(frames={}, features={"front": np.zeros((4, 1, 2, 2))}, instruction="go")
    with pytest.raises(BadInput, match="looks at frames"):
        vlac().score([features])


def publish(folder, target):
    """A tiny model as InternVL's first format would publish it, InternLM2's fused tensors too."""
    import torch
    from safetensors.torch import save_file
    from transformers import InternVLForConditionalGeneration

    model = InternVLForConditionalGeneration.from_pretrained(folder)
    state = model.state_dict()
    names = {
        "model.vision_tower.encoder.layer.": "vision_model.encoder.layers.",
        "model.vision_tower.": "vision_model.", "cls_token": "class_embedding",
        "position_embeddings": "position_embedding",
        "patch_embeddings.projection": "patch_embedding", "lambda_": "ls",
        "attention.projection_layer": "attn.proj", "layernorm_before": "norm1",
        "layernorm_after": "norm2", "model.multi_modal_projector.layer_norm": "mlp1.0",
        "model.multi_modal_projector.linear_1": "mlp1.1",
        "model.multi_modal_projector.linear_2": "mlp1.3", "lm_head": "language_model.output",
        "model.language_model.": "language_model.model.", "embed_tokens": "tok_embeddings",
        "self_attn.o_proj": "attention.wo", "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2",
        "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    published = {}
    for name, tensor in state.items():
        if re.search(r"\.[qkv]_proj\.", name):
            continue
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        if name.startswith("language_model"):
            name = name.replace("mlp.w", "feed_forward.w")
        published[name] = tensor.clone()
    for end in ("weight", "bias"):
        part = "model.vision_tower.encoder.layer.0.attention.{}_proj." + end
        published[f"vision_model.encoder.layers.0.attn.qkv.{end}"] = torch.cat(
            [state[part.format(p)] for p in "qkv"]
        )
    for layer in range(2):
        q, k, v = (
            state[f"model.language_model.layers.{layer}.self_attn.{p}_proj.weight"] for p in "qkv"
        )
        heads = [(q[:16], k[:8], v[:8]), (q[16:], k[8:], v[8:])]
        name = f"language_model.model.layers.{layer}.attention.wqkv.weight"
        published[name] = torch.cat([torch.cat(group) for group in heads])
    llm, vision = model.config.text_config, model.config.vision_config
    shared = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = {
        "model_type": "internvl_chat",
        "ps_version": "v2",
        "downsample_ratio": 0.5,
        "force_image_size": 28,
        "select_layer": -1,
        "llm_config": {name: getattr(llm, name) for name in shared}
        | {"architectures": ["InternLM2ForCausalLM"], "num_key_value_heads": 2, "bias": False,
           "vocab_size": llm.vocab_size, "rms_norm_eps": 1e-6, "rope_theta": 10000,
           "max_position_embeddings": 8192, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
        "vision_config": {name: getattr(vision, name) for name in shared}
        | {"patch_size": 14, "image_size": 28, "qkv_bias": True, "qk_normalization": False,
           "norm_type": "layer_norm", "layer_norm_eps": 1e-6},
    }  # fmt: skip
    target.mkdir()
    save_file(published, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config))
    return published, config


def test_published_weights_say_the_same_in_transformers_own_format(speaking, tmp_path):
    publish(speaking, tmp_path / "vlac")
    convert(tmp_path / "vlac", speaking, tmp_path / "converted")
    question = critic_question("open the drawer", FRAME, FRAME + 200)
    ours, theirs = (
        TransformersModel(str(path), alternatives=300).answer([question], max_tokens=3)[0]
        for path in (tmp_path / "converted", speaking)
    )
    assert ours.text == theirs.text
    for one, other in zip(ours.tokens, theirs.tokens, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_weights_that_are_not_published_ones_are_refused(speaking, tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(BadInput, match="holds no config"):
        convert(tmp_path / "nowhere", speaking, tmp_path / "out")
    with pytest.raises(BadInput, match="needs no conversion"):
        convert(speaking, speaking, tmp_path / "out")
    published, config = publish(speaking, tmp_path / "vlac")
    published.pop("mlp1.1.weight")
    save_file(published, tmp_path / "vlac/model.safetensors")
    with pytest.raises(CorruptFile, match="linear_1"):
        convert(tmp_path / "vlac", speaking, tmp_path / "out")
    config["llm_config"]["architectures"] = ["OtherForCausalLM"]
    (tmp_path / "vlac/config.json").write_text(json.dumps(config))
    with pytest.raises(BadConfig, match="OtherForCausalLM"):
        convert(tmp_path / "vlac", speaking, tmp_path / "out")
