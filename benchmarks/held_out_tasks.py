"""What one demonstration tells the reference critic of a task that it was not trained on.

48 Meta-World tasks in three folds; tasks of the same scene share a fold. For each fold a reward is
trained on the other two, and judges attempts at the fold's tasks beside one demonstration, beside
none, and beside one of another task that is passed off as the task's own; and, to see what it takes
to decide, beside one with acceptance calibrated on four successes and four failures of the task.
Trained tasks are judged on new attempts, and two tasks of another simulator and another robot
beside a demonstration of each. Every fold is learned with several seeds; each attempt counts with
its mean over them. Attempts are recorded once, in a folder that may be kept:
the script may be stopped any time, and records only what is missing. The trained rewards stay in
the folder, too.

    python benchmarks/held_out_tasks.py --folder held_out
    python benchmarks/held_out_tasks.py --folder held_out --cameras front
    python benchmarks/held_out_tasks.py --table      # what was measured, as the docs show it
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from embodied.audit_evidence import score_all
from embodied.audit_metrics import as_float, final_progress, success_probability
from embodied.audit_perturbations import reverse, take
from embodied.dataset import EpisodeStore
from embodied.demonstrations import FAILURES, LINGER, Assignment, demonstrate
from embodied.encoders import EfficientNetLite, SentenceEncoder
from embodied.envs.base import TaskEnv
from embodied.envs.catalogue import ROBOSUITE
from embodied.envs.metaworld import MetaWorld
from embodied.envs.robosuite import Robosuite
from embodied.feature_cache import CachedEncoder, FeatureCache
from embodied.provenance import Claim, benchmark_result, earlier_rows
from embodied.reward_models.base import RewardModel, Scores
from embodied.reward_models.controls import ElapsedTime
from embodied.reward_models.reference_critic import ReferenceCritic
from embodied.statistics import (
    Interval,
    cluster_bootstrap,
    comparisons,
    harmonic_mean,
    percentiles,
    resampling_weights,
    voc,
    weighted_area,
)
from embodied.types import Clip, FrameEncoder, clip_of

FOLDS = (
    ("drawer-open", "drawer-close", "faucet-open", "faucet-close", "button-press",
     "button-press-topdown", "button-press-wall", "button-press-topdown-wall", "hammer",
     "plate-slide", "plate-slide-side", "plate-slide-back", "plate-slide-back-side", "assembly",
     "disassemble", "bin-picking"),
    ("door-open", "door-close", "door-lock", "door-unlock", "window-open", "window-close",
     "handle-press", "handle-press-side", "handle-pull", "handle-pull-side", "sweep-into", "sweep",
     "basketball", "soccer", "box-close", "shelf-place"),
    ("coffee-button", "coffee-push", "coffee-pull", "dial-turn", "lever-pull", "push", "push-wall",
     "pick-place", "pick-place-wall", "reach", "reach-wall", "peg-insert-side", "peg-unplug-side",
     "stick-push", "stick-pull", "hand-insert"),
)  # fmt: skip
"""All of Meta-World but two whose expert needs longer than the default job's episodes."""
EPISODES, LEARNED = 8, 6
"""Successes, and as many failures, of each task; those of a trained task that are learned from."""
STEPS = 50
CHUNK = 8
NOISE = 0.1
"""As in the default job."""
CACHE_BYTES = 2 * 2**30
HALF = 4
"""Successes, and failures, of a held-out task that acceptance is calibrated on in one condition."""
OTHERS = 2
"""Wrong instructions, and wrong demonstrations, that each attempt is judged under."""
CAMERAS = ("front", "wrist")
ROBOTS = ("Lift", "Door")
"""Robosuite's tasks, of another robot on another table; no reward is trained on them."""
CLOCK = "a clock"
TRAINED = ("trained, reference", "trained, none")
HELD_OUT = ("held out, reference", "held out, none")
WRONG_REFERENCE = "held out, wrong reference"
CALIBRATED = "held out, reference, calibrated"
OTHER_ROBOT = "other robot, reference"
CONDITIONS = (*TRAINED, *HELD_OUT, WRONG_REFERENCE, CALIBRATED, OTHER_ROBOT, CLOCK)
COLUMNS = {
    "voc": "VOC",
    "vroc": "VROC",
    "voc_whole": "VOC, whole clip",
    "f1_success": "VOC-F1, successes",
    "f1_failure": "VOC-F1, failures",
    "auroc": "done AUROC",
    "false_accepts": "false accepts",
    "false_rejects": "false rejects",
    "final_success": "end, successes",
    "final_failure": "end, failures",
    "wrong": "end, wrong instruction",
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """Attempts at one task, with features."""

    name: str
    good: Sequence[Clip]
    bad: Sequence[Clip]

    @property
    def instruction(self) -> str:
        """What all of its attempts are told."""
        return self.good[0].instruction


def build_env(name: str, cameras: Sequence[str]) -> TaskEnv:
    """The environment of a task of Meta-World, or of robosuite."""
    if name in ROBOTS:
        return Robosuite(name, cameras=cameras)
    return MetaWorld(f"{name}-v3", cameras=cameras, max_episode_steps=STEPS)


def collect(name: str, folder: Path, encoder: FrameEncoder, cameras: Sequence[str]) -> Task:
    """Attempts at a task, recorded where they are missing."""
    store = EpisodeStore(folder / name, 20.0)
    wanted = [Assignment(purpose="demo", number=n) for n in range(EPISODES)]
    wanted += [
        Assignment(purpose="failure", number=n, failure=FAILURES[n % len(FAILURES)])
        for n in range(EPISODES)
    ]
    missing = [each for each in wanted if each.episode_id not in store.episode_ids()]
    if missing:
        env = build_env(name, cameras)
        for each in missing:
            episode = demonstrate(env, each, run_seed=0, noise=NOISE, chunk=CHUNK)
            if episode is not None:
                store.append(episode)
        env.close()
    episodes = [store.read(store.index_of(each)) for each in sorted(store.episode_ids())]
    features = [{each: encoder.encode(e.images[each]) for each in cameras} for e in episodes]
    clips = [
        replace(clip_of(e), frames={}, features=own)
        for e, own in zip(episodes, features, strict=True)
    ]
    outcomes = list(zip(clips, [e.success for e in episodes], strict=True))
    return Task(
        name=name,
        good=[clip for clip, success in outcomes if success],
        bad=[clip for clip, success in outcomes if not success],
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a reward said of attempts at one task."""

    order: Float[np.ndarray, "success 2"]
    """VOC and VROC of each, until the task is complete."""
    whole_order: Float[np.ndarray, " success"]
    """VOC of the whole clip, the frames after completion among them."""
    failed_order: Float[np.ndarray, "failure 2"]
    ranked: Float[np.ndarray, "success failure"]
    """1 where the success is thought the likelier one of the two, 0.5 where both are: its mean is
    the AUROC."""
    rejected: Float[np.ndarray, " success"]
    accepted: Float[np.ndarray, " failure"]
    final: Float[np.ndarray, " success"]
    failed_final: Float[np.ndarray, " failure"]
    wrong: Float[np.ndarray, " success"]
    """Final progress under other instructions, mean over these; NaN where none was asked about."""


type Answers = Sequence[Sequence[Scores]]
"""Of each demonstration shown, the scores of each clip."""


def judge(
    reward: RewardModel,
    good: Sequence[Clip],
    bad: Sequence[Clip],
    references: Sequence[Clip],
    wrong_instructions: Sequence[str],
) -> Judged:
    """Ask about all attempts; beside several demonstrations in turn, the mean counts."""

    def said(clips: Sequence[Clip]) -> Answers:
        shown = [(each,) for each in references] or [()]
        return [score_all(reward, [replace(c, references=r) for c in clips]) for r in shown]

    def order_back(clips: Sequence[Clip], linger: int) -> Float[np.ndarray, " clip"]:
        until = [take(clip, np.arange(len(clip) - linger)) for clip in clips]
        return -mean(_voc, said([reverse(clip) for clip in until]))

    own, failed = said(good), said(bad)
    under = [
        answers
        for text in wrong_instructions
        for answers in said([replace(clip, instruction=text) for clip in good])
    ]
    return Judged(
        order=np.stack([mean(partial(_voc, linger=LINGER), own), order_back(good, LINGER)], 1),
        whole_order=mean(_voc, own),
        failed_order=np.stack([mean(_voc, failed), order_back(bad, 0)], 1),
        ranked=comparisons(mean(success_probability, own), mean(success_probability, failed)),
        rejected=mean(lambda scores: not scores.success, own),
        accepted=mean(lambda scores: scores.success, failed),
        final=mean(final_progress, own),
        failed_final=mean(final_progress, failed),
        wrong=mean(final_progress, under) if under else np.full(len(good), np.nan),
    )


def mean(statistic: Callable[[Scores], float], answers: Answers) -> Float[np.ndarray, " clip"]:
    """Of each clip, over the demonstrations shown."""
    return np.mean([[statistic(scores) for scores in each] for each in answers], axis=0)


def _voc(scores: Scores, linger: int = 0) -> float:
    return voc(as_float(scores)[: len(scores.progress) - linger])


def run_fold(
    tasks: Sequence[Task],
    robots: Sequence[Task],
    fold: int,
    build: Callable[..., ReferenceCritic],
    folder: Path,
    steps: int,
    seed: int,
) -> dict[str, dict[str, Judged]]:
    """Train on the other folds' tasks; by condition and task, what is said of new attempts.

    The trained reward stays in the folder.
    """
    held = [task for task in tasks if task.name in FOLDS[fold]]
    known = [task for task in tasks if task.name not in FOLDS[fold]]
    reward = build()
    clock = ElapsedTime(reward.cameras)
    lessons = {
        "successes": [clip for task in known for clip in task.good[:LEARNED]],
        "failures": [clip for task in known for clip in task.bad[:LEARNED]],
    }
    refused = [text for name, text in ROBOSUITE.items() if name not in ROBOTS]
    for each in (reward, clock):
        metrics = each.fit(
            **lessons, distractor_instructions=refused, seed=len(FOLDS) * seed + fold, steps=steps
        )
        print(fold, seed, metrics, flush=True)
    reward.forget_references()
    trained = folder / f"fold-{fold}-seed-{seed}.pt"
    reward.save(trained)
    found: dict[str, dict[str, Judged]] = {name: {} for name in CONDITIONS}
    for task, wrong, _ in with_others(known):
        attempts = (task.good[LEARNED:], task.bad[LEARNED:])
        for name, shown in zip(TRAINED, (task.good[:1], []), strict=True):
            found[name][task.name] = judge(reward, *attempts, shown, wrong)
    for task, wrong, others in with_others(held):
        attempts = (task.good[1:], task.bad)
        for name, shown in zip(HELD_OUT, (task.good[:1], []), strict=True):
            found[name][task.name] = judge(reward, *attempts, shown, wrong)
        found[WRONG_REFERENCE][task.name] = judge(reward, *attempts, others, [])
        calibrated = build(trained=str(trained))
        calibrated.fit(task.good[:HALF], task.bad[:HALF], distractor_instructions=[], seed=0)
        rest = (task.good[HALF:], task.bad[HALF:])
        found[CALIBRATED][task.name] = judge(calibrated, *rest, task.good[:1], wrong)
        found[CLOCK][task.name] = judge(clock, *attempts, [], [])
    for task, other in zip(robots, robots[::-1], strict=True):
        wrong = [other.instruction]
        attempts = (task.good[1:], task.bad)
        found[OTHER_ROBOT][task.name] = judge(reward, *attempts, task.good[:1], wrong)
    return found


def averaged(judged: Sequence[Judged]) -> Judged:
    """What several rewards said of the same attempts, on average."""
    return Judged(
        **{
            field.name: np.mean([getattr(each, field.name) for each in judged], axis=0)
            for field in fields(Judged)
        }
    )


def with_others(tasks: Sequence[Task]) -> Iterator[tuple[Task, list[str], list[Clip]]]:
    """Each task, instructions of others, and their demonstrations passed off as the task's."""
    for number, task in enumerate(tasks):
        others = [tasks[(number + 5 * step) % len(tasks)] for step in range(1, OTHERS + 1)]
        passed_off = [replace(o.good[0], instruction=task.instruction) for o in others]
        yield task, [other.instruction for other in others], passed_off


def rows_of(found: dict[str, dict[str, list[Judged]]]) -> list[dict[str, Any]]:
    """One row per condition, task and trained reward: means over the attempts, no intervals."""
    return [
        {"condition": condition, "task": task, "reward": number}
        | {key: interval.mean for key, interval in intervals([judged], "episodes").items()}
        for condition, tasks in found.items()
        for task, said in tasks.items()
        for number, judged in enumerate(said)
    ]


def intervals(judged: Sequence[Judged], resampled: str) -> dict[str, Interval]:
    """Every column over tasks; whole episodes within each task are resampled, or whole tasks."""
    means = {
        "voc": [j.order[:, 0] for j in judged],
        "vroc": [j.order[:, 1] for j in judged],
        "voc_whole": [j.whole_order for j in judged],
        "false_accepts": [j.accepted for j in judged],
        "false_rejects": [j.rejected for j in judged],
        "final_success": [j.final for j in judged],
        "final_failure": [j.failed_final for j in judged],
        "wrong": [j.wrong for j in judged],
    }
    orders = {
        "f1_success": [j.order for j in judged],
        "f1_failure": [j.failed_order for j in judged],
    }
    areas = [j.ranked for j in judged]
    if resampled == "tasks":
        found = {key: over_tasks([v.mean() for v in values]) for key, values in means.items()}
        found |= {key: over_tasks([o.mean(0) for o in value]) for key, value in orders.items()}
        found["auroc"] = over_tasks([ranked.mean() for ranked in areas])
    else:
        found = {key: over_episodes(values) for key, values in means.items()}
        found |= {key: over_episodes(values) for key, values in orders.items()}
        found["auroc"] = area_over_episodes(areas)
    return {key: found[key] for key in COLUMNS}


def over_tasks(values: Sequence[Any]) -> Interval:
    """Mean over tasks; of pairs, the harmonic mean of the two means."""
    return cluster_bootstrap(lambda drawn: float(_joined(np.mean(drawn, axis=0))), values, seed=0)


def over_episodes(values: Sequence[np.ndarray]) -> Interval:
    """The same, with the episodes of each task resampled."""
    rng = np.random.default_rng(0)
    drawn = np.mean([resampling_weights(len(v), rng) @ v for v in values], axis=0)
    mean = float(_joined(np.mean([v.mean(0) for v in values], axis=0)))
    return percentiles(mean, np.array([_joined(each) for each in drawn]), sum(map(len, values)))


def _joined(mean: Any) -> float:
    return harmonic_mean(*mean.tolist()) if np.ndim(mean) else float(mean)


def area_over_episodes(areas: Sequence[Float[np.ndarray, "success failure"]]) -> Interval:
    """Mean AUROC over tasks; successes and failures of each task are resampled."""
    rng = np.random.default_rng(0)
    drawn = []
    for ranked in areas:
        first, second = (resampling_weights(size, rng) for size in ranked.shape)
        drawn.append(weighted_area(first, ranked, second))
    mean = float(np.mean([ranked.mean() for ranked in areas]))
    return percentiles(mean, np.mean(drawn, axis=0), sum(sum(ranked.shape) for ranked in areas))


def claims(judged: dict[str, list[Judged]]) -> list[Claim]:
    """What VLAC's critic promises, asked of this one; the targets of VOC are its own, rounded."""
    by_task = {name: intervals(each, "tasks") for name, each in judged.items()}
    asked = [
        (HELD_OUT[0], "voc", ">=", 0.9),
        (HELD_OUT[0], "vroc", ">=", 0.9),
        (HELD_OUT[1], "voc", ">=", 0.7),
        (HELD_OUT[0], "f1_success", ">=", 0.8),
        (HELD_OUT[0], "f1_failure", "<=", 0.4),
        (HELD_OUT[0], "auroc", ">=", 0.95),
        (TRAINED[0], "auroc", ">=", 0.95),
        (HELD_OUT[0], "wrong", "<=", 0.1),
        (TRAINED[0], "wrong", "<=", 0.1),
        (WRONG_REFERENCE, "final_success", "<=", 0.1),
    ]
    found = [
        Claim(
            claim=f"{name}: {COLUMNS[key]}",
            target=target,
            measured=by_task[name][key].mean,
            low=by_task[name][key].low,
            high=by_task[name][key].high,
            comparison=comparison,
        )
        for name, key, comparison, target in asked
    ]
    for other in (HELD_OUT[1], WRONG_REFERENCE, CLOCK):
        gain = over_tasks(
            [
                ours.ranked.mean() - theirs.ranked.mean()
                for ours, theirs in zip(judged[HELD_OUT[0]], judged[other], strict=True)
            ]
        )
        found.append(
            Claim(
                claim=f"done AUROC beside a demonstration of a held-out task, minus {other}",
                target=0.0,
                measured=gain.mean,
                low=gain.low,
                high=gain.high,
                whole_interval=True,
            )
        )
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows over all tasks as Markdown, with intervals over tasks."""
    overall = [row for row in rows if row.get("resampled") == "tasks"]
    lines = [f"| | {' | '.join(row['condition'] for row in overall)} |"]
    lines += ["|---" * (len(overall) + 1) + "|"]
    for key, title in COLUMNS.items():
        cells = [
            "" if row[key]["mean"] is None or np.isnan(row[key]["mean"]) else
            f"{row[key]['mean']:.2f} [{row[key]['low']:.2f}, {row[key]['high']:.2f}]"
            for row in overall
        ]  # fmt: skip
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def result_name(cameras: Sequence[str]) -> str:
    """Of the file of results; other cameras than the usual ones have their own."""
    return "_".join(["held_out_tasks", *(cameras if list(cameras) != list(CAMERAS) else ())])


def main() -> None:
    """Record, train and judge; results are written after each fold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("held_out"), help="of the attempts")
    parser.add_argument("--cameras", nargs="+", default=list(CAMERAS))
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3, help="rewards trained for each fold")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    asked = parser.parse_args()
    if asked.table:
        print(table(earlier_rows(result_name(asked.cameras))))
        return
    torch.set_num_threads(1)
    cache = FeatureCache(asked.folder / "features.sqlite", CACHE_BYTES)
    encoder = CachedEncoder(EfficientNetLite(), cache)
    names = [name for fold in FOLDS for name in fold]
    tasks, robots = (
        [collect(name, asked.folder, encoder, asked.cameras) for name in group]
        for group in (names, ROBOTS)
    )
    build = partial(
        ReferenceCritic,
        encoder,
        SentenceEncoder(),
        asked.cameras,
        members=asked.members,
        linger=LINGER,
    )
    found: dict[str, dict[str, list[Judged]]] = {name: {} for name in CONDITIONS}
    for fold, seed in product(range(len(FOLDS)), range(asked.seeds)):
        said = run_fold(tasks, robots, fold, build, asked.folder, asked.steps, seed)
        for condition, by_task in said.items():
            for task, judged_once in by_task.items():
                found[condition].setdefault(task, []).append(judged_once)
    judged = {name: [averaged(each) for each in tasks.values()] for name, tasks in found.items()}
    overall = [
        {"condition": name, "resampled": resampled, "cameras": asked.cameras,
         "members": asked.members, "steps": asked.steps, "seeds": asked.seeds}
        | {key: value.to_dict() for key, value in intervals(each, resampled).items()}
        for resampled in ("tasks", "episodes")
        for name, each in judged.items()
    ]  # fmt: skip
    print(table(overall))
    wanted = claims(judged) if asked.cameras == list(CAMERAS) else []
    benchmark_result(result_name(asked.cameras), overall + rows_of(found), wanted)


if __name__ == "__main__":
    main()
