"""Scripted raters that answer over the same HTTP API as people: the whole loop without people."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import httpx
import numpy as np
from jaxtyping import Float

from embodied.errors import BadInput, WaitTimeout
from embodied.preferences.answers import Answer
from embodied.preferences.guard import CSRF_HEADER
from embodied.preferences.teachers import Teacher, answer_pairs

LATER = 503
"""HTTP's status of a server that cannot answer now: its database is gone, or its disk full."""
TRIES_S = 0.2
"""Pause between two tries while the server does not answer."""


@final
class RaterClient:
    """Signs in, asks and answers; what gets no answer is sent again, under the same uuid.

    Args:
        url: Of the server.
        token: To sign in with.
        rater: Name.
        kind: ``scripted``, ``human`` or ``model``.
        patience_s: Longest time without an answer of the server.
        transport: Tests may bring their own.

    Raises:
        BadInput: if the server refuses the token or the name.
        WaitTimeout: if it does not answer.
    """

    def __init__(
        self,
        url: str,
        token: str,
        rater: str,
        *,
        kind: str = "scripted",
        patience_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.patience_s = patience_s
        self._http = httpx.Client(base_url=url, timeout=patience_s, transport=transport)
        signed_in = self.post("/api/session", {"token": token, "rater": rater, "kind": kind})
        self._http.headers[CSRF_HEADER] = signed_in["csrf"]

    def __enter__(self) -> "RaterClient":
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def following(self, count: int = 2, mode: str = "pair") -> list[dict[str, Any]]:
        """The next queries; the same ones until they are answered."""
        found = self.post(f"/api/next?count={count}&mode={mode}", {})["showings"]
        return list(found)

    def answer(self, showing: Mapping[str, Any], choice: str, **more: Any) -> int:
        """Answer what was shown; ``choice`` names the side where the clip was shown."""
        body = {"uuid": str(uuid.uuid4()), "showing_id": showing["id"], "choice": choice, **more}
        return int(self.post("/api/labels", body)["label_id"])

    def undo(self) -> dict[str, Any] | None:
        """Take the last answer back; the query that is open again, or None."""
        found: dict[str, Any] | None = self.post("/api/undo", {"uuid": str(uuid.uuid4())})[
            "showing"
        ]
        return found

    def propose(self, query_id: int, probability_first: float) -> None:
        """A model's opinion of a query."""
        self.post("/api/proposals", {"query_id": query_id, "probability_first": probability_first})

    def get(self, path: str) -> Any:
        """What the server says at a path."""
        return self._send("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send something that may be sent twice."""
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        deadline = time.monotonic() + self.patience_s
        while True:
            lost: httpx.TransportError | None = None
            try:
                response = self._http.request(method, path, json=body)
                if response.status_code != LATER:
                    break
            except httpx.TransportError as error:
                lost = error
            if time.monotonic() > deadline:
                raise WaitTimeout("the preference server", self.patience_s) from lost
            time.sleep(TRIES_S)
        if response.status_code >= 400:
            raise BadInput(f"the server refuses {method} {path}: {response.json()['detail']}")
        return response.json()


def answer_as(
    client: RaterClient,
    teacher: Teacher,
    rewards: Callable[[int], Float[np.ndarray, " time"]],
    *,
    labels: int,
    typical: float,
    rng: np.random.Generator,
) -> list[Answer]:
    """Answer so many queries as one of B-Pref's teachers would.

    Args:
        client: Signed in.
        teacher: Who answers.
        rewards: True reward of each step of a clip, by the clip's number.
        labels: Answers to give; a skip is an answer that does not count as one of them.
        typical: See `typical_return`.
        rng: Of the teacher.

    Returns:
        The answers in the order given, by the sides shown, skips included.
    """
    given: list[Answer] = []
    while sum(answer is not Answer.SKIP for answer in given) < labels:
        given.append(answer_next(client, teacher, rewards, typical=typical, rng=rng))
    return given


def answer_next(
    client: RaterClient,
    teacher: Teacher,
    rewards: Callable[[int], Float[np.ndarray, " time"]],
    *,
    typical: float,
    rng: np.random.Generator,
) -> Answer:
    """Answer one query, as `answer_as` does, and say how."""
    showing = client.following(count=2)[0]
    pair = _equally_long([rewards(number) for number in showing["clip_ids"]])
    (choice,) = answer_pairs(teacher, pair[:1], pair[1:], typical=typical, rng=rng)
    client.answer(showing, choice)
    return choice


def _equally_long(rewards: Sequence[Float[np.ndarray, " time"]]) -> Float[np.ndarray, "pair time"]:
    """The last steps of each, as many as the shorter one has."""
    shortest = min(map(len, rewards))
    return np.stack([each[len(each) - shortest :] for each in rewards]).astype(float)
