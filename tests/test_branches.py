"""Two ways on from one state: what they share is the same to the bit, and the answer says so."""

import re
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from embodied.actor import ActorWorker
from embodied.branching import Brancher, Origin, origin_of
from embodied.dataset import EpisodeStore
from embodied.envs.ways import retrace
from embodied.envs.xmagical import XMagical
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.first_checks import branched_run
from embodied.hardware.base import Account, Moment, Operator, Verdict
from embodied.hardware.silent import SilentOperator
from embodied.job import build_encoder, build_env, build_policy, save_policy
from embodied.messages import Request
from embodied.preferences.alone import RollOuts
from embodied.preferences.branch import Branched, branch, branch_run
from embodied.preferences.branches import Branches, take_overs
from embodied.preferences.database import Database
from embodied.preferences.export import export_rows, write_exports
from embodied.preferences.labels import LabelBook
from embodied.preferences.mix import BRANCH, TAKE_OVER, Mix
from embodied.preferences.records import NewQuery
from embodied.preferences.service import open_service
from embodied.preferences.store import PreferenceStore
from embodied.testing.doubles import CountingEncoder, CountingPolicy
from embodied.testing.episodes import random_episode
from embodied.testing.rewards import HueEncoder
from embodied.testing.runs import toy_job
from embodied.types import Actor, Episode

PERSON = range(6, 11)
"""Steps in which a person acts."""
STEPS = 16
NEW = ("parent_clip_id", "branch_step")
"""Columns that the second version of the tables has."""
CHOSEN = Mix(disagreement=1.0, information=0.0, uniform=0.0, repeat=0.0, gold=0.0, second_rater=0.0)


@final
class Helper(Operator):
    """Does what the expert would, in some steps."""

    needs_progress = False

    def begin_episode(self, account: Account) -> None:
        """Nothing to forget."""

    def decide(self, moment: Moment) -> np.ndarray | None:
        """The expert's action while it is the person's turn."""
        return moment.expert_action() if moment.step in PERSON else None

    def verdict(self) -> Verdict | None:
        """Let the episode go on."""
        return None

    def close(self) -> None:
        """Nothing to let go."""


def sweeping(**changes: object) -> XMagical:
    return XMagical(**{"image_size": 32, "max_episode_steps": STEPS, **changes})  # type: ignore[arg-type]


def recorded(number: int, operator: Operator) -> Episode:
    worker = ActorWorker(
        env=sweeping(), policy=CountingPolicy(speed=0.5), encoder=HueEncoder(32),
        operator=operator, store=None, keep_features=False,
    )  # fmt: skip
    episode = worker.collect(Request(number=number, seed=70 + number, source="online", explore=1.0))
    worker.close()
    return episode


@pytest.fixture(scope="module")
def helped() -> Episode:
    return recorded(0, Helper())


@pytest.fixture(scope="module")
def brancher() -> Brancher:
    policy = CountingPolicy(speed=0.5)
    return Brancher(env=sweeping(), policy=policy, encoder=HueEncoder(32), version=7)


def branched(brancher: Brancher, parent: Episode, step: int = 8, **changes: int) -> Episode:
    wanted = {"number": 0, "seed": 1, "steps": 5} | changes
    return brancher.branch(parent, step, explore=1.0, **wanted)


def test_a_branch_shares_its_beginning_to_the_bit_and_then_goes_its_own_way(
    helped: Episode, brancher: Brancher
) -> None:
    first, same, other = (branched(brancher, helped, seed=seed) for seed in (1, 1, 2))
    for name in ("action", "policy_action", "human_action", "policy_noise", "actor",
                 "intervention_id", "policy_version", "chunk_index"):  # fmt: skip
        np.testing.assert_array_equal(getattr(first, name)[:8], getattr(helped, name)[:8])
    np.testing.assert_array_equal(first.state[:9], helped.state[:9])
    np.testing.assert_array_equal(first.images["front"][:9], helped.images["front"][:9])
    assert len(first) == 13
    assert first.truncated
    assert set(first.actor[8:]) == {Actor.POLICY}
    assert set(first.policy_version[8:]) == {7}
    np.testing.assert_array_equal(first.action, same.action)
    assert not np.array_equal(first.state[9:], other.state[9:])
    assert not np.array_equal(first.state[9:], helped.state[9:14])
    first.validate()
    assert origin_of(first.episode_id) == Origin(parent=helped.episode_id, step=8)
    assert origin_of(helped.episode_id) is None


def test_a_branch_can_be_played_again_and_branched_again(
    helped: Episode, brancher: Brancher
) -> None:
    first = branched(brancher, helped)
    assert len(retrace(sweeping(), first)) == len(first) + 1
    twig = branched(brancher, first, 10)
    assert origin_of(twig.episode_id) == Origin(parent=first.episode_id, step=10)
    np.testing.assert_array_equal(twig.state[:11], first.state[:11])


def test_a_branch_ends_where_the_environment_does(helped: Episode, brancher: Brancher) -> None:
    assert len(branched(brancher, helped, 14, steps=100)) == STEPS


def test_what_cannot_be_branched_is_refused(helped: Episode, brancher: Brancher) -> None:
    with pytest.raises(BadInput, match="cannot branch at 16"):
        branched(brancher, helped, 16)
    with pytest.raises(BadInput, match="at least 1 step"):
        branched(brancher, helped, steps=0)
    with pytest.raises(BadInput, match="is of Lift"):
        branched(brancher, replace(helped, task="Lift"))
    with pytest.raises(BadInput, match="goes otherwise"):
        branched(brancher, replace(helped, action=helped.action / 2))


def test_take_overs_are_a_persons_steps_in_a_policys_episode(helped: Episode) -> None:
    (found,) = take_overs(helped)
    assert (found.start, found.stop) == (PERSON.start, PERSON.stop)
    assert take_overs(helped, shortest=6) == []
    rng = np.random.default_rng(0)
    assert take_overs(random_episode(rng, source="demo")) == []
    several = random_episode(rng, interventions=((2, 4), (7, 10)))
    assert [(t.start, t.stop) for t in take_overs(several)] == [(2, 4), (7, 10)]


@pytest.fixture
def branches(tmp_path: Path) -> Branches:
    database = Database(f"sqlite:///{tmp_path / 'p.sqlite'}")
    kept = EpisodeStore(tmp_path / "branches", 8.0)
    return Branches(kept, PreferenceStore(database), LabelBook(database), seed=0)


def test_a_correction_beats_what_it_replaced_and_no_person_has_said_so(
    helped: Episode, brancher: Brancher, branches: Branches, tmp_path: Path
) -> None:
    (taken,) = take_overs(helped)
    dataset, store = branches.dataset, branches._store
    parent = dataset.append(helped)
    for number in range(8):
        alone = branched(brancher, helped, taken.start, number=number, seed=number)
        branches.add_take_over(parent, taken, dataset.append(alone), taken.start)
    rows = export_rows(store)
    assert Counter(row["rater_kind"] for row in rows) == {"scripted": 8}
    assert {row["rater"] for row in rows} == {row["acquisition"] for row in rows} == {TAKE_OVER}
    assert {row["target"] for row in rows} == {1.0}
    assert {row["swapped"] for row in rows} == {True, False}  # else the rater would seem biased
    for row in rows:
        assert row["episode_id"][0] == helped.episode_id
        assert row["start_frame"] == [6, 6]
        assert row["stop_frame"] == [12, 12]
        assert row["parent_clip_id"] == [None, row["clip_ids"][0]]
        assert row["branch_step"] == [None, 6]
        first, second = (dataset.read_frames(i, ("front",), 6, 7) for i in row["episode_index"])
        np.testing.assert_array_equal(first["front"], second["front"])
    write_exports(store, {}, tmp_path / "export")
    table = pq.read_table(tmp_path / "export/labels.parquet")
    assert table["branch_step"].to_pylist() == [[None, 6]] * 8


def test_people_are_asked_about_every_pair_of_branches_from_where_they_part(
    helped: Episode, brancher: Brancher, branches: Branches, tmp_path: Path
) -> None:
    dataset = branches.dataset
    parent = dataset.append(helped)
    numbers = [
        dataset.append(branched(brancher, helped, 3, number=n, seed=n, steps=6)) for n in (0, 1)
    ]
    queries = branches.add_branches(parent, 3, numbers)
    assert len(queries) == 3
    with pytest.raises(BadInput, match="no branches"):
        branches.add_branches(parent, 3, [])
    url = f"sqlite:///{tmp_path / 'p.sqlite'}"
    service = open_service(dataset, url, tmp_path / "films", clip_s=1.0, mix=CHOSEN)
    ann = service.store.sign_in("ann")[1]
    sought = NewQuery(
        clip_ids=sorted(service.clips)[:2], acquisition="disagreement", reason="", reward_version=1
    )
    service.store.add_queries([sought])  # what a model wants to know comes after them
    shown = service.schedule.next(ann, 3)
    assert {showing.query_id for showing in shown} == set(queries)
    assert {showing.acquisition for showing in shown} == {BRANCH}
    for showing in shown:
        clips = [service.clips[number] for number in showing.clip_ids]  # the page has their films
        assert [(clip.start, clip.stop) for clip in clips] == [(3, 10), (3, 10)]
        assert all(isinstance(service.films.path(clip), Path) for clip in clips)
    service.close()


def test_without_a_simulator_the_most_similar_failure_is_taken(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "arm", 20.0)
    rng = np.random.default_rng(0)
    target = random_episode(rng, 12, interventions=((4, 8),), with_features=False)
    near = random_episode(rng, 12, interventions=((0, 2),), with_features=False, success=False)
    succeeded = random_episode(rng, 12, with_features=False, success=True)
    pictures = near.images["front"].copy()
    pictures[5] = target.images["front"][4]
    pictures[1] = target.images["front"][4]  # nearer still, but a person acts there
    exact = succeeded.images["front"].copy()
    exact[3] = target.images["front"][4]
    for episode, images in (
        (target, target.images["front"]), (near, pictures), (succeeded, exact)
    ):  # fmt: skip
        store.append(replace(episode, images={"front": images}))
    (taken,) = take_overs(target)
    roll_outs = RollOuts(store, range(3))
    found = roll_outs.nearest(0, taken.start, taken.stop - taken.start)
    assert found is not None
    assert (found.episode, found.start) == (1, 5)
    assert found.difference < 0.02
    assert roll_outs.nearest(0, taken.start, 11) is None


def test_a_pair_of_like_states_is_no_branch(branches: Branches) -> None:
    rng = np.random.default_rng(0)
    target, other = (
        random_episode(rng, 12, interventions=i, with_features=False) for i in (((4, 8),), ())
    )
    numbers = [branches.dataset.append(replace(e, fps=8.0)) for e in (target, other)]
    branches.add_take_over(numbers[0], take_overs(target)[0], numbers[1], 9)
    (row,) = export_rows(branches._store)
    assert row["parent_clip_id"] == [None, None]
    assert row["stop_frame"] == [8, 13]  # equally long: the other ends after three steps
    assert "most similar" in row["reason"]


def test_a_database_from_before_branches_keeps_its_clips_and_labels(
    helped: Episode, brancher: Brancher, branches: Branches, tmp_path: Path
) -> None:
    dataset, taken = branches.dataset, take_overs(helped)[0]
    numbers = [dataset.append(e) for e in (helped, branched(brancher, helped, taken.start))]
    branches.add_take_over(numbers[0], taken, numbers[1], taken.start)
    before = export_rows(branches._store)
    database = branches._store.database
    with database.writing() as connection:  # as the first version had it
        connection.exec_driver_sql("DROP INDEX ix_clip_parent_clip_id")
        made = "SELECT sql FROM sqlite_master WHERE name = 'clip'"
        words = connection.exec_driver_sql(made).scalar_one()
        old = re.sub(
            r",?\s*(parent_clip_id INTEGER|branch_step INTEGER|"
            r"FOREIGN KEY\(parent_clip_id\) REFERENCES clip \(id\))",
            "",
            words,
        )
        connection.exec_driver_sql(old.replace("clip", "old", 1))
        columns = [c["name"] for c in sa.inspect(connection).get_columns("old")]
        assert set(NEW).isdisjoint(columns)
        listed = ", ".join(f'"{name}"' for name in columns)
        connection.exec_driver_sql(f"INSERT INTO old ({listed}) SELECT {listed} FROM clip")
    database.close()
    plain = sqlite3.connect(tmp_path / "p.sqlite")
    plain.execute("PRAGMA foreign_keys = OFF")
    plain.executescript(
        "DROP TABLE clip; ALTER TABLE old RENAME TO clip; "
        "ALTER TABLE reward_version DROP COLUMN accuracy_before; "
        "ALTER TABLE reward_version DROP COLUMN attributes; "
        "ALTER TABLE clip_score DROP COLUMN attributes; DROP TABLE direction; "
        "UPDATE schema_version SET version = 1;"
    )
    plain.close()
    opened = PreferenceStore(Database(f"sqlite:///{tmp_path / 'p.sqlite'}"))
    lost = {name: [None, None] for name in NEW}
    assert export_rows(opened) == [row | lost for row in before]
    later = Branches(dataset, opened, LabelBook(opened.database), seed=1)
    later.add_branches(numbers[0], 3, [dataset.append(branched(brancher, helped, 3))])
    first, second = opened.clips()[-2:]
    assert (second.parent_clip_id, second.branch_step) == (first.id, 3)
    opened.database.close()


def test_the_command_makes_a_dataset_of_its_own_that_can_be_shown(tmp_path: Path) -> None:
    cfg = toy_job(tmp_path)
    cfg.run = str(tmp_path / "toy")
    encoder, env = build_encoder(cfg), build_env(cfg)
    save_policy(build_policy(cfg, encoder), Path(cfg.run), "policy_base", cfg)
    episodes = EpisodeStore(Path(cfg.run) / "episodes", env.fps)
    for number, operator in enumerate((Helper(), SilentOperator(), Helper())):
        worker = ActorWorker(
            env=env, policy=CountingPolicy(), encoder=CountingEncoder(), operator=operator,
            store=episodes, keep_features=False,
        )  # fmt: skip
        worker.collect(Request(number=number, seed=number, source="online", explore=1.0))
    cfg.branches.episodes, cfg.branches.continuations = 2, 2
    root, target = branched_run(cfg)
    assert branch_run(cfg, root, target) == Branched(take_overs=2, questions=6)
    kept = EpisodeStore(target)
    parts = [origin_of(name) for name in kept.episode_ids()]
    assert sum(part is not None for part in parts) == 6
    assert {p.parent for p in parts if p is not None} <= {*episodes.episode_ids()}
    with pytest.raises(BadInput, match="exists"):
        branch(cfg)
    cfg.branches.replay = False
    assert branch_run(cfg, root, tmp_path / "like") == Branched(take_overs=2, questions=0)
    cfg.branches.take_overs = 0
    with pytest.raises(BadInput, match="no take-overs"):
        branch_run(cfg, root, tmp_path / "none")
    cfg.branches.policy = "polic"
    with pytest.raises(UnknownName, match="did you mean"):
        branched_run(cfg)
    cfg.run = None
    with pytest.raises(BadConfig, match="name the run"):
        branched_run(cfg)
