"""How fast the preference page goes on, and whether it loses labels.

    python benchmarks/preference_page.py [--answers 40] [--raters 50] [--each 10] [--kills 20]
                                         [--stubborn 5]

`embodied serve-preferences` runs as a process of its own. A Chromium answers by keyboard, and the
page itself takes the time from the key to the frame after the next query was drawn: of pairs, of
rankings, of progress marks. Then as many scripted raters answer at once over HTTP, and at last the
server is killed with -9 at random moments while several answer without a pause, and started again:
what it confirmed must be in the database, each once.
"""

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from embodied.preferences.raters import RaterClient
from embodied.provenance import Claim, benchmark_result
from embodied.testing.browser import (
    CHOICES,
    CHROMIUM,
    PATIENCE_MS,
    TOKEN,
    ServedPage,
    answer,
    in_view,
)

PATIENCE_S = 300.0
"""Of a rater whose server is being started again."""


def main() -> None:
    """Measure, print and write `benchmarks/results/preference_page.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=40)
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stubborn", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = ServedPage(Path(folder), episodes=8)
        try:
            rows = [
                *answers_in_a_browser(server, options.answers),
                raters_at_once(server, options.raters, options.each),
                killed(server, options.stubborn, options.kills),
            ]
        finally:
            server.kill()
    for row in rows:
        print(row)
    benchmark_result("preference_page", rows, claims(*rows))


def answers_in_a_browser(server: ServedPage, answers: int) -> list[dict[str, Any]]:
    """Times from a key to the frame after the next query was drawn, in milliseconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        rows = [_answers_of(browser, server, mode, answers) for mode in CHOICES]
        browser.close()
    return rows


def _answers_of(browser: Browser, server: ServedPage, mode: str, answers: int) -> dict[str, Any]:
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = in_view(context, server, f"browser, {mode}", mode)
    page.evaluate("timings.length = 0")
    for _ in range(answers):
        answer(page, mode)
        page.wait_for_function("() => document.body.dataset.ahead >= 1")  # people look longer
    times = [float(ms) for ms in page.evaluate("timings")]
    context.close()
    return {
        "what": "browser",
        "mode": mode,
        "answers": len(times),
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.percentile(times, 95)),
    }


def raters_at_once(server: ServedPage, raters: int, each: int) -> dict[str, Any]:
    """Labels confirmed and kept when so many answer at the same time."""
    confirmed: list[int] = []
    times: list[float] = []

    def answer(number: int) -> None:
        with RaterClient(server.url, TOKEN, f"rater-{number}", patience_s=120.0) as client:
            for _ in range(each):
                showing = client.following()[0]
                start = time.monotonic()
                confirmed.append(client.answer(showing, "left"))
                times.append(1000 * (time.monotonic() - start))

    start = time.monotonic()
    threads = [threading.Thread(target=answer, args=(number,)) for number in range(raters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [row["id"] for row in server.store.labels() if row["rater"].startswith("rater-")]
    return {
        "what": "raters at once",
        "raters": raters,
        "wanted": raters * each,
        "lost": raters * each - len({*confirmed} & {*kept}),
        "twice": len(kept) - raters * each,
        "seconds": time.monotonic() - start,
        "median_ms": float(np.median(times)),
    }


def killed(server: ServedPage, raters: int, kills: int) -> dict[str, Any]:
    """Labels lost and doubled while the server is killed at random moments of submissions."""
    rng, confirmed, stop = random.Random(0), [], threading.Event()

    def answer_on(number: int) -> None:
        with RaterClient(server.url, TOKEN, f"stubborn-{number}", patience_s=PATIENCE_S) as client:
            while not stop.is_set():
                confirmed.append(client.answer(client.following()[0], "right"))

    threads = [threading.Thread(target=answer_on, args=(number,)) for number in range(raters)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.2, 1.0))
        server.kill()
        server.start()
    stop.set()
    for thread in threads:
        thread.join()
    rows = [row for row in server.store.labels() if row["rater"].startswith("stubborn-")]
    kept = {row["id"] for row in rows}
    return {
        "what": "kill -9",
        "kills": kills,
        "raters": raters,
        "confirmed": len(confirmed),
        "lost": len({*confirmed} - kept),
        "twice": len(rows) - len({row["showing_id"] for row in rows}),
    }


def claims(*rows: dict[str, Any]) -> list[Claim]:
    """What must hold."""
    *browser, raters, kill = rows
    return [
        *(
            Claim(
                claim=f"median ms from an answer to the next {row['mode']} query, in Chromium",
                target=150.0,
                measured=row["median_ms"],
                comparison="<=",
            )
            for row in browser
        ),
        Claim(
            claim=f"labels lost or doubled with {raters['raters']} raters at once",
            target=0.0,
            measured=float(raters["lost"] + raters["twice"]),
            comparison="<=",
        ),
        Claim(
            claim=f"confirmed labels of {kill['raters']} raters lost or doubled by "
            f"{kill['kills']} kill -9 of the server",
            target=0.0,
            measured=float(kill["lost"] + kill["twice"]),
            comparison="<=",
        ),
    ]


if __name__ == "__main__":
    main()
