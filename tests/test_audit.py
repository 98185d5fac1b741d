"""A dot moves to a goal. A reward that measures it is accepted; every impostor is rejected."""

import json
import runpy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import reduce
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Float32, UInt8

from embodied.audit import HeldOut, audit, held_out_clips, require, run_audit
from embodied.audit_cost import cost_of, size_mb
from embodied.audit_counterfactuals import counterfactuals
from embodied.audit_gates import ADVISORY, TITLES, Gates, Outcome
from embodied.audit_metrics import confusion
from embodied.audit_perturbations import (
    DETOURS,
    change_speed,
    drop_frames,
    freeze,
    reverse,
    set_back,
    swap_cameras,
    tent,
    thin,
    undo,
)
from embodied.audit_pictures import (
    BLOB,
    ORBIT,
    brighten,
    compress,
    distract,
    edit_images,
    shift,
    slide,
)
from embodied.audit_pins import fingerprint
from embodied.card_parts import judged
from embodied.errors import BadInput, RewardRejected
from embodied.opposites import UNDOES, taught
from embodied.reward_models.base import RewardModel, Scores
from embodied.reward_models.controls import ElapsedTime
from embodied.statistics import Interval
from embodied.testing.episodes import random_episode
from embodied.types import Clip

RED, BLUE = "move the red dot onto the green square", "move the blue dot onto the green square"
SIZE, STEPS = 64, 32


def picture(red: float, blue: float) -> UInt8[np.ndarray, "64 64 3"]:
    """Dots start at the left (0) and meet the goal at 1; each runs on its own height."""
    y, x = np.mgrid[:SIZE, :SIZE]
    frame = np.full((SIZE, SIZE, 3), 60, np.uint8)
    frame[24:40, 42:46] = (60, 160, 60)
    for place, row, colour in ((red, 27, (180, 60, 60)), (blue, 36, (60, 60, 180))):
        frame[(y - row) ** 2 + (x - (20 + 24 * place)) ** 2 <= 9] = colour
    return frame


def clip(reach: float, rng: np.random.Generator) -> Clip:
    """The red dot moves to ``reach`` and stays there; the blue one trembles at the start."""
    path = np.minimum(np.linspace(0, 1.15 * reach, STEPS), reach)
    path = path + rng.normal(0, 0.004, STEPS)
    frames = np.stack([picture(place, rng.normal(0.05, 0.01)) for place in path])
    return Clip(frames={"front": frames}, features={}, instruction=RED)


def clips(count: int, low: float, high: float, seed: int) -> list[Clip]:
    rng = np.random.default_rng(seed)
    return [clip(rng.uniform(low, high), rng) for _ in range(count)]


SUCCESSES, FAILURES = clips(12, 0.97, 1.03, 0), clips(12, 0.0, 0.7, 1)


class HalfSize:
    """Pictures at half size: a frozen encoder that loses nothing which matters here."""

    fingerprint = "half-size"
    shape = (3, SIZE // 2, SIZE // 2)

    def __init__(self) -> None:
        self.frames = 0

    def encode(
        self, frames: UInt8[np.ndarray, "batch height width 3"]
    ) -> Float[np.ndarray, "batch channel row column"]:
        self.frames += len(frames)
        small = reduce(frames.astype(np.float32), "b (h 2) (w 2) c -> b c h w", "mean")
        return small.astype(np.float16)


def place_of(maps: Float[np.ndarray, "time 3 row column"], channel: int) -> np.ndarray:
    """Horizontal centre of what is of one colour, per frame."""
    others = [c for c in range(3) if c != channel]
    colour = np.maximum(maps[:, channel].astype(float) - maps[:, others].max(1) - 8, 0)
    columns = colour.sum(1)
    return columns @ np.arange(maps.shape[3]) / (columns.sum(1) + 1e-6)


def measured(clip: Clip) -> Float[np.ndarray, " time"]:
    """How far the dot of the instructed colour has come, seen relative to the other dot."""
    maps = clip.features["front"]
    red, blue, goal = (place_of(maps, channel) for channel in (0, 2, 1))
    dot, other = (red, blue) if "red" in clip.instruction else (blue, red)
    away = np.maximum(goal - np.minimum(dot, other).min(), 1.0)
    return np.clip(1 - (goal - dot) / away, 0, 1)


class Painted(RewardModel):
    """A reward whose progress is a function of the clip."""

    causal = True

    def __init__(self, progress: Callable[[Clip], Float[np.ndarray, " time"]]) -> None:
        super().__init__()
        self.cameras = ("front",)
        self.progress = progress

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        return [scores(self.progress(clip)) for clip in clips]


def scores(progress: Float[np.ndarray, " time"]) -> Scores:
    progress32: Float32[np.ndarray, " time"] = progress.astype(np.float32)
    done = np.where(progress32 > 0.88, np.float32(0.98), np.float32(0.02))
    reached = np.flatnonzero(done > 0.5)
    return Scores(
        reward=np.diff(progress32, prepend=progress32[:1]),
        progress=progress32,
        done=done,
        uncertainty=np.zeros_like(progress32),
        success=bool(len(reached)),
        done_index=int(reached[0]) if len(reached) else len(done),
    )


def blind(clip: Clip) -> Float[np.ndarray, " time"]:
    return measured(replace(clip, instruction=RED))


def shuffled(clip: Clip) -> Float[np.ndarray, " time"]:
    """What was learned from shuffled time labels: each place has a random value."""
    table = np.random.default_rng(7).random(200)
    return table[(100 * measured(clip)).astype(int)]


def colour_only(clip: Clip) -> Float[np.ndarray, " time"]:
    """How much of the instructed colour there is, wherever it is."""
    channel = 0 if "red" in clip.instruction else 2
    return np.clip(clip.features["front"][:, channel].astype(float).mean((1, 2)) / 80, 0, 1)


def encoded(shown: Clip) -> Clip:
    """Features without pictures: judged without encoding anything again."""
    maps = HalfSize().encode(shown.frames["front"])
    return Clip(frames={}, features={"front": maps}, instruction=shown.instruction)


ENCODED = {
    "successes": [encoded(c) for c in SUCCESSES],
    "failures": [encoded(c) for c in FAILURES],
}


def judge(model: RewardModel, **arguments):
    return audit(
        model,
        **{**ENCODED, "seed": 0, "fps": 20.0, **arguments},
        encoder=HalfSize(),
        other_instructions=[BLUE],
    )


@pytest.fixture(scope="module")
def honest():
    return judge(Painted(measured), successes=SUCCESSES, failures=FAILURES)


def failed(result) -> set[str]:
    return {outcome.name for outcome in result.gates if not outcome.passed}


def test_a_reward_that_measures_the_task_is_accepted(honest):
    assert failed(honest) == set()
    assert honest.accepted
    assert honest.headline.startswith("This reward may be trained on")
    for name in ("voc", "vroc", "voc_f1", "cycle_voc", "pair_accuracy", "auroc", "auprc"):
        assert honest.metrics[name].mean > 0.95, name
    require(honest, override=False)


@pytest.mark.parametrize(
    ("model", "must_fail"),
    [
        (
            ElapsedTime(("front",), typical_length=STEPS),
            {"cycle_voc", "pair_accuracy", "frozen_slope"},
        ),
        (Painted(lambda c: np.full(len(c), 0.5)), {"cycle_voc", "pair_accuracy", "auroc"}),
        (Painted(shuffled), {"cycle_voc", "auroc"}),
        (Painted(colour_only), {"cycle_voc", "wrong_instruction"}),
        (Painted(lambda c: 1 - measured(c)), {"cycle_voc", "pair_accuracy"}),
    ],
    ids=["elapsed time", "constant", "shuffled labels", "colour only", "upside down"],
)
def test_an_impostor_is_rejected(model, must_fail):
    result = judge(model)
    assert not result.accepted
    assert must_fail <= failed(result)
    assert len(result.reasons) == len(failed(result))
    with pytest.raises(RewardRejected, match="Do not train on this reward"):
        require(result, override=False)
    require(result, override=True)


def test_a_reward_that_does_not_read_the_instruction_is_rejected_for_that_alone():
    assert failed(judge(Painted(blind))) == {"wrong_instruction"}


def test_a_reward_asked_with_the_wrong_instruction_is_rejected():
    def wrong(clip: Clip) -> Float[np.ndarray, " time"]:
        return measured(replace(clip, instruction=BLUE if clip.instruction == RED else RED))

    assert {"wrong_instruction", "pair_accuracy"} <= failed(judge(Painted(wrong)))


def test_a_reward_that_accepts_failures_is_rejected():
    def boastful(clip: Clip) -> Float[np.ndarray, " time"]:
        return np.clip(2 * measured(clip), 0, 1)

    result = judge(Painted(boastful))
    calibration = next(outcome for outcome in result.gates if outcome.name == "ece")
    assert "false_success" in failed(result)
    assert calibration.warned or not calibration.passed


def test_a_reward_that_accepts_nothing_is_rejected_although_it_accepts_no_failure():
    def timid(clip: Clip) -> Float[np.ndarray, " time"]:
        return 0.75 * measured(clip)

    assert "false_reject" in failed(judge(Painted(timid)))


def test_the_clock_beside_each_number_has_perfect_voc_and_nothing_else(honest):
    clock = honest.baseline
    assert clock["voc"].mean == pytest.approx(1)
    assert clock["vroc"].mean == pytest.approx(-1)
    assert clock["voc_f1"].mean == 0
    assert clock["cycle_voc"].mean < 0.3  # it stops; one that runs on scores exactly 0
    assert clock["pair_accuracy"].mean == clock["auroc"].mean == 0.5
    assert clock["frozen_slope"].mean == pytest.approx(1, abs=0.01)


def test_clips_of_different_length_are_noted_because_a_clock_could_tell_them_apart(honest):
    short = [thin(clip, 20) for clip in ENCODED["failures"]]
    assert any("clock alone" in note for note in judge(Painted(measured), failures=short).notes)
    assert not any("clock alone" in note for note in honest.notes)


def test_too_few_clips_are_not_proof_even_if_every_number_is_perfect():
    result = judge(Painted(measured), **{k: v[:3] for k, v in ENCODED.items()})
    assert failed(result) == {"pair_accuracy"}
    assert result.metrics["pair_accuracy"].mean == 1.0
    assert "more clips" in result.reasons[0]
    assert not result.accepted


def test_one_clip_of_a_kind_is_refused():
    with pytest.raises(BadInput, match="two failures, not 12 and 1"):
        judge(Painted(measured), failures=ENCODED["failures"][:1])


def test_every_frame_is_encoded_once_and_only_perturbed_ones_again():
    encoder = HalfSize()
    model = Painted(measured)
    audit(
        model, SUCCESSES[:4], FAILURES[:4], encoder=encoder, other_instructions=[BLUE],
        fps=20.0, seed=0,
    )  # fmt: skip
    originals, perturbed, timed = 8 * STEPS, 8 * (5 * STEPS + 6 * 16), 4 * 16
    assert encoder.frames == originals + perturbed + timed


def test_clips_without_pictures_are_judged_without_camera_shifts():
    result = judge(Painted(measured))
    camera = next(outcome for outcome in result.gates if outcome.name == "camera_drop")
    assert camera.label == "not measured"
    missing = sum(outcome.value is None for outcome in result.gates)
    assert f"passes all {len(result.gates) - missing} gates" in result.headline
    assert result.headline.endswith(f"{missing} more could not be measured.")
    assert any("no pictures" in note for note in result.notes)
    assert result.accepted


def test_the_benchmark_of_the_verdict_counts_measured_gates_alone(tmp_path: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks/audit_and_learning.py"))
    result = judge(Painted(blind))
    rate = {"mean": 0.5, "low": 0.4, "high": 0.6}
    summary = {
        "success_before": rate, "success_after": rate, "episodes": 1, "git": {"commit": "none"},
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "reward_card.json").write_text(json.dumps(result.to_dict()))
    unmeasured = [outcome.name for outcome in result.gates if outcome.value is None]
    assert "camera_drop" in unmeasured
    assert failed(result) == {"wrong_instruction"}
    share = 1 - 1 / (len(result.gates) - len(unmeasured))
    assert script["outcome"](tmp_path)["gates_passed"] == pytest.approx(share)


def test_a_camera_that_was_really_shifted_decides_the_camera_gate():
    def moved(clips: list[Clip]) -> list[Clip]:
        return [replace(c, frames={"front": c.frames["front"][:, :, ::-1]}) for c in clips]

    shifted = HeldOut(successes=moved(SUCCESSES), failures=moved(FAILURES))
    result = judge(Painted(measured), shifted=shifted)
    assert "camera_drop" in failed(result)


def test_another_robot_has_a_row_of_its_own_and_decides_no_gate():
    other = HeldOut(successes=SUCCESSES, failures=SUCCESSES)
    result = judge(Painted(measured), other_robot=other)
    (row,) = [row for row in result.robustness if row.name == "other_robot"]
    assert row.title == "another robot"
    assert row.drop.mean == pytest.approx(0.5, abs=0.1)
    assert result.accepted
    assert not [r for r in judge(Painted(measured)).robustness if r.name == "other_robot"]


def test_a_missing_camera_is_named():
    model = Painted(measured)
    model.cameras = ("wrist",)
    with pytest.raises(BadInput, match="needs camera 'wrist'; the clip has front"):
        judge(model)


def test_a_model_that_returns_nan_is_named():
    with pytest.raises(BadInput, match="Painted returned 32 values of reward, 0 of them finite"):
        judge(Painted(lambda c: np.full(len(c), np.nan)))


def test_the_result_is_json_that_pins_what_it_depends_on(honest):
    content = json.loads(json.dumps(honest.to_dict(), allow_nan=False))
    pins = content["pins"]
    assert pins["fps"] == 20
    assert pins["resolution"] == {"front": "64 x 64"}
    assert pins["frame_order"] == "oldest first"
    assert pins["instructions"] == [RED]
    assert pins["other_instructions"] == [BLUE]
    assert pins["encoder"] == "half-size"
    assert pins["reward"].startswith("Painted-")
    assert pins["provenance"]["python"].startswith("3.12")
    assert content["metrics"]["voc"]["elapsed_time"]["mean"] == pytest.approx(1)
    assert {row["name"] for row in content["robustness"]} >= {"camera_5", "camera_10", "blur"}


def test_same_seed_same_numbers(honest):
    again = judge(Painted(measured), successes=SUCCESSES, failures=FAILURES).to_dict()
    first = honest.to_dict()
    for name in ("metrics", "gates", "robustness", "instruction_margins"):
        assert again[name] == first[name]


def test_fingerprint_changes_with_the_weights():
    class Linear(RewardModel):
        causal = True
        cameras = ()

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def score(self, clips: Sequence[Clip]) -> list[Scores]:
            raise NotImplementedError("only its weights are looked at")

    model = Linear()
    before = fingerprint(model)
    assert fingerprint(model) == before
    with torch.no_grad():
        model.layer.bias += 1
    assert fingerprint(model) != before


def test_run_audit_takes_episodes_and_writes_the_card(tmp_path):
    rng = np.random.default_rng(0)
    episodes = []
    for i, shown in enumerate([*SUCCESSES[:4], *FAILURES[:4]]):
        episode = random_episode(rng, STEPS - 1, size=SIZE, success=i < 4, with_features=False)
        episodes.append(replace(episode, images=shown.frames, instruction=RED))
    unknown = replace(episodes[0], success=None)
    result = run_audit(
        Painted(measured), HalfSize(), [*episodes, unknown], tmp_path / "audit",
        other_instructions=[BLUE], seed=0,
    )  # fmt: skip
    assert result.pins["successes"] == result.pins["failures"] == 4
    assert json.loads((tmp_path / "audit/reward_card.json").read_text()) == result.to_dict()
    assert (tmp_path / "audit/reward_card.html").read_text().startswith("<!doctype html>")


def test_features_of_another_encoder_are_not_used():
    rng = np.random.default_rng(0)
    episodes = [random_episode(rng, success=i % 2 == 0) for i in range(4)]
    assert not held_out_clips(episodes, HalfSize()).successes[0].features
    own = [replace(episode, encoder="half-size") for episode in episodes]
    assert held_out_clips(own, HalfSize()).successes[0].features
    with pytest.raises(BadInput, match="not 4 successes and 0 failures"):
        held_out_clips([replace(e, success=True) for e in episodes], HalfSize())


bounds = st.tuples(*[st.floats(0, 1)] * 3).map(sorted)


@given(bounds)
def test_a_gate_is_decided_exactly_if_its_whole_interval_is_on_one_side(values):
    low, mean, high = values
    interval = Interval(mean=mean, low=low, high=high, n=10)
    for name, threshold in (("cycle_voc", 0.6), ("false_success", 0.05)):
        (outcome,) = [o for o in Gates().judge({name: interval}) if o.name == name]
        good = [v >= threshold if name == "cycle_voc" else v <= threshold for v in values]
        assert outcome.passed == good[1]
        assert outcome.decided == (len(set(good)) == 1)
        assert ("not shown" in outcome.label) == (not outcome.decided)


@settings(max_examples=25)
@given(st.integers(2, 60), st.floats(0.3, 3), st.integers(0, 99))
def test_edits_of_time_keep_the_ends_the_instruction_and_the_references(length, factor, seed):
    ramp = np.arange(length, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(ramp, (length, 2, 2, 3))
    shown_beside = Clip(frames={"front": frames}, features={}, instruction="go")
    original = replace(shown_beside, references=(shown_beside,))

    def shown(edited: Clip) -> list[int]:
        assert (edited.instruction, edited.references) == ("go", (shown_beside,))
        return edited.frames["front"][:, 0, 0, 0].tolist()

    there = list(range(length))
    assert shown(reverse(reverse(original))) == there
    assert shown(undo(original)) == there + there[-2::-1]
    assert shown(undo(original)) == tent(2 * length - 1).tolist()
    assert len(set(shown(freeze(original, 0.5)))) == 1
    assert len(freeze(original, 0.5)) == length
    lossy = shown(drop_frames(original, 0.3, np.random.default_rng(seed)))
    assert len(lossy) == length
    assert lossy == sorted(lossy)
    assert set(lossy) <= set(there)
    for edited in (change_speed(original, factor), thin(original, 5)):
        assert (shown(edited)[0], shown(edited)[-1]) == (0, length - 1)
        assert shown(edited) == sorted(shown(edited))
    assert len(change_speed(original, 0.5)) == 2 * length


def test_a_yaw_of_ten_degrees_moves_the_picture_by_the_angle_s_tangent():
    frames = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    frames[:, :, 31:33] = 255
    moved = shift(frames, 10.0, 0)[0, 32, :, 0].astype(float)
    pixels = np.arange(SIZE) @ moved / moved.sum() - 31.5
    expected = np.tan(np.deg2rad(10)) / np.tan(np.deg2rad(22.5)) * SIZE / 2
    assert abs(pixels) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("number", range(8))
def test_a_shift_of_nothing_changes_nothing_and_a_real_one_does(number):
    frames = SUCCESSES[0].frames["front"][:2]
    assert np.abs(shift(frames, 0.0, number).astype(int) - frames).max() <= 1
    assert np.abs(shift(frames, 10.0, number).astype(int) - frames).max() > 50


def test_edits_of_pictures_leave_references_and_instruction_as_they_are():
    frames = {"front": np.full((2, 2, 2, 3), 200, np.uint8)}
    features = {"front": np.zeros((2, 1, 1, 1))}
    beside = Clip(frames=frames, features=features, instruction="go")
    edited = edit_images(replace(beside, references=(beside,)), lambda f, _: brighten(f, 1.4), 0)
    assert edited.frames["front"].min() == 255
    assert (edited.features, edited.instruction) == ({}, "go")
    assert edited.references == (beside,)


def test_brightness_saturates_instead_of_wrapping():
    assert brighten(np.full((1, 2, 2, 3), 200, np.uint8), 1.4).max() == 255


@pytest.mark.parametrize("name", ADVISORY)
def test_an_advisory_gate_warns_until_its_failure_is_shown(name: str) -> None:
    def judged(low: float) -> Outcome:
        outcomes = Gates().judge({name: Interval(mean=0.3, low=low, high=0.5, n=40)})
        return next(outcome for outcome in outcomes if outcome.name == name)

    assert judged(0.05).label == "warning, not shown"
    assert judged(0.2).label == "fail"


@pytest.mark.parametrize("detour", DETOURS, ids=[detour.name for detour in DETOURS])
@given(length=st.integers(2, 60))
def test_a_detour_shows_every_frame_and_ends_at_the_end(detour, length):
    path = detour.path(length)
    assert (path[0], path[-1]) == (0, length - 1)
    assert set(path) == set(range(length))
    assert len(path) > length or length < 4


def test_a_clip_that_is_set_back_is_followed_by_a_reward_and_not_by_a_clock(honest):
    rows = {row.name: row for row in honest.robustness}
    assert rows["set_back"].voc.mean > 0.95 > 0.9 > rows["set_back"].clock
    assert abs(rows["set_back"].drop.mean) < 0.05
    assert rows["half_speed"].clock is None
    clock = judge(ElapsedTime(("front",), typical_length=2 * STEPS))
    told = {row.name: row for row in clock.robustness}
    assert told["set_back"].voc.mean == pytest.approx(told["set_back"].clock, abs=0.05)
    np.testing.assert_array_equal(
        set_back(11), [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 4, 5, 6, 7, 8, 9, 10]
    )


def test_a_picture_slides_by_a_share_of_its_width_either_way():
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 50, 3)).astype(np.uint8)
    np.testing.assert_array_equal(slide(frames, 0.1, 0)[:, :, 5:], frames[:, :, :-5])
    np.testing.assert_array_equal(slide(frames, 0.1, 1)[:, :, :-5], frames[:, :, 5:])
    assert (slide(frames, 0.1, 0)[:, :, :5] == frames[:, :, :1]).all()


@given(st.integers(0, 20))
def test_a_distractor_moves_around_the_middle_and_leaves_it_alone(number):
    frames = np.zeros((6, 40, 40, 3), np.uint8)
    shown = distract(frames, number)
    covered = shown.any(axis=3)
    assert covered.any(axis=(1, 2)).all()
    assert not covered[:, 14:26, 14:26].any()
    assert (covered[0] != covered[-1]).any()
    assert covered.mean() == pytest.approx(np.pi * BLOB**2 / 4, rel=0.2)
    assert ORBIT + BLOB < 1
    assert not frames.any()


def test_jpeg_changes_pictures_a_little():
    frames = np.stack([picture(place, 0.1) for place in (0.0, 1.0)])
    changed = compress(frames, 30)
    difference = np.abs(changed.astype(int) - frames)
    assert changed.shape == frames.shape
    assert 0 < difference.mean() < 8


def two_eyed(clip: Clip) -> Clip:
    frames = {"front": clip.frames["front"], "wrist": clip.frames["front"][:, :, ::-1]}
    return replace(clip, frames=frames)


def test_the_camera_that_a_reward_needs_is_the_one_that_it_loses_most_without():
    model = Painted(measured)
    model.cameras = ("front", "wrist")
    result = judge(
        model, successes=[*map(two_eyed, SUCCESSES)], failures=[*map(two_eyed, FAILURES)]
    )
    rows = {row.name: row for row in result.cameras}
    assert rows["without_wrist"].drop.mean == pytest.approx(0)
    assert rows["without_front"].drop.mean > 0.5
    swapped = next(row for row in result.robustness if row.name == "swapped_cameras")
    assert swapped.drop.mean > 0.5
    shown = two_eyed(SUCCESSES[0])
    back = swap_cameras(swap_cameras(shown, model.cameras), model.cameras)
    np.testing.assert_array_equal(back.frames["wrist"], shown.frames["wrist"])


def test_one_camera_is_not_hidden(honest):
    assert honest.cameras == ()
    assert "swapped_cameras" not in {row.name for row in honest.robustness}


def test_memory_and_latency_are_measured(honest):
    assert honest.memory_mb["peak"] > 50
    assert honest.memory_mb["model"] == 0
    assert honest.to_dict()["memory_mb"] == honest.memory_mb


@pytest.mark.parametrize("mb", [6, 48])
@pytest.mark.parametrize("piece", [lambda: np.ones(2**13), lambda: torch.ones(2**14)])
def test_what_scoring_takes_for_a_moment_is_found_however_much_was_freed_before(mb, piece):
    """Also where the allocator holds enough freed memory that nothing new has to be asked for."""

    def wasteful(clip: Clip) -> Float[np.ndarray, " time"]:
        pieces = [piece() for _ in range(16 * mb)]
        return measured(clip) + 0 * float(pieces[-1][0])

    freed = [piece() for _ in range(2000)]
    above = piece()
    del freed
    found = cost_of(Painted(wasteful), ENCODED["successes"][:3], HalfSize()).memory_mb
    assert found["added"] == pytest.approx(mb, rel=0.2, abs=2)
    assert len(above)


def test_the_size_of_a_model_is_that_of_all_tensors_in_its_state():
    model = Painted(measured)
    model.head = torch.nn.Linear(1023, 256)
    model.seen = torch.nn.Buffer(torch.zeros(256, 256, dtype=torch.float64))
    assert size_mb(model) == pytest.approx(1.5)


def test_what_would_undo_the_task_is_asked_besides():
    asked = counterfactuals(["open the drawer"], [])
    assert asked == ["push the drawer closed", "slide the drawer shut"]
    assert counterfactuals(["open the drawer"], asked) == []
    assert not set(asked) & set(taught(["open the drawer"], []))
    result = judge(Painted(measured), counterfactuals=["move the red dot away"])
    assert "move the red dot away" in result.margins
    plain = judge(Painted(measured))
    assert result.metrics["wrong_instruction"] == plain.metrics["wrong_instruction"]


@pytest.mark.parametrize("reads", [True, False])
def test_a_reward_that_cannot_tell_doing_from_undoing_is_noted(reads):
    opened = [replace(c, instruction="open the red box") for c in ENCODED["successes"]]
    told = [replace(c, instruction="open the red box") for c in ENCODED["failures"]]

    def progress(clip: Clip) -> Float[np.ndarray, " time"]:
        return 0 * blind(clip) if reads and "close" in clip.instruction else blind(clip)

    result = judge(
        Painted(progress), successes=opened, failures=told, counterfactuals=["close the red box"]
    )
    assert result.opposites == {"close the red box": UNDOES}
    assert any("hardly tells the two apart" in note for note in result.notes) != reads
    gate = next(gate for gate in result.gates if gate.name == "opposite")
    assert gate.passed, "it only warns"
    assert gate.label == ("pass" if reads else "warning")
    assert ("unsure" in judged(gate)) != reads, "a warning is not green"


def test_the_confusion_of_instructions_has_a_row_for_each_task():
    def red(clip: Clip) -> Float[np.ndarray, " time"]:
        return np.full(len(clip), 0.9 if clip.instruction == RED else 0.2)

    first = ENCODED["successes"][:3]
    clips = [*first, *(replace(c, instruction=BLUE) for c in first)]
    result = audit(
        Painted(red), clips, ENCODED["failures"], encoder=HalfSize(),
        other_instructions=[RED, BLUE, "wait"], fps=20.0, seed=0,
    )  # fmt: skip
    found = confusion(result.evidence, [clip.instruction for clip in clips])
    assert found.asked == (RED, BLUE, "wait")
    np.testing.assert_allclose(found.progress, [[0.9, 0.2, 0.2], [0.9, 0.2, 0.2]], atol=1e-6)


def consequence(name: str, side: str, threshold: float) -> str:
    """What a gate does where the estimate misses it, and where the whole interval does."""
    sign = -1.0 if side == ">=" else 1.0
    rejects = []
    for miss, half in ((0.01, 0.02), (0.1, 0.05)):
        mean = threshold + sign * miss
        value = Interval(mean=mean, low=mean - half, high=mean + half, n=9)
        (outcome,) = [each for each in Gates().judge({name: value}) if each.name == name]
        rejects.append(not outcome.passed)
    words = {(True, True): "rejects", (False, True): "warns; rejects if shown",
             (False, False): "warns"}  # fmt: skip
    return words[rejects[0], rejects[1]]


def test_the_documentation_says_of_every_gate_what_it_does() -> None:
    text = (Path(__file__).parents[1] / "docs/audit.md").read_text()
    table = text.partition("| gate | needed | if missed |")[2].partition("\n\n")[0]
    said = {}
    for line in table.splitlines()[2:]:
        _, gate, _, effect, _ = (cell.strip() for cell in line.split("|"))
        said[gate.partition(" (")[0]] = effect
    expected = {
        TITLES[name]: consequence(name, side, threshold)
        for name, (side, threshold) in Gates()._thresholds().items()
    }
    assert said == expected
