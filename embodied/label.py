"""`embodied label`: what a reward says of a dataset, in the forms that LeRobot reads."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from embodied.display import Display, Status
from embodied.exports import PROGRESS_FILE, write_columns, write_progress
from embodied.first_checks import label_folders
from embodied.given_dataset import open_given, read_given
from embodied.job import build_cached_encoder, build_reward, trained_run
from embodied.rewarding import RewardWorker
from embodied.types import Labels

WEIGHED = ("smolvla", "pi0", "pi05", "evo1", "molmoact2")
"""Policies of LeRobot whose loss can be had sample by sample; it takes the weights for no other."""


def label(cfg: DictConfig, *, dataset: str = "", output: str = "") -> None:
    """Score all episodes of a dataset and write a copy of it with the scores.

    Args:
        cfg: Configuration; ``run`` names the run whose trained reward is used. Without a run, the
            reward must need no training.
        dataset: A LeRobotDataset v3; the run's episodes by default.
        output: Folder of the copy, next to the dataset by default.

    Raises:
        BadConfig: if no dataset is named, and no run.
        BadInput: if there is no dataset, it lacks a camera, or the output exists.
    """
    root, target = label_folders(cfg, dataset=dataset, output=output)
    labels = _score(cfg, root)
    write_columns(root, labels, target)
    name = str(cfg.reward["_target_"]).rpartition(".")[2]
    write_progress(root, labels, target / PROGRESS_FILE, made_by=name)
    Console().print(_told(root, target, labels), highlight=False, soft_wrap=True)


def _score(cfg: DictConfig, root: Path) -> dict[int, Labels]:
    """Labels of each episode, by its index; one episode is in memory at a time."""
    reward = build_reward(cfg, trained_run(cfg))
    encoder, store = build_cached_encoder(cfg), open_given(root, reward.cameras)
    worker = RewardWorker(model=reward, encoder=encoder, store=None, version=max(1, reward.version))
    labels: dict[int, Labels] = {}
    with Display() as display:
        for index in range(len(store)):
            display.show(
                Status(stage="label", doing="Scoring episodes.", done=index, total=len(store))
            )
            (labels[index],) = worker.label([read_given(store, index, cfg, reward.cameras)])
    return labels


def _told(root: Path, target: Path, labels: dict[int, Labels]) -> str:
    accepted = sum(each.success for each in labels.values())
    return (
        f"{len(labels)} episodes of {root} scored, {accepted} accepted as successes.\n"
        f"{target}: the dataset with learned.reward, .progress, .done and .uncertainty\n"
        "To weigh samples by progress (RA-BC), which LeRobot does for "
        f"--policy.type={', '.join(WEIGHED)}:\n"
        f"  lerobot-train --policy.type={WEIGHED[0]} --policy.push_to_hub=false "
        f"--dataset.repo_id=local/{target.name} --dataset.root={target} "
        "--sample_weighting.type=rabc "
        f"--sample_weighting.progress_path={target / PROGRESS_FILE} "
        f"--output_dir={target.with_name(f'{target.name}-policy')}"
    )
