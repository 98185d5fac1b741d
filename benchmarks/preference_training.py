"""What the preference server's trainer reaches while people answer, and how good its embedding is.

    python benchmarks/preference_training.py [--answers 120] [--clips 48] [--pictures docs/images]

`embodied serve-preferences` runs as a process of its own, on painted pictures of a block that is
pushed to a ring. A scripted rater who errs in one answer of ten answers over HTTP; after every ten
answers the next version is waited for, and its values are compared with the true return of every
pair of clips, which no person sees. At last the server is killed with -9.

Then embeddings of whole clips are compared, on attempts of a Meta-World task that all succeed: mean
maps by principal components that keep their proportions, as the trainer has them, and components
brought to one deviation. 16 clips are held out, five times.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from jaxtyping import Float
from playwright.sync_api import sync_playwright

from embodied.encoders import EfficientNetLite
from embodied.preferences.database import Database
from embodied.preferences.embedding import components
from embodied.preferences.raters import RaterClient, answer_as
from embodied.preferences.store import PreferenceStore
from embodied.preferences.teachers import TEACHERS
from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.preference_reward import opinions
from embodied.testing.browser import CHROMIUM, sign_in
from embodied.testing.preferences import distances_of, pushing_dataset
from embodied.testing.ways import CAMERA, WAYS, record

TOKEN = "a-token-of-the-benchmark"
EMBODIED = Path(sys.executable).with_name("embodied")
WAIT_S = 300.0
EPISODES, STEPS, CLIP_S = 16, 24, 0.6
EVERY = 10
SPLITS, HELD_OUT = 5, 16


class Server:
    """The command on a painted dataset, and the truth about its clips."""

    def __init__(self, folder: Path) -> None:
        pushing_dataset(folder / "pushing", episodes=EPISODES, steps=STEPS)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, database = f"http://127.0.0.1:{port}", f"sqlite:///{folder / 'labels.sqlite'}"
        words = [
            f"dataset={folder / 'pushing'}", f"preferences.port={port}",
            f"preferences.database={database}", f"runs_dir={folder / 'runs'}",
            f"preferences.clip_s={CLIP_S}", f"preferences.retrain_every={EVERY}",
        ]  # fmt: skip
        environment = {**os.environ, "EMBODIED_PREFERENCES_TOKEN": TOKEN}
        self.process = subprocess.Popen([EMBODIED, "serve-preferences", *words], env=environment)
        self.store = PreferenceStore(Database(database))
        until(self._answers)

    def rewards(self, number: int) -> Float[np.ndarray, " time"]:
        """True reward of each frame of a clip: how near the block is to the ring."""
        (clip,) = self.store.clips([number])
        return 60.0 - distances_of(clip.episode, STEPS + 1)[clip.start : clip.stop]

    def ranked_rightly(self) -> float:
        """Share of all pairs of clips that the newest version ranks as their true returns."""
        value = {row["clip_id"]: row["value"] for row in self.store.clip_scores()}
        truth = np.array([self.rewards(number).sum() for number in value])
        return agreement(np.array([*value.values()]), truth)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url).status_code == 200
        except httpx.TransportError:
            return False


def versions(server: Server, answers: int) -> list[dict[str, Any]]:
    """One row per version, with the time that an answer took meanwhile."""
    rows = []
    rng = np.random.default_rng(0)
    with RaterClient(server.url, TOKEN, "scripted", patience_s=WAIT_S) as client:
        for _ in range(answers // EVERY):
            before = len(server.store.reward_versions())
            times = []
            for _ in range(EVERY):
                start = time.monotonic()
                answer_as(client, TEACHERS["mistake"], server.rewards, labels=1, typical=1.0,
                          rng=rng)  # fmt: skip
                times.append(1000 * (time.monotonic() - start))
            start = time.monotonic()
            until(lambda: len(server.store.reward_versions()) > before)  # noqa: B023
            newest = server.store.reward_versions()[-1]
            rows.append(
                {
                    "what": "version", "version": newest["version"], "answers": newest["labels"],
                    **{key: newest[key] for key in ("accuracy", "low", "high", "pairs")},
                    "all_pairs": server.ranked_rightly(), "answer_ms": float(np.median(times)),
                    "seconds": time.monotonic() - start,
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def pictures_of(server: Server, folder: Path) -> None:
    """The dashboard's versions."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 640})
        page.set_default_timeout(120_000)
        sign_in(page, server.url, "browser", TOKEN)
        page.keyboard.press("d")
        page.wait_for_selector("#dashboard .versions")
        page.evaluate("document.querySelector('.versions').previousElementSibling.scrollIntoView()")
        page.screenshot(path=folder / "preferences_versions.png")
        browser.close()


def killed(server: Server) -> dict[str, Any]:
    """Processes that a killed server leaves behind."""
    number = server.process.pid
    children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    start = time.monotonic()
    alive = children
    while alive and time.monotonic() < start + 30:
        alive = [child for child in alive if Path(f"/proc/{child}").exists()]
        time.sleep(0.02)
    return {
        "what": "kill -9", "children": len(children), "left": len(alive),
        "seconds": time.monotonic() - start,
    }  # fmt: skip


def embeddings(clips: int) -> list[dict[str, Any]]:
    """Share of pairs of held-out clips ranked rightly, by embedding and number of answers."""
    attempts = record(WAYS[0], range(clips), EfficientNetLite())
    maps = np.stack([np.asarray(a.clip.features[CAMERA], np.float32).mean(0) for a in attempts])
    maps = maps.reshape(len(maps), -1)
    liking = np.array([attempt.liking for attempt in attempts])
    rows = []
    for size in (8, 16, 24):
        kept = components(maps, size)
        for name, found in (("proportions", kept), ("one deviation", kept / kept.std(0))):
            for answers in (12, 30, 60):
                reached = [learnt(found, liking, answers, seed) for seed in range(SPLITS)]
                rows.append(
                    {
                        "what": "embedding", "components": size, "scale": name, "answers": answers,
                        "accuracy": float(np.mean(reached)),
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def learnt(
    features: Float[np.ndarray, "clip dim"], liking: Float[np.ndarray, " clip"], answers: int,
    seed: int,
) -> float:  # fmt: skip
    """From random questions to a person who errs in one answer of ten."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(liking))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    pairs = train[np.stack(np.triu_indices(len(train), 1))]
    first, second = pairs[:, rng.choice(pairs.shape[1], answers, replace=False)]
    target = (liking[first] > liking[second]).astype(float)
    target = np.where(rng.random(answers) < 0.1, 1.0 - target, target)
    value = opinions(features, first, second, target, np.zeros(answers, np.int64)).mean(0)
    return agreement(value[test], liking[test])


def agreement(value: Float[np.ndarray, " clip"], truth: Float[np.ndarray, " clip"]) -> float:
    """Share of pairs that both rank alike."""
    first, second = np.triu_indices(len(truth), 1)
    differ = ~np.isclose(truth[first], truth[second])
    alike = (value[first] > value[second]) == (truth[first] > truth[second])
    return float(np.mean(alike[differ]))


def claims(rows: Sequence[dict[str, Any]], end: dict[str, Any]) -> list[Claim]:
    """What must hold."""
    return [
        Claim(
            claim=f"pairs of clips ranked rightly after {rows[-1]['answers']} answers, "
            f"less after {rows[0]['answers']}",
            target=0.0,
            measured=rows[-1]["all_pairs"] - rows[0]["all_pairs"],
        ),
        Claim(
            claim="processes that a server killed with -9 leaves behind",
            target=0.0,
            measured=float(end["left"]),
            comparison="<=",
        ),
    ]


def until(condition: Any) -> None:
    """Wait for something of another process."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {WAIT_S:.0f} s in vain")
        time.sleep(0.1)


def main() -> None:
    """Answer, wait, compare and write `benchmarks/results/preference_training.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=120)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            rows = versions(server, options.answers)
            if options.pictures is not None:
                pictures_of(server, options.pictures)
        finally:
            end = killed(server)
    print(end)
    compared = embeddings(options.clips)
    print(benchmark_result("preference_training", [*rows, end, *compared], claims(rows, end)))


if __name__ == "__main__":
    main()
