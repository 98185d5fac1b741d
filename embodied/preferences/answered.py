"""What people answered, handed to a reward that learns from it: labels, and the clips they name."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, BadInput
from embodied.first_checks import labelled
from embodied.given_dataset import image_size, open_given, resized
from embodied.job import build_cached_encoder
from embodied.preferences.clipping import is_of
from embodied.preferences.comparing import Compared, compared
from embodied.preferences.database import Database
from embodied.preferences.records import Clip as LabelledClip
from embodied.preferences.store import PreferenceStore
from embodied.reward_models.base import LearnsFromPreferences, Preferences, TrainableReward
from embodied.types import Clip, FrameEncoder

logger = logging.getLogger(__name__)

EVEN = 0.5
"""Target of a tie, which says nothing of an order."""


def hand_over(cfg: DictConfig, reward: TrainableReward) -> None:
    """Let a reward hear the answers that ``reward.labels`` names; without any, do nothing.

    Raises:
        BadConfig: if the reward does not learn from answers, or the database cannot be opened.
        BadInput: if there is no dataset or database, no answer that stands, or no camera.
        CorruptFile: if the database or the dataset is damaged.
    """
    labels = cfg.reward.get("labels")
    if not labels:
        return
    if not isinstance(reward, LearnsFromPreferences):
        raise BadConfig(
            f"a {type(reward).__name__} does not learn from people's answers; leave reward.labels "
            "out, or choose reward=preference or reward=rapl."
        )
    reward.hear(read_preferences(cfg, str(labels), reward.cameras, build_cached_encoder(cfg)))


def read_preferences(
    cfg: DictConfig, labels: str, cameras: Sequence[str], encoder: FrameEncoder
) -> Preferences:
    """The standing answers of a database, with the clips that they are about, encoded.

    Args:
        cfg: Says how large pictures are, and where the labels of a folder are.
        labels: The dataset's folder, or the database's URL.
        cameras: That the reward looks at.
        encoder: Makes the features.

    Raises:
        BadInput: if there is no dataset or database, no answer that stands, or no camera.
        BadConfig: if the database cannot be opened, or a URL names no dataset.
        CorruptFile: if the database or the dataset is damaged.
    """
    root, url = labelled(cfg, labels)
    store = open_given(root, cameras)
    answers, clips, name = _standing(store, url)
    return Preferences(
        clips=[_cut(cfg, store, clip, cameras, encoder) for clip in clips],
        **answers.numbers(),
        raters=answers.raters,
        negatives=answers.negatives.tolist(),
        origin={
            "database": name,
            "dataset": root.name,
            "labels": len({*answers.label.tolist()}),
            "last_label": int(answers.label.max()),
        },
    )


def check_answers(cfg: DictConfig, cameras: Sequence[str]) -> None:
    """Whether ``reward.labels``, if it says something, has answers about clips of such cameras.

    Raises:
        BadInput: if there is no dataset or database, no answer that stands, or no camera.
        BadConfig: if the database cannot be opened, or a URL names no dataset.
        CorruptFile: if the database or the dataset is damaged.
    """
    if cfg.reward.get("labels"):
        root, url = labelled(cfg, str(cfg.reward.labels))
        _standing(open_given(root, cameras), url)


def _standing(store: EpisodeStore, url: str) -> tuple[Compared, list[LabelledClip], str]:
    """Answers about clips of a dataset as it is now, those clips, and the database's name."""
    database = Database(url)
    try:
        kept = PreferenceStore(database)
        answers, clips = compared(kept.labels()), kept.clips()
    finally:
        database.close()
    named = {*answers.first.tolist(), *answers.second.tolist()}
    asked = [clip for clip in clips if clip.id in named]
    here = [clip for clip in asked if is_of(store, clip)]
    found = answers.among([clip.id for clip in here])
    if not (found.target != EVEN).any():
        raise BadInput(_why_none(store.root, database.name, [] if len(found) else asked))
    if len(found) < len(answers):
        logger.warning(
            "%d of %d answers in %s are about clips that %s does not have (any more).",
            len(answers) - len(found), len(answers), database.name, store.root,
        )  # fmt: skip
    return found, here, database.name


def _why_none(root: Path, database: str, asked: Sequence[LabelledClip]) -> str:
    if not asked:
        return (
            f"{database} has no answer that says which of two clips is better; `embodied "
            f"serve-preferences dataset={root}` collects some."
        )
    others = sorted({clip.dataset for clip in asked} - {root.resolve().name})
    if others:
        return (
            f"the answers in {database} are about clips of {', '.join(others)}, not of {root}; "
            "name that dataset's folder, as reward.labels=FOLDER."
        )
    return (
        f"the answers in {database} are about episodes that {root} does not have any more: it was "
        "recorded again since. Name the dataset that people saw, or let them compare this one."
    )


def _cut(
    cfg: DictConfig,
    store: EpisodeStore,
    clip: LabelledClip,
    cameras: Sequence[str],
    encoder: FrameEncoder,
) -> Clip:
    frames = store.read_frames(clip.episode, cameras, clip.start, clip.stop)
    images = resized(frames, image_size(cfg))
    features = {camera: encoder.encode(pictures) for camera, pictures in images.items()}
    return Clip(frames=images, features=features, instruction=clip.instruction)
