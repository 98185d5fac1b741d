import numpy as np
import pytest
import torch

from embodied.errors import BadConfig, UnknownName
from embodied.reward_models.cycle_consistency import alignment, cycle_loss, nearest
from embodied.reward_models.goal_distance import GoalDistance
from embodied.testing.rewards import HueEncoder
from embodied.testing.square import clip_at, failures, successes

FRAMES = torch.linspace(0, 1, 9)


def videos(*orders):
    """Embeddings whose first coordinate is a place on a long line."""
    lines = [100 * torch.as_tensor(order, dtype=torch.float32) for order in orders]
    return torch.stack([torch.stack([line, torch.zeros(9)], 1) for line in lines])


def test_videos_that_are_aligned_in_time_cost_nothing():
    loss = cycle_loss(videos(FRAMES, FRAMES), torch.stack([FRAMES, FRAMES]))
    assert loss == pytest.approx(0, abs=1e-3)


def test_an_embedding_that_forgets_time_costs_its_variance():
    loss = cycle_loss(videos(0 * FRAMES, 0 * FRAMES), torch.stack([FRAMES, FRAMES]))
    assert float(loss) == pytest.approx(float(FRAMES.var(correction=0)), rel=1e-4)


def test_the_loss_is_that_of_the_paper_computed_term_by_term():
    rng = np.random.default_rng(0)
    embedded, time = rng.normal(size=(3, 4, 2)), np.sort(rng.uniform(size=(3, 4)))

    def softmax(x):
        return np.exp(x - x.max()) / np.exp(x - x.max()).sum()

    errors = []
    for v in range(3):
        for w in (w for w in range(3) if w != v):
            for i in range(4):
                there = softmax(-np.square(embedded[v, i] - embedded[w]).sum(1) / 2 / 0.5)
                back = softmax(-np.square(there @ embedded[w] - embedded[v]).sum(1) / 2 / 0.5)
                errors.append((back @ time[v] - time[v, i]) ** 2)
    found = cycle_loss(torch.from_numpy(embedded), torch.from_numpy(time), temperature=0.5)
    assert float(found) == pytest.approx(np.mean(errors))


def test_aligned_videos_have_perfect_diagnostics_and_reversed_ones_the_opposite():
    line = np.stack([np.arange(6.0), np.zeros(6)], 1)
    assert alignment([line], [line]) == pytest.approx({"kendall_tau": 1, "cycle_consistency": 1})
    assert alignment([line], [line[::-1]])["kendall_tau"] == pytest.approx(-1)
    assert list(nearest(line, line[::2])) == [0, 0, 1, 1, 2, 2]


@pytest.fixture(scope="module")
def reward():
    distance = GoalDistance(HueEncoder(), augmentations=0)
    distance.fit(
        successes(8, 0, row=12), failures(8, 1, row=12), distractor_instructions=[], seed=0,
        steps=60,
    )  # fmt: skip
    return distance


def test_the_nearer_the_goal_the_more_progress(reward):
    still = [clip_at([place] * 4, np.random.default_rng(3), row=12) for place in (0.1, 0.6, 0.95)]
    found = [scores.progress[-1] for scores in reward.score(still)]
    assert found == sorted(found)
    assert found[-1] > found[0] + 0.5


def test_training_aligns_videos_better_than_an_untrained_embedding_does():
    clips = successes(8, 0), failures(4, 1)
    arguments = {"distractor_instructions": [], "seed": 0}
    trained = GoalDistance(HueEncoder(), augmentations=0).fit(*clips, steps=60, **arguments)
    raw = GoalDistance(HueEncoder(), embedding="imagenet").fit(*clips, **arguments)
    assert trained["kendall_tau"] > raw["kendall_tau"]


def test_another_embedding_is_refused_also_from_disk(reward, tmp_path):
    with pytest.raises(UnknownName, match="did you mean imagenet"):
        GoalDistance(HueEncoder(), embedding="imagnet")
    reward.save(tmp_path / "reward.pt")
    with pytest.raises(BadConfig, match="trained with embedding tcc, not with imagenet"):
        GoalDistance(HueEncoder(), embedding="imagenet").load(tmp_path / "reward.pt")
