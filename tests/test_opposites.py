"""Words that undo each other: what is taught, what is kept for the audit, and for whom."""

import pytest

from embodied.envs.catalogue import instructions, suites
from embodied.opposites import SAME, UNDOES, relation, reserved, taught


@pytest.mark.parametrize(
    ("own", "other", "kind"),
    [
        ("open the drawer", "push the drawer closed", UNDOES),
        ("push the drawer closed", "open the drawer", UNDOES),
        ("slide the window open", "slide the window closed", UNDOES),
        ("press the handle down", "pull the handle up", UNDOES),
        ("press the handle down", "press the handle down from the side", SAME),
        ("pull the door open", "push the door open", SAME),
        ("push the drawer closed", "push the drawer open", UNDOES),
        ("pull the drawer open", "push the drawer in", UNDOES),
        ("open the drawer", "open the door", None),
        ("walk forward", "keep the pole upright", None),
    ],
)
def test_an_instruction_about_the_same_thing_is_known_as_such(own, other, kind):
    assert relation(own, other) == kind


@pytest.mark.parametrize("own", instructions(suites()))
def test_every_sentence_that_is_made_undoes_the_task_and_the_audit_keeps_its_own(own):
    made, kept = taught([own], []), reserved([own])
    assert all(relation(own, text) == UNDOES for text in (*made, *kept))
    assert not set(made) & set(kept)
    assert own not in made


def test_a_reward_is_taught_what_would_undo_its_task_besides_other_tasks():
    said = taught(["open the drawer"], ["turn the dial", "open the drawer"])
    assert said == ["turn the dial", "close the drawer", "shut the drawer"]
    assert reserved(["open the drawer"]) == ["slide the drawer shut"]
    assert taught(["walk forward"], ["turn the dial"]) == ["turn the dial"]


def test_what_another_of_its_tasks_asks_for_is_not_refused():
    both = ["open the drawer", "push the drawer closed"]
    assert taught(both, ["turn the dial"]) == ["turn the dial"]
    assert reserved(both) == []
