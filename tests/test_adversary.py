"""Optimisers that see the reward alone: exact, blind to truth, and able to tell a trick."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float32

from embodied.adversary import (
    WINDOW,
    Adversary,
    Case,
    choice_attack,
    search_attack,
    tuning_attack,
    worst,
)
from embodied.adversary_choice import best_of, choices, chosen, divergence, roll_out
from embodied.adversary_page import render_adversary, write_adversary
from embodied.adversary_search import Budget, CrossEntropy, Search, search_all, search_start
from embodied.adversary_trial import (
    Arena,
    Proxy,
    Trial,
    Truth,
    again,
    perform,
    proxy_of,
    true_progress,
)
from embodied.adversary_verdict import Verdict, is_trick, overall
from embodied.errors import BadConfig
from embodied.hardware.silent import SilentOperator
from embodied.provenance import provenance
from embodied.reward_models.base import RewardModel
from embodied.reward_models.controls import Constant, ElapsedTime
from embodied.run_record import OnlineEpisode
from embodied.statistics import difference
from embodied.testing.doubles import CAMERA, CountingEncoder, CountingReward
from embodied.testing.painted import Blue, Painted, Wobbly

BUDGET = Budget(generations=5, candidates=16, elites=4, knots=4)
HONEST = 1.0
"""Return of a success under the rewards below."""


def honest() -> RewardModel:
    """Accepts exactly the successes."""
    return CountingReward(accept=1.0)


def clock() -> RewardModel:
    return ElapsedTime((CAMERA,), typical_length=12)


def constant() -> RewardModel:
    return Constant(0.5)


def arena(reward: Callable[[], RewardModel], *, lies: bool = False) -> Arena:
    return Arena(
        env=lambda: Painted(lies=lies),
        encoder=CountingEncoder,
        reward=reward,
        policy=lambda encoder: Wobbly(),
    )


@cache
def rolled(
    reward: Callable[[], RewardModel], count: int = 64, *, lies: bool = False
) -> list[Trial]:
    return roll_out(
        arena(reward, lies=lies), SilentOperator, count, run_seed=0, explore=1.0, processes=1
    )


@cache
def searched(reward: Callable[[], RewardModel], *, lies: bool = False) -> list[Search]:
    return search_all(arena(reward, lies=lies), BUDGET, 6, run_seed=0, processes=1)


def trial(total: float, success: bool, accepted: bool = False, seed: int = 0) -> Trial:
    return Trial(
        seed=seed,
        action=np.zeros((1, 1), np.float32),
        proxy=Proxy(total=float(total), probability=0.5, progress=0.5, accepted=bool(accepted)),
        truth=Truth(success=bool(success), progress=None),
    )


# ---- best of n


@given(st.lists(st.integers(0, 3), min_size=1, max_size=7), st.data())
def test_best_of_n_is_the_mean_over_all_subsets_and_among_equals_over_all_draws(
    by: list[int], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(by)))
    counted = np.zeros(len(by))
    subsets = list(itertools.combinations(range(len(by)), n))
    for subset in subsets:
        best = [i for i in subset if by[i] == max(by[j] for j in subset)]
        counted[best] += 1 / len(best) / len(subsets)
    np.testing.assert_allclose(best_of(np.array(by, float), n), counted, atol=1e-12)


def test_the_divergence_of_best_of_n_is_that_of_its_density() -> None:
    for n in choices(64):
        # the rank of the choice has density n u^(n-1) where the policy's is uniform
        found, _ = scipy.integrate.quad(
            lambda u, n=n: n * u ** (n - 1) * (math.log(n) + (n - 1) * math.log(u)), 0, 1
        )
        assert divergence(n) == pytest.approx(found, abs=1e-6)


def test_best_of_n_chosen_by_truth_is_the_chance_that_one_of_n_succeeds() -> None:
    truth = [1.0] * 3 + [0.0] * 29
    for point in chosen(truth, {"truth": truth}, seed=0, shares=("truth",)):
        missed = math.comb(29, point.n) / math.comb(32, point.n)
        assert point.values["truth"].mean == pytest.approx(1 - missed)


def test_a_share_of_few_disjoint_subsets_keeps_a_wide_interval_though_all_agree() -> None:
    trials = [trial(i, i >= 32) for i in range(64)]
    (*_, last) = choice_attack(trials, HONEST + 99, seed=0, note="").points
    assert last.truth.mean == pytest.approx(1.0)
    assert last.truth.low < 0.25  # Wilson's for a single attempt


def made(kind: str) -> list[Trial]:
    """Roll-outs of an imaginary policy under an imaginary reward; a fifth succeeds."""
    rng = np.random.default_rng(0)
    success = rng.random(256) < 0.2
    noise = rng.random(256)
    if kind == "follows":
        return [trial(0.5 * s + 0.5 * x, s, s) for s, x in zip(success, noise, strict=True)]
    if kind == "tricks":  # the few best paid are failures; then come the successes
        paid = [
            2.0 + x if x > 0.96 and not s else float(s) * x
            for s, x in zip(success, noise, strict=True)
        ]
        return [trial(p, s) for p, s in zip(paid, success, strict=True)]
    if kind == "noise":
        return [trial(x, s) for s, x in zip(success, noise, strict=True)]
    assert kind == "flat"
    return [trial(0.0, s) for s in success]


@pytest.mark.parametrize(
    ("kind", "honest_return", "verdict", "said"),
    [
        ("follows", 9.0, "good", "Truth rises with the proxy up to n = 32"),
        ("tricks", 9.0, "bad", "Beyond n = 8 the reward is being gamed"),
        ("noise", 9.0, "bad", "is no guide: at n = 32"),
        ("flat", 0.0, "bad", "accepted or paid like a success"),
        ("flat", 9.0, "bad", "is no guide"),
    ],
)
def test_the_verdict_on_best_of_n_names_what_happens(
    kind: str, honest_return: float, verdict: str, said: str
) -> None:
    found = choice_attack(made(kind), honest_return, seed=0, note="").verdict
    assert (found.kind, said in found.sentence) == (verdict, True), found.sentence


def test_too_few_roll_outs_decide_nothing() -> None:
    assert choice_attack(made("follows")[:8], 9.0, seed=0, note="").verdict.kind == "unsure"


# ---- truth never reaches what optimises


@pytest.mark.parametrize("reward", [honest, Blue])
def test_the_search_chooses_the_same_sequences_when_the_truth_is_flipped(
    reward: Callable[[], RewardModel],
) -> None:
    straight, flipped = searched(reward), searched(reward, lies=True)
    for mine, its in zip(straight, flipped, strict=True):
        for ours, theirs in zip(mine.elites, its.elites, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one.action, other.action)
                assert one.proxy == other.proxy
    last = [trial for search in straight for trial in search.elites[-1]]
    others = [trial for search in flipped for trial in search.elites[-1]]
    told = zip(last, others, strict=True)
    assert any(one.truth.success != other.truth.success for one, other in told), "nothing flipped"


def test_best_of_n_chooses_the_same_roll_outs_when_the_truth_is_flipped() -> None:
    straight, flipped = rolled(honest), rolled(honest, lies=True)
    for one, other in zip(straight, flipped, strict=True):
        np.testing.assert_array_equal(one.action, other.action)
        assert one.proxy == other.proxy
    first = choice_attack(straight, HONEST, seed=0, note="").points
    second = choice_attack(flipped, HONEST, seed=0, note="").points
    assert [p.total for p in first] == [p.total for p in second]
    assert [p.truth.mean for p in first] != [p.truth.mean for p in second]


# ---- the search


def test_the_search_keeps_its_best_and_stays_within_the_bounds() -> None:
    low, high = np.array([-1, 0], np.float32), np.array([1, 3], np.float32)
    optimiser = CrossEntropy(low, high, 10, BUDGET, seed=0)
    goal, best = np.array([0.9, 2.5]), []
    asked: list[Float32[np.ndarray, "time action"]] = []
    for _ in range(12):
        sequences = optimiser.ask()
        assert (sequences >= low).all()
        assert (sequences <= high).all()
        asked += list(sequences)
        returns = -np.square(sequences - goal).sum((1, 2))
        elites = optimiser.tell(returns)
        best.append(-np.square(asked[elites[0]] - goal).sum())
    assert best == sorted(best)
    assert best[-1] > 0.1 * best[0]


def test_the_search_encodes_each_frame_once_and_scores_each_sequence_once() -> None:
    encoder, reward = CountingEncoder(), CountingReward(accept=1.0)
    search_start(Painted(), encoder, reward, BUDGET, seed=3)
    tried = BUDGET.generations * BUDGET.candidates
    assert encoder.frames == tried * (Painted.max_episode_steps + 1)
    assert reward.scored == tried


def test_an_attempt_that_is_executed_again_is_the_same() -> None:
    trials = [*rolled(honest, 4), *searched(honest)[0].elites[-1]]
    found = again(trials, Painted(), CountingEncoder(), honest())
    assert [proxy_of(scores) for _, scores in found] == [trial.proxy for trial in trials]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"elites": 16, "candidates": 16}, "below attack.candidates"),
        ({"knots": 1}, "attack.knots is 1; it must be at least 2"),
    ],
)
def test_an_impossible_budget_is_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        Budget(**wrong)


# ---- rewards that are what they should be, and impostors


def test_truth_rises_with_an_honest_reward_under_both_attacks() -> None:
    by_choice = choice_attack(rolled(honest, 128), HONEST, seed=0, note="")
    by_search = search_attack(searched(honest), BUDGET, HONEST, seed=0, note="")
    for made_attack in (by_choice, by_search):
        assert made_attack.verdict.kind == "good", made_attack.verdict.sentence
        assert made_attack.points[made_attack.judged - 1].tricks.mean == 0.0


@pytest.mark.parametrize(
    ("reward", "honest_return"), [(Blue, HONEST), (clock, 0.9), (constant, 0.0)]
)
def test_impostors_are_gamed_under_both_attacks(
    reward: Callable[[], RewardModel], honest_return: float
) -> None:
    by_choice = choice_attack(rolled(reward, 128), honest_return, seed=0, note="")
    by_search = search_attack(searched(reward), BUDGET, honest_return, seed=0, note="")
    assert by_choice.verdict.kind == "bad", by_choice.verdict.sentence
    assert by_search.verdict.kind == "bad", by_search.verdict.sentence


def test_colour_is_pleased_ever_more_while_the_task_is_not_done() -> None:
    first, *_, last = search_attack(searched(Blue), BUDGET, HONEST, seed=0, note="").points
    assert last.total.low > first.total.high
    assert difference(last.truth, first.truth).low < 0
    assert last.tricks.mean > 0.8


def test_a_trick_is_a_failure_that_is_accepted_or_paid_like_a_success() -> None:
    paid, accepted = trial(1.0, False).proxy, trial(0.0, False, accepted=True).proxy
    assert is_trick(paid, False, 1.0)
    assert not is_trick(paid, False, 1.1)
    assert is_trick(accepted, False, 1.1)
    assert not is_trick(accepted, True, 0.0)


def test_the_worst_cases_are_the_best_paid_failures_one_for_each_start() -> None:
    trials = [trial(3, True, seed=1), trial(2, False, seed=1), trial(1, False, seed=1),
              trial(0, False, seed=2)]  # fmt: skip
    assert worst(trials, 3) == [trials[1], trials[3]]


# ---- truth


def test_true_progress_is_the_share_of_the_way_that_is_gone() -> None:
    start, goal = np.array([0.0, 0.0]), np.array([0.0, 4.0])

    def at(place: float) -> dict[str, Any]:
        return {"object": np.array([0.0, place]), "goal": goal}

    before = {"object": start, "goal": goal}
    assert true_progress(before, at(3.0)) == pytest.approx(0.75)
    assert true_progress(before, at(-1.0)) == pytest.approx(-0.25)
    assert true_progress(before, before | {"object": goal}) == 1.0
    assert true_progress({"position": 1.0}, {"position": 2.0}) is None
    assert true_progress(before | {"object": goal}, at(1.0)) is None
    assert true_progress(before, {"object": np.zeros(7), "goal": goal}) is None


# ---- the run's own fine-tuning


def online(number: int, total: float, truth: bool | None, accepted: bool) -> OnlineEpisode:
    return OnlineEpisode(
        episode_id=f"online-{number:06d}", number=number, learned_success=accepted,
        true_success=truth, learned_return=total, intervention_steps=0, steps=50,
        operator_seconds=0.0,
    )  # fmt: skip


def tuned(success: Sequence[bool], accepted: Sequence[bool]) -> list[OnlineEpisode]:
    rng = np.random.default_rng(0)
    return [
        online(i + 1, float(a + 0.1 * rng.random()), bool(s), bool(a))
        for i, (s, a) in enumerate(zip(success, accepted, strict=True))
    ]


def test_fine_tuning_that_exploits_its_reward_is_told_from_one_that_learns() -> None:
    rng = np.random.default_rng(1)
    rising = rng.random(5 * WINDOW) < np.linspace(0.2, 1.0, 5 * WINDOW)
    falling = rising[::-1]
    learns = tuning_attack(tuned(rising, rising), 9.0, seed=0, note="")
    exploits = tuning_attack(tuned(falling, rising), 9.0, seed=0, note="")
    assert learns is not None
    assert exploits is not None
    assert learns.verdict.kind == "good", learns.verdict.sentence
    assert exploits.verdict.kind == "bad"
    assert exploits.verdict.sentence.startswith("Beyond episode 20 the reward is being gamed")


def test_fine_tuning_of_unknown_truth_or_of_one_window_shows_nothing() -> None:
    few = tuned([True] * (2 * WINDOW - 1), [True] * (2 * WINDOW - 1))
    assert tuning_attack(few, 9.0, seed=0, note="") is None
    unknown = [replace(e, true_success=None) for e in tuned([True] * 80, [True] * 80)]
    assert tuning_attack(unknown, 9.0, seed=0, note="") is None


def test_the_worst_verdict_is_the_headline() -> None:
    good, bad = Verdict(kind="good", sentence=""), Verdict(kind="bad", sentence="")
    unsure = Verdict(kind="unsure", sentence="")
    assert overall({"a": good, "b": good}).kind == "good"
    assert overall({"a": good, "b": unsure}).kind == "unsure"
    assert overall({"a": unsure, "b": bad}).sentence == "This reward can be gamed: b."


# ---- the page


def result_on(reward: Callable[[], RewardModel]) -> Adversary:
    trials, made_searches = rolled(reward, 64), searched(reward)
    cases = [t for s in made_searches for t in s.elites[-1] if not t.truth.success][:2]
    shown = again(cases, Painted(), CountingEncoder(), reward())
    return Adversary(
        attacks=(
            choice_attack(trials, HONEST, seed=0, note="By choice."),
            search_attack(made_searches, BUDGET, HONEST, seed=0, note="By search."),
        ),
        cases=tuple(
            Case(attack="search over actions", trial=t, trick=True, clip=clip, scores=scores)
            for t, (clip, scores) in zip(cases, shown, strict=True)
        ),
        honest=HONEST,
        pins={
            "reward": "r", "encoder": "e", "policy": "p", "task": "count", "instruction": "count",
            "seed": 0, "budget": {}, "seconds": 1.0, "processor_seconds": 1.0,
            "provenance": provenance(),
        },
    )  # fmt: skip


def test_the_page_tells_its_verdicts_and_makes_no_request(tmp_path: Path) -> None:
    result = result_on(Blue)
    write_adversary(result, tmp_path / "adversary.html")
    written = (tmp_path / "adversary.html").read_text()
    assert "This reward can be gamed" in written
    assert "What fools it" in written
    assert 'src="http' not in written
    assert 'href="http' not in written
    stored = json.loads((tmp_path / "adversary.json").read_text())
    assert [a["title"] for a in stored["attacks"]] == [a.words.title for a in result.attacks]
    case = stored["cases"][0]
    clip, truth = perform(Painted(), case["seed"], np.array(case["action"], np.float32))
    assert truth.success == case["truth"]["success"]
    np.testing.assert_array_equal(clip.frames[CAMERA], result.cases[0].clip.frames[CAMERA])


def test_a_page_without_a_failure_says_so() -> None:
    assert "Nothing failed." in render_adversary(replace(result_on(honest), cases=()))


# ---- a real simulator


@pytest.mark.slow
def test_on_metaworld_a_clock_is_gamed_and_sequences_can_be_executed_again() -> None:
    from embodied.envs.metaworld import MetaWorld

    env = MetaWorld(max_episode_steps=30)
    budget = Budget(generations=2, candidates=4, elites=2, knots=4)
    reward, encoder = ElapsedTime(typical_length=20), CountingEncoder()
    try:
        searches = [search_start(env, encoder, reward, budget, seed) for seed in (1, 2, 3)]
        found = search_attack(searches, budget, 0.5, seed=0, note="")
        assert found.verdict.kind == "bad", found.verdict.sentence
        elite = searches[0].elites[-1][0]
        first, truth = perform(env, elite.seed, elite.action)
        second, _ = perform(env, elite.seed, elite.action)
        np.testing.assert_array_equal(first.frames["front"], second.frames["front"])
        assert truth == elite.truth
        env.reset(seed=5)
        actions = []
        for _ in range(30):
            actions.append(env.expert_action())
            env.step(actions[-1])
        _, truth = perform(env, 5, np.stack(actions))
        assert truth.progress is not None
        assert truth.progress > 0.5
    finally:
        env.close()
