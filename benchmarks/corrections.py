"""Corrections as answers: whether take-overs teach what comparisons of demonstrations lack.

    python benchmarks/corrections.py [--runs FOLDER] [--tasks drawer-open-v3 window-open-v3]

A run fine-tunes with a scripted operator, `embodied branch` puts each take-over beside what the
policy does alone, and the preference reward's head on frozen features learns from: answers about
parts of demonstrations (what comes later is better), or these and as many whole failures beside
whole demonstrations; alone, with the take-overs' answers, or with those turned round (the control).
It is asked about online episodes that were not branched: every success against every failure, whole
episodes, whose outcomes nobody learnt from. Take-overs that were held out (the last third) are
predicted as well.

Runs that FOLDER has from an earlier call are used again.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from embodied.config import load_config
from embodied.dataset import EpisodeStore
from embodied.job import build_cached_encoder
from embodied.preferences.answered import joined, read_preferences
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.base import Preferences
from embodied.reward_models.preference_return import PreferenceReturn
from embodied.rewarding import with_features
from embodied.statistics import auroc, mean_interval
from embodied.types import Clip, FrameEncoder, clip_of

TASKS = {"drawer-open-v3": 2, "window-open-v3": 1}
"""And the seed of the run, in which the base policy fails often enough to be helped."""
TAKE_OVERS, ANSWERS = 100, 40
"""Most take-overs of a run, and answers of each kind that are given beside them."""
PART = 10
"""Frames of a part of a demonstration."""
MOST = 40
"""Episodes of either outcome that the reward is asked about."""
BASES = ("demos", "demos and failures")
ADDED = ("nothing", "take-overs", "take-overs turned round")
STEPS = 200


def made(folder: Path, task: str) -> Path:
    """A fine-tuned run with its take-overs, made if it is not there."""
    run = folder / f"{task}-{TASKS[task]}"
    command = [sys.executable, "-m", "embodied.cli"]
    if not (run / "summary.json").exists():
        words = [f"env.task={task}", f"seed={TASKS[task]}", f"name={run.name}"]
        subprocess.run([*command, "train", *words, f"runs_dir={folder}"], check=True)
    if not (run / "branches").exists():
        words = [str(run), f"branches.take_overs={TAKE_OVERS}"]
        subprocess.run([*command, "branch", *words], check=True)
    return run


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run has, with features."""

    demos: Sequence[Clip]
    failures: Sequence[Clip]
    take_overs: Preferences
    successes: Sequence[Clip]
    """Online, not branched; nothing is learnt from these."""
    misses: Sequence[Clip]


def material(run: Path, folder: Path) -> tuple[Material, FrameEncoder, Sequence[str]]:
    """Read a run, and its encoder and cameras."""
    cfg: DictConfig = load_config(run)
    cfg.runs_dir, cfg.reward.rater_kinds = str(folder), None
    encoder, cameras = build_cached_encoder(cfg), list(cfg.env.cameras)

    def clips(part: str, keep: Sequence[int] | None = None) -> list[Clip]:
        store = EpisodeStore(run / part)
        numbers = range(len(store)) if keep is None else keep
        return [clip_of(with_features(store.read(i, cameras), encoder)) for i in numbers]

    online = EpisodeStore(run / "episodes")
    branched = {*EpisodeStore(run / "branches").episode_ids()}
    told = [online.summary(i) for i in range(len(online))]
    unseen = [i for i, episode in enumerate(told) if episode.episode_id not in branched]
    good, bad = ([i for i in unseen if told[i].success is said][-MOST:] for said in (True, False))
    found = Material(
        demos=clips("demos"),
        failures=clips("failures"),
        take_overs=read_preferences(cfg, str(run / "branches"), cameras, encoder),
        successes=clips("episodes", good),
        misses=clips("episodes", bad),
    )
    return found, encoder, cameras


def base_answers(found: Material, base: str, rng: np.random.Generator) -> Preferences:
    """What a scripted rater says of demonstrations, and of failures beside them."""
    clips: list[Clip] = []
    for _ in range(ANSWERS):
        episodes = [found.demos[i] for i in rng.choice(len(found.demos), 2, replace=False)]
        starts = [int(rng.integers(len(episode) - PART)) for episode in episodes]
        shares = [start / len(each) for start, each in zip(starts, episodes, strict=True)]
        parts = [_part(each, start) for start, each in zip(starts, episodes, strict=True)]
        clips += parts if shares[0] > shares[1] else parts[::-1]
    for _ in range(ANSWERS if base == "demos and failures" else 0):
        clips.append(found.demos[rng.integers(len(found.demos))])
        clips.append(found.failures[rng.integers(len(found.failures))])
    number = np.arange(0, len(clips), 2)
    return Preferences(
        clips=clips, first=number, second=number + 1, target=np.ones(len(number)),
        rater=np.zeros(len(number), np.int64), raters=("rater",),
        origin={"database": "scripted", "dataset": "demos", "labels": len(number), "last_label": 0},
    )  # fmt: skip


def _part(clip: Clip, start: int) -> Clip:
    features = {name: maps[start : start + PART] for name, maps in clip.features.items()}
    return Clip(frames={}, features=features, instruction=clip.instruction)


def _some(told: Preferences, pick: np.ndarray) -> Preferences:
    return replace(
        told, first=told.first[pick], second=told.second[pick], target=told.target[pick],
        rater=told.rater[pick],
    )  # fmt: skip


def measure(run: Path, folder: Path, seeds: int) -> list[dict[str, Any]]:
    """Rows of one run: share of pairs ranked right, by what was learnt from."""
    found, encoder, cameras = material(run, folder)
    told, rows = found.take_overs, []
    late = np.arange(len(told.target)) >= 2 * len(told.target) // 3
    early, unseen = _some(told, ~late), _some(told, late).decided()
    for seed in range(seeds):
        for base in BASES:
            asked = base_answers(found, base, np.random.default_rng(seed))
            for added in ADDED:
                heard = [asked]
                if added != "nothing":
                    turned = replace(early, target=1.0 - early.target)
                    heard.append(early if added == "take-overs" else turned)
                reward = PreferenceReturn(encoder, cameras, members=1, augmentations=0)
                reward.hear(joined(heard))
                few = found.demos[:4]  # for the readout, which is not asked
                reward.fit(few, [], distractor_instructions=[], seed=seed, steps=STEPS)
                good, bad = (_liked(reward, own) for own in (found.successes, found.misses))
                better, worse = (
                    _liked(reward, [told.clips[pair[side]] for pair in unseen]) for side in (0, 1)
                )
                rows.append({
                    "run": run.name, "seed": seed, "base": base, "added": added,
                    "take_overs": len(early.target), "successes": len(good), "failures": len(bad),
                    "outcomes": auroc(good, bad), "held_out": float((better > worse).mean()),
                    "rationality": (reward.origin or {})["rationality"],
                })  # fmt: skip
                print({k: v for k, v in rows[-1].items() if k != "run"}, flush=True)
    return rows


def _liked(reward: PreferenceReturn, clips: Sequence[Clip]) -> np.ndarray:
    return np.array([float(said.mean()) for said in reward.liking(clips)])


def gains(rows: Sequence[Mapping[str, Any]], base: str, added: str) -> list[float]:
    """By how much the share of outcomes ranked right rises, in each run and seed."""
    at = {(r["run"], r["seed"], r["base"], r["added"]): r["outcomes"] for r in rows}
    return [
        value - at[run, seed, base, "nothing"]
        for (run, seed, of, what), value in at.items()
        if (of, what) == (base, added)
    ]


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """That take-overs help, whatever they are added to, and that turned round they do not."""
    found = []
    for base in BASES:
        for added in ADDED[1:]:
            gain = mean_interval(gains(rows, base, added), seed=0)
            found.append(
                Claim(
                    claim=f"{added} beside answers about {base}: rise of the share of successes "
                    "ranked above failures",
                    target=0.0,
                    measured=gain.mean,
                    low=gain.low,
                    high=gain.high,
                    comparison=">=" if added == "take-overs" else "<=",
                    whole_interval=True,
                )
            )
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Shares of outcomes, and after the comma of held-out take-overs, in %, by run."""
    runs = list(dict.fromkeys(row["run"] for row in rows))
    lines = [f"| answers about | added | {' | '.join(runs)} |", "|---" * (len(runs) + 2) + "|"]
    for base in BASES:
        for added in ADDED:
            own = [row for row in rows if (row["base"], row["added"]) == (base, added)]
            means = (
                [100 * np.mean([row[key] for row in own if row["run"] == run])
                 for key in ("outcomes", "held_out")]
                for run in runs
            )  # fmt: skip
            cells = [f"{outcomes:.0f}, {held_out:.0f}" for outcomes, held_out in means]
            lines.append(f"| {base} | {added} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Make, learn, compare and write ``benchmarks/results/corrections.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="where runs are kept; by default they are not")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(earlier_rows("corrections"))))
        return
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.runs or Path(temporary)
        for task in arguments.tasks:
            rows += measure(made(folder, task), folder, arguments.seeds)
            path = benchmark_result("corrections", rows, claims(rows))
            print("\n".join([*table(rows), str(path)]), flush=True)


if __name__ == "__main__":
    main()
