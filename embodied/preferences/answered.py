"""What people answered, handed to a reward that learns from it: labels, and the clips they name."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig, BadInput
from embodied.first_checks import RATER_KINDS, labelled, named_labels, rater_kinds
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
    labels = named_labels(cfg)
    if not labels:
        return
    if not isinstance(reward, LearnsFromPreferences):
        raise BadConfig(
            f"a {type(reward).__name__} does not learn from people's answers; leave reward.labels "
            "out, or choose reward=preference or reward=rapl."
        )
    encoder = build_cached_encoder(cfg)
    each = [read_preferences(cfg, one, reward.cameras, encoder) for one in labels]
    reward.hear(joined(each))


def joined(each: Sequence[Preferences]) -> Preferences:
    """Answers of several databases as one; who has the same name in two of them is one person.

    Args:
        each: Of one database, one or more.
    """
    if len(each) == 1:
        return each[0]
    raters = tuple(dict.fromkeys(name for one in each for name in one.raters))
    first, second, rater, negatives, begin = [], [], [], [], 0
    for one in each:
        first.append(one.first + begin)
        second.append(one.second + begin)
        rater.append(np.array([raters.index(name) for name in one.raters])[one.rater])
        negatives += [begin + number for number in one.negatives]
        begin += len(one.clips)
    origins = [one.origin for one in each]
    named = ("database", "dataset", "last_label")
    return Preferences(
        clips=[clip for one in each for clip in one.clips],
        first=np.concatenate(first),
        second=np.concatenate(second),
        target=np.concatenate([one.target for one in each]),
        rater=np.concatenate(rater),
        raters=raters,
        negatives=negatives,
        origin={
            **origins[0],
            **{name: ", ".join(str(origin[name]) for origin in origins) for name in named},
            "labels": sum(int(origin["labels"]) for origin in origins),
        },
    )


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
    store, kinds = open_given(root, cameras), rater_kinds(cfg.reward)
    answers, clips, name = _standing(store, url, kinds)
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
            "rater_kinds": ", ".join(kinds or RATER_KINDS),
        },
    )


def check_answers(cfg: DictConfig, cameras: Sequence[str]) -> None:
    """Whether ``reward.labels``, if it says something, has answers about clips of such cameras.

    Raises:
        BadInput: if there is no dataset or database, no answer that stands, or no camera.
        BadConfig: if the database cannot be opened, or a URL names no dataset.
        CorruptFile: if the database or the dataset is damaged.
    """
    for labels in named_labels(cfg):
        root, url = labelled(cfg, labels)
        _standing(open_given(root, cameras), url, rater_kinds(cfg.reward))


def _standing(
    store: EpisodeStore, url: str, kinds: Sequence[str] | None
) -> tuple[Compared, list[LabelledClip], str]:
    """Answers about clips of a dataset as it is now, those clips, and the database's name."""
    database = Database(url)
    try:
        kept = PreferenceStore(database)
        answers, clips = compared(kept.labels(), kinds), kept.clips()
    finally:
        database.close()
    named = {*answers.first.tolist(), *answers.second.tolist()}
    asked = [clip for clip in clips if clip.id in named]
    here = [clip for clip in asked if is_of(store, clip)]
    found = answers.among([clip.id for clip in here])
    if not (found.target != EVEN).any():
        raise BadInput(_why_none(store.root, database.name, kinds, [] if len(found) else asked))
    if len(found) < len(answers):
        logger.warning(
            "%d of %d answers in %s are about clips that %s does not have (any more).",
            len(answers) - len(found), len(answers), database.name, store.root,
        )  # fmt: skip
    return found, here, database.name


def _why_none(
    root: Path, database: str, kinds: Sequence[str] | None, asked: Sequence[LabelledClip]
) -> str:
    if not asked:
        whose = f" of a {' or '.join(kinds)} rater" if kinds else ""
        return (
            f"{database} has no answer{whose} that says which of two clips is better; `embodied "
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
