"""Success on unseen seeds as fine-tuning went on, by the simulator's word, for people to read.

The learner leaves the weights that act at every so many online episodes beside its checkpoint
(`Schedule.snapshot_every`). Afterwards each is rolled out, without exploration and without an
operator, on the first seeds of the evaluation: what the policy could do alone at that time.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from embodied import checkpoint
from embodied.actor import ActorWorker
from embodied.display import Status
from embodied.evaluation import evaluation_request, evaluator
from embodied.fine_tuning import CHECKPOINT, acting_policy
from embodied.job import Job, build_encoder, processes
from embodied.learner import snapshot_path
from embodied.messages import Published
from embodied.metrics import METRICS_FILE, read_metrics
from embodied.pool import in_processes
from embodied.statistics import Interval, wilson

SNAPSHOTS = "episode-*.pt"
SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class Point:
    """Success of the weights that acted after so many online episodes."""

    episodes: int
    success: Interval

    def to_dict(self) -> dict[str, Any]:
        """As `summary.json` has it."""
        return {"episodes": self.episodes, **self.success.to_dict()}


def evaluate_curve(job: Job, episodes: int) -> None:
    """Roll out each snapshot; what is known from an interrupted evaluation is not repeated.

    Args:
        job: The run.
        episodes: Seeds per snapshot; 0 for none.
    """
    folder = (job.run_dir / CHECKPOINT).parent
    snapshots = sorted(int(path.stem.split("-")[1]) for path in folder.glob(SNAPSHOTS))
    wanted = [(snapshot, number) for snapshot in snapshots for number in range(episodes)]
    known = _known(job.run_dir)
    missing = [item for item in wanted if item not in known]
    done = len(wanted) - len(missing)
    doing = "Rolling out earlier versions on unseen seeds."
    job.display.show(Status(stage="evaluate_during", doing=doing, done=done, total=len(wanted)))
    write = job.observe("evaluate_during")
    work = in_processes(partial(_roller, job.cfg, job.run_dir), missing, processes(job.cfg))
    for (snapshot, number), success in zip(missing, work, strict=True):
        done += 1
        write({"snapshot": snapshot, "evaluation": number, "success": success})
        job.display.update(done=done, doing=f"The version after {snapshot} online episodes.")


def success_curve(run_dir: Path) -> list[Point]:
    """What `evaluate_curve` has found so far, by the number of online episodes."""
    outcomes: dict[int, list[bool]] = defaultdict(list)
    for (snapshot, _), success in _known(run_dir).items():
        outcomes[snapshot].append(success)
    return [
        Point(episodes=snapshot, success=wilson(sum(found), len(found)))
        for snapshot, found in sorted(outcomes.items())
    ]


def episodes_to(share: float, curve: Sequence[Point]) -> int | None:
    """The first snapshot that succeeded in so large a share of its seeds; None if none did."""
    return next((point.episodes for point in curve if point.success.mean >= share), None)


def _known(run_dir: Path) -> dict[tuple[int, int], bool]:
    rows = read_metrics(run_dir / METRICS_FILE)
    return {
        (int(row["snapshot"] or 0), int(row["evaluation"] or 0)): bool(row["success"])
        for row in rows
        if "snapshot" in row
    }


def _roller(cfg: DictConfig, run_dir: Path) -> Callable[[tuple[int, int]], bool]:
    encoder = build_encoder(cfg)
    actor: ActorWorker = evaluator(cfg, acting_policy(cfg, run_dir), encoder, store=None)

    def roll(item: tuple[int, int]) -> bool:
        snapshot, number = item
        stored = checkpoint.load(snapshot_path(run_dir / CHECKPOINT, snapshot))
        pinned = Published(version=snapshot, weights=stored["weights"])
        return actor.collect(evaluation_request(number), pinned).success is True

    return roll
