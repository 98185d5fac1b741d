"""`embodied label`: what a reward or people say of a dataset, in the forms that LeRobot reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from embodied.display import Display, Status
from embodied.errors import BadInput
from embodied.exports import Columns, learned, write_columns, write_progress
from embodied.first_checks import HUMAN, PEOPLE, label_folders, labelled, rater_kinds
from embodied.given_dataset import open_given, read_given
from embodied.job import build_cached_encoder, build_reward, trained_run
from embodied.preferences.clipping import is_of
from embodied.preferences.database import Database
from embodied.preferences.export import FRAME_COLUMNS, PROGRESS, frame_columns
from embodied.preferences.store import PreferenceStore
from embodied.rewarding import RewardWorker
from embodied.types import Labels

PROGRESS_FILE = "progress.parquet"
PEOPLES_PROGRESS_FILE = "people_progress.parquet"
WEIGHED = ("smolvla", "pi0", "pi05", "evo1", "molmoact2")
"""Policies of LeRobot whose loss can be had sample by sample; it takes the weights for no other."""


def label(cfg: DictConfig, *, dataset: str = "", output: str = "", labels: str = "") -> None:
    """Score all episodes of a dataset and write a copy of it with the scores.

    Args:
        cfg: Configuration; ``run`` names the run whose trained reward is used. Without a run, the
            reward must need no training.
        dataset: A LeRobotDataset v3; the run's episodes by default.
        output: Folder of the copy, next to the dataset by default.
        labels: ``people`` for what people said on the preference page, instead of a reward.

    Raises:
        BadConfig: if no dataset is named, and no run.
        BadInput: if there is no dataset, it lacks a camera, the output exists, or people said
            nothing of it.
        UnknownName: for labels of anybody else.
    """
    root, target = label_folders(cfg, dataset=dataset, output=output, labels=labels)
    if labels == PEOPLE:
        told = _write_peoples(cfg, root, target)
    else:
        scores = _score(cfg, root)
        write_columns(root, {index: learned(each) for index, each in scores.items()}, target)
        name = str(cfg.reward["_target_"]).rpartition(".")[2]
        progress = {index: each.progress for index, each in scores.items()}
        write_progress(root, progress, target / PROGRESS_FILE, made_by=name)
        told = _told(root, target, scores)
    Console().print(told, highlight=False, soft_wrap=True)


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
        f"{_how_to_weigh(target, PROGRESS_FILE)}"
    )


def _write_peoples(cfg: DictConfig, root: Path, target: Path) -> str:
    """Write the copy, and the progress if anybody marked some; returns what to tell."""
    columns = _peoples(cfg, root)
    write_columns(root, columns, target)
    marked = _episodes_with(columns, PROGRESS)
    told = (
        f"People spoke of {_episodes_with(columns, *FRAME_COLUMNS)} of {len(columns)} episodes of "
        f"{root}, and marked the progress of {marked}.\n"
        f"{target}: the dataset with {', '.join(FRAME_COLUMNS)}\n"
    )
    if not marked:
        return told + (
            "Nobody marked progress, so there is no file for RA-BC; the page's Progress view (O) "
            "collects it."
        )
    progress = {index: each[PROGRESS] for index, each in columns.items()}
    write_progress(root, progress, target / PEOPLES_PROGRESS_FILE, made_by=PEOPLE)
    return told + _how_to_weigh(target, PEOPLES_PROGRESS_FILE)


def _peoples(cfg: DictConfig, root: Path) -> Mapping[int, Columns]:
    """Columns of each episode, by its index.

    Raises:
        BadInput: if nobody said anything of the dataset as it is now.
    """
    _, url = labelled(cfg, str(root))
    store, kinds = open_given(root, ()), rater_kinds(cfg.preferences) or [HUMAN]
    database = Database(url)
    try:
        kept = PreferenceStore(database)
        labels, clips = kept.labels(), kept.clips()
    finally:
        database.close()
    here = {clip.id: clip for clip in clips if is_of(store, clip)}
    frames = {index: store.frame_count(index) for index in range(len(store))}
    found = frame_columns(labels, here, frames, kinds)
    if not _episodes_with(found, *FRAME_COLUMNS):
        raise BadInput(
            f"{database.name} has no answer of a {' or '.join(kinds)} rater that compares or marks "
            f"clips of {root} as it is now; `embodied serve-preferences dataset={root}` asks "
            "people, and preferences.rater_kinds=[human,scripted] counts scripted raters as well."
        )
    return found


def _episodes_with(columns: Mapping[int, Columns], *names: str) -> int:
    """How many episodes have a value in one of these columns."""
    return sum(any(np.isfinite(each[name]).any() for name in names) for each in columns.values())


def _how_to_weigh(target: Path, file: str) -> str:
    return (
        "To weigh samples by progress (RA-BC), which LeRobot does for "
        f"--policy.type={', '.join(WEIGHED)}:\n"
        f"  lerobot-train --policy.type={WEIGHED[0]} --policy.push_to_hub=false "
        f"--dataset.repo_id=local/{target.name} --dataset.root={target} "
        "--sample_weighting.type=rabc "
        f"--sample_weighting.progress_path={target / file} "
        f"--output_dir={target.with_name(f'{target.name}-policy')}"
    )
