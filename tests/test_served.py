"""A served reward says what the local one says, or says in time that it cannot."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied import cli
from embodied.config import compose, save_config
from embodied.errors import BadConfig, BadInput, EmbodiedError, RewardUnavailable, WaitTimeout
from embodied.reward_models import served
from embodied.reward_models.base import RewardModel, Scores, check_clip
from embodied.reward_models.controls import ElapsedTime
from embodied.reward_models.served import ServedReward
from embodied.reward_models.served_request import address_of
from embodied.scorer import Scorer
from embodied.serve_reward import _takes_features, build_server, identity_of
from embodied.serving import Limits, RewardServer
from embodied.testing.rewards import HueEncoder, assert_same, check_reward_model
from embodied.types import Clip
from embodied.wire import clips_from_bytes, clips_to_bytes, scores_from_bytes, scores_to_bytes

TOKEN = "a-token-for-tests-only"
EMBODIED = Path(sys.executable).with_name("embodied")


class Redness(RewardModel):
    """Progress is how red a frame is; counts, waits and fails as a test wants it."""

    causal = True

    def __init__(self) -> None:
        super().__init__()
        self.cameras = ("front",)
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.calls: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[Scores]:
        self.may_go_on.wait(30)
        self.calls.append(len(clips))
        for clip in clips:
            check_clip(clip, self.cameras)
            if clip.instruction == "crash":
                raise ZeroDivisionError
            if clip.instruction == "refuse":
                raise BadInput("this clip is refused.")
        return [self._score(clip.frames["front"]) for clip in clips]

    def _score(self, frames: np.ndarray) -> Scores:
        red = (frames[..., 0].mean((1, 2)) / 255).astype(np.float32)
        done = np.flatnonzero(red > 0.9)
        nothing = np.zeros_like(red)
        index = int(done[0]) if len(done) else len(red)
        return Scores(
            reward=np.diff(red, prepend=red[:1]), progress=red, done=nothing, uncertainty=nothing,
            success=index < len(red), done_index=index,
        )  # fmt: skip


def clip_of_length(
    length: int, seed: int = 0, instruction: str = "turn red", size: int = 8
) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (length, size, size, 3), dtype=np.uint8)
    return Clip(frames={"front": frames}, features={}, instruction=instruction)


@contextlib.contextmanager
def serving(
    model: RewardModel, *, places: int = 4, version: int = 1, encoder: HueEncoder | None = None,
    limits: Limits | None = None,
) -> Iterator[RewardServer]:  # fmt: skip
    scorer = Scorer(model, encoder, places=places, clips_at_once=16)
    server = RewardServer(
        scorer, identity_of(model, version), token=TOKEN, host="127.0.0.1", port=0, limits=limits
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        scorer.close()


def client(url: str, *, fitted: bool = True, **settings: object) -> ServedReward:
    reward = ServedReward(url, **{"deadline_s": 20.0, **settings})  # type: ignore[arg-type]
    if fitted:
        reward.fit([], [], distractor_instructions=[], seed=0)
    return reward


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBODIED_REWARD_TOKEN", TOKEN)


def test_it_does_all_that_any_reward_must_do() -> None:
    with serving(Redness()) as server:
        check_reward_model(lambda: client(server.url), clip_of_length(6))


def test_it_says_what_the_local_reward_says_to_the_bit() -> None:
    clips = [clip_of_length(length, seed=length) for length in (2, 3, 17, 40)] * 6
    with serving(Redness()) as server:
        found = client(server.url).score(clips)
    for ours, theirs in zip(found, Redness().score(clips), strict=True):
        np.testing.assert_array_equal(ours.reward, theirs.reward)
        assert_same(ours, theirs, "is not what the local reward says")


def test_frames_are_encoded_at_the_server_for_a_reward_that_works_on_features() -> None:
    clock, encoder = ElapsedTime(), HueEncoder()
    clock.fit([clip_of_length(9)], [], distractor_instructions=[], seed=0)
    with serving(clock, encoder=encoder) as server:
        client(server.url).score([clip_of_length(5, size=32), clip_of_length(4, size=32)])
        assert encoder.frames_encoded == 9
        with pytest.raises(BadInput, match="not 32 pixels square"):
            client(server.url).score([clip_of_length(5, size=16)])


def test_a_wrong_token_is_told_and_a_missing_one_never_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(Redness()) as server:
        (tmp_path / "token").write_text("another-token-1234\n")
        with pytest.raises(RewardUnavailable, match="token is missing or wrong"):
            client(server.url, token_file=str(tmp_path / "token"))
        (tmp_path / "token").write_text(TOKEN + "\n")
        monkeypatch.delenv("EMBODIED_REWARD_TOKEN")
        client(server.url, token_file=str(tmp_path / "token"))
        for wrong in (None, str(tmp_path / "nowhere")):
            with pytest.raises(BadConfig, match="token"):
                client(server.url, token_file=wrong)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:7711", "ftp://here", "http://", "http://a:99999", "http://me:word@here"]
)
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(BadConfig, match=r"reward\.url"):
        address_of(url)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_dead_server_is_told_at_once_and_left_alone_for_longer_each_time() -> None:
    now = [0.0]
    with serving(Redness()) as server:
        reward = client(server.url, clock=lambda: now[0])
        port = server.server_address[1]
    clip = [clip_of_length(4)]
    for pause in (10, 20, 40, 80, 160, 300, 300):
        with pytest.raises(RewardUnavailable, match="does not answer"):
            reward.score(clip)
        now[0] += pause - 1
        with pytest.raises(RewardUnavailable, match="asked again in 1 s"):
            reward.score(clip)
        now[0] += 1
    scorer = Scorer(Redness(), None, places=1, clips_at_once=1)
    again = RewardServer(
        scorer, identity_of(Redness(), 1), token=TOKEN, host="127.0.0.1", port=port
    )
    threading.Thread(target=again.serve_forever, args=(0.02,), daemon=True).start()
    assert len(reward.score(clip)) == 1
    again.shutdown()
    again.server_close()
    with pytest.raises(RewardUnavailable):
        reward.score(clip)
    now[0] += 10
    with pytest.raises(RewardUnavailable, match="does not answer"):
        reward.score(clip)


@contextlib.contextmanager
def pretending(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens, reads a request's beginning, and answers as it likes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    channel, _ = listener.accept()
                    with channel, contextlib.suppress(OSError):
                        channel.settimeout(5)
                        channel.recv(65536)
                        answer(channel)

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def known(url: str, **settings: object) -> ServedReward:
    """A client that knows already which reward it trusts."""
    reward = client(url, fitted=False, pause_s=0.001, longest_pause_s=0.001, **settings)
    reward.restore({"served": "Redness-1"})
    reward.version = 1
    return reward


def say_nothing(channel: socket.socket) -> None:
    time.sleep(3)


def trickle(channel: socket.socket) -> None:
    channel.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\n")
    for _ in range(60):
        channel.sendall(b"x")
        time.sleep(0.05)


def trickle_headers(channel: socket.socket) -> None:
    for _ in range(60):
        channel.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [say_nothing, trickle, trickle_headers])
def test_a_slow_server_is_given_up_at_the_deadline(
    answer: Callable[[socket.socket], None],
) -> None:
    with pretending(answer) as url:
        reward = known(url, deadline_s=0.5)
        begun = time.monotonic()
        with pytest.raises(RewardUnavailable, match="did not answer within"):
            reward.score([clip_of_length(4)])
        assert time.monotonic() - begun < 2.5


def http(body: bytes, length: int | None = None, status: str = "200 OK") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.0 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


def answer_with(**changes: object) -> bytes:
    scores = Redness().score([clip_of_length(4)])[0]
    identity = {"fingerprint": "Redness-1", "version": 1}
    values = {name: getattr(scores, name) for name in Scores.__dataclass_fields__} | changes
    return scores_to_bytes(identity, [Scores(**values)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"what?\n",
        http(b""),
        http(b"<html>a proxy's page</html>"),
        http(pickle.dumps([1, 2])),
        http(answer_with()[:-3]),
        http(answer_with(), length=10**6),
        http(clips_to_bytes([clip_of_length(4)])),
        http(scores_to_bytes({}, [])),
        http(scores_to_bytes({"fingerprint": "Redness-1"}, Redness().score([clip_of_length(5)]))),
        http(answer_with(reward=np.full(4, np.nan, np.float32))),
        http(answer_with(progress=np.full(4, 1.5, np.float32))),
        http(answer_with(done_index=9)),
        http(answer_with(success=True, done_index=4)),
        http(b"", status="302 Found"),
        http(b"", status="500 Oh"),
    ],
)
def test_a_malformed_answer_is_no_scores(said: bytes) -> None:
    with pretending(lambda channel: channel.sendall(said)) as url:
        with pytest.raises(RewardUnavailable):
            known(url).score([clip_of_length(4)])
        with pytest.raises(RewardUnavailable):
            client(url)


def test_another_reward_behind_the_same_address_is_not_trusted(tmp_path: Path) -> None:
    with serving(Redness()) as server:
        reward = client(server.url)
        reward.save(tmp_path / "reward.pt")
        port = server.server_address[1]
    scorer = Scorer(Redness(), None, places=1, clips_at_once=1)
    other = RewardServer(
        scorer, identity_of(Redness(), 2), token=TOKEN, host="127.0.0.1", port=port
    )
    threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
    with pytest.raises(RewardUnavailable, match=r"now serves .* version 2; this run trusts"):
        reward.score([clip_of_length(4)])
    loaded = client(server.url, fitted=False)
    loaded.load(tmp_path / "reward.pt")
    assert loaded.version == 1
    with pytest.raises(RewardUnavailable, match="version 2"):
        loaded.score([clip_of_length(4)])
    other.shutdown()
    other.server_close()


def raw(server: RewardServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_address[1]), 10) as channel:
        channel.sendall(request)
        parts = []
        while part := channel.recv(65536):
            parts.append(part)
    return b"".join(parts)


def post(body: bytes, *headers: str, path: str = "/v1/score", token: str = TOKEN) -> bytes:
    lines = [f"POST {path} HTTP/1.0", f"Authorization: Bearer {token}", *headers]
    if not any(header.startswith("Content-Length") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_whatever_is_wrong_with_a_request_the_server_says_so_and_goes_on() -> None:
    limits = Limits(max_bytes=20_000, silence_s=0.3, request_s=0.6)
    good = clips_to_bytes([clip_of_length(4)])
    with serving(Redness(), limits=limits) as server:
        for request, status in (
            (b"GET /v1/reward HTTP/1.0\r\n\r\n", b" 401 "),
            (post(good, token="wrong"), b" 401 "),
            (post(good, path="/../../etc/passwd"), b" 404 "),
            (post(b"", "Content-Length: x"), b" 411 "),
            (post(b"", "Content-Length: -5"), b" 411 "),
            (post(b"", f"Content-Length: {10**14}"), b" 413 "),
            (post(bytes(30_000)), b" 413 "),
            (post(good[:-7], f"Content-Length: {len(good)}"), b" 408 "),
            (post(b"no safetensors"), b" 400 "),
            (post(pickle.dumps({"a": 1})), b" 400 "),
            (post(good, "X-Deadline-S: soon"), b" 400 "),
            (post(good, "X-Deadline-S: nan"), b" 504 "),
            (post(clips_to_bytes([clip_of_length(4, instruction="refuse")])), b" 422 "),
            (post(clips_to_bytes([clip_of_length(4, instruction="crash")])), b" 500 "),
            (b"DELETE /v1/reward HTTP/1.0\r\n\r\n", b" 501 "),
            (post(good), b" 200 "),
        ):
            assert status in raw(server, request).split(b"\r\n")[0], (request[:90], status)
        with pytest.raises(BadInput, match=r"serve\.max_mb"):
            client(server.url).score([clip_of_length(200)])
        assert len(client(server.url).score([clip_of_length(4)])) == 1


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    results: list[object] = [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except EmbodiedError as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_clients_at_once_are_scored_together_and_one_bad_clip_spoils_its_own_request_alone() -> (
    None
):
    model = Redness()
    with serving(model, places=5) as server:
        reward = client(server.url)
        model.may_go_on.clear()

        def ask(number: int) -> list[Scores]:
            instruction = "refuse" if number == 3 else "turn red"
            return client(server.url).score([clip_of_length(4, number, instruction)])

        opener = threading.Thread(target=reward.score, args=([clip_of_length(3)],))
        opener.start()
        wait_until(lambda: server.scorer._waiting.qsize() == 0 and server.scorer._taken == 1)
        waiter = threading.Thread(
            target=lambda: (
                wait_until(lambda: server.scorer._waiting.qsize() == 4), model.may_go_on.set()
            )
        )  # fmt: skip
        waiter.start()
        results = in_threads(4, ask)
        opener.join()
        waiter.join()
    assert isinstance(results[3], BadInput)
    for number in range(3):
        (found,) = results[number]  # type: ignore[misc]
        (expected,) = Redness().score([clip_of_length(4, number)])
        assert_same(found, expected, "belongs to another client")
    assert model.calls[:2] == [1, 4], "the four that waited were not one batch"


def test_a_full_queue_says_when_to_come_back_and_who_comes_back_in_time_is_served() -> None:
    model = Redness()
    with serving(model, places=1) as server:
        reward = client(server.url)
        impatient = client(server.url, deadline_s=0.3)
        model.may_go_on.clear()
        opener = threading.Thread(target=reward.score, args=([clip_of_length(3)],))
        opener.start()
        wait_until(lambda: server.scorer._taken == 1)
        told = raw(server, post(clips_to_bytes([clip_of_length(4)])))
        assert b" 429 " in told.split(b"\r\n")[0]
        assert b"\r\nRetry-After: 1\r\n" in told
        with pytest.raises(RewardUnavailable, match="queue is full"):
            impatient.score([clip_of_length(4)])
        threading.Timer(0.3, model.may_go_on.set).start()
        assert len(client(server.url).score([clip_of_length(4)])) == 1
        opener.join()


def test_too_many_connections_are_turned_away_and_silent_ones_do_not_stay() -> None:
    with serving(Redness(), limits=Limits(connections=2, silence_s=0.5)) as server:
        address = ("127.0.0.1", server.server_address[1])
        silent = [socket.create_connection(address) for _ in range(2)]
        time.sleep(0.2)
        assert b" 503 " in raw(server, b"GET /v1/reward HTTP/1.0\r\n\r\n")
        time.sleep(0.8)
        assert len(client(server.url).score([clip_of_length(4)])) == 1
        for channel in silent:
            channel.close()


def test_what_nobody_waits_for_any_more_is_never_scored() -> None:
    model = Redness()
    model.may_go_on.clear()
    scorer = Scorer(model, None, places=9, clips_at_once=9)
    first = threading.Thread(target=scorer.score, args=([clip_of_length(3)], 30.0))
    first.start()
    wait_until(lambda: scorer._waiting.qsize() == 0)
    with pytest.raises(WaitTimeout):
        scorer.score([clip_of_length(4)], 0.05)
    model.may_go_on.set()
    first.join()
    assert len(scorer.score([clip_of_length(5)], 30.0)[0].reward) == 5
    assert model.calls == [1, 1]
    scorer.close()


def test_a_model_that_hangs_keeps_nothing_of_those_who_have_left() -> None:
    model = Redness()
    with serving(model, places=2) as server:
        patient, impatient = client(server.url), client(server.url, pause_s=0.001)
        impatient.deadline_s, impatient.longest_pause_s = 0.3, 0.001
        model.may_go_on.clear()
        opener = threading.Thread(target=patient.score, args=([clip_of_length(3)],))
        opener.start()
        wait_until(lambda: server.scorer._taken == 1 and server.scorer._waiting.qsize() == 0)
        for seed in range(5):
            with pytest.raises(RewardUnavailable):
                impatient.score([clip_of_length(4, seed)])
            time.sleep(0.01)
        wait_until(lambda: server.scorer._waiting.qsize() == 0 and server.scorer._taken == 1)
        model.may_go_on.set()
        opener.join()


def test_many_or_large_clips_go_in_several_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [clip_of_length(length) for length in (40, 2, 2, 2, 30)]
    model = Redness()
    with serving(model) as server:
        monkeypatch.setattr(served, "BYTES_PER_REQUEST", 3 * 8 * 8 * 10)
        reward = client(server.url)
        assert [len(scores.reward) for scores in reward.score(clips)] == [40, 2, 2, 2, 30]
        assert model.calls == [1, 3, 1]
        reward.score([clip_of_length(2)] * 5 + [clip_of_length(9)])
        assert model.calls[3:] == [5, 1]


@pytest.mark.parametrize(
    ("choice", "takes"),
    [("progress", True), ("learned_mixture", True), ("judge", False), ("elapsed_time", False)],
)
def test_frames_are_encoded_once_for_all_parts_of_a_reward(choice: str, takes: bool) -> None:
    assert _takes_features(compose([f"reward={choice}"]).reward) == takes


def serve_for_ever(port: int) -> None:
    scorer = Scorer(Redness(), None, places=4, clips_at_once=16)
    identity = identity_of(Redness(), 1)
    RewardServer(scorer, identity, token=TOKEN, host="127.0.0.1", port=port).serve_forever()


def test_a_server_killed_with_9_in_the_middle_of_a_question_is_one_plain_error() -> None:
    port = free_port()
    process = multiprocessing.get_context("fork").Process(target=serve_for_ever, args=(port,))
    process.start()
    assert process.pid is not None
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url))
        reward = client(url, deadline_s=120.0)
        assert len(reward.score([clip_of_length(4)])) == 1
        os.kill(process.pid, signal.SIGSTOP)  # the kernel goes on taking connections
        asked: list[object] = []
        asking = threading.Thread(
            target=lambda: asked.extend(in_threads(1, lambda _: reward.score([clip_of_length(4)])))
        )
        asking.start()
        time.sleep(0.5)
        assert asking.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        asking.join(60)
        assert not asking.is_alive(), "the client waits for a dead server"
        assert isinstance(asked[0], RewardUnavailable)
        assert "does not answer" in str(asked[0])
    finally:
        process.kill()
        process.join()


def answers(url: str) -> bool:
    with contextlib.suppress(RewardUnavailable):
        client(url)
        return True
    return False


@given(st.binary(max_size=300))
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        clips_from_bytes(body)
    with pytest.raises(BadInput):
        scores_from_bytes(body, [3])


@given(st.lists(st.integers(1, 6), max_size=4), st.text(max_size=40), st.integers(0, 2), st.data())
def test_clips_arrive_as_they_were_sent(
    lengths: list[int], instruction: str, references: int, data: st.DataObject
) -> None:
    clips = [clip_of_length(n, n, instruction) for n in lengths]
    clips = [
        Clip(
            frames={"front": clip.frames["front"][::-1], "wrist": clip.frames["front"]},
            features={}, instruction=instruction,
            references=tuple(clip_of_length(2, n) for n in range(references)),
        )
        for clip in clips
    ]  # fmt: skip
    body = clips_to_bytes(clips)
    for sent, found in zip(clips, clips_from_bytes(body), strict=True):
        assert (found.instruction, len(found.references)) == (instruction, references)
        for camera, frames in sent.frames.items():
            np.testing.assert_array_equal(found.frames[camera], frames)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadInput):
        clips_from_bytes(body[:cut])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose reward is a clock."""
    run = tmp_path / "runs" / "clock"
    run.mkdir(parents=True)
    save_config(compose(["reward=elapsed_time", f"runs_dir={tmp_path / 'runs'}"]), run)
    clock = ElapsedTime()
    clock.fit([clip_of_length(9)], [], distractor_instructions=[], seed=0)
    (run / "reward").mkdir()
    clock.save(run / "reward/reward.pt")
    return run


def test_the_command_serves_a_runs_reward_from_a_process_of_its_own(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBODIED_REWARD_TOKEN")
    port = free_port()
    command = [str(EMBODIED), "serve-reward", str(run), f"serve.port={port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        told = process.stderr.readline() + process.stderr.readline()
        assert f"http://127.0.0.1:{port}." in told
        token_file = run.parent / ".cache/serve-token"
        assert str(token_file) in told
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        reward = client(f"http://127.0.0.1:{port}", token_file=str(token_file))
        assert reward.served.startswith("ElapsedTime-")
        (found,) = reward.score([clip_of_length(12)])
        assert found.done_index == 8
        assert token_file.read_text().strip() not in told
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_and_a_reward_that_is_untrained_are_told_in_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["serve-reward", str(run), f"serve.port={port}"]) == 2
    assert "choose another serve.port" in capsys.readouterr().err
    (run / "reward/reward.pt").unlink()
    assert cli.main(["serve-reward", str(run)]) == 2
    assert f"embodied audit {run}" in capsys.readouterr().err
    with pytest.raises(BadConfig, match="name a run"):
        build_server(compose(["reward=elapsed_time"]))


def test_a_short_token_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBODIED_REWARD_TOKEN")
    (tmp_path / "token").write_text("short\n")
    cfg = compose(["reward=elapsed_time", f"serve.token_file={tmp_path / 'token'}"])
    cfg.run = str(run)
    with pytest.raises(BadConfig, match="16 or more"):
        build_server(cfg)


def test_a_saved_one_names_no_address_and_no_token(tmp_path: Path) -> None:
    with serving(Redness()) as server:
        client(server.url).save(tmp_path / "reward.pt")
        content = (tmp_path / "reward.pt").read_bytes()
        assert TOKEN.encode() not in content
        assert server.url.removeprefix("http://").encode() not in content
