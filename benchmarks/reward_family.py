"""How the rewards compare on recorded runs: trained as the job does, judged on what they never saw.

Each reward of `conf/reward` is fitted on a finished run's demonstrations and failures, for several
seeds. It is judged on the run's held-out clips and on roll-outs of its policies whose outcome the
simulator knows: fine-tuning episodes in which no person acted. (Evaluation episodes end at the
moment of success; a reward that wants to see the task complete for a while has nothing to see.)
Intervals are over clips; each clip counts with its mean over the seeds. Over all runs of a suite,
every run counts alike, and intervals are over runs. `--table` prints these means, each column by
task, and all rows.

    python benchmarks/reward_family.py --runs runs/drawer-0 runs/door-0
    python benchmarks/reward_family.py --runs runs/drawer-0 --rewards goal_distance elapsed_time
    python benchmarks/reward_family.py --table      # what was measured, as the docs show it
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from embodied import choices
from embodied.audit_evidence import score_all, with_features
from embodied.audit_metrics import as_float, final_progress, success_probability
from embodied.config import load_config
from embodied.dataset import EpisodeStore
from embodied.envs.catalogue import tasks
from embodied.errors import EmbodiedError
from embodied.job import build_cached_encoder, build_env, build_reward, other_instructions
from embodied.opposites import taught
from embodied.provenance import Claim, benchmark_result, earlier_rows, plain
from embodied.reward_models.base import RewardModel, Scores
from embodied.statistics import (
    Interval,
    comparisons,
    mean_interval,
    newcombe,
    percentiles,
    resampling_weights,
    voc,
    weighted_area,
)
from embodied.types import Actor, Clip, FrameEncoder, clip_of

CLOCK = "elapsed_time"
UNKNOWN_INSTRUCTIONS = 8
"""Instructions of other tasks that a reward is asked about and was not trained to refuse."""
UNKNOWN = Interval(mean=np.nan, low=np.nan, high=np.nan, n=0)
METAWORLD = "-v3"
"""What names of Meta-World's tasks end with."""
COLUMNS = {
    "auroc_held_out": "AUROC, held out", "auroc_roll_outs": "AUROC, roll-outs",
    "false_accepts": "false accepts", "false_rejects": "false rejects", "voc": "VOC, successes",
    "right_instruction": "right instruction preferred",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Known:
    """Clips of a run by what became of them."""

    good: Sequence[Clip]
    bad: Sequence[Clip]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a finished run holds."""

    path: Path
    cfg: DictConfig
    encoder: FrameEncoder
    lessons: Known
    held_out: Known
    roll_outs: Known
    distractors: Sequence[str]
    unknown: Sequence[str]


def read_run(path: Path) -> Recorded:
    """All clips of a run, with features."""
    cfg = load_config(path)
    encoder = build_cached_encoder(cfg)
    distractors = taught([own_instruction(cfg)], other_instructions(cfg))
    return Recorded(
        path=path,
        cfg=cfg,
        encoder=encoder,
        lessons=Known(
            good=read_clips(path / "demos", encoder, cfg, int(cfg.demos.reward)).good,
            bad=read_clips(path / "failures", encoder, cfg, int(cfg.demos.failures)).bad,
        ),
        held_out=read_clips(path / "held_out", encoder, cfg),
        roll_outs=read_clips(path / "episodes", encoder, cfg, policy_alone=True),
        distractors=distractors,
        unknown=unknown_instructions(cfg, distractors),
    )


def read_clips(
    path: Path,
    encoder: FrameEncoder,
    cfg: DictConfig,
    count: int | None = None,
    *,
    policy_alone: bool = False,
) -> Known:
    """Clips of known outcome, the first ones if a count is given."""
    store = EpisodeStore(path)
    episodes = [store.read(store.index_of(name)) for name in sorted(store.episode_ids())[:count]]
    known = [e for e in episodes if e.success is not None]
    own = [e for e in known if not (policy_alone and (e.actor == Actor.HUMAN).any())]
    clips = with_features([clip_of(e) for e in own], encoder, list(cfg.env.cameras))
    outcomes = list(zip(clips, [bool(e.success) for e in own], strict=True))
    return Known(good=[c for c, ok in outcomes if ok], bad=[c for c, ok in outcomes if not ok])


def own_instruction(cfg: DictConfig) -> str:
    """What the run's task is called."""
    env = build_env(cfg)
    env.close()
    return str(env.instruction)


def unknown_instructions(cfg: DictConfig, distractors: Sequence[str]) -> list[str]:
    """Instructions of the suite that are neither the task's own nor a distractor."""
    env = build_env(cfg)
    env.close()
    texts = dict.fromkeys(tasks(env.suite).values())
    others = [text for text in texts if text not in (env.instruction, *distractors)]
    return others[:: max(1, len(others) // UNKNOWN_INSTRUCTIONS)][:UNKNOWN_INSTRUCTIONS]


def judge(run: Recorded, name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """One reward's row: every column of `COLUMNS` with its interval, or why there is none."""
    about = {"run": run.path.name, "task": run.cfg.env.task, "reward": name, "seeds": list(seeds)}
    try:
        answers = [ask(run, fitted(run, name, seed)) for seed in seeds]
    except EmbodiedError as error:
        return about | {"failed": str(error)}
    found = {
        "auroc_held_out": separation([(a.held_good, a.held_bad) for a in answers]),
        "auroc_roll_outs": separation([(a.rolled_good, a.rolled_bad) for a in answers]),
        "false_accepts": over_clips([[s.success for s in a.rolled_bad] for a in answers]),
        "false_rejects": over_clips([[not s.success for s in a.rolled_good] for a in answers]),
        "voc": over_clips([[voc(as_float(s)) for s in a.held_good] for a in answers]),
        "right_instruction": over_clips([a.preferred for a in answers]),
    }
    return about | {key: plain(interval.to_dict()) for key, interval in found.items()}


def fitted(run: Recorded, name: str, seed: int) -> RewardModel:
    """The reward as the job would train it, but with the shared encoder."""
    reward = build_reward(load_config(run.path, [f"reward={name}"]))
    for part in reward.modules():
        if isinstance(getattr(part, "encoder", None), FrameEncoder):
            part.encoder = run.encoder  # type: ignore[assignment]
    lessons = {"successes": run.lessons.good, "failures": run.lessons.bad}
    reward.fit(**lessons, distractor_instructions=run.distractors, seed=seed)
    return reward


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one trained reward says."""

    held_good: Sequence[Scores]
    held_bad: Sequence[Scores]
    rolled_good: Sequence[Scores]
    rolled_bad: Sequence[Scores]
    preferred: Sequence[bool]
    """Whether each held-out success ends higher under its own than under every other text."""


def ask(run: Recorded, reward: RewardModel) -> Answers:
    """Score everything."""
    own = score_all(reward, run.held_out.good)
    wrong = [
        score_all(reward, [replace(clip, instruction=text) for clip in run.held_out.good])
        for text in run.unknown
    ]
    best = [max(map(final_progress, each)) for each in zip(*wrong, strict=True)]
    return Answers(
        held_good=own,
        held_bad=score_all(reward, run.held_out.bad),
        rolled_good=score_all(reward, run.roll_outs.good),
        rolled_bad=score_all(reward, run.roll_outs.bad),
        preferred=[final_progress(s) > other for s, other in zip(own, best, strict=True)],
    )


def separation(answers: Sequence[tuple[Sequence[Scores], Sequence[Scores]]]) -> Interval:
    """AUROC of the success probability, mean over seeds; clips are resampled.

    Not a number where there is no success or no failure.
    """
    if not all(map(len, answers[0])):
        return UNKNOWN
    stated = [[np.array([*map(success_probability, s)]) for s in pair] for pair in answers]
    ranked = np.mean([comparisons(good, bad) for good, bad in stated], axis=0)
    rng = np.random.default_rng(0)
    first, second = (resampling_weights(size, rng) for size in ranked.shape)
    drawn = percentiles(
        float(ranked.mean()), weighted_area(first, ranked, second), sum(ranked.shape)
    )
    low, high = newcombe(drawn.mean, *ranked.shape)
    return replace(drawn, low=min(drawn.low, low), high=max(drawn.high, high))


def over_clips(values: Sequence[Sequence[float]]) -> Interval:
    """Mean of one value per seed and clip; clips are resampled. Not a number without a clip."""
    if not values[0]:
        return UNKNOWN
    return mean_interval(list(np.mean(np.asarray(values, float), axis=0)), seed=0)


def claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """That a reward knows more of roll-outs than a clock does: on each run, and over tasks."""
    known = [
        row for row in rows if "failed" not in row and row["auroc_roll_outs"]["mean"] is not None
    ]
    clocks = {row["run"]: row for row in known if row["reward"] == CLOCK}
    rivals = [row for row in known if row["reward"] != CLOCK and row["run"] in clocks]
    found = [
        Claim(
            claim=f"{row['reward']} on {row['run']}: AUROC on roll-outs is above a clock's",
            target=clocks[row["run"]]["auroc_roll_outs"]["mean"],
            measured=row["auroc_roll_outs"]["mean"],
            low=row["auroc_roll_outs"]["low"],
            high=row["auroc_roll_outs"]["high"],
            whole_interval=True,
        )
        for row in rivals
    ]
    for name in dict.fromkeys(row["reward"] for row in rivals):
        leads = [
            row["auroc_roll_outs"]["mean"] - clocks[row["run"]]["auroc_roll_outs"]["mean"]
            for row in rivals
            if row["reward"] == name and row["task"].endswith(METAWORLD)
        ]
        if len(leads) > 1:
            lead = mean_interval(leads, seed=0)
            found.append(
                Claim(
                    claim=f"{name}: AUROC on roll-outs less a clock's, {len(leads)} "
                    "Meta-World tasks",
                    target=0.0, measured=lead.mean, low=lead.low, high=lead.high,
                    whole_interval=True,
                )
            )  # fmt: skip
    return found


def overall(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each reward over all Meta-World tasks on which it could be judged, with intervals over these.

    What is not defined on a task (no failure among its roll-outs) is left out of that column.
    """
    own = [row for row in rows if row["task"].endswith(METAWORLD) and "failed" not in row]
    found = []
    for name in dict.fromkeys(row["reward"] for row in own):
        same = [row for row in own if row["reward"] == name]
        means = {
            key: [r[key]["mean"] for r in same if r[key]["mean"] is not None] for key in COLUMNS
        }
        over = {key: mean_interval(values, seed=0).to_dict() for key, values in means.items()}
        found.append({"run": f"{len(same)} Meta-World tasks", "reward": name} | over)
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [f"| run | reward | {' | '.join(COLUMNS.values())} |", "|---" * 8 + "|"]
    for row in rows:
        cells = [cell(row[key]) for key in COLUMNS] if "failed" not in row else [row["failed"]]
        lines.append(f"| {row['run']} | `{row['reward']}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_task(rows: Sequence[dict[str, Any]], key: str) -> str:
    """One column of `COLUMNS`, rewards by runs, as Markdown."""
    found = {(row["reward"], row["run"]): row for row in rows}
    runs, names = (list(dict.fromkeys(row[part] for row in rows)) for part in ("run", "reward"))
    shown = {row["run"]: row["task"].removesuffix(METAWORLD) for row in rows}
    lines = [f"| {COLUMNS[key]} | {' | '.join(shown[run] for run in runs)} |"]
    lines.append("|---" * (len(runs) + 1) + "|")
    for name in names:
        known = [found.get((name, run), {}).get(key) for run in runs]
        cells = [
            "" if own is None or own["mean"] is None else f"{own['mean']:.2f}" for own in known
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(interval: dict[str, float]) -> str:
    """One number with its bounds."""
    if interval["mean"] is None:
        return ""
    return f"{interval['mean']:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"


def main() -> None:
    """Judge the rewards that were asked for on each run; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", nargs="+", type=Path, default=[Path("runs/benchmark/default-0")],
        help="finished runs",
    )  # fmt: skip
    parser.add_argument("--rewards", nargs="+", default=list(choices.choices("reward")))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    asked = parser.parse_args()
    rows = earlier_rows("reward_family")
    if asked.table:
        parts = [table(overall(rows)), *(by_task(rows, key) for key in COLUMNS), table(rows)]
        print("\n\n".join(parts))
        return
    for path in asked.runs:
        run = read_run(path)
        for name in asked.rewards:
            row = judge(run, name, asked.seeds)
            same = (row["run"], row["reward"])
            rows = [r for r in rows if (r["run"], r["reward"]) != same] + [row]
            benchmark_result("reward_family", rows, claims(rows))
            print(table([row]).splitlines()[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
