"""Moments of an expert's episode, and sentences that are true of them."""

import numpy as np
import pytest

from embodied.envs.metaworld import MetaWorld
from embodied.envs.scenes import SHARES, expert_scenes, paraphrase, sentences


@pytest.fixture(scope="module")
def scenes():
    env = MetaWorld("drawer-open-v3", image_size=32)
    found = expert_scenes(env, [0, 1], "front")
    env.close()
    return found


def test_an_episode_goes_from_not_begun_to_done(scenes):
    assert len(scenes) == 2 * len(SHARES)
    for episode in (0, 1):
        stages = [scene.stage for scene in scenes if scene.episode == episode]
        assert stages[0] == "todo"
        assert stages[-1] == "done"
        assert stages == sorted(stages, key=["todo", "doing", "done"].index)


def test_what_is_said_of_hand_and_object_follows_the_simulator(scenes):
    first, last = scenes[0], scenes[len(SHARES) - 1]
    assert "hand:away" in first.keys
    assert {"moved:unmoved"} <= first.keys
    assert {"moved:moved"} <= last.keys


def test_each_scene_has_one_sentence_for_each_of_its_keys(scenes):
    for scene in scenes:
        said = sentences(scene, np.random.default_rng(0))
        assert {sentence.key for sentence in said} == scene.keys
        assert not any("{" in sentence.text for sentence in said)


def test_wording_varies_and_keeps_what_has_no_synonym(scenes):
    rng = np.random.default_rng(0)
    worded = {paraphrase("done: {do}", scenes[0], rng) for _ in range(20)}
    assert all("drawer" in text for text in worded)
    said = {text.text for _ in range(20) for text in sentences(scenes[0], rng)}
    assert len(said) > 6
