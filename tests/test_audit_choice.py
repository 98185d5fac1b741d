"""A reward that could be set otherwise: the audit says which setting is nearest to the outcomes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.audit import audit
from embodied.audit_choice import judge_settings
from embodied.audit_gates import Gates
from embodied.card import render
from embodied.reward_models.base import RewardModel, Scores
from embodied.testing.rewards import HueEncoder
from embodied.types import Clip

SIDE = 32


class Brightness(RewardModel):
    """Progress is brightness; it could as well listen to noise, or to darkness."""

    causal = True
    cameras = ("front",)

    def __init__(self, chosen: str = "light") -> None:
        super().__init__()
        self.chosen = chosen

    def signals(self, clips):
        light = [clip.frames["front"].mean((1, 2, 3)) / 255 for clip in clips]
        noise = [np.sin(1e4 * signal) for signal in light]
        return {"noise": noise, "dark": [-signal for signal in light], "light": light}

    def score(self, clips):
        nothing = [np.zeros(len(clip), np.float32) for clip in clips]
        return [
            Scores(
                reward=zero,
                progress=signal.astype(np.float32),
                done=zero,
                uncertainty=zero,
                success=False,
                done_index=len(zero),
            )
            for signal, zero in zip(self.signals(clips)["light"], nothing, strict=True)
        ]


def clips(end, count, seed):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        light = np.linspace(20, end + rng.normal(0, 5), 10).astype(np.uint8)
        frames = np.tile(light[:, None, None, None], (1, SIDE, SIDE, 3))
        found.append(Clip(frames={"front": frames}, features={}, instruction="light the room"))
    return found


GOOD, BAD = clips(220, 6, 0), clips(80, 6, 1)


def test_settings_are_listed_nearest_first_with_the_one_in_use():
    choice = judge_settings(Brightness(), GOOD, BAD, seed=0)
    assert list(choice.distances) == ["light", "noise", "dark"]
    assert choice.chosen == "light"
    assert choice.note is None
    assert choice.distances["light"].mean < 0.2
    assert choice.distances["dark"].mean > 0.9
    assert json.loads(json.dumps(choice.to_dict()))["chosen"] == "light"


def test_a_setting_that_is_clearly_nearer_is_pointed_out():
    choice = judge_settings(Brightness("dark"), GOOD, BAD, seed=0)
    assert "another setting is nearer" in choice.note
    assert choice.note.endswith("light.")


def test_a_reward_without_settings_has_no_choice():
    class Blind(RewardModel):
        causal, cameras = True, ()

        def score(self, clips):
            return []

    assert judge_settings(Blind(), GOOD, BAD, seed=0) is None


@pytest.fixture(scope="module")
def result():
    return audit(
        Brightness("dark"), GOOD, BAD, encoder=HueEncoder(SIDE),
        other_instructions=[], fps=10.0, seed=0, gates=Gates(),
    )  # fmt: skip


def test_the_audit_tells_the_choice_and_its_card_shows_it(result):
    assert result.to_dict()["choice"]["epic"]["light"]["mean"] < 0.2
    assert any("another setting is nearer" in note for note in result.notes)
    page = render(result)
    assert "Which setting is nearest to the outcomes?" in page
    assert "Which setting" not in render(replace(result, choice=None))


def test_every_reward_is_told_its_epic_distance_and_a_clock_is_far(result):
    assert result.metrics["epic"].mean < 0.2 < 0.4 < result.baseline["epic"].mean
