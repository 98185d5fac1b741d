"""Pages that need nothing from outside, and numbers that say where they come from."""

import io
import json
import re
import runpy
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embodied.audit import audit
from embodied.card import render, write_card
from embodied.errors import BadInput
from embodied.html import Html, element, film, page, picture, table, text, video
from embodied.provenance import Claim, benchmark_result, command_line, plain, provenance
from embodied.reward_models.controls import ElapsedTime
from embodied.types import Clip

VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags nest, and collects text and every address."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "href", "poster", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def content(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


class NoEncoder:
    fingerprint = "none"
    shape = (1, 1, 1)

    def encode(self, frames):
        return np.zeros((len(frames), 1, 1, 1), np.float16)


@pytest.fixture(scope="module")
def clock_result():
    frames = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    shown = Clip(frames={"front": frames}, features={}, instruction="open the <door> & wait")
    return audit(
        ElapsedTime(("front",), typical_length=12), [shown] * 6, [shown] * 6, encoder=NoEncoder(),
        other_instructions=["close the drawer"], fps=10.0, seed=0,
    )  # fmt: skip


def test_the_card_is_one_file_that_asks_for_nothing(clock_result, tmp_path):
    write_card(clock_result, tmp_path / "card.html")
    source = (tmp_path / "card.html").read_text()
    reader = Reader(source)
    assert len(reader.addresses) > 10
    assert all(address.startswith("data:") for address in reader.addresses)
    for outside in ("@import", "url(http", "<script", "<iframe"):
        assert outside not in source
    for uri in reader.addresses:
        if uri.startswith("data:image/svg+xml"):
            svg = b64decode(uri.partition(",")[2]).decode()
            links = re.findall(r'(?:xlink:)?href="([^"]+)"', svg)
            assert all(link.startswith(("#", "data:")) for link in links)
    assert [p.name for p in tmp_path.iterdir()] == ["card.html"]


def test_the_card_says_the_verdict_first_then_every_number_gate_and_perturbation(clock_result):
    source = render(clock_result)
    content = Reader(source).content
    assert not clock_result.accepted
    assert content.index(clock_result.headline) < content.index("Gates") < content.index("VROC")
    for reason in clock_result.reasons:
        assert reason in content
    for gate in clock_result.gates:
        assert gate.title in content
    for row in clock_result.robustness:
        assert row.title in content
    for said in ("close the drawer", "Cycle-VOC", "fail", "oldest first"):
        assert said in content
    assert "open the &lt;door&gt; &amp; wait" in source


@given(st.text())
def test_text_is_escaped_and_markup_is_not(value):
    written = page("t", element("p", value, title=value), table(["a"], [[value]]))
    assert "".join(Reader(written).words).count(value) >= 2 * bool(value)
    assert text(Html("<b>x</b>")) == "<b>x</b>"


def test_a_picture_is_lossless_and_a_strip_has_both_ends():
    frames = np.random.default_rng(0).integers(0, 256, (9, 8, 10, 3)).astype(np.uint8)
    uri = re.search(r"base64,([^\"]+)", picture(frames[0], "a frame"))
    image = Image.open(io.BytesIO(b64decode(uri[1])))
    np.testing.assert_array_equal(np.asarray(image), frames[0])
    strip = film(frames, 4)
    np.testing.assert_array_equal(strip[:, :10], frames[0])
    np.testing.assert_array_equal(strip[:, -10:], frames[-1])


def test_a_video_holds_every_frame_at_its_rate():
    ramp = np.linspace(0, 255, 30).astype(np.uint8)
    frames = np.broadcast_to(ramp[:, None, None, None], (30, 33, 48, 3))
    uri = re.search(r"video/mp4;base64,([^\"]+)", video(frames, 12.5))
    with av.open(io.BytesIO(b64decode(uri[1]))) as container:
        assert float(container.streams.video[0].average_rate) == 12.5
        shown = [f.to_ndarray(format="rgb24").mean() for f in container.decode(video=0)]
    assert len(shown) == 30
    assert np.abs(np.array(shown) - ramp).max() < 8


def test_provenance_names_commit_versions_and_machine_but_no_path_and_no_host():
    found = provenance()
    written = json.dumps(found)
    assert re.fullmatch(r"[0-9a-f]{40}", found["git"]["commit"])
    assert found["versions"]["numpy"] == np.__version__
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_gib"] > 0
    assert str(Path.cwd()) not in written
    assert str(Path.home()) + "/" not in written
    import socket

    assert socket.gethostname() not in written


def test_a_command_keeps_its_arguments_and_loses_private_paths():
    here = Path.cwd()
    argv = [
        "/x/bin/python",
        "/x/bin/embodied",
        "train",
        f"run_dir={here}/runs/a",
        "data=/home/me/d",
    ]
    assert command_line(argv) == "embodied train run_dir=runs/a data=d"
    assert command_line(["/usr/bin/python3", "-m", "embodied", "seed=1"]) == (
        "python3 -m embodied seed=1"
    )


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5), st.sampled_from([">=", "<="]))
def test_a_claim_holds_exactly_if_the_judged_number_reaches_the_target(m, target, width, side):
    def claim(whole: bool) -> Claim:
        return Claim(
            claim="c", target=target, measured=m, low=m - width, high=m + width,
            comparison=side, whole_interval=whole,
        )  # fmt: skip

    assert claim(False).holds == (m >= target if side == ">=" else m <= target)
    bound = m - width if side == ">=" else m + width
    assert claim(True).holds == (bound >= target if side == ">=" else bound <= target)
    assert claim(False).holds or not claim(True).holds


def test_what_was_not_measured_does_not_hold():
    assert not Claim(claim="c", target=1.0, measured=float("nan")).holds
    assert not Claim(claim="c", target=1.0, measured=float("nan"), comparison="<=").holds
    with pytest.raises(BadInput, match="judged by an interval and has none"):
        _ = Claim(claim="c", target=1.0, measured=2.0, whole_interval=True).holds


def test_results_are_json_and_claims_are_listed_failed_first(tmp_path):
    held = Claim(claim="fast", target=2.0, measured=3.0, low=2.5, high=3.5)
    broken = Claim(claim="small", target=1.0, measured=float("nan"), comparison="<=")
    path = benchmark_result(
        "speed", [{"n": np.int64(3), "x": np.float32(np.inf), "a": np.arange(2)}], [held, broken],
        directory=tmp_path,
    )  # fmt: skip
    content = json.loads(path.read_text())
    assert content["rows"] == [{"n": 3, "x": None, "a": [0, 1]}]
    assert [claim["holds"] for claim in content["claims"]] == [True, False]
    assert content["provenance"]["machine"]["cpu"]
    script = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "claims.py"))
    claims = script["read_claims"](tmp_path)
    assert [claim["claim"] for claim in claims] == ["small", "fast"]
    assert script["line"](claims[0]).startswith("FAILED  not measured  (<= 1)  small")
    assert script["line"](claims[1]) == "holds   3 [2.5, 3.5]  (>= 2)  fast  [speed]"


def test_a_result_that_has_no_json_form_or_no_file_name_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot hold a object"):
        plain({"x": object()})
    with pytest.raises(BadInput, match="cannot name a result"):
        benchmark_result("a/b", [], [], directory=tmp_path)
