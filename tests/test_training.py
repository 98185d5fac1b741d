"""The trainer on a real database: when it learns, what it is judged on, and what it asks next."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from embodied.errors import BadConfig
from embodied.preferences.comparing import compared
from embodied.preferences.database import Database
from embodied.preferences.labels import LabelBook, show
from embodied.preferences.mix import Mix
from embodied.preferences.records import NewClip, NewQuery, Submission
from embodied.preferences.store import PreferenceStore
from embodied.preferences.training import Looked, Trainer, judged
from embodied.reward_models.preference_reward import opinions
from embodied.statistics import wilson

CLIPS = 30
VALUE = np.random.default_rng(0).normal(size=(CLIPS, 3))
"""Of each clip; the first column is what the rater likes."""


class Answered:
    """A database of clips in two groups, a rater who always prefers the better clip, a trainer."""

    def __init__(self, folder: Path) -> None:
        database = Database(f"sqlite:///{folder / 'labels.sqlite'}")
        self.store, self.book = PreferenceStore(database), LabelBook(database)
        self.clips = self.store.add_clips(
            NewClip(
                dataset="d", revision="r", episode=number, episode_id=f"e{number}",
                cameras=("front",), start=0, stop=9, fps=10.0, instruction="push", success=None,
            )
            for number in range(CLIPS)
        )  # fmt: skip
        self.groups = [self.clips[:20], self.clips[20:]]
        self.session = self.store.sign_in("ann")[1]
        self.rng = np.random.default_rng(1)
        self.told: list[str] = []
        self.said = 0

    def trainer(
        self,
        learn: Callable[..., np.ndarray] = opinions,
        every: int = 10,
        kinds: Sequence[str] | None = None,
    ) -> Trainer:
        looked = Looked(clips=self.clips, features=VALUE, groups=self.groups)
        return Trainer(
            self.store, looked, learn, every=every, mix=Mix(), seed=0, tell=self.told.append,
            kinds=kinds,
        )  # fmt: skip

    def answer(
        self, count: int, why: str = "random", *, wrongly: bool = False, choice: str = ""
    ) -> None:
        """So many answers about pairs of the first group."""
        for _ in range(count):
            pair = [int(clip) for clip in self.rng.choice(self.groups[0], 2, replace=False)]
            (query,) = self.store.add_queries(
                [NewQuery(clip_ids=pair, acquisition=why, reason="r")]
            )
            with self.store.database.writing() as connection:
                showing = show(connection, query, self.session.rater_id, [0, 1], 0.0)
            first, second = (VALUE[self.clips.index(clip), 0] for clip in pair)
            said = choice or ("left" if (first > second) != wrongly else "right")
            self.said += 1
            self.book.answer(
                self.session,
                Submission(uuid=f"answer-{self.said}", showing_id=showing, choice=said),
            )

    def queued(self) -> list[tuple[frozenset[int], str, int]]:
        with self.store.database.reading() as connection:
            rows = connection.exec_driver_sql(
                "SELECT clip_ids, acquisition, reward_version FROM query "
                "WHERE created_by = 'trainer'"
            ).all()
        return [(frozenset(map(int, c.strip("[]").split(","))), why, n) for c, why, n in rows]


@pytest.fixture
def answered(tmp_path: Path) -> Iterator[Answered]:
    found = Answered(tmp_path)
    yield found
    found.store.database.close()


def test_kinds_of_raters_can_be_left_out(answered: Answered) -> None:
    answered.answer(5)
    answered.session = answered.store.sign_in("take-over", "scripted")[1]
    answered.answer(5)
    assert answered.trainer(kinds=["human"]).look() is None
    assert answered.told[-1] == "5 answers; the next version comes with 10."
    assert answered.trainer(kinds=["scripted"], every=5).look() == 1
    assert answered.told[-2] == "Learns from 5 answers."


def test_a_version_comes_after_so_many_answers_and_asks_what_nobody_was_asked(
    answered: Answered,
) -> None:
    trainer = answered.trainer()
    answered.answer(9)
    assert trainer.look() is None
    assert answered.told[-1] == "9 answers; the next version comes with 10."
    answered.answer(1)
    labels, shown = answered.store.labels(), answered.store.shown_pairs()
    assert (trainer.look(), trainer.look()) == (1, None)
    assert answered.store.labels() == labels
    queued = answered.queued()
    assert [why for _, why, _ in queued].count("disagreement") == 10
    assert [why for _, why, _ in queued].count("information") == 20
    pairs = {pair for pair, _, _ in queued}
    assert len(pairs) == 30
    assert not pairs & shown
    assert all(any(pair <= {*group} for group in answered.groups) for pair in pairs)
    assert {version for _, _, version in queued} == {1}
    points = answered.store.clip_scores()
    assert [row["clip_id"] for row in points] == answered.clips
    assert all(row["uncertainty"] > 0 for row in points)
    np.testing.assert_allclose([[row["x"], row["y"]] for row in points], VALUE[:, :2])


def test_versions_get_better_and_are_judged_on_the_same_answers_as_the_one_before(
    answered: Answered,
) -> None:
    trainer = answered.trainer()
    answered.answer(12, "uniform")
    for _ in range(5):
        answered.answer(10)
        trainer.look()
    versions = answered.store.reward_versions()
    assert [version["version"] for version in versions] == [1, 2, 3, 4, 5]
    assert versions[0]["accuracy_before"] is None
    for before, after in pairwise(versions):
        assert after["accuracy_before"] == before["accuracy"]  # the test has not grown
    last = versions[-1]
    share = wilson(round(last["accuracy"] * 12), 12)
    assert (last["low"], last["high"]) == pytest.approx((share.low, share.high), abs=1e-9)
    assert last["pairs"] == 12
    value = np.array([row["value"] for row in answered.store.clip_scores()])
    first, second = np.triu_indices(20, 1)  # of the group that was asked about
    ranked = (value[first] > value[second]) == (VALUE[first, 0] > VALUE[second, 0])
    assert wilson(int(ranked.sum()), len(ranked)).low > 0.75


def test_nothing_is_learnt_from_the_answers_that_test(tmp_path: Path) -> None:
    found = []
    for wrongly in (False, True):
        (tmp_path / str(wrongly)).mkdir()
        answered = Answered(tmp_path / str(wrongly))
        answered.answer(10, "uniform", wrongly=wrongly)
        answered.answer(20)
        answered.trainer().look()
        (version,) = answered.store.reward_versions()
        found.append((version["accuracy"], [r["value"] for r in answered.store.clip_scores()]))
    (right, values), (wrong, same) = found
    assert values == same
    assert right + wrong == pytest.approx(1.0)


def test_a_pair_that_several_people_answered_tests_once(answered: Answered) -> None:
    answered.answer(6, "uniform")
    answered.answer(4, "uniform", wrongly=True)
    rows = answered.store.labels()
    again = [{**row, "id": row["id"] + 10 * k, "rater": f"other {k}"}
             for k in (1, 2, 3) for row in rows]  # fmt: skip
    alone, together = (
        judged(VALUE[:, 0], compared(labels).among(answered.clips))
        for labels in (rows, rows + again)
    )
    assert (alone["accuracy"], alone["pairs"]) == (pytest.approx(0.6), 10)
    assert together == pytest.approx(alone)
    assert (alone["low"], alone["high"]) == pytest.approx((0.3127, 0.8318), abs=1e-4)  # Wilson 1927


def test_a_trainer_that_is_started_again_goes_on_where_the_last_one_was(answered: Answered) -> None:
    answered.answer(2, "uniform", choice="tie")
    answered.answer(10)
    assert answered.trainer().look() == 1
    again = answered.trainer()
    assert again.look() is None
    answered.answer(9)
    assert again.look() is None
    answered.answer(1)
    assert again.look() == 2


def test_answers_that_came_during_a_fit_are_new_to_a_trainer_that_is_started_again(
    answered: Answered,
) -> None:
    def slow(**numbers: np.ndarray) -> np.ndarray:
        answered.answer(10)
        return opinions(**numbers)

    answered.answer(10)
    assert answered.trainer(slow).look() == 1
    assert answered.trainer().look() == 2


def test_a_version_of_other_clips_has_learnt_none_of_these_answers(answered: Answered) -> None:
    answered.answer(10)
    (other,) = answered.store.add_clips(
        [
            NewClip(
                dataset="other", revision="r", episode=0, episode_id="e", cameras=("front",),
                start=0, stop=9, fps=10.0, instruction="push", success=None,
            )
        ]
    )  # fmt: skip
    scores = [{"clip_id": other, "value": 0.0, "uncertainty": 0.0}]
    answered.store.add_reward_version({"labels": 10, "pairs": 0}, scores)
    assert answered.trainer().look() == 2


def test_a_fit_that_fails_is_tried_again_with_more_answers(answered: Answered) -> None:
    trainer = answered.trainer(partial(opinions, members=0))
    answered.answer(10)
    with pytest.raises(BadConfig, match="needs a member"):
        trainer.look()
    assert trainer.look() is None
    trainer.learn = opinions
    answered.answer(9)
    assert trainer.look() is None
    answered.answer(1)
    assert trainer.look() == 1
    assert len(answered.store.labels()) == 20


def test_answers_that_all_test_leave_nothing_to_learn_from(answered: Answered) -> None:
    trainer = answered.trainer()
    answered.answer(12, "uniform")
    assert trainer.look() is None
    assert answered.told[-1].startswith("All 12 answers test the model")
    answered.answer(1)
    assert trainer.look() == 1
