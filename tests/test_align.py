"""`embodied align` on X-MAGICAL: a policy is aligned by a scripted rater, and by a person."""

import io
import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import partial
from itertools import combinations
from operator import lt
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file
from scipy.stats import binomtest

from embodied import cli
from embodied.align_answers import Rolled, answers_of, called_bad, preferred, right
from embodied.align_attributes import first_target
from embodied.align_check import check_alignment
from embodied.align_choice import alignment
from embodied.align_learning import learn, read_ranking
from embodied.align_liking import known_ratings
from embodied.align_stages import ALIGNMENT
from embodied.config import compose, instantiate, load_config, save_config
from embodied.dataset import EpisodeStore
from embodied.display import Display
from embodied.envs.catalogue import WAYS as SETTINGS
from embodied.envs.ways_catalogue import WAYS
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.job import STATE_FILE, Job, build_encoder, load_policy, save_policy
from embodied.metrics import Metrics, read_metrics
from embodied.policies.attribute_diffusion import AttributeDiffusion
from embodied.policies.best_of_n import BestOfN
from embodied.policies.diffusion import DiffusionPolicy
from embodied.preferences.database import Database
from embodied.preferences.labels import standing
from embodied.preferences.mix import Mix
from embodied.preferences.raters import RaterClient
from embodied.preferences.records import Direction
from embodied.preferences.serve import TOKEN_VARIABLE
from embodied.preferences.store import PreferenceStore
from embodied.preferences.trainer_process import TrainerJob
from embodied.preferences.trainer_work import look_at
from embodied.preferences.training import Trainer
from embodied.testing.doubles import CountingEnv
from embodied.train import COURSES

STAGES = list(COURSES["align"].stages)
TOKEN = "a-token-for-tests-only"
SMALL = [
    "encoder=pixels", "env=xmagical", "env.image_size=16", "policy.width=16", "policy.keypoints=4",
    "policy.steps=2", "align.attempts=2", "align.clone_steps=10", "align.starts=2", "align.each=3",
    "align.answers=4", "align.reward_steps=4", "align.folds=2", "align.updates=4",
    "align.update=dpo", "align.check_every=2", "align.watched=1", "align.measured=2",
    "processes=1", "logger=jsonl",
]  # fmt: skip


def run_cli(folder: Path, *words: str, name: str = "run", small: Sequence[str] = ()) -> Path:
    where = [f"runs_dir={folder}", f"name={name}"]
    assert cli.main(["align", *words, *SMALL, *small, *where]) == 0
    return folder / name


def finished(run: Path) -> list[str]:
    return list(json.loads((run / STATE_FILE).read_text())["finished"])


def labels_of(run: Path) -> list[dict[str, object]]:
    database = Database(f"sqlite:///{run / 'rollouts-preferences' / 'labels.sqlite'}")
    try:
        return PreferenceStore(database).labels()
    finally:
        database.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_cli(tmp_path_factory.mktemp("runs"), "way=sweep-avoiding")


def test_one_command_goes_from_attempts_to_a_report(run: Path) -> None:
    assert finished(run) == STAGES
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["answers"]["answers"], summary["answers"]["held_out"]["n"]) == (4, 4)
    assert summary["way"]["compared_starts"] == 2
    assert summary["success_before"]["n"] == summary["success_after"]["n"] == 2
    page = (run / "report.html").read_text()
    assert 'src="http' not in page
    assert page.count("<video") == 4
    base, policy = (
        load_file(run / name / "model.safetensors") for name in ("policy_base", "policy")
    )
    assert any(not torch.equal(base[key], policy[key]) for key in base)


def test_roll_outs_share_starts_but_not_what_they_do(run: Path) -> None:
    store = EpisodeStore(run / "rollouts")
    episodes = [store.read(i, []) for i in range(len(store))]
    assert sorted(Counter(e.seed for e in episodes).values()) == [3, 3]
    for one, other in combinations(episodes, 2):
        assert one.seed != other.seed or np.array_equal(one.state[0], other.state[0])
        assert not np.array_equal(one.action, other.action)
    unseen = EpisodeStore(run / "evaluation_before")
    assert {e.seed for e in episodes}.isdisjoint(unseen.summary(i).seed for i in range(2))


def test_only_pairs_of_one_start_are_asked(run: Path) -> None:
    seeds = {s.episode_id: s.seed for s in map(EpisodeStore(run / "rollouts").summary, range(6))}
    database = Database(f"sqlite:///{run / 'rollouts-preferences' / 'labels.sqlite'}")
    store = PreferenceStore(database)
    clips = {clip.id: clip for clip in store.clips()}
    asked = [query["clip_ids"] for query in store.queries()]
    database.close()
    assert len(clips) == 6, "a clip is a whole roll-out"
    assert len({frozenset(pair) for pair in asked}) == 6
    for first, second in asked:
        assert seeds[clips[first].episode_id] == seeds[clips[second].episode_id]


def test_every_metric_of_an_alignment_is_documented(run: Path) -> None:
    text = (Path(__file__).parents[1] / "docs/align.md").read_text()
    more = (Path(__file__).parents[1] / "docs/metrics.md").read_text()
    written = {key for row in read_metrics(run / "metrics.jsonl") for key in row}
    assert [key for key in written if f"`{key}`" not in text + more] == []


def test_ctrl_c_while_answering_loses_no_label_and_changes_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = alignment(
        compose(["way=sweep-avoiding".replace("way", "align.way"), *SMALL,
                 f"runs_dir={tmp_path}", "name=again"])
    )  # fmt: skip
    cfg.logger = {
        "_target_": "embodied.testing.interrupts.PressCtrlC", "stage": "ask", "row": 2,
    }  # fmt: skip
    again = tmp_path / "again"
    again.mkdir()
    save_config(cfg, again)
    assert cli.main(["resume", str(again)]) == cli.INTERRUPTED
    assert f"embodied resume {again}" in capsys.readouterr().err
    assert finished(again)[-1] == "evaluate_before"
    kept = labels_of(again)
    assert len(kept) == 2
    assert cli.main(["resume", str(again)]) == 0
    assert finished(again) == STAGES
    assert labels_of(again)[:2] == kept
    assert (again / "ranking.json").read_text() == (run / "ranking.json").read_text()
    one, other = (load_file(each / "policy" / "model.safetensors") for each in (run, again))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_second_run_asks_in_the_same_database_about_its_own_roll_outs(
    run: Path, tmp_path: Path
) -> None:
    shared, again = tmp_path / "shared.sqlite", tmp_path / "again"
    shutil.copy(run / "rollouts-preferences" / "labels.sqlite", shared)
    shutil.copytree(run, again)
    shutil.rmtree(again / "rollouts")
    cfg = load_config(again, ["seed=1", f"preferences.database=sqlite:///{shared}"])
    before = len(labels_of(run))
    with Display() as display:
        job = Job(run_dir=again, cfg=cfg, metrics=Metrics([]), display=display)
        for stage in ("roll_out", "ask"):
            ALIGNMENT.stages[stage](job)
    store = PreferenceStore(Database(f"sqlite:///{shared}"))
    labels, clips = store.labels(), {clip.id: clip for clip in store.clips()}
    own = {EpisodeStore(again / "rollouts").revision(index) for index in range(6)}
    assert len(labels) >= before + 4
    for label in labels[before:]:
        assert {clips[clip].revision for clip in label["clip_ids"]} <= own
    store.database.close()


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Lets somebody answer over HTTP as the page does; gives the words that say where."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    threads = []

    def begin(choices: list[str]) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def answer() -> None:
            url = f"http://127.0.0.1:{port}"
            with RaterClient(url, TOKEN, "ann", kind="human", patience_s=100.0) as client:
                for choice in choices:
                    client.answer(client.following()[0], choice)

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return f"preferences.port={port}"

    yield begin
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_person_aligns_the_policy_of_a_run_without_a_way(
    run: Path, tmp_path: Path, person: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(run / "policy", plain / "policy")
    cfg = load_config(run)
    cfg.job, cfg.align.way = "train", None
    save_config(cfg, plain)
    where = person(["left", "skip", "right", "both_bad"])
    words = [str(plain), "rater=person", where, f"runs_dir={tmp_path}", "name=asked",
             "align.answers=3"]  # fmt: skip
    assert cli.main(["align", *words]) == 0
    assert "0 of 3 answered at http://127.0.0.1:" in capsys.readouterr().err
    asked = tmp_path / "asked"
    summary = json.loads((asked / "summary.json").read_text())
    assert summary["answers"] | {"held_out": None, "learnt": None} == {
        "answers": 3, "preferences": 2, "raters": ["ann"], "followed": None, "bad": 2,
        "held_out": None, "learnt": None,
    }  # fmt: skip
    assert "of these called bad, and not imitated</td><td>2<" in (asked / "report.html").read_text()
    assert (summary["aligned_run"], summary["way"]) == ("plain", None)
    assert [label["choice"] for label in standing(labels_of(asked))].count("skip") == 1
    taken, base = (
        load_file(each / "model.safetensors") for each in (run / "policy", asked / "policy_base")
    )
    assert all(torch.equal(taken[key], base[key]) for key in taken)
    check_that_what_is_bad_is_not_imitated(asked)


def check_that_what_is_bad_is_not_imitated(run: Path) -> None:
    """Of a run in which two roll-outs were called bad: as if these had failed."""
    found = json.loads((run / "ranking.json").read_text())
    (label,) = [label for label in standing(labels_of(run)) if label["choice"] == "both_bad"]
    database = Database(f"sqlite:///{run / 'rollouts-preferences' / 'labels.sqlite'}")
    named = {clip.id: clip.episode_id for clip in PreferenceStore(database).clips()}
    database.close()
    assert {found["rollouts"][i] for i in found["bad"]} == {named[c] for c in label["clip_ids"]}
    learnt = {}
    for bad in ([], found["bad"], range(6)):
        (run / "ranking.json").write_text(json.dumps(found | {"bad": [*bad]}))
        with Display() as display:
            cfg = load_config(run, ["align.update=filtered", "align.watched=0"])
            job = Job(run_dir=run, cfg=cfg, metrics=Metrics([]), display=display)
            if len(bad) == 6:
                with pytest.raises(BadInput, match="6 of 6 roll-outs were called bad"):
                    ALIGNMENT.stages["align"](job)
            else:
                ALIGNMENT.stages["align"](job)
                learnt[len(bad)] = load_file(run / "policy" / "model.safetensors")
    assert any(not torch.equal(learnt[0][key], learnt[2][key]) for key in learnt[0])


def scores_on_the_page(run: Path, cfg: DictConfig) -> dict[str, dict[str, float]]:
    """Of each roll-out, as a trainer beside the page makes them."""
    url = f"sqlite:///{run / 'rollouts-preferences' / 'labels.sqlite'}"
    store = PreferenceStore(Database(url))
    clips = {clip.id: clip.episode_id for clip in store.clips()}
    work = TrainerJob(
        config=cfg, root=run / "rollouts", database=url, clips=[*clips], groups=[[*clips]]
    )
    looked, missing = look_at(work, lambda _: None)
    learn = partial(instantiate, cfg.preferences.reward)
    trainer = Trainer(store, looked, learn, every=6, mix=Mix(), seed=0, tell=lambda _: None)
    assert (missing, trainer.look()) == ("", 1)
    scores = {clips[row["clip_id"]]: row["attributes"] for row in store.clip_scores()}
    store.database.close()
    return scores


WANTED = {"sliders": {"speed": 1.0}, "floor": 0.3}


@pytest.fixture(scope="module")
def directed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Ann says which roll-outs are faster and safer, and keeps a direction; and what she was told.

    The policy is conditioned on both.
    """
    directed = tmp_path_factory.mktemp("directed") / "run"
    shutil.copytree(run, directed)
    shutil.rmtree(directed / "rollouts-preferences")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["align.rater=person", "align.reward=attributes", "align.answers=6",
             f"preferences.port={port}", "align.update=conditioned", "align.updates=60",
             "align.check_every=60", "align.most_drift=100", "align.watched=0"]  # fmt: skip

    def answer() -> None:
        url = f"http://127.0.0.1:{port}"
        with RaterClient(url, TOKEN, "ann", kind="human", patience_s=100.0) as client:
            for _ in range(6):
                showing = client.following()[0]
                early, late = ("left", "right") if lt(*showing["clip_ids"]) else ("right", "left")
                client.answer(showing, "tie", attributes={"speed": early, "safety": late})
            client.post("/api/sliders", WANTED)  # without it the stage does not end

    person = threading.Thread(target=answer)
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as told:
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        person.start()
        with Display() as display:
            cfg = load_config(directed, words)
            save_config(cfg, directed)
            job = Job(run_dir=directed, cfg=cfg, metrics=Metrics([]), display=display)
            for stage in ("ask", "learn", "align", "evaluate_after", "report"):
                ALIGNMENT.stages[stage](job)
    person.join(10)
    return directed, told.getvalue()


def test_a_persons_sliders_rank_the_roll_outs_and_safety_comes_first(
    directed: tuple[Path, str],
) -> None:
    run, told = directed
    assert "Somebody is to keep what matters in its Sliders view" in told
    summary = json.loads((run / "summary.json").read_text())
    answers = {"success": 0, "safety": 6, "smoothness": 0, "speed": 6}
    assert summary["direction"] == WANTED | {"answers": answers}
    assert (summary["answers"]["answers"], summary["answers"]["preferences"]) == (6, 0)
    assert "speed +1 (6 answers)" in (run / "report.html").read_text()
    found = read_ranking(run)
    shown = scores_on_the_page(run, load_config(run))
    for reward, name in zip(found["reward"], found["rollouts"], strict=True):
        scores = shown[name]
        unsafe = scores["safety"] < 0.3
        assert reward == pytest.approx(scores["safety"] - 1.3 if unsafe else scores["speed"])
    assert sum(reward < 0 for reward in found["reward"]) == 2  # they beat 0 and 1 of 5 others
    assert all(found["reward"][i] > found["reward"][j] for i, j in found["ranked"])


def test_a_policy_acts_otherwise_when_it_is_told_otherwise_of_what_people_said(
    directed: tuple[Path, str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, _ = directed
    target = {"safety": 0.9, "speed": 0.9}
    assert json.loads((told / "summary.json").read_text())["told"] == {
        "attributes": ["safety", "speed"],  # nothing was said of the others
        "target": target,
    }
    assert "It acts towards safety 0.9, speed 0.9" in (told / "report.html").read_text()
    acted = []
    for said in ("null", "{speed: 0.9, safety: 0.9}", "{speed: 0.1, safety: 0.1}", "{}"):
        words = [str(told), f"evaluate.target={said}", "evaluate.episodes=1"]
        assert cli.main(["eval", *words]) == 0
        lines = capsys.readouterr().out.splitlines()
        acted.append(EpisodeStore(Path(lines[2].partition(": ")[0])).read(0, []).action)
    assert np.array_equal(acted[0], acted[1]), "what it was told last"
    for one, other in combinations(acted[1:], 2):
        both = min(len(one), len(other))
        assert np.abs(one[:both] - other[:both]).max() > 0.01, "of a range of 2"
    result = json.loads(Path(lines[1].partition(": ")[0]).read_text())
    assert (result["target"], result["success"]["n"]) == ({}, 1)
    for where, said, why in (
        (told, "{sped: 0.9}", "did you mean speed"),
        (told, "{speed: 1.4}", "evaluate.target.speed is 1.4; it is a number from 0 to 1"),
        (told, "0.9", "write it as 'evaluate.target={speed: 0.9}'"),
        (run, "{speed: 0.9}", "takes no target"),
    ):
        assert cli.main(["eval", str(where), f"evaluate.target={said}"]) == 2
        assert why in capsys.readouterr().err
    assert len([*told.glob("evaluation_policy_*")]) == 2 * 4, "of what was refused nothing is left"


def test_a_policy_is_told_first_what_the_sliders_point_at() -> None:
    sliders = {"speed": -0.2, "smoothness": 0.0, "success": 1.0}
    assert first_target(Direction(sliders=sliders, floor=0.0)) == {"speed": 0.1, "success": 0.9}
    floor = Direction(sliders={"speed": 0.5}, floor=0.95)
    assert first_target(floor) == {"speed": 0.9, "safety": 0.95}


def test_the_default_update_chooses_among_chunks_of_the_base_policy(
    run: Path, tmp_path: Path
) -> None:
    default = compose([]).align["update"]
    again = tmp_path / "again"
    shutil.copytree(run, again)
    for part in ("policy", "evaluation_after"):
        shutil.rmtree(again / part)
    (again / "summary.json").unlink()
    assert cli.main(["resume", str(again), f"align.update={default}"]) == 0
    policy = load_policy(again, "policy", build_encoder(load_config(again)))
    assert isinstance(policy, BestOfN)
    base = load_policy(run, "policy_base", build_encoder(load_config(run))).state_dict()
    assert all(torch.equal(policy.base.state_dict()[key], base[key]) for key in base)
    summary = json.loads((again / "summary.json").read_text())
    assert summary["alignment"]["critic_loss"] > 0
    assert summary["success_after"]["n"] == 2
    assert "errors of winners" in (run / "report.html").read_text()
    told = (again / "report.html").read_text()
    assert "errors of winners" not in told
    assert "critic&#x27;s squared error" in told


def test_a_person_who_only_skips_teaches_nothing(
    run: Path, tmp_path: Path, person: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(run), "rater=person", f"runs_dir={tmp_path}", "name=skipped", "align.starts=1",
             "align.each=2", person(["skip"])]  # fmt: skip
    assert cli.main(["align", *words]) == 2
    assert "every answer is a skip: there is nothing to learn" in capsys.readouterr().err
    assert len(labels_of(tmp_path / "skipped")) == 1


def test_a_port_that_is_taken_is_told_before_anything_is_recorded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cfg = alignment(compose([*SMALL, f"runs_dir={tmp_path}", f"preferences.port={port}"]),
                        way="sweep-avoiding", rater="person")  # fmt: skip
        with pytest.raises(BadConfig, match=f"cannot listen at 127.0.0.1:{port}"):
            check_alignment(cfg)


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (["align.way=drawer-open"], UnknownName, "did you mean drawer-open-right"),
        (["align.way=lift-level", "align.rater=nobody"], UnknownName, "scripted"),
        ([], BadConfig, "name a way|by a way"),
        (["align.rater=person"], BadConfig, "name a way whose demonstrator"),
        (["align.way=lift-level", "align.reward=none", "align.update=rwr"], BadConfig, "needs a"),
        (["align.way=lift-level", "align.reward=attributes"], BadConfig, "says nothing of them"),
        (["align.way=lift-level", "align.sliders={speed: 1}"], BadConfig, "align.reward=attr"),
        (["align.way=lift-level", "align.rater=person", "align.reward=attributes",
          "align.sliders={sped: 1}"], UnknownName, "did you mean speed"),
        (["align.way=lift-level", "align.rater=person", "align.reward=attributes",
          "align.sliders={speed: fast}"], BadConfig, "align.sliders.speed is 'fast'"),
        (["align.way=lift-level", "align.rater=person", "align.reward=attributes",
          "preferences.train=false"], BadConfig, "the page has no sliders"),
        (["align.way=lift-level", "evaluate.target={speed: 1}"], BadConfig, "of `embodied eval"),
        (["align.way=lift-level", "align.teacher=myopic"], BadConfig, "it would answer as the ora"),
        (["align.way=lift-level", "align.each=1"], BadConfig, "align.each is 1; it must"),
        (["align.way=lift-level", "align.measured=1"], BadConfig, "must be at least 2"),
        (["align.way=lift-level", "align.reward=pal"], BadConfig, "align.follow=NAME"),
        (["align.way=lift-level", "align.opposed=2"], BadConfig, "there are 1 scripted raters"),
        (["align.way=lift-level", "align.follow=oppossed", "align.raters=2", "align.opposed=1"],
         UnknownName, "did you mean opposed"),
        (["align.way=lift-level", "align.reward=vpl", "align.follow=teacher"], BadConfig,
         "one scripted rater answers"),
        (["align.way=lift-level", "preferences.port=70000"], BadConfig, "a port is a number"),
        (["align.way=lift-level", "align.rater=person", "align.raters=2"], BadConfig,
         "are of scripted raters, and people answer"),
        (["align.way=lift-level", "align.rater=person", "align.reward=attributes",
          "align.sliders=[speed]"], BadConfig, "or the name of who kept a direction"),
        (["align.way=lift-level", "preferences.rater_kinds=[human]"], BadConfig,
         "leaves out the scripted rater"),
        (["align.way=lift-level", "align.rater=person", "preferences.rater_kinds=[people]"],
         UnknownName, "kind of rater"),
    ],
)  # fmt: skip
def test_what_cannot_be_aligned_is_told_in_a_sentence(
    words: list[str], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        alignment(compose(words))


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scripted raters like the way, and two its opposite; the policy follows one of these."""
    return run_cli(
        tmp_path_factory.mktemp("divided"), "way=sweep-avoiding", "align.raters=4",
        "align.opposed=2", "align.follow=opposed-2", "align.reward=pal", "align.teacher=oracle",
        small=["align.starts=2", "align.each=9", "align.answers=60"],
    )  # fmt: skip


def ranked_for(run: Path, name: str, reward: str) -> dict[str, object]:
    words = [f"align.follow={name}", f"align.reward={reward}", "align.folds=0"]
    cfg = load_config(run, words)
    with Display() as display:
        learn(Job(run_dir=run, cfg=cfg, metrics=Metrics([]), display=display))
    return read_ranking(run)


@pytest.mark.parametrize("reward", ["pal", "vpl"])
def test_who_likes_the_opposite_gets_the_opposite_ranking_from_the_same_answers(
    divided: Path, reward: str
) -> None:
    ratings = known_ratings(divided, "rollouts")
    for name, sign in (("teacher", 1.0), ("opposed-2", -1.0)):
        found = ranked_for(divided, name, reward)
        assert (found["followed"], len(found["raters"])) == (name, 4)
        assert found["answers"] == 60, "everybody's answers are learnt from"
        liking = sign * np.array([ratings[each].liking for each in found["rollouts"]])
        unequal = [(i, j) for i, j in found["ranked"] if liking[i] != liking[j]]
        agreed = sum(right(liking, unequal))
        assert binomtest(agreed, len(unequal), 0.5, alternative="greater").pvalue < 0.01


def test_the_report_says_whose_taste_was_followed_and_judges_by_it(divided: Path) -> None:
    summary = json.loads((divided / "summary.json").read_text())
    assert summary["answers"]["followed"] == "opposed-2"
    assert summary["answers"]["raters"] == ["teacher", "teacher-2", "opposed", "opposed-2"]
    assert summary["way"]["answered_right"]["mean"] == 1.0, "an oracle, by its own taste"
    assert summary["way"]["better"] == "higher", "the way's own is lower"
    page = (divided / "report.html").read_text()
    assert "to the taste of opposed-2" in page
    assert "the opposite of: push the debris" in page


def test_a_person_can_be_followed_alone_and_must_have_answered(divided: Path) -> None:
    found = ranked_for(divided, "Opposed", "rlhf")  # capitals do not matter, as on the page
    assert (found["followed"], found["answers"], found["preferences"]) == ("opposed", 60, 15)
    with pytest.raises(UnknownName, match="no scripted rater named 'ann'"):
        check_alignment(load_config(divided, ["align.follow=ann"]))
    with pytest.raises(UnknownName, match="no rater who answered named 'ann'"):
        ranked_for(divided, "ann", "pal")


def test_a_policy_that_aims_is_not_aligned_again(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(run, again)
    cfg = load_config(again)
    base = load_policy(again, "policy", build_encoder(cfg))
    assert isinstance(base, DiffusionPolicy)
    save_policy(AttributeDiffusion.from_diffusion(base, ("liked",)), again, "policy", cfg)
    with Display() as display:
        cfg.run = str(again)
        job = Job(run_dir=tmp_path / "new", cfg=cfg, metrics=Metrics([]), display=display)
        with pytest.raises(BadConfig, match="is not aligned again: set its target"):
            ALIGNMENT.stages["clone"](job)


def test_one_rater_alone_is_told_what_people_who_disagree_need(run: Path) -> None:
    with pytest.raises(BadInput, match=r"teacher alone answered.*resume .*align\.reward=rlhf"):
        ranked_for(run, "teacher", "pal")


def test_a_way_of_another_task_than_the_runs_is_refused(run: Path) -> None:
    cfg = load_config(run)
    cfg.run = str(run)
    with pytest.raises(BadConfig, match="is of Avoiding, and the way lift-level is of Lift"):
        alignment(cfg, way="lift-level")


class Restless(CountingEnv):
    """Begins elsewhere each time, as a robot does."""

    begun = 0

    def reset(self, **how: object) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        observation, info = super().reset(**how)
        self.begun += 1
        observation["observation.state"][2] = 0.01 * self.begun
        return observation, info


def test_a_world_that_cannot_be_put_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = alignment(compose([]), way="sweep-avoiding")
    monkeypatch.setattr("embodied.align_check.build_env", lambda _: Restless())
    with pytest.raises(BadConfig, match="Align in a simulation"):
        check_alignment(cfg)


def test_answers_of_other_starts_and_answers_that_prefer_nothing_do_not_count() -> None:
    rolled = Rolled(names=["a", "b", "c"], start=[1, 1, 2], succeeded=[True] * 3)

    def label(number: int, clips: tuple[int, int], choice: str) -> dict[str, object]:
        return {"id": number, "supersedes": None, "choice": choice, "clip_ids": list(clips),
                "rater": "ann", "acquisition": "random", "strength": None}  # fmt: skip

    labels = [label(1, (11, 10), "left"), label(2, (10, 12), "left"), label(3, (10, 11), "tie")]
    found = answers_of(labels, [10, 11, 12], rolled)
    assert len(found) == 2
    assert preferred(found) == [(1, 0)]
    with pytest.raises(BadInput, match="all 1 answers call the clips equal"):
        preferred(answers_of(labels[2:], [10, 11, 12], rolled))
    with pytest.raises(BadInput, match="no answer stands"):
        preferred(answers_of([label(4, (10, 11), "skip")], [10, 11, 12], rolled))
    with pytest.raises(BadInput, match="no two of the 2 roll-outs began in the same state"):
        Rolled(names=["a", "c"], start=[1, 2], succeeded=[True] * 2).pairs()


def test_a_roll_out_that_is_called_bad_by_who_counts_is_not_imitated() -> None:
    rolled = Rolled(names=["a", "b", "c"], start=[1, 1, 1], succeeded=[True, True, False])

    def label(number: int, rater: str, clips: tuple[int, int], choice: str) -> dict[str, object]:
        return {"id": number, "supersedes": None, "choice": choice, "clip_ids": list(clips),
                "rater": rater, "acquisition": "random", "strength": None}  # fmt: skip

    labels = [
        label(1, "ann", (10, 11), "left"), label(2, "bob", (10, 12), "both_bad"),
        label(3, "Ann", (11, 12), "both_bad"), label(4, "Ann", (11, 12), "undone"),
    ]  # fmt: skip
    labels[3]["supersedes"] = 3
    clips = [10, 11, 12]
    assert called_bad(labels, clips) == called_bad(labels, clips, name="Bob") == [0, 2]
    assert called_bad(labels, clips, name="ann") == []
    assert called_bad(labels[:3], clips, name="ann") == [1, 2]
    assert rolled.imitable([]).tolist() == [True, True, False]
    assert rolled.imitable([0, 2]).tolist() == [False, True, False]
    with pytest.raises(BadInput, match="2 of 3 roll-outs were called bad, and no other did the"):
        rolled.imitable([0, 1])
    failed = Rolled(names=["a", "b"], start=[1, 1], succeeded=[False, False])
    assert failed.imitable([0]).tolist() == [False, True]


def test_the_catalogue_knows_the_setting_of_every_way() -> None:
    assert SETTINGS.keys() == WAYS.keys()
    for name, (suite, setting) in SETTINGS.items():
        assert setting["task"] == WAYS[name].task
        assert suite in WAYS[name].make.func.__module__  # type: ignore[attr-defined]


def test_a_ways_setting_yields_to_what_is_set_by_hand() -> None:
    chosen = alignment(compose([]), way="drawer-open-right")
    assert (chosen.env.task, chosen.env.max_episode_steps) == ("drawer-open-v3", 100)
    chosen = alignment(compose(["env.max_episode_steps=60"]), way="button-press-clear")
    assert (chosen.env.task, chosen.env.max_episode_steps) == ("button-press-topdown-v3", 60)
    assert alignment(compose([]), way="lift-gently").env._target_.endswith("Robosuite")
