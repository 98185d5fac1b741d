"""A vision-language model behind an OpenAI-style HTTP endpoint, such as vLLM's or SGLang's.

A server may be slow, dead, overloaded, malformed or unwilling. Each question has a deadline for all
its attempts together, also against a server that sends one byte a second, and ends as an answer or
as a reason why there is none.
"""

import base64
import http.client
import io
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final
from urllib.parse import urlsplit

from PIL import Image

from embodied.errors import BadConfig
from embodied.reward_models.vlm import Answer, Picture, Question, Token, Unanswered

LARGEST_REPLY = 4 * 2**20
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Status codes that may be others a moment later."""


@final
class EndpointModel:
    """A `VisionLanguageModel` on another machine.

    Args:
        url: Up to the version, as in ``http://127.0.0.1:8000/v1``; no proxy is used.
        model: Name that the server knows it by.
        key_variable: Environment variable that holds the server's key; none if empty.
        timeout_s: For one attempt.
        deadline_s: For all attempts at one question, the pauses between them included.
        attempts: How often a question is asked before it counts as unanswered.
        pause_s: Before the second attempt; each further one is twice as long.
        concurrency: Questions asked at a time; the server batches them.
        alternatives: Likeliest tokens per place whose probabilities are told; servers limit it.
        clock: Seconds; for tests.
        sleep: Waits for seconds; for tests.

    Raises:
        BadConfig: for a URL that is none, or a limit that leaves no attempt.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "",
        timeout_s: float = 30.0,
        deadline_s: float = 90.0,
        attempts: int = 3,
        pause_s: float = 0.5,
        concurrency: int = 8,
        alternatives: int = 20,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = urlsplit(url)
        if self._address.scheme not in ("http", "https") or not self._address.hostname:
            raise BadConfig(f"url is '{url}'; it should look like http://127.0.0.1:8000/v1.")
        if attempts < 1 or concurrency < 1 or min(timeout_s, deadline_s) <= 0:
            raise BadConfig("an endpoint needs an attempt, a question at a time, and time.")
        self.url, self.model, self.key_variable = url, model, key_variable
        self.timeout_s, self.deadline_s = timeout_s, deadline_s
        self.attempts, self.pause_s = attempts, pause_s
        self.concurrency, self.alternatives = concurrency, alternatives
        self._clock, self._sleep = clock, sleep

    @property
    def fingerprint(self) -> str:
        """The model's name; where it runs does not matter."""
        return self.model

    def answer(
        self, questions: Sequence[Question], *, max_tokens: int
    ) -> list[Answer | Unanswered]:
        """An answer to each question, of ``max_tokens`` or fewer; or why there is none.

        Raises:
            BadConfig: if the environment lacks the key.
        """
        headers = {"Content-Type": "application/json"}
        if self.key_variable:
            if self.key_variable not in os.environ:
                raise BadConfig(f"the environment has no variable {self.key_variable} with a key.")
            headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"

        def ask(question: Question) -> Answer | Unanswered:
            return self._ask(json.dumps(self._body(question, max_tokens)).encode(), headers)

        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(ask, questions))

    def _body(self, question: Question, max_tokens: int) -> dict[str, Any]:
        user = {"role": "user", "content": [_part(part) for part in question.parts]}
        system = [{"role": "system", "content": question.system}] if question.system else []
        return {
            "model": self.model,
            "messages": [*system, user],
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "logprobs": True,
            "top_logprobs": self.alternatives,
        }

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> Answer | Unanswered:
        """Attempts until one succeeds, none can, or the deadline is near."""
        end = self._clock() + self.deadline_s
        reason, pause = "no attempt was made", self.pause_s
        for attempt in range(self.attempts):
            if attempt:
                if self._clock() + pause >= end:
                    reason += f"; the deadline of {self.deadline_s:g} s leaves no further attempt"
                    break
                self._sleep(pause)
                pause *= 2
            try:
                status, reply = self._send(body, headers, min(end, self._clock() + self.timeout_s))
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if status == http.HTTPStatus.OK:
                try:
                    return _read(reply)
                except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                    reason = f"a reply that is no chat completion ({type(error).__name__})"
                    continue
            reason = f"status {status}: {reply[:120].decode(errors='replace')}"
            if status not in PASSING:
                break
        return Unanswered(f"{self.url} gave no answer: {reason}.")

    def _send(self, body: bytes, headers: Mapping[str, str], end: float) -> tuple[int, bytes]:
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        host = self._address.hostname
        assert host is not None
        connection = kind(host, self._address.port, timeout=self._left(end))
        try:
            connection.request(
                "POST", f"{self._address.path.rstrip('/')}/chat/completions", body, dict(headers)
            )
            if connection.sock is not None:
                connection.sock.settimeout(self._left(end))
            response = connection.getresponse()
            return response.status, self._drain(connection, response, end)
        finally:
            connection.close()

    def _drain(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, end: float
    ) -> bytes:
        """The whole reply, however small its pieces, before the end."""
        reply = bytearray()
        while piece := response.read1(2**16):
            reply += piece
            if len(reply) > LARGEST_REPLY:
                raise http.client.HTTPException(f"a reply of more than {LARGEST_REPLY} bytes")
            left = self._left(end)
            if connection.sock is not None:
                connection.sock.settimeout(left)
        if response.length:
            raise http.client.IncompleteRead(bytes(reply), response.length)
        return bytes(reply)

    def _left(self, end: float) -> float:
        left = end - self._clock()
        if left <= 0:
            raise TimeoutError("the reply took too long")
        return left


def _part(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    file = io.BytesIO()
    Image.fromarray(part).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _read(reply: bytes) -> Answer:
    choice = json.loads(reply)["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str):
        raise ValueError("no text")
    listed = (choice.get("logprobs") or {}).get("content") or []
    tokens = tuple(_token(token) for token in listed)
    return Answer(text=text, tokens=tokens or (Token(text=text, probabilities={}),))


def _token(listed: Mapping[str, Any]) -> Token:
    probabilities: dict[str, float] = {}
    for other in listed.get("top_logprobs") or []:
        likely = math.exp(float(other["logprob"]))
        if not 0 <= likely <= 1 + 1e-3:
            raise ValueError("a probability outside of [0, 1]")
        probabilities[other["token"]] = probabilities.get(other["token"], 0.0) + likely
    return Token(text=listed["token"], probabilities=probabilities)
