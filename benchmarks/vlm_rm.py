"""Whether the embedded text-image towers understand descriptions that they never learned.

Meta-World tasks are cut into folds. Heads are aligned on scenes and sentences of the other folds;
then the plain instruction of each held-out task, and a paraphrase written by hand, rank the
finished scenes of all tasks. The control is trained on sentences that were shuffled among tasks.
EPIC distances from "the task is done" are measured on held-out tasks for each alpha. ``--weights``
trains on all tasks and writes the heads that come with the package.
"""

import argparse
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from embodied.encoders import EfficientNetLite, SentenceEncoder
from embodied.envs.catalogue import METAWORLD
from embodied.envs.metaworld import MetaWorld
from embodied.envs.scenes import Scene, expert_scenes, sentences
from embodied.epic import pearson_distance
from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.towers_aligned import (
    SHIPPED,
    AlignedTowers,
    Heads,
    Lessons,
    align,
    write_heads,
)
from embodied.reward_models.vlm_rm import regularised
from embodied.statistics import Interval, mean_interval
from embodied.types import Clip

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
KNOWN = {"held_out": False, "shuffled": False}
WORDINGS = 3
"""Times that each scene's sentences are worded anew."""
BASELINE = "the robot has not begun to {instruction}"

PARAPHRASES: dict[str, str] = json.loads(Path(__file__).with_name("paraphrases.json").read_text())
"""Written by hand; no synonym table of the training sentences makes them."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """All scenes, their frozen features, and all sentences with their vectors."""

    scenes: list[Scene]
    maps: Float[np.ndarray, "scene channel row column"]
    keys: list[str]
    texts: Float[np.ndarray, "sentence text"]

    def tasks(self) -> list[str]:
        """In the order of their first scene."""
        return list(dict.fromkeys(scene.task for scene in self.scenes))


def collect(tasks: Sequence[str], seeds: int, cache: Path | None) -> list[Scene]:
    """Scenes of each task, from the cache where they are there."""
    found: list[Scene] = []
    for task in tasks:
        file = None if cache is None else cache / task
        if file is not None and file.exists():
            found += pickle.loads(file.read_bytes())
            continue
        env = MetaWorld(task)
        scenes = expert_scenes(env, range(seeds), "front")
        env.close()
        found += scenes
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(pickle.dumps(scenes))
    return found


def prepare(scenes: list[Scene], encoder: EfficientNetLite, reader: SentenceEncoder) -> Data:
    """Encode every picture and every sentence once."""
    rng = np.random.default_rng(0)
    said = {
        (sentence.key, sentence.text)
        for scene in scenes
        for _ in range(WORDINGS)
        for sentence in sentences(scene, rng)
    }
    pairs = sorted(said)
    return Data(
        scenes=scenes,
        maps=encoder.encode(np.stack([scene.picture for scene in scenes])),
        keys=[key for key, _ in pairs],
        texts=np.stack([reader.encode(text) for _, text in pairs]),
    )


def lessons(data: Data, tasks: Sequence[str], shuffle: np.random.Generator | None) -> Lessons:
    """What the heads learn of some tasks; shuffled, each task is told another one's sentences."""
    chosen = [i for i, scene in enumerate(data.scenes) if scene.task in tasks]
    told = dict(zip(tasks, tasks if shuffle is None else shuffle.permutation(tasks), strict=True))
    keys = [
        {key.replace(scene.task, str(told[scene.task])) for key in scene.keys}
        for scene in (data.scenes[i] for i in chosen)
    ]
    used = [j for j, key in enumerate(data.keys) if any(key in own for own in keys)]
    return Lessons(
        maps=data.maps[chosen],
        group=np.array([list(tasks).index(data.scenes[i].task) for i in chosen]),
        texts=data.texts[used],
        true=np.array([[data.keys[j] in own for j in used] for own in keys]),
    )


def seen_by(towers: AlignedTowers, data: Data) -> Float[np.ndarray, "scene embedding"]:
    """Unit vectors of all scenes."""
    clip = Clip(frames={}, features={"front": data.maps}, instruction="-")
    return towers.look(clip, "front")


def rank_of(
    text: str, task: str, towers: AlignedTowers, data: Data, seen: np.ndarray
) -> dict[str, float]:
    """Where a task's finished scenes stand among those of all tasks, by mean cosine."""
    done = {name: [] for name in data.tasks()}
    for scene, cosine in zip(data.scenes, seen @ towers.read(text), strict=True):
        if scene.stage == "done":
            done[scene.task].append(cosine)
    means = {name: float(np.mean(values)) for name, values in done.items() if values}
    if task not in means:
        return {}
    rank = sum(value > means[task] for value in means.values()) + 1
    return {"rank": rank, "top1": float(rank == 1), "top5": float(rank <= 5), "of": len(means)}


def epic_of(task: str, towers: AlignedTowers, data: Data, seen: np.ndarray) -> dict[str, float]:
    """EPIC distance of the regularised reward from the simulator's success, per alpha."""
    own = [i for i, scene in enumerate(data.scenes) if scene.task == task]
    labels = np.array([data.scenes[i].stage == "done" for i in own], float)
    if labels.min() == labels.max():
        return {}
    goal = towers.read(METAWORLD[task])
    baseline = towers.read(BASELINE.replace("{instruction}", METAWORLD[task]))
    return {
        f"epic_{alpha:g}": pearson_distance(regularised(seen[own], goal, baseline, alpha), labels)
        for alpha in ALPHAS
    }


def evaluate(data: Data, folds: int, steps: int, scratch: Path) -> list[dict[str, Any]]:
    """One row for each held-out task, and for each of the control."""
    encoder, reader = EfficientNetLite(), SentenceEncoder()
    tasks = np.array(data.tasks())
    fold_of = np.random.default_rng(0).permutation(len(tasks)) % folds
    rows = []
    for control in (False, True):
        for fold in range(folds):
            shuffle = np.random.default_rng(fold) if control else None
            heads = align(
                lessons(data, list(tasks[fold_of != fold]), shuffle), seed=fold, steps=steps
            )
            towers = _towers(heads, encoder, reader, scratch)
            seen = seen_by(towers, data)
            for task in tasks:
                held_out = bool(fold_of[list(tasks).index(task)] == fold)
                if not held_out and fold != 0:
                    continue
                texts = {"instruction": METAWORLD[task], "paraphrase": PARAPHRASES.get(task)}
                for kind, text in texts.items():
                    if text is not None:
                        ranked = rank_of(text, task, towers, data, seen)
                        told = {"task": task, "text": kind, "held_out": held_out}
                        distances = epic_of(task, towers, data, seen)
                        rows.append({**told, "shuffled": control, **ranked, **distances})
    return rows


def _towers(
    heads: Heads, encoder: EfficientNetLite, reader: SentenceEncoder, scratch: Path
) -> AlignedTowers:
    path = scratch / "heads.pt"
    write_heads(path, heads, encoder, reader)
    return AlignedTowers(encoder, reader, path)


def mean(rows: Sequence[dict[str, Any]], name: str, **where: Any) -> Interval:
    """Mean over tasks of those rows that match."""
    chosen = [
        row[name]
        for row in rows
        if name in row and all(row[key] == value for key, value in where.items())
    ]
    return mean_interval(chosen, seed=0)


def claims_of(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """What the rows show."""
    count = max(row.get("of", 0) for row in rows)
    own = {"held_out": True, "shuffled": False, "text": "instruction"}
    chance = (count + 1) / 2
    first, known = (mean(rows, "top1", **where) for where in (own, KNOWN | {"text": "paraphrase"}))
    rank, control = (mean(rows, "rank", **own | {"shuffled": s}) for s in (False, True))
    texts = (
        f"held-out instruction ranks its own scenes first, of {count} tasks, in most cases",
        f"paraphrase of a known task ranks them first, of {count} tasks, in most cases",
        f"mean rank of a held-out instruction's own scenes is better than chance ({chance:.1f})",
        f"after training on shuffled sentences it is not (interval reaches {chance:.1f})",
    )
    values = (
        {"target": 0.5, "measured": first.mean, "low": first.low, "high": first.high},
        {"target": 0.5, "measured": known.mean, "low": known.low, "high": known.high},
        {"target": chance, "measured": rank.mean, "low": rank.low, "high": rank.high,
         "comparison": "<=", "whole_interval": True},
        {"target": chance, "measured": control.high, "low": control.low, "high": control.high},
    )  # fmt: skip
    shown = [Claim(claim=text, **value) for text, value in zip(texts, values, strict=True)]
    return [*shown, _epic_claim(rows, own)]


def _epic_claim(rows: Sequence[dict[str, Any]], where: dict[str, Any]) -> Claim:
    """Over held-out tasks: the drop from the cosine to the alpha of least mean distance."""
    chosen = [row for row in rows if "epic_0" in row and all(row[k] == v for k, v in where.items())]
    means = {alpha: np.mean([row[f"epic_{alpha:g}"] for row in chosen]) for alpha in ALPHAS[1:]}
    best = min(means, key=lambda alpha: float(means[alpha]))
    drop = mean_interval([row["epic_0"] - row[f"epic_{best:g}"] for row in chosen], seed=0)
    return Claim(
        claim=f"EPIC distance falls with goal-baseline regularisation (alpha {best:g} against 0)",
        target=0.0, measured=drop.mean, low=drop.low, high=drop.high, whole_interval=True,
    )  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """For `docs/rewards/vlm_rm.md`."""
    lines = ["| description | trained on | top-1 | top-5 | mean rank |", "|---|---|---|---|---|"]
    for shuffled in (False, True):
        for held_out in (True, False):
            for text in ("instruction", "paraphrase"):
                where = {"shuffled": shuffled, "held_out": held_out, "text": text}
                values = [str(mean(rows, name, **where)) for name in ("top1", "top5", "rank")]
                who = f"{'held-out' if held_out else 'known'} task, {text}"
                lines.append(
                    f"| {who} | {'shuffled' if shuffled else 'true'} sentences | "
                    f"{' | '.join(values)} |"
                )
    own = {"held_out": True, "shuffled": False, "text": "instruction"}
    lines += ["", "| alpha | EPIC distance, held-out tasks | shuffled |", "|---|---|---|"]
    for alpha in ALPHAS:
        value, other = (
            mean(rows, f"epic_{alpha:g}", **own | {"shuffled": s}) for s in (False, True)
        )
        lines.append(f"| {alpha:g} | {value} | {other} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and write ``benchmarks/results/vlm_rm.json``, or train the heads of the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(METAWORLD))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--scenes", type=Path, default=Path("build/scenes"))
    parser.add_argument("--weights", action="store_true", help=f"also write {SHIPPED.name}")
    chosen = parser.parse_args()
    encoder, reader = EfficientNetLite(), SentenceEncoder()
    data = prepare(collect(chosen.tasks, chosen.seeds, chosen.scenes), encoder, reader)
    if chosen.weights:
        heads = align(lessons(data, data.tasks(), None), seed=0, steps=chosen.steps)
        write_heads(SHIPPED, heads, encoder, reader)
    rows = evaluate(data, chosen.folds, chosen.steps, chosen.scenes)
    print(benchmark_result("vlm_rm", rows, claims_of(rows)))
    print(table(rows))


if __name__ == "__main__":
    main()
