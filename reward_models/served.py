"""A reward that lives behind `embodied serve-reward`, here or on another machine.

Whatever happens to the judge, a question ends: after `deadline_s` at the latest, with scores or
with `RewardUnavailable`. A judge that has failed is left alone for a while, so that a dead one
costs a run one deadline, and not one for each episode.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from embodied.errors import BadConfig, BadInput, RewardUnavailable
from embodied.reward_models.base import Scores, check_clip
from embodied.reward_models.served_request import Reply, address_of, request
from embodied.reward_models.stored_reward import StoredReward
from embodied.types import Clip
from embodied.wire import (
    DEADLINE_HEADER,
    IDENTITY_PATH,
    MEDIA_TYPE,
    SCORE_PATH,
    TOKEN_VARIABLE,
    clips_to_bytes,
    scores_from_bytes,
)

CLIPS_PER_REQUEST = 16
BYTES_PER_REQUEST = 32 * 2**20
"""Of frames; a longer clip goes alone."""
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
ABOUT_THE_CLIP = (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


@final
class ServedReward(StoredReward):
    """Sends frames, gets scores. It is trained where it is served: `fit` notes which one that is.

    Args:
        url: ``http://host:port`` or ``https://...``.
        cameras: Cameras whose frames are sent.
        token_file: Holds the server's token; null takes the variable EMBODIED_REWARD_TOKEN.
        deadline_s: Longest wait for the scores of one call.
        pause_s: For so long a judge that has failed is not asked again; twice as long each time
            that it fails again, up to ``longest_pause_s``.
        longest_pause_s: See there.
        clock: Seconds that never go back.
    """

    causal = False
    """The judge itself may be; but nobody waits for a network at every step."""
    asked_alone = True
    """A call has one deadline, and a judge that missed it is left alone for a while."""

    def __init__(
        self,
        url: str,
        cameras: Sequence[str] = ("front",),
        *,
        token_file: str | None = None,
        deadline_s: float = 20.0,
        pause_s: float = 10.0,
        longest_pause_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.address = address_of(url)
        self.url, self.cameras, self.token_file = url, tuple(cameras), token_file
        for name, value in (("deadline_s", deadline_s), ("pause_s", pause_s)):
            if value <= 0:
                raise BadConfig(f"reward.{name} is {value}; it must be above 0.")
        self.deadline_s, self.pause_s, self.longest_pause_s = deadline_s, pause_s, longest_pause_s
        self.served = ""
        """Fingerprint of the served reward."""
        self.name: Tensor
        """The same, so that an audit's fingerprint of this one tells them apart."""
        self.register_buffer("name", torch.zeros(0, dtype=torch.uint8))
        self._clock = clock
        self._failures, self._silent_until, self._reason = 0, -np.inf, ""

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        """Scores from the server.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            BadConfig: before `fit` or `load`, or without a token.
            RewardUnavailable: if there is no usable answer in time.
        """
        if self.version == 0:
            raise BadConfig("it is not known which reward is served; call fit or load first.")
        for clip in clips:
            check_clip(clip, self.cameras)
        if not clips:
            return []
        if (left := self._silent_until - self._clock()) > 0:
            raise RewardUnavailable(f"{self._reason} It is asked again in {left:.0f} s.")
        try:
            scores = self._score(clips)
        except RewardUnavailable as error:
            pause = min(self.pause_s * 2**self._failures, self.longest_pause_s)
            self._failures += 1
            self._silent_until, self._reason = self._clock() + pause, str(error)
            raise
        self._failures = 0
        return scores

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Ask which reward is served, and trust no other from here on.

        Raises:
            RewardUnavailable: if the server does not say.
            BadConfig: if it wants other cameras.
        """
        reply = self._ask("GET", IDENTITY_PATH, b"", self.deadline_s)
        try:
            known = json.loads(reply.body)
            served, version = str(known["fingerprint"]), int(known["version"])
            cameras = [str(camera) for camera in known["cameras"]]
        except (ValueError, KeyError, TypeError) as error:
            raise RewardUnavailable(f"{self.url} does not say which reward it serves.") from error
        missing = sorted(set(cameras) - set(self.cameras))
        if missing:
            raise BadConfig(
                f"the reward at {self.url} needs camera {', '.join(missing)}; reward.cameras has "
                f"{', '.join(self.cameras)}."
            )
        self._remember(served)
        self.version = version
        if progress_callback is not None:
            progress_callback(1.0)
        return {"served_version": float(version)}

    def identity(self) -> dict[str, Any]:
        """Nothing: address and token may change, and the file must not hold them."""
        return {}

    def learned(self) -> dict[str, Any]:
        """Which reward is served."""
        return {"served": self.served}

    def restore(self, learned: dict[str, Any]) -> None:
        """Trust the reward that was served when this was saved."""
        self._remember(str(learned["served"]))

    def _remember(self, served: str) -> None:
        self.served = served
        self.name = torch.tensor(list(served.encode()), dtype=torch.uint8)

    def _score(self, clips: Sequence[Clip]) -> list[Scores]:
        ends = self._clock() + self.deadline_s
        scores: list[Scores] = []
        for some in _requests([self._sent(clip) for clip in clips]):
            body = clips_to_bytes(some)
            reply = self._ask("POST", SCORE_PATH, body, ends - self._clock())
            try:
                identity, said = scores_from_bytes(reply.body, [len(clip) for clip in some])
            except BadInput as error:
                raise RewardUnavailable(f"{self.url} gives no scores: {error}") from error
            self._check(identity)
            scores += said
        return scores

    def _sent(self, clip: Clip) -> Clip:
        """The part of a clip that is sent."""
        frames = {camera: clip.frames[camera] for camera in self.cameras if camera in clip.frames}
        if len(frames) < len(self.cameras):
            raise BadInput("a served reward looks at pictures; this clip has features only.")
        references = tuple(self._sent(reference) for reference in clip.references)
        return Clip(frames=frames, features={}, instruction=clip.instruction, references=references)

    def _check(self, identity: Mapping[str, Any]) -> None:
        now = identity.get("fingerprint"), identity.get("version")
        if now != (self.served, self.version):
            raise RewardUnavailable(
                f"{self.url} now serves {now[0]} version {now[1]}; this run trusts {self.served} "
                f"version {self.version}. Serve that one again, or audit the other in a new run."
            )

    def _ask(self, method: str, path: str, body: bytes, patience_s: float) -> Reply:
        """One question, put again while the server says that it is busy.

        Raises:
            RewardUnavailable: for everything but an answer.
            BadInput: for a clip that the reward cannot score.
        """
        ends = self._clock() + patience_s
        while (left := ends - self._clock()) > 0:
            reply = self._request(method, path, body, left)
            if reply.status == HTTPStatus.OK:
                return reply
            if reply.status in ABOUT_THE_CLIP:
                raise BadInput(f"the reward at {self.url} says: {reply.sentence}")
            again_in = reply.retry_after_s
            if reply.status not in BUSY or again_in > ends - self._clock():
                raise RewardUnavailable(f"{self.url} says: {reply.sentence}")
            time.sleep(again_in)
        raise RewardUnavailable(f"{self.url} did not answer within {self.deadline_s:g} s.")

    def _request(self, method: str, path: str, body: bytes, patience_s: float) -> Reply:
        headers = {
            "Authorization": f"Bearer {self._token()}",
            DEADLINE_HEADER: f"{patience_s:.3f}",
            "Content-Type": MEDIA_TYPE,
        }
        return request(self.address, method, path, headers, body, patience_s)

    def _token(self) -> str:
        found, where = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
        if self.token_file is not None:
            where = self.token_file
            try:
                found = Path(self.token_file).read_text().strip()
            except OSError as error:
                raise BadConfig(f"reward.token_file cannot be read: {error}.") from error
        if not found or not found.isascii() or not found.isprintable():
            raise BadConfig(
                f"{where} holds no token; `embodied serve-reward` says in which file it is: name a "
                f"copy of it as reward.token_file, or set {TOKEN_VARIABLE}."
            )
        return found


def _requests(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Clips that are sent together: neither too many nor too large."""
    some: list[Clip] = []
    size = 0
    for clip in clips:
        own = sum(_bytes(each) for each in (clip, *clip.references))
        if some and (len(some) == CLIPS_PER_REQUEST or size + own > BYTES_PER_REQUEST):
            yield some
            some, size = [], 0
        some, size = [*some, clip], size + own
    if some:
        yield some


def _bytes(clip: Clip) -> int:
    return sum(frames.nbytes for frames in clip.frames.values())
