"""Scores what several ask for together, in one thread: the inside of a served reward."""

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import final

from embodied.errors import EmbodiedError, WaitTimeout
from embodied.reward_models.base import RewardModel, Scores
from embodied.types import Clip, FrameEncoder

logger = logging.getLogger(__name__)

FIRST_GUESS_S = 1.0
"""How long a request takes, as long as none has been answered."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """One request that waits."""

    clips: Sequence[Clip]
    deadline: float
    answer: "Future[list[Scores]]" = field(default_factory=Future)


@final
class Scorer:
    """Whoever wants scores takes one of a few places first, so that the queue is bounded.

    Args:
        model: The reward.
        encoder: Makes the features of frames, for a reward that works on features; else None.
        places: Requests that may wait or be scored at a time.
        clips_at_once: Clips of several requests that are scored as one batch.
    """

    def __init__(
        self, model: RewardModel, encoder: FrameEncoder | None, *, places: int, clips_at_once: int
    ) -> None:
        self._model, self._encoder, self._at_once = model.eval(), encoder, clips_at_once
        self._places, self._taken, self._counting = places, 0, threading.Lock()
        self._waiting: queue.Queue[Asked | None] = queue.Queue()
        self._each_s = FIRST_GUESS_S
        self.batches: deque[int] = deque(maxlen=100)
        """Requests in each of the newest batches."""
        self._thread = threading.Thread(target=self._work, name="scorer", daemon=True)
        self._thread.start()

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place for a while, if one is free.

        Yields:
            Whether one was.
        """
        with self._counting:
            free = self._taken < self._places
            self._taken += free
        try:
            yield free
        finally:
            with self._counting:
                self._taken -= free

    @property
    def retry_after_s(self) -> int:
        """When a place may be free again, in whole seconds."""
        return max(1, min(60, math.ceil(self._each_s * self._taken / 2)))

    def score(self, clips: Sequence[Clip], patience_s: float) -> list[Scores]:
        """Scores of some clips; the caller has a place.

        Raises:
            WaitTimeout: if they are not there in time; what is still waiting then is never scored.
            EmbodiedError: what the model says of these clips.
        """
        asked = Asked(clips=clips, deadline=time.monotonic() + patience_s)
        self._waiting.put(asked)
        try:
            return asked.answer.result(timeout=patience_s)
        except TimeoutError:
            asked.answer.cancel()
            self._forget(asked)
            raise WaitTimeout("the scores", patience_s) from None

    def close(self) -> None:
        """End the thread after the batch that it is at."""
        self._waiting.put(None)

    def _forget(self, asked: Asked) -> None:
        """Let go of its frames at once: a model that hangs would keep all that ever waited."""
        with self._waiting.mutex, suppress(ValueError):
            self._waiting.queue.remove(asked)

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            started = time.monotonic()
            try:
                self._answer(batch)
            except Exception as error:  # the boundary of the process: whoever asked is told
                logger.exception("the reward failed")
                for asked in batch:
                    with suppress(InvalidStateError):
                        asked.answer.set_exception(error)
            self.batches.append(len(batch))
            self._each_s += 0.3 * ((time.monotonic() - started) / len(batch) - self._each_s)

    def _next_batch(self) -> list[Asked] | None:
        """All that waits, up to the size of a batch; without what nobody waits for any more."""
        batch: list[Asked] = []
        clips = 0
        while not batch or clips < self._at_once:
            try:
                asked = self._waiting.get(block=not batch)
            except queue.Empty:
                break
            if asked is None:
                return None
            if not asked.answer.cancelled() and asked.deadline > time.monotonic():
                batch.append(asked)
                clips += len(asked.clips)
        return batch

    def _answer(self, batch: Sequence[Asked]) -> None:
        try:
            scores = iter(self._score([clip for asked in batch for clip in asked.clips]))
        except EmbodiedError as error:
            if len(batch) > 1:  # what is wrong with one request is not the others' fault
                for asked in batch:
                    self._answer([asked])
                return
            with suppress(InvalidStateError):
                batch[0].answer.set_exception(error)
            return
        for asked in batch:
            own = [next(scores) for _ in asked.clips]
            with suppress(InvalidStateError):
                asked.answer.set_result(own)

    def _score(self, clips: Sequence[Clip]) -> list[Scores]:
        if self._encoder is None:
            return self._model.score(clips)
        return self._model.score([self._encoded(clip, self._encoder) for clip in clips])

    def _encoded(self, clip: Clip, encoder: FrameEncoder) -> Clip:
        wanted = {c: frames for c, frames in clip.frames.items() if c in self._model.cameras}
        features = {camera: encoder.encode(frames) for camera, frames in wanted.items()}
        return replace(clip, features=features)
