"""The stage `ask`: the preference page on the run's roll-outs, until there are enough answers.

A scripted rater answers over the same HTTP as people. Every answer is on disk before it is
confirmed, so that the stage may be interrupted and goes on where it was.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from fastapi import FastAPI
from omegaconf import DictConfig

from embodied.access import reach, read_token
from embodied.align_answers import (
    Rolled,
    answers_by,
    answers_of,
    called_bad,
    has_answered,
    rolled_of,
)
from embodied.align_choice import (
    ATTRIBUTES,
    PERSONAL,
    followed_in,
    given_direction,
    kept_by,
    tastes,
)
from embodied.align_liking import rated
from embodied.display import Status
from embodied.errors import BadInput, WorkerLost
from embodied.job import Job, build_env
from embodied.preferences.comparing import Compared
from embodied.preferences.labels import standing
from embodied.preferences.mix import FILLER
from embodied.preferences.raters import RaterClient, answer_next
from embodied.preferences.records import NewQuery
from embodied.preferences.serve import (
    STOP_S,
    TOKEN_VARIABLE,
    build_service,
    listen,
    server_of,
    token_path,
    training,
)
from embodied.preferences.service import Service
from embodied.preferences.teachers import teacher_named
from embodied.preferences.web import build_app
from embodied.reward_models.base import decided
from embodied.seeding import small_seed

ROLLOUTS = "rollouts"
"""The run's dataset that is compared."""
CREATOR = "align"
REASON = "Both began alike: which way of doing it is better?"
LOOK_S = 0.3
"""Between two looks at how many answers there are."""
ALONE = "127.0.0.1"


def ask(job: Job) -> None:
    """Ask about pairs of one start until so many are answered, or all were asked.

    Raises:
        BadInput: if no two roll-outs share their start, or no answer says anything.
        BadConfig: if the port is taken.
    """
    person = job.cfg.align.rater == "person"
    wanted = job.cfg.preferences
    where = (str(wanted.host), int(wanted.port)) if person else (ALONE, 0)
    token = read_token(token_path(job.cfg), TOKEN_VARIABLE)
    listening = listen(*where)
    try:
        with (
            open_asking(job) as asking,
            training(settings_of(job.cfg), job.run_dir / ROLLOUTS, asking.service) as trainer,
        ):
            app = build_app(asking.service, token, trainer)
            with serving(app, listening, f"http://{where[0]}:{listening.getsockname()[1]}") as page:
                if person:
                    _wait_for_people(job, asking, page)
                else:
                    _answer_as_teachers(job, asking, page, token)
            _check_said(job, asking)
    finally:
        listening.close()


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Which questions are asked, and how far that is."""

    service: Service
    rolled: Rolled
    clips: Sequence[int]
    """Of each roll-out."""
    pairs: frozenset[frozenset[int]]
    """Clips of all pairs of one start."""
    enough: int
    """Answers that are wanted."""

    def answers(self) -> Compared:
        """About pairs of one start, that say which is better, or that neither is."""
        return self._answers(self.service.store.labels())

    def bad(self, name: str | None = None) -> list[int]:
        """Roll-outs that were called bad, by their numbers; see `called_bad`."""
        return called_bad(self.service.store.labels(), self.clips, self.service.kinds, name)

    def over(self) -> bool:
        """Whether there are enough, or nothing is left to ask."""
        labels = self.service.store.labels()
        told = {frozenset(label["clip_ids"]) for label in standing(labels)}
        told |= self.service.schedule.set_aside()
        return self.pairs <= told or len(self._answers(labels)) >= self.enough

    def _answers(self, labels: Sequence[Mapping[str, Any]]) -> Compared:
        return answers_of(labels, self.clips, self.rolled, self.service.kinds)


@contextmanager
def open_asking(job: Job) -> Iterator[Asking]:
    """The preference database of the run's roll-outs, with all pairs of one start queued once."""
    rolled = rolled_of(job.store(ROLLOUTS))
    pairs = rolled.pairs()
    service = build_service(settings_of(job.cfg), job.run_dir / ROLLOUTS)
    try:
        clips = rolled.clips(service.clips)
        asked = [[clips[number] for number in pair] for pair in pairs]
        queued = {
            frozenset(query["clip_ids"])
            for query in service.store.queries()
            if query["created_by"] == CREATOR
        }
        rng = np.random.default_rng(small_seed(job.cfg.seed, "ask"))
        service.store.add_queries(
            NewQuery(clip_ids=asked[i], acquisition=FILLER, reason=REASON, created_by=CREATOR)
            for i in rng.permutation(len(asked))
            if frozenset(asked[i]) not in queued
        )
        yield Asking(
            service=service,
            rolled=rolled,
            clips=clips,
            pairs=frozenset(map(frozenset, asked)),
            enough=min(int(job.cfg.align.answers), len(pairs)),
        )
    finally:
        service.close()


def settings_of(cfg: DictConfig) -> DictConfig:
    """A clip is a whole roll-out, and only pairs of one start are asked.

    People are asked what a trainer wants to know as well, if there is one. A scripted rater answers
    faster than a trainer learns: it is asked what is queued, so that a seed decides what is asked.
    """
    changed, person = cfg.copy(), cfg.align.rater == "person"
    env = build_env(cfg)
    env.close()
    wanted = changed.preferences
    wanted.clip_s, wanted.same_start = 2.0 * (env.max_episode_steps + 1) / env.fps, True
    wanted.train = wanted.train and person
    wanted.mix.repeat = wanted.mix.gold = wanted.mix.second_rater = 0.0
    if not person:
        wanted.mix.disagreement, wanted.mix.information, wanted.mix.uniform = 1.0, 0.0, 0.0
    return changed


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that is being served."""

    url: str
    thread: threading.Thread

    def check(self) -> None:
        """Whether it still is.

        Raises:
            WorkerLost: if it ended by itself.
        """
        if not self.thread.is_alive():
            raise WorkerLost(f"the preference page at {self.url} ended; no answer is lost.")


@contextmanager
def serving(app: FastAPI, listening: socket.socket, url: str) -> Iterator[Page]:
    """Serve a page in a thread of its own while the block runs."""
    server = server_of(app)
    run = partial(server.run, sockets=[listening])
    thread = threading.Thread(target=run, name="preference page", daemon=True)
    thread.start()
    try:
        yield Page(url=url, thread=thread)
    finally:
        server.should_exit = True
        thread.join(2 * STOP_S)


def _check_said(job: Job, asking: Asking) -> None:
    """Whether anything can be learnt: else the stage is not over, and a resumed run asks again.

    Raises:
        BadInput: if no answer prefers a clip, or says anything, where attributes are asked for.
    """
    if job.cfg.align.reward == ATTRIBUTES:
        return  # what was said of attributes counts, and `learn` says what is missing
    answers = asking.answers()
    if decided(answers.first, answers.second, answers.target):
        return
    said = "that stands calls the clips equal, or both bad" if len(answers) else "is a skip"
    raise BadInput(
        f"every answer {said}: there is nothing to learn. `embodied resume {job.run_dir} "
        f"align.answers={len(answers) + int(job.cfg.align.answers)}` asks for more; if every pair "
        "was asked, `embodied align` asks about new roll-outs."
    )


def _wait_for_people(job: Job, asking: Asking, page: Page) -> None:
    where = f"answered at {page.url}{reach(str(job.cfg.preferences.host))}."
    token = f"The token to sign in is in {token_path(job.cfg)}."
    tell = _teller(job, asking, lambda: f"{where} {token}{_wanted(job.cfg, asking)}")
    tell()
    while not asking.over() or _wanted(job.cfg, asking):
        page.check()
        time.sleep(LOOK_S)
        tell()


def _wanted(cfg: DictConfig, asking: Asking) -> str:
    """What nothing can be learnt without, beside enough answers; empty if it is there."""
    if cfg.align.reward == ATTRIBUTES and given_direction(cfg) is None:
        if asking.service.store.direction(kept_by(cfg)) is None:
            who = kept_by(cfg) or "Somebody"
            return f" {who} is to keep what matters in its Sliders view (L), too."
        return ""
    followed, answers = followed_in(cfg), asking.answers()
    if followed is None:
        return ""
    own = answers_by(answers, followed) if has_answered(answers, followed) else None
    if own is None or not decided(own.first, own.second, own.target):
        return f" {followed} is to answer, too, under that name: it is whose taste is followed."
    if cfg.align.reward in PERSONAL and len({*answers.rater.tolist()}) < 2:
        return " Somebody else is to answer, too, under a name of their own."
    return ""


def _answer_as_teachers(job: Job, asking: Asking, page: Page, token: str) -> None:
    """They take turns. Each answer is drawn by its number: it does not matter when it is given."""
    teacher, ratings = teacher_named(str(job.cfg.align.teacher)), rated(job, ROLLOUTS)
    liking = np.array([ratings[name].liking for name in asking.rolled.names])
    seed, people = small_seed(job.cfg.seed, "teacher"), tastes(job.cfg)
    likings = [_likings(asking, taste * liking) for taste in people.values()]
    who = f"{len(people)} teachers, each" if len(people) > 1 else "the teacher"
    tell = _teller(job, asking, lambda: f"answered by {who} '{job.cfg.align.teacher}'.")
    tell()
    with ExitStack() as stack:
        clients = [stack.enter_context(RaterClient(page.url, token, name)) for name in people]
        while not asking.over():
            page.check()
            number = len(asking.service.store.labels())
            turn = number % len(people)
            of_clip, typical = likings[turn]
            answer_next(
                clients[turn], teacher, of_clip.__getitem__, typical=typical,
                rng=np.random.default_rng([seed, number]),
            )  # fmt: skip
            tell()


def _likings(asking: Asking, liking: np.ndarray) -> tuple[dict[int, np.ndarray], float]:
    """One teacher's liking of each clip, and the mean of all.

    At least 0 and in deviations, as B-Pref's thresholds and its beta take returns to be.
    """
    own = (liking - liking.min()) / max(float(liking.std()), 1e-9)
    return {clip: own[[place]] for place, clip in enumerate(asking.clips)}, float(own.mean())


def _teller(job: Job, asking: Asking, said: Callable[[], str]) -> Callable[[], None]:
    """Shows how far it is; every new number of answers is a row of metrics."""
    known = -1

    def tell() -> None:
        nonlocal known
        answered = len(asking.answers())
        if answered != known:
            known = answered
            doing, enough = f"{answered} of {asking.enough} {said()}", asking.enough
            status = Status(stage="ask", doing=doing, done=min(answered, enough), total=enough)
            job.display.show(status)
            job.observe("ask")({"answered": answered})

    return tell
