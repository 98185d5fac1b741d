"""Coloured squares, and sentences about them: what was aligned fits sentences that are new."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from embodied.encoders import EfficientNetLite, SentenceEncoder
from embodied.errors import BadConfig, BadInput, CorruptFile
from embodied.reward_models.towers import Towers
from embodied.reward_models.towers_aligned import (
    SHIPPED,
    AlignedTowers,
    Lessons,
    align,
    write_heads,
)
from embodied.reward_models.vlm_rm import TextImageReward
from embodied.testing.rewards import HueEncoder, check_reward_model
from embodied.types import Clip

COLOURS = {
    "red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 220), "white": (230, 230, 230),
    "black": (10, 10, 10),
}  # fmt: skip
SIDES = ("left", "right")
FORMS = ("a {colour} square on the {side}", "on the {side} there is a square that is {colour}",
         "{side}: {colour}")  # fmt: skip


class Words:
    """A `TextEncoder`: the mean of the words' random vectors, so that old words are known anew."""

    size, fingerprint = 32, "words"

    def encode(self, text):
        words = text.replace(":", "").split()
        seeds = [sum(ord(c) * 31**i for i, c in enumerate(word)) % 2**32 for word in words]
        vectors = [np.random.default_rng(seed).normal(size=self.size) for seed in seeds]
        mean = np.mean(vectors, axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)


def picture(colour, side, rng):
    frame = rng.integers(80, 120, (32, 32, 3), dtype=np.uint8)
    row, column = rng.integers(2, 20), (2 if side == "left" else 20) + rng.integers(-1, 2)
    frame[row : row + 10, column : column + 10] = COLOURS[colour]
    return frame


KINDS = [(colour, side) for colour in COLOURS for side in SIDES]


def lessons(kinds, forms, rng, shuffle=False):
    scenes = [kind for kind in kinds for _ in range(12)]
    frames = np.stack([picture(*kind, rng) for kind in scenes])
    texts = [(kind, form.format(colour=kind[0], side=kind[1])) for kind in kinds for form in forms]
    about = [kinds[i] for i in rng.permutation(len(kinds))] if shuffle else list(kinds)
    told = dict(zip(kinds, about, strict=True))
    return Lessons(
        maps=HueEncoder(32).encode(frames),
        group=np.array([kinds.index(kind) for kind in scenes]),
        texts=np.stack([Words().encode(text) for _, text in texts]),
        true=np.array([[told[scene] == kind for kind, _ in texts] for scene in scenes]),
    )


def trained(tmp_path, *, shuffle=False, seed=0):
    rng = np.random.default_rng(seed)
    heads = align(lessons(KINDS, FORMS[:2], rng, shuffle), seed=seed, steps=150)
    write_heads(tmp_path / "heads.pt", heads, HueEncoder(32), Words())
    return AlignedTowers(HueEncoder(32), Words(), tmp_path / "heads.pt")


def agreement(towers, form):
    """Mean cosine of new pictures of each kind (rows) with a sentence about each kind (columns)."""
    rng = np.random.default_rng(99)
    rows = []
    for kind in KINDS:
        frames = np.stack([picture(*kind, rng) for _ in range(8)])
        clip = Clip(frames={"front": frames}, features={}, instruction="-")
        texts = [towers.read(form.format(colour=c, side=s)) for c, s in KINDS]
        rows.append((towers.look(clip, "front") @ np.stack(texts, 1)).mean(0))
    return np.stack(rows)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    frames = np.stack([picture("red", "left", rng) for _ in range(6)])
    return Clip(frames={"front": frames}, features={}, instruction="a red square on the left")


def test_a_reward_on_them_keeps_the_contract(towers, clip):
    assert isinstance(towers, Towers)
    baselines = ("a blue square on the right",)
    check_reward_model(lambda: TextImageReward(towers, baselines=baselines), clip)
    maps = HueEncoder(32).encode(clip.frames["front"])
    seen = replace(clip, frames={}, features={"front": maps})
    check_reward_model(lambda: TextImageReward(towers, baselines=baselines), seen)


def test_an_unseen_paraphrase_finds_its_pictures(towers):
    found = agreement(towers, FORMS[2])
    assert (found.argmax(0) == np.arange(len(KINDS))).mean() >= 0.8


def test_shuffled_sentences_teach_nothing(tmp_path):
    found = [
        agreement(trained(tmp_path, shuffle=True, seed=seed), FORMS[0]).argmax(0)
        for seed in range(1, 4)
    ]
    assert np.mean([row == np.arange(len(KINDS)) for row in found]) < 0.5


def test_the_same_seed_aligns_the_same_and_leaves_the_global_generator_alone():
    import torch

    def parameters(seed):
        found = align(lessons(KINDS, FORMS, np.random.default_rng(0)), seed=seed, steps=3)
        return torch.cat([value.flatten() for value in found.state_dict().values()])

    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(parameters(3), parameters(3))
    assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(parameters(3), parameters(4))


def test_pictures_are_not_encoded_where_there_are_features(towers, clip):
    maps = HueEncoder(32).encode(clip.frames["front"])
    before = towers.encoder.frames_encoded
    seen = towers.look(replace(clip, features={"front": maps}), "front")
    assert towers.encoder.frames_encoded == before
    np.testing.assert_allclose(seen, towers.look(clip, "front"), atol=1e-5)


def test_features_of_another_encoder_need_the_pictures(towers, clip):
    other = {"front": np.zeros((6, 5, 2, 2), np.float16)}
    seen = towers.look(replace(clip, features=other), "front")
    np.testing.assert_allclose(seen, towers.look(clip, "front"), atol=1e-5)
    with pytest.raises(BadInput, match=r"shape \(5, 2, 2\)"):
        towers.look(replace(clip, features=other, frames={}), "front")


def test_they_travel_to_another_process_by_their_file(towers):
    there = pickle.loads(pickle.dumps(towers))
    assert there.fingerprint == towers.fingerprint
    np.testing.assert_array_equal(there.read("red"), towers.read("red"))


def test_heads_of_other_encoders_or_none_are_refused(towers, tmp_path):
    with pytest.raises(BadConfig, match="trained with encoder hue-32px-8"):
        AlignedTowers(HueEncoder(64), Words(), towers.path)
    (tmp_path / "broken.pt").write_bytes(towers.path.read_bytes()[:-400])
    with pytest.raises(CorruptFile, match=r"broken\.pt"):
        AlignedTowers(HueEncoder(32), Words(), tmp_path / "broken.pt")
    with pytest.raises(BadInput, match="two tasks"):
        align(lessons(KINDS[:1], FORMS, np.random.default_rng(0)), seed=0)


def test_the_heads_that_come_with_the_package_fit_its_encoders():
    towers = AlignedTowers(EfficientNetLite(), SentenceEncoder())
    assert towers.path == SHIPPED
    near = towers.read("open the drawer") @ towers.read("pull the drawer open")
    assert near > towers.read("open the drawer") @ towers.read("kick the ball into the goal")
