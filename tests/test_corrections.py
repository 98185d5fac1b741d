from dataclasses import replace

import numpy as np

from embodied.corrections import helpful_steps
from embodied.testing.episodes import random_labelled_episode
from embodied.types import Actor, LabelledEpisode


def attempt(progress: list[float], human: list[int], done_index: int = 99) -> LabelledEpisode:
    """Ten steps, in two interventions of which a person acts where ``human`` says so."""
    episode = random_labelled_episode(np.random.default_rng(0), steps=10)
    actor = np.full(10, Actor.POLICY, np.uint8)
    actor[human] = Actor.HUMAN
    intervention = np.full(10, -1)
    intervention[human] = [0 if step < 5 else 1 for step in human]
    labels = replace(
        episode.labels,
        progress=np.array(progress, np.float32),
        done_index=done_index,
    )
    return replace(episode, actor=actor, intervention_id=intervention, labels=labels)


def test_only_interventions_that_raise_the_progress_are_worth_imitating() -> None:
    falls_then_rises = [0.5, 0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.4, 0.5, 0.6, 0.6]
    helpful = helpful_steps(attempt(falls_then_rises, human=[1, 2, 6, 7, 8]))
    assert np.flatnonzero(helpful).tolist() == [6, 7, 8]


def test_an_intervention_that_completes_the_task_counts_at_full_progress() -> None:
    level = [1.0] * 11
    assert not helpful_steps(attempt(level, human=[6, 7])).any()
    helpful = helpful_steps(attempt(level, human=[6, 7], done_index=8))
    assert np.flatnonzero(helpful).tolist() == [6, 7]


def test_what_the_policy_did_is_never_a_correction() -> None:
    assert not helpful_steps(attempt(np.linspace(0, 1, 11).tolist(), human=[])).any()
