"""Labels of a real database as pairs to learn from: what counts, how, and what tests a model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from embodied.preferences.comparing import Compared, compared
from embodied.preferences.database import Database
from embodied.preferences.labels import LabelBook, show
from embodied.preferences.records import NewClip, NewQuery, Session, Submission
from embodied.preferences.store import PreferenceStore
from embodied.reward_models.comparisons import Comparisons
from embodied.reward_models.preference_reward import PreferenceReward


class Book:
    """Four clips in a database, and raters who answer what they are told to."""

    def __init__(self, folder: Path) -> None:
        database = Database(f"sqlite:///{folder / 'labels.sqlite'}")
        self.store, self.labels = PreferenceStore(database), LabelBook(database)
        self.store.add_clips(clip(episode) for episode in range(4))
        self.sessions: dict[str, Session] = {}
        self.said = 0

    def say(
        self,
        choice: str,
        *clips: int,
        rater: str = "ann",
        why: str = "disagreement",
        order: tuple[int, ...] = (0, 1),
        ranking: tuple[int, ...] | None = None,
        strength: str | None = None,
    ) -> int:
        """Ask about clips in an order, and answer by the sides shown; the label's id."""
        if rater not in self.sessions:
            self.sessions[rater] = self.store.sign_in(rater)[1]
        session = self.sessions[rater]
        mode = "rank" if len(clips) > 2 else "pair"
        query = NewQuery(clip_ids=clips, acquisition=why, reason="a test", mode=mode)  # type: ignore[arg-type]
        (number,) = self.store.add_queries([query])
        with self.store.database.writing() as connection:
            showing = show(connection, number, session.rater_id, order, 0.0)
        self.said += 1
        sent = Submission(
            uuid=f"answer-{self.said}", showing_id=showing, choice=choice, ranking=ranking,
            strength=strength,
        )  # fmt: skip
        return self.labels.answer(session, sent)

    def compared(self) -> Compared:
        return compared(self.store.labels())


def clip(episode: int) -> NewClip:
    return NewClip(
        dataset="d", revision="r", episode=episode, episode_id=f"e{episode}", cameras=("front",),
        start=0, stop=10, fps=10.0, instruction="push", success=None,
    )  # fmt: skip


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    found = Book(tmp_path)
    yield found
    found.store.database.close()


def told(found: Compared) -> list[tuple[int, int, float, str]]:
    names = [found.raters[number] for number in found.rater]
    return list(
        zip(found.first.tolist(), found.second.tolist(), found.target.tolist(), names, strict=True)
    )


def test_each_answer_means_what_it_says_and_the_sides_shown_do_not_matter(book: Book) -> None:
    book.say("left", 1, 2)
    book.say("left", 1, 2, order=(1, 0), rater="bob")
    book.say("tie", 3, 4)
    book.say("both_bad", 4, 2)
    book.say("cant_tell", 1, 3)
    book.say("skip", 1, 4)
    found = book.compared()
    assert told(found) == [
        (1, 2, 1.0, "ann"), (1, 2, 0.0, "bob"), (3, 4, 0.5, "ann"), (4, 2, 0.5, "ann"),
    ]  # fmt: skip
    assert found.raters == ("ann", "bob")
    assert found.negatives.tolist() == [2, 4]


def test_a_slight_preference_is_halfway_to_a_tie(book: Book) -> None:
    book.say("left", 1, 2, strength="slight")
    book.say("left", 1, 2, strength="slight", order=(1, 0))
    book.say("right", 1, 2, strength="clear")
    book.say("left", 3, 4)
    book.say("tie", 3, 4, strength="slight")
    assert book.compared().target.tolist() == [0.75, 0.25, 0.0, 1.0, 0.5]


def test_a_clear_preference_outweighs_a_slight_one(book: Book) -> None:
    for first, second in ((1, 2), (4, 3)):
        book.say("left", first, second, strength="clear")
        book.say("right", first, second, strength="slight")
    answers = Comparisons.from_numbers(**book.compared().among([1, 2, 3, 4]).numbers())
    reward = PreferenceReward(4, raters=1, members=1)
    reward.fit(torch.eye(4), answers, prior=0.01)
    ahead = reward(torch.eye(4))[0].diff()[[0, 2]]
    assert ahead[0] < -0.1
    assert ahead[1] > 0.1


def test_a_ranking_is_all_of_its_pairs(book: Book) -> None:
    label = book.say("ranked", 1, 2, 3, order=(2, 0, 1), ranking=(1, 2, 0))
    found = book.compared()
    assert told(found) == [(1, 2, 1.0, "ann"), (1, 3, 1.0, "ann"), (2, 3, 1.0, "ann")]
    assert found.label.tolist() == [label] * 3


def test_what_was_taken_back_counts_no_more(book: Book) -> None:
    book.say("left", 1, 2)
    book.say("both_bad", 3, 4)
    book.labels.undo(book.sessions["ann"], "an-undo-1")
    found = book.compared()
    assert told(found) == [(1, 2, 1.0, "ann")]
    assert found.negatives.tolist() == []


def test_whoever_was_asked_by_chance_tests_and_nobody_learns_from_those_clips(book: Book) -> None:
    book.say("left", 1, 2, why="uniform")
    book.say("right", 2, 1, why="repeat")
    book.say("ranked", 1, 2, 3, order=(0, 1, 2), ranking=(0, 1, 2), why="picked")
    book.say("left", 3, 4)
    found = book.compared()
    assert found.held_out.tolist() == [True, False, False, False, False, False]
    assert told(found.take(found.learnt)) == [
        (1, 3, 1.0, "ann"), (2, 3, 1.0, "ann"), (3, 4, 1.0, "ann"),
    ]  # fmt: skip


def test_answers_are_numbered_by_the_clips_at_hand_and_become_comparisons(book: Book) -> None:
    book.say("left", 2, 4)
    book.say("both_bad", 1, 4)
    book.say("right", 3, 2, rater="bob")
    found = book.compared().among([4, 3, 2])
    assert told(found) == [(2, 0, 1.0, "ann"), (1, 2, 0.0, "bob")]
    assert found.negatives.tolist() == [0]
    answers = Comparisons.from_numbers(**found.numbers())
    answers.check(clips=3, raters=2)
    assert answers.first.tolist() == [2, 1]
    assert answers.of(1).target.tolist() == [0.0]


def test_a_database_without_labels_compares_nothing(book: Book) -> None:
    found = book.compared()
    assert len(found) == 0
    assert len(found.among([1, 2]).take(found.learnt)) == 0
    np.testing.assert_array_equal(found.held_out, np.zeros(0, bool))
