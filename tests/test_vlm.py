"""Real architectures of three families, with random weights, and a server that misbehaves."""

import base64
import io
import json
import math
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from embodied.errors import BadConfig
from embodied.reward_models.judge import GenerativeJudge
from embodied.reward_models.vlm import Answer, Question, Unanswered, VisionLanguageModel
from embodied.reward_models.vlm_endpoint import EndpointModel
from embodied.reward_models.vlm_transformers import TransformersModel
from embodied.testing.vision_language import BrightnessModel, tiny_model
from embodied.types import Clip

FRAME = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
QUESTIONS = [
    Question(parts=("Look: ", FRAME, " done?")),
    Question(parts=(FRAME[::-1], " and ", FRAME[:10], " and tell me more."), system="Be brief."),
]


@pytest.mark.parametrize("family", ["internvl", "qwen2_vl", "qwen3_vl"])
def test_any_family_answers_a_batch_as_it_answers_each_question(tmp_path, family):
    path = str(tiny_model(tmp_path, family))
    model = TransformersModel(path, alternatives=1000)
    assert isinstance(model, VisionLanguageModel)
    together = model.answer(QUESTIONS, max_tokens=3)
    for question, found in zip(QUESTIONS, together, strict=True):
        (alone,) = model.answer([question], max_tokens=3)
        assert found.text == alone.text
        for ours, theirs in zip(found.tokens, alone.tokens, strict=True):
            assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)
            assert sum(ours.probabilities.values()) == pytest.approx(1, abs=1e-4)
            assert ours.text in ours.probabilities
    changed = Question(parts=("Look: ", 255 - FRAME, " done?"))
    assert model.answer([changed], max_tokens=1) != model.answer(QUESTIONS[:1], max_tokens=1)


class Server:
    """An endpoint; ``behave`` takes the request and the handler, and writes the reply."""

    def __init__(self):
        self.requests, self.behave, self.failures = [], reply_brightness, 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, dict(self.headers), json.loads(body)))
                if server.failures > 0:
                    server.failures -= 1
                    self.send_error(503)
                    return
                server.behave(json.loads(body), self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def write(handler, reply, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(reply)))
    handler.end_headers()
    handler.wfile.write(reply)


def completion(text, likely=None):
    token = {"token": text}
    if likely:
        token["top_logprobs"] = [{"token": t, "logprob": math.log(p)} for t, p in likely.items()]
    logprobs = {"content": [token]} if likely else None
    return {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}


def reply_brightness(body, handler):
    """What the double would say of the pictures in the request."""
    parts = []
    for part in body["messages"][-1]["content"]:
        if part["type"] == "text":
            parts.append(part["text"])
        else:
            data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
            parts.append(np.asarray(Image.open(io.BytesIO(data))))
    (said,) = BrightnessModel().answer([Question(parts=tuple(parts))], max_tokens=1)
    write(handler, json.dumps(completion(said.text, said.tokens[0].probabilities)).encode())


def quick(server, **options):
    settings = {"timeout_s": 0.5, "deadline_s": 5.0, "attempts": 2, "pause_s": 0.01} | options
    return EndpointModel(server.url, "judge-8b", **settings)


def test_the_endpoint_says_what_the_model_behind_it_says(server):
    frames = np.linspace(0, 255, 6 * 8 * 8 * 3).reshape(6, 8, 8, 3).astype(np.uint8)
    clip = Clip(frames={"front": frames}, features={}, instruction="lift")
    far = GenerativeJudge(quick(server, timeout_s=20.0, deadline_s=60.0), ["front"], every=2)
    near = GenerativeJudge(BrightnessModel(), ["front"], every=2)
    (found,), (expected,) = far.score([clip]), near.score([clip])
    np.testing.assert_allclose(found.progress, expected.progress, atol=1e-6)
    path, _, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["logprobs"], body["temperature"]) == ("judge-8b", True, 0.0)
    assert isinstance(quick(server), VisionLanguageModel)


def slow(body, handler):
    time.sleep(3)


def dribbling(body, handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def cut_off(body, handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"choices":')


MISBEHAVIOURS = {
    "slow": (slow, "timed out|too long"),
    "dribbling": (dribbling, "timed out|too long"),
    "closes the connection": (lambda body, handler: handler.connection.close(), "Remote|Reset|Bad"),
    "cut off": (cut_off, "IncompleteRead"),
    "not JSON": (lambda body, handler: write(handler, b"<html>"), "no chat completion"),
    "other JSON": (lambda body, handler: write(handler, b'{"choices": []}'), "no chat completion"),
    "no object": (lambda body, handler: write(handler, b"[1]"), "no chat completion"),
    "no text": (
        lambda body, handler: write(handler, json.dumps(completion(None)).encode()),
        "no chat completion",
    ),
    "impossible": (
        lambda body, handler: write(handler, json.dumps(completion("yes", {"yes": 9})).encode()),
        "no chat completion",
    ),
    "broken": (lambda body, handler: write(handler, b"out of memory", 500), "status 500: out of"),
    "huge": (lambda body, handler: write(handler, b" " * 5_000_000), "more than"),
}

TOO_SLOW = ("slow", "dribbling")


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_a_server_that_misbehaves_gets_a_second_chance_and_then_a_reason(server, name):
    server.behave, reason = MISBEHAVIOURS[name]
    begun = time.monotonic()
    timeout_s = 1.5 if name in TOO_SLOW else 20.0  # time for a busy machine to see the request
    patience = {"timeout_s": timeout_s, "deadline_s": 60.0}
    (found,) = quick(server, **patience).answer(QUESTIONS[:1], max_tokens=1)
    assert isinstance(found, Unanswered)
    assert re.search(reason, str(found)), str(found)
    assert server.url in str(found)
    assert len(server.requests) == 2
    if name in TOO_SLOW:
        assert time.monotonic() - begun < 20


def test_a_failure_that_passes_is_not_noticed(server):
    server.failures = 1
    (found,) = quick(server, timeout_s=20.0, deadline_s=60.0).answer(QUESTIONS[:1], max_tokens=1)
    assert isinstance(found, Answer)
    assert len(server.requests) == 2


def test_a_wrong_request_is_not_repeated(server):
    server.behave = lambda body, handler: write(handler, b"no such model", 404)
    (found,) = quick(server).answer(QUESTIONS[:1], max_tokens=1)
    assert "status 404: no such model" in str(found)
    assert len(server.requests) == 1


def test_pauses_double_and_end_before_the_deadline(server):
    server.behave = lambda body, handler: write(handler, b"later", 503)
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    model = EndpointModel(
        server.url, "m", attempts=9, pause_s=1.0, deadline_s=10.0, clock=lambda: now[0], sleep=sleep
    )
    (found,) = model.answer(QUESTIONS[:1], max_tokens=1)
    assert slept == [1.0, 2.0, 4.0]
    assert "deadline of 10 s" in str(found)


def test_a_refusal_and_missing_probabilities_become_abstaining_scores(server):
    clip = Clip(frames={"front": np.zeros((4, 8, 8, 3), np.uint8)}, features={}, instruction="go")
    likely = {"I": 0.97, "yes": 0.01, "no": 0.02}
    for reply in (completion("I cannot judge people.", likely), completion("yes")):
        server.behave = lambda body, handler, r=reply: write(handler, json.dumps(r).encode())
        (scores,) = GenerativeJudge(quick(server), ["front"]).score([clip])
        np.testing.assert_array_equal(scores.uncertainty, 1)
        assert not scores.success
    with pytest.raises(Unanswered, match="logprobs"):
        GenerativeJudge(quick(server), ["front"], abstain=False).score([clip])


def test_a_dead_server_is_named_and_stops_nobody():
    model = EndpointModel("http://127.0.0.1:9/v1", "m", attempts=2, pause_s=0.01)
    answers = model.answer(QUESTIONS, max_tokens=1)
    assert ["127.0.0.1:9" in str(found) for found in answers] == [True, True]


def test_the_key_comes_from_the_environment_and_is_asked_for(server, monkeypatch):
    model = quick(server, key_variable="JUDGE_KEY")
    with pytest.raises(BadConfig, match="JUDGE_KEY"):
        model.answer(QUESTIONS[:1], max_tokens=1)
    monkeypatch.setenv("JUDGE_KEY", "secret")
    model.answer(QUESTIONS[:1], max_tokens=1)
    assert server.requests[0][1]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x/v1", "http://"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(BadConfig, match="should look like"):
        EndpointModel(url, "m")
