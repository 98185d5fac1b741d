from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.encoders import SentenceEncoder
from embodied.errors import BadConfig, BadInput, CorruptFile, UnknownName
from embodied.reward_models.base import Compares
from embodied.reward_models.frame_head import Standardiser
from embodied.reward_models.instruction_gate import InstructionGate
from embodied.reward_models.rapl import Rapl, Triplet
from embodied.reward_models.rapl_alignment import (
    Recipe,
    favourites,
    learn_return,
    pairs_of,
    return_head,
)
from embodied.statistics import auroc, voc
from embodied.testing.rewards import HueEncoder, assert_same, check_reward_model
from embodied.types import Clip

PUSH = "push the square to the right"


def clip_along(columns, rows, rng):
    """A red square of 8 pixels at places in [0, 1] of a noisy picture of 32, and a still blue one.

    Where the blue one is means nothing, but it makes two pictures look alike, or not.
    """
    frames = rng.integers(60, 90, (len(columns), 32, 32, 3), dtype=np.uint8)
    away = rng.integers(0, 16)
    frames[:, away : away + 16, 12:28] = (40, 40, 230)
    for frame, column, row in zip(frames, columns, rows, strict=True):
        left, top = (round(24 * float(np.clip(place, 0, 1))) for place in (column, row))
        frame[top : top + 8, left : left + 8] = (230, 40, 40)
    return Clip(frames={"front": frames}, features={}, instruction=PUSH)


def detour(rng):
    """A success that goes to the right by a way of its own; how much it keeps to the top."""
    height = rng.uniform(-0.5, 0.5)
    way = np.linspace(0, 1, rng.integers(12, 18))
    rows = 0.5 - height * np.sin(np.pi * way)
    return clip_along(np.append(way, [1, 1]), np.append(rows, [rows[-1]] * 2), rng), height


def success(rng):
    return detour(rng)[0]


def failure(rng):
    way = np.linspace(0, rng.uniform(0.1, 0.6), rng.integers(10, 16))
    return clip_along(way, np.full(len(way), 0.5), rng)


def ranked(rng, count=40, clips=24):
    pool = [detour(rng) for _ in range(clips)]
    found = []
    for _ in range(count):
        chosen = sorted(rng.choice(clips, 3, replace=False), key=lambda i: -pool[i][1])
        best, better, worse = (pool[i][0] for i in chosen)
        found.append(Triplet(best=best, better=better, worse=worse))
    return found


def aligned(triplets, **settings):
    reward = Rapl(HueEncoder(), augmentations=0, smoothing=0.05, **settings)
    reward.align(triplets, seed=0, steps=80)
    return reward


@pytest.fixture(scope="module")
def preferences():
    return ranked(np.random.default_rng(0))


@pytest.fixture(scope="module")
def preferring(preferences):
    return aligned(preferences)


@pytest.fixture(scope="module")
def unseen():
    rng = np.random.default_rng(5)
    clips, heights = zip(*(detour(rng) for _ in range(30)), strict=True)
    return list(clips), np.array(heights)


def fitted(steps=60, **settings):
    rng = np.random.default_rng(1)
    reward = Rapl(HueEncoder(), augmentations=0, smoothing=0.05, **settings)
    good, bad = ([make(rng) for _ in range(12)] for make in (success, failure))
    metrics = reward.fit(good, bad, distractor_instructions=["wait"], seed=0, steps=steps)
    return reward, metrics


@pytest.fixture(scope="module")
def trained():
    return fitted()


def correlation(reward, unseen):
    clips, heights = unseen
    return voc(np.array([-match.distance for match in reward.match(clips)]), heights)


def test_it_keeps_the_contract_of_a_reward_model(trained):
    check_reward_model(lambda: trained[0], success(np.random.default_rng(2)))


@pytest.mark.parametrize("settings", [
    {"embedding": "imagenet"}, {"method": "nearest"}, {"method": "soft_dtw"}, {"band": 0.3},
])  # fmt: skip
def test_it_keeps_the_contract_however_it_matches(settings):
    reward, _ = fitted(steps=3, **settings)
    check_reward_model(lambda: reward, success(np.random.default_rng(2)))


def test_aligned_on_preferences_it_orders_unseen_clips_by_the_way_they_go(preferring, unseen):
    assert correlation(preferring, unseen) > 0.8


def test_without_alignment_it_does_not_know_what_is_preferred(preferring, preferences, unseen):
    plain = aligned(preferences, embedding="imagenet")
    assert correlation(plain, unseen) < correlation(preferring, unseen) - 0.1


def test_triplets_ranked_at_random_teach_nothing(preferences, unseen):
    rng = np.random.default_rng(0)
    mixed = []
    for triplet in preferences:
        clips = [triplet.best, triplet.better, triplet.worse]
        best, better, worse = (clips[i] for i in rng.permutation(3))
        mixed.append(Triplet(best=best, better=better, worse=worse))
    assert abs(correlation(aligned(mixed), unseen)) < 0.6


def test_the_reward_head_with_the_same_labels_learns_too(preferences, unseen):
    standardise, head = Standardiser(3, 1), return_head(3, 1, seed=0)
    clips = {id(c): c for t in preferences for c in (t.best, t.better, t.worse)}
    encoder, number = HueEncoder(), {key: place for place, key in enumerate(clips)}
    maps = [[[encoder.encode(clip.frames["front"])]] for clip in clips.values()]
    ranks = [(number[id(t.best)], number[id(t.better)], number[id(t.worse)]) for t in preferences]
    standardise.adapt([copies[0] for copies in maps])
    loss = learn_return(standardise, head, maps, pairs_of(ranks), Recipe(seed=0, steps=60))
    with torch.no_grad():
        said = [float(head(standardise([encoder.encode(c.frames["front"])])).mean())
                for c in unseen[0]]  # fmt: skip
    assert loss < np.log(2)
    assert voc(np.array(said), unseen[1]) > 0.5


def test_a_plan_between_alike_clips_is_nearer_to_the_diagonal(preferring, unseen):
    clips, heights = unseen

    def off_diagonal(match):
        time, other = (np.linspace(0, 1, n) for n in match.plan.shape)
        return float((match.plan.numpy() * np.abs(time[:, None] - other)).sum())

    matches = [preferring.match([clips[i]])[0] for i in np.argsort(heights)]
    assert np.mean([*map(off_diagonal, matches[-8:])]) < np.mean([*map(off_diagonal, matches[:8])])


def test_the_reward_of_a_frame_is_what_it_costs_to_match_it(trained):
    reward, _ = trained
    clip = failure(np.random.default_rng(9))
    (match,), (scores,) = reward.match([clip]), reward.score([clip])
    expected = -float(reward.scale) * (match.cost * match.plan).sum(1)[1:]
    np.testing.assert_allclose(scores.reward[1:], expected, atol=1e-6)
    assert match.frame_cost.sum() == pytest.approx(match.distance)


def test_only_clips_that_won_more_than_they_lost_are_favourites():
    assert favourites(pairs_of([(0, 1, 2)]), 4) == [0]
    assert favourites(pairs_of([(0, 1, 2), (3, 4, 5)]), 4) == [0, 3]
    assert favourites(pairs_of([(0, 1, 2), (0, 3, 1), (3, 4, 5)]), 1) == [0]
    assert favourites([(7, 8), (8, 9), (9, 7)], 4) == [7]


def test_the_best_of_several_references_counts(trained):
    reward, _ = trained
    clip = success(np.random.default_rng(11))
    (best,) = reward.match([clip])
    kept, distances = list(reward.matcher.references), []
    for reference in kept:
        reward.matcher.references = [reference]
        distances.append(reward.match([clip])[0].distance)
    reward.matcher.references = kept
    assert len(kept) == 4
    assert best.reference == int(np.argmin(distances))
    assert best.distance == pytest.approx(min(distances))


def test_successes_and_failures_are_told_apart(trained):
    reward, metrics = trained
    rng = np.random.default_rng(3)
    good = reward.score([success(rng) for _ in range(12)])
    bad = reward.score([failure(rng) for _ in range(12)])
    ends = [np.array([s.progress[-1] for s in scores]) for scores in (good, bad)]
    assert auroc(*ends) > 0.95
    assert sum(s.success for s in bad) == 0
    assert np.mean([s.reward.sum() for s in good]) > np.mean([s.reward.sum() for s in bad])
    assert {"loss", "readout_end"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


def test_it_says_which_of_two_clips_is_preferred(preferring, unseen):
    assert isinstance(preferring, Compares)
    clips, heights = unseen
    order = np.argsort(heights)
    low, high = ([clips[i] for i in chosen] for chosen in (order[:10], order[-10:]))
    assert np.mean(preferring.compare(low, high) > 0.5) > 0.9
    both = preferring.compare(low, high) + preferring.compare(high, low)
    np.testing.assert_allclose(both, 1, atol=1e-6)


def test_a_wrong_instruction_earns_nothing():
    rng = np.random.default_rng(1)
    gate = InstructionGate(Rapl(HueEncoder(), augmentations=0), SentenceEncoder())
    clips = [success(rng) for _ in range(4)]
    gate.fit(clips, [failure(rng)], distractor_instructions=["water the plants"], seed=0, steps=2)
    (scores,) = gate.score([replace(clips[0], instruction="water the plants")])
    assert not scores.success
    assert not scores.progress.any()


def test_it_comes_back_from_disk_the_same(trained, tmp_path):
    reward, _ = trained
    reward.save(tmp_path / "reward.pt")
    copy = Rapl(HueEncoder(), augmentations=0, smoothing=0.05)
    copy.load(tmp_path / "reward.pt")
    clip = success(np.random.default_rng(4))
    assert_same(copy.score([clip])[0], reward.score([clip])[0], "differs after loading")
    assert copy.version == reward.version == 1


@pytest.mark.parametrize(("settings", "message"), [
    ({"embedding": "imagenet"}, "embedding aligned, not with imagenet"),
    ({"cameras": ("wrist",)}, "cameras"),
    ({"encoder": HueEncoder(64)}, "encoder hue-32px-8"),
])  # fmt: skip
def test_a_reward_of_another_build_is_refused(trained, tmp_path, settings, message):
    trained[0].save(tmp_path / "reward.pt")
    other = Rapl(**{"encoder": HueEncoder()} | settings)
    with pytest.raises(BadConfig, match=message):
        other.load(tmp_path / "reward.pt")


def test_a_file_that_is_no_reward_is_refused(tmp_path):
    (tmp_path / "reward.pt").write_bytes(b"nonsense")
    with pytest.raises(CorruptFile, match=r"reward\.pt"):
        Rapl(HueEncoder()).load(tmp_path / "reward.pt")


def test_the_same_seed_trains_the_same_reward_and_leaves_the_global_generator_alone():
    def state():
        reward, _ = fitted(steps=3)
        return torch.cat([value.flatten() for value in reward.matcher.head.parameters()])

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = state()
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, state())


def test_training_reports_how_far_it_is(preferences):
    told = []
    reward = Rapl(HueEncoder(), augmentations=0)
    reward.align(preferences[:4], seed=0, steps=3, progress_callback=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_what_cannot_work_is_refused():
    rng = np.random.default_rng(0)
    reward, clip = Rapl(HueEncoder(), augmentations=0), success(rng)
    with pytest.raises(BadInput, match="got 1 and 1"):
        reward.fit([clip], [clip], distractor_instructions=[], seed=0)
    with pytest.raises(BadInput, match="got 2 and 0"):
        reward.fit([clip, clip], [], distractor_instructions=[], seed=0)
    with pytest.raises(BadInput, match="triplet"):
        reward.align([], seed=0)
    with pytest.raises(BadConfig, match="untrained"):
        reward.score([clip])
    with pytest.raises(UnknownName, match="aligned, imagenet"):
        Rapl(HueEncoder(), embedding="clip")
    with pytest.raises(BadConfig, match="a reference"):
        Rapl(HueEncoder(), references=0)


def test_the_baseline_needs_no_failures():
    rng = np.random.default_rng(0)
    reward = Rapl(HueEncoder(), embedding="imagenet")
    metrics = reward.fit([success(rng) for _ in range(4)], [], distractor_instructions=[], seed=0)
    assert "loss" not in metrics
    assert reward.score([success(rng)])[0].progress[-1] > 0
