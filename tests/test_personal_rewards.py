"""Rewards learnt from people's comparisons: careless raters, opposite tastes."""

import numpy as np
import pytest
import torch

from embodied.errors import BadConfig, BadInput
from embodied.reward_models.comparisons import Comparisons, bradley_terry, surprise
from embodied.reward_models.pal import Pal
from embodied.reward_models.preference_reward import PreferenceReward
from embodied.reward_models.vpl import Vpl
from embodied.testing.clip_embeddings import embed_clips
from embodied.testing.ways import CAMERA
from embodied.types import Clip

CLIPS, SIZE = 80, 6


def clips_at_random(seed: int = 0) -> torch.Tensor:
    return torch.randn(CLIPS, SIZE, generator=torch.Generator().manual_seed(seed))


def answers_of(
    taste: torch.Tensor, rater: int, count: int, seed: int, mistake: float = 0.0
) -> Comparisons:
    """What somebody says who prefers more of the taste, but for mistakes."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.randint(CLIPS, (count,), generator=draw)
    second = (first + torch.randint(1, CLIPS, (count,), generator=draw)) % CLIPS
    better = taste[first] > taste[second]
    better ^= torch.rand(count, generator=draw) < mistake
    return Comparisons(
        first=first, second=second, target=better.float(), rater=torch.full((count,), rater)
    )


def joined(*each: Comparisons) -> Comparisons:
    names = ("first", "second", "target", "rater")
    return Comparisons(**{n: torch.cat([getattr(own, n) for own in each]) for n in names})


def accuracy(reward: torch.Tensor, answers: Comparisons) -> float:
    said = reward[answers.first] > reward[answers.second]
    return float((said == answers.target.bool()).float().mean())


def test_without_mistakes_the_loss_is_bradley_terrys() -> None:
    loss = bradley_terry(torch.zeros(3), torch.tensor([0.0, 0.5, 1.0]), 0.0)
    torch.testing.assert_close(loss, torch.full((3,), 0.5).log().neg())
    certain = bradley_terry(torch.tensor([50.0]), torch.tensor([0.0]), 0.1)
    assert float(certain) == pytest.approx(-torch.log(torch.tensor(0.05)).item(), rel=1e-3)


def test_the_prior_is_a_standard_normal_but_for_a_constant() -> None:
    weights = [torch.tensor([1.0, -2.0]), torch.tensor([[0.5]])]
    normal = torch.distributions.Normal(0.0, 1.0)
    logarithm = sum(
        normal.log_prob(own).sum() - normal.log_prob(0.0 * own).sum() for own in weights
    )
    torch.testing.assert_close(surprise(weights), -logarithm)


def test_the_prior_keeps_mistakes_from_being_learnt_by_heart() -> None:
    clips = torch.randn(CLIPS, 40, generator=torch.Generator().manual_seed(0))
    clips[:, 1:] *= 0.4
    told, unseen = answers_of(clips[:, 0], 0, 120, 1, 0.1), answers_of(clips[:, 0], 0, 400, 2)
    found = []
    for prior in (0.0, 1.0):
        model = PreferenceReward(40, members=1)
        model.fit(clips, told, prior=prior)
        found.append(accuracy(model(clips)[0].detach(), unseen))
    assert found[1] > found[0] + 0.05


def test_an_embedding_tells_worst_moments_and_keeps_its_proportions() -> None:
    rng = np.random.default_rng(0)
    maps = 0.01 * rng.normal(size=(12, 6, 2, 3, 3))
    maps[::2, 3] += 1.0  # one moment stands out; in the others it is evened out
    maps[::2] -= maps[::2].mean(1, keepdims=True)
    clips = [Clip(frames={}, features={CAMERA: own}, instruction="") for own in maps]
    embedded = embed_clips(clips, clips)
    assert embedded.shape == (12, 11)
    spread = embedded.std(0, correction=0)
    assert spread[0] == pytest.approx(1.0, rel=1e-4)
    assert spread[1:].max() < 0.1
    assert embedded[::2, 0].min() > embedded[1::2, 0].max() or (
        embedded[::2, 0].max() < embedded[1::2, 0].min()
    )


def test_a_careless_rater_is_found_out_and_counts_less() -> None:
    clips = clips_at_random()
    careful, careless = (
        answers_of(clips[:, 0], rater, 150, rater, mistake)
        for rater, mistake in ((0, 0.0), (1, 0.5))
    )
    model = PreferenceReward(SIZE, raters=2, members=2)
    model.fit(clips, joined(careful, careless))
    assert model.rationality[0] > 3.0 * model.rationality[1]
    unseen = answers_of(clips[:, 0], 0, 200, 9)
    assert accuracy(model(clips).mean(0), unseen) > 0.85


def test_members_disagree_more_about_what_is_far_from_the_answers() -> None:
    clips = clips_at_random()
    model = PreferenceReward(SIZE, members=5)
    model.fit(clips, answers_of(clips[:, 0], 0, 60, 0))
    pairs = answers_of(clips[:, 0], 0, 100, 1)
    near = model.probability(clips, pairs).std(0).mean()
    strange = clips.clone()
    strange[:, 1:] *= 6.0
    assert model.probability(strange, pairs).std(0).mean() > 1.5 * near


def people(clips: torch.Tensor) -> Comparisons:
    """Six people, of whom every second one likes the opposite."""
    return joined(*(answers_of((-1.0) ** u * clips[:, 0], u, 40, u, 0.1) for u in range(6)))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_opposite_tastes_are_told_apart_after_ten_answers(sign: float) -> None:
    clips = clips_at_random()
    known = people(clips)
    few = answers_of(sign * clips[:, 0], 0, 10, 77)
    unseen = answers_of(sign * clips[:, 0], 0, 200, 78)
    pal = Pal(SIZE, raters=6)
    pal.fit(clips, known)
    before = {name: value.clone() for name, value in pal.state_dict().items()}
    taste = pal.adapt(clips, few)
    assert accuracy(pal(clips, taste[None])[0].detach(), unseen) >= 0.85
    assert all(torch.equal(value, before[name]) for name, value in pal.state_dict().items())
    vpl = Vpl(SIZE)
    vpl.fit(clips, known)
    with torch.no_grad():
        mean, _ = vpl.infer(clips, few)
        assert accuracy(vpl(clips, mean), unseen) >= 0.85


def test_pal_learns_from_few_people_and_answers() -> None:
    """Without the linear layer its prior holds all products of weights at 0, which is chance."""
    clips = clips_at_random()
    pal = Pal(SIZE, raters=4)
    pal.fit(clips, joined(*(answers_of((-1.0) ** u * clips[:, 0], u, 20, u) for u in range(4))))
    taste = pal.adapt(clips, answers_of(clips[:, 0], 0, 10, 77))
    unseen = answers_of(clips[:, 0], 0, 200, 78)
    assert accuracy(pal(clips, taste[None])[0].detach(), unseen) >= 0.85


def test_without_leaning_answers_a_new_person_stays_between_the_tastes() -> None:
    """Ties tell nothing, so that the taste is what it was expected to be before."""
    clips = clips_at_random()
    pal = Pal(SIZE, raters=6)
    pal.fit(clips, people(clips))
    near = answers_of(clips[:, 0], 0, 10, 77)
    tied = Comparisons(first=near.first, second=near.first, target=near.target, rater=near.rater)
    known = pal.taste.softmax(1).mean(0)
    torch.testing.assert_close(
        pal.adapt(clips, tied).exp(), (known + 1 / 3).detach() / 2, atol=0.02, rtol=0.0
    )


def test_one_reward_for_opposite_tastes_is_chance() -> None:
    clips = clips_at_random()
    model = PreferenceReward(SIZE, raters=6, members=1)
    model.fit(clips, people(clips))
    found = [
        accuracy(model(clips)[0].detach(), answers_of(sign * clips[:, 0], 0, 200, 78))
        for sign in (1.0, -1.0)
    ]
    assert sum(found) / 2 == pytest.approx(0.5, abs=0.02)


def test_the_latent_does_not_depend_on_sides_or_order() -> None:
    clips = clips_at_random()
    answers = answers_of(clips[:, 0], 0, 12, 0)
    turned = Comparisons(
        first=answers.second.flip(0),
        second=answers.first.flip(0),
        target=1.0 - answers.target.flip(0),
        rater=answers.rater,
    )
    vpl = Vpl(SIZE)
    torch.testing.assert_close(vpl.infer(clips, answers), vpl.infer(clips, turned))


def test_vpl_refuses_a_context_of_several_people_and_too_few_answers() -> None:
    clips = clips_at_random()
    with pytest.raises(BadInput, match="one person"):
        Vpl(SIZE).infer(clips, people(clips))
    with pytest.raises(BadInput, match="5 answers"):
        Vpl(SIZE).fit(clips, answers_of(clips[:, 0], 0, 4, 0))


def test_what_cannot_be_learnt_from_is_refused() -> None:
    clips = clips_at_random()
    one = torch.zeros(1, dtype=torch.long)
    with pytest.raises(BadInput, match=r"lie in \[0, 1\]"):
        Comparisons(first=one, second=one + 1, target=torch.tensor([2.0]), rater=one)
    beyond = Comparisons(first=one, second=one + CLIPS, target=torch.ones(1), rater=one)
    with pytest.raises(BadInput, match=f"clip {CLIPS}"):
        PreferenceReward(SIZE).fit(clips, beyond)
    stranger = Comparisons(first=one, second=one + 1, target=torch.ones(1), rater=one + 3)
    with pytest.raises(BadInput, match="rater 3"):
        Pal(SIZE, raters=2).fit(clips, stranger)
    with pytest.raises(BadConfig, match="two prototypes"):
        Pal(SIZE, raters=2, prototypes=1)
