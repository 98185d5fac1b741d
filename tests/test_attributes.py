"""Attributes learnt from comparisons, and what a direction makes of them: safety comes first."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from embodied.errors import BadInput, UnknownName
from embodied.preferences.attributes import (
    FEWEST,
    AttributeVector,
    beaten,
    learn_attributes,
    sliders_view,
)
from embodied.preferences.comparing import by_attribute, compared
from embodied.preferences.database import Database
from embodied.preferences.labels import LabelBook, show
from embodied.preferences.mix import Mix
from embodied.preferences.records import Direction, NewClip, NewQuery, Submission
from embodied.preferences.store import PreferenceStore
from embodied.preferences.training import Looked, Trainer
from embodied.reward_models.preference_reward import opinions

CLIPS = 40
FEATURES = np.random.default_rng(0).normal(size=(CLIPS, 4))
TRUE = {"speed": FEATURES[:, 0], "smoothness": FEATURES[:, 1], "safety": FEATURES[:, 2]}
LEARN = partial(opinions, members=2, steps=100)


class Book:
    """A database of clips, and somebody who compares them by attributes."""

    def __init__(self, folder: Path) -> None:
        database = Database(f"sqlite:///{folder / 'labels.sqlite'}")
        self.store, self.labels = PreferenceStore(database), LabelBook(database)
        self.clips = self.store.add_clips(
            NewClip(
                dataset="d", revision="r", episode=number, episode_id=f"e{number}",
                cameras=("front",), start=0, stop=9, fps=10.0, instruction="push", success=None,
            )
            for number in range(CLIPS)
        )  # fmt: skip
        self.session = self.store.sign_in("ann")[1]
        self.rng, self.said = np.random.default_rng(1), 0

    def say(self, first: int, second: int, by: Mapping[str, str], choice: str = "tie") -> None:
        """Of two clips by their numbers; the second one stood left."""
        pair = [self.clips[first], self.clips[second]]
        (query,) = self.store.add_queries([NewQuery(clip_ids=pair, acquisition="a", reason="r")])
        with self.store.database.writing() as connection:
            showing = show(connection, query, self.session.rater_id, [1, 0], 0.0)
        self.said += 1
        sent = Submission(
            uuid=f"answer-{self.said}", showing_id=showing, choice=choice, attributes=by
        )
        self.labels.answer(self.session, sent)

    def answer(self, count: int, true: Mapping[str, np.ndarray]) -> None:
        """So many pairs by these attributes."""
        for _ in range(count):
            first, second = self.rng.choice(CLIPS, 2, replace=False)
            better = {n: "right" if v[first] > v[second] else "left" for n, v in true.items()}
            self.say(int(first), int(second), better)

    def learnt(self) -> AttributeVector:
        return learn_attributes(self.store.labels(), self.clips, FEATURES, LEARN)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    found = Book(tmp_path)
    yield found
    found.store.database.close()


def told(book: Book, attribute: str) -> list[tuple[int, int, float]]:
    found = compared(by_attribute(book.store.labels(), attribute)).among(book.clips)
    return [*zip(found.first.tolist(), found.second.tolist(), found.target.tolist(), strict=True)]


def test_what_was_said_of_an_attribute_stands_by_itself_until_it_is_taken_back(book: Book) -> None:
    book.say(3, 5, {"speed": "left", "safety": "tie"}, choice="cant_tell")
    book.say(7, 9, {"speed": "right"}, choice="left")
    assert told(book, "speed") == [(3, 5, 0.0), (7, 9, 1.0)]  # shown with the sides swapped
    assert told(book, "safety") == [(3, 5, 0.5)]
    assert told(book, "smoothness") == []
    assert len(compared(book.store.labels())) == 1
    book.labels.undo(book.session, "undo-0001")
    assert told(book, "speed") == [(3, 5, 0.0)]


def test_the_order_follows_the_sliders_and_safety_stays_first(book: Book) -> None:
    book.answer(150, TRUE)
    vector = book.learnt()
    assert vector.answers == {"success": 0, "safety": 150, "smoothness": 150, "speed": 150}
    safe = vector.scores["safety"] > 0.3
    assert 0.2 * CLIPS < (~safe).sum() < 0.4 * CLIPS
    for sliders in ({"speed": 1.0}, {"speed": -1.0}, {"speed": 0.6, "smoothness": -0.8}):
        reward = vector.reward(Direction(sliders=sliders, floor=0.3))
        wanted = sum(slider * beaten(TRUE[name]) for name, slider in sliders.items())
        assert reward[safe].min() > reward[~safe].max()
        assert spearmanr(reward[safe], wanted[safe]).statistic > 0.8
        assert (np.diff(reward[~safe][np.argsort(vector.scores["safety"][~safe])]) >= 0).all()
    free = vector.reward(Direction(sliders={"speed": 1.0}, floor=0.0))
    np.testing.assert_array_equal(free, vector.scores["speed"])


@pytest.mark.parametrize("shuffled", [False, True])
def test_shuffled_answers_teach_no_order(book: Book, shuffled: bool) -> None:
    speed = book.rng.permutation(TRUE["speed"]) if shuffled else TRUE["speed"]
    book.answer(150, {"speed": speed})
    found = spearmanr(book.learnt().scores["speed"], TRUE["speed"]).statistic
    assert found < 0.5 if shuffled else found > 0.8


def test_no_slider_makes_up_for_safety_by_how_long_it_is() -> None:
    scores = {"speed": np.array([1.0, 0.0]), "success": np.array([1.0, 0.0]),
              "safety": np.array([0.39, 0.41])}  # fmt: skip
    vector = AttributeVector(scores=scores, answers={})
    wanted = Direction(sliders={"speed": 1.0, "success": 0.01}, floor=0.4)
    assert np.argmax(vector.reward(wanted)) == 1


def test_scores_are_shares_of_the_others_that_are_beaten() -> None:
    np.testing.assert_allclose(beaten(np.array([3.0, -1.0, 7.0])), [0.5, 0.0, 1.0])
    np.testing.assert_allclose(beaten(np.array([2.0, 2.0, 1.0])), [0.75, 0.75, 0.0])


def test_too_few_answers_are_told_and_teach_nothing(book: Book) -> None:
    book.answer(FEWEST - 1, {"speed": TRUE["speed"]})
    book.say(0, 1, {"speed": "tie"})
    book.answer(FEWEST, {"smoothness": TRUE["smoothness"]})
    vector = book.learnt()
    assert vector.scores.keys() == {"smoothness"}
    with pytest.raises(BadInput, match="4 answers say which of two clips has more speed, and 5"):
        vector.reward(Direction(sliders={"speed": 1.0}, floor=0.0))
    with pytest.raises(BadInput, match=r"0 answers .* more safety.*floor=0"):
        vector.reward(Direction(sliders={"smoothness": 1.0}, floor=0.5))
    vector.reward(Direction(sliders={"smoothness": 1.0, "speed": 0.0}, floor=0.0))


@pytest.mark.parametrize(
    ("sliders", "floor", "kind", "said"),
    [
        ({"safety": 1.0}, 0.5, BadInput, "constraint"),
        ({"sped": 1.0}, 0.5, UnknownName, "did you mean speed"),
        ({"speed": 0.0}, 0.5, BadInput, "point nowhere"),
        ({}, 0.5, BadInput, "point nowhere"),
        ({"speed": 1.5}, 0.5, BadInput, "from -1 to 1"),
        ({"speed": float("nan")}, 0.5, BadInput, "from -1 to 1"),
        ({"speed": 1.0}, 1.5, BadInput, "floor of safety is 1.5"),
    ],
)  # fmt: skip
def test_what_is_no_direction_is_refused(
    sliders: dict[str, float], floor: float, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        Direction(sliders=sliders, floor=floor)


def test_a_version_knows_the_attributes_and_the_newest_direction_of_a_rater_stands(
    book: Book,
) -> None:
    def view() -> dict[str, Any]:
        return sliders_view(book.store, book.clips[:30], "ann")

    book.answer(12, {"speed": TRUE["speed"]})
    for other in (3, 5, 35):  # the last one is not among the clips that are shown
        book.say(1, other, {"safety": "left"})
    assert (view()["clips"], view()["kept"]) == ([], None)
    looked = Looked(clips=book.clips, features=FEATURES, groups=[book.clips])
    trainer = Trainer(book.store, looked, LEARN, every=10, mix=Mix(), seed=0, tell=print)
    assert trainer.look() == 1
    found = view()
    said = {each["name"]: (each["learnt"], each["answers"]) for each in found["attributes"]}
    assert said == {"success": (False, 0), "safety": (False, 2), "smoothness": (False, 0),
                    "speed": (True, 12)}  # fmt: skip
    scores = {row["clip_id"]: row["scores"] for row in found["clips"]}
    assert [*scores] == book.clips[:30]
    vector = book.learnt()
    for number in range(30):
        assert scores[book.clips[number]] == {"speed": vector.scores["speed"][number]}
    for sliders in ({"speed": 1.0}, {"speed": -0.5}):
        book.store.keep_direction(book.session, Direction(sliders=sliders, floor=0.0))
    assert view()["kept"] == {"sliders": {"speed": -0.5}, "floor": 0.0}
    later = Direction(sliders={"speed": 0.2}, floor=0.1)
    book.store.keep_direction(book.store.sign_in("bob")[1], later)
    assert book.store.direction() == later
    assert book.store.direction("ann") == Direction(sliders={"speed": -0.5}, floor=0.0)
    assert book.store.direction("eve") is None
