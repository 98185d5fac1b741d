"""The reward worker: labels whole episodes after they have ended, together those that wait.

A label is durable before it is returned, and is never computed twice by the same version: where the
store has it already, as after a crash, it is read. A reward that cannot be asked stops no run: the
loop goes on with abstaining labels, which are not kept.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import batched

import numpy as np

from embodied.dataset import EpisodeStore
from embodied.errors import BadInput, RewardUnavailable
from embodied.messages import NOBODY, Note, Outdated, note_of
from embodied.reward_models.base import RewardModel, abstention, labels_of
from embodied.types import Episode, FrameEncoder, LabelledEpisode, Labels, clip_of, label

logger = logging.getLogger(__name__)

RELABELLED_AT_ONCE = 16
"""Episodes whose frames are in memory together."""
LABELLED_AT_ONCE = 8
"""Episodes, of whichever actors, that are labelled together if so many wait for it."""


class RewardWorker:
    """Scores episodes with one version of a reward model.

    Args:
        model: Trained.
        version: Named in every label.
        encoder: Makes the features of episodes that come from disk, where none are stored.
        store: Keeps the labels; episodes must be in it. None for episodes that are not stored.
        judge: A second reward for the monitor; what it says reaches no learner.
    """

    def __init__(
        self,
        *,
        model: RewardModel,
        encoder: FrameEncoder,
        store: EpisodeStore | None,
        version: int = 1,
        judge: RewardModel | None = None,
    ) -> None:
        self._model, self._encoder, self._store = model.eval(), encoder, store
        self._version, self._judge = version, None if judge is None else judge.eval()

    @property
    def version(self) -> int:
        """Of the labels that it gives."""
        return self._version

    def label(self, episodes: Sequence[Episode]) -> list[Labels]:
        """Labels of each episode, from one call of the model.

        Raises:
            BadInput: if the model says NaN, naming the episode, or lacks one of its cameras.
            RewardUnavailable: if it lives on another machine, and gives no answer.
        """
        known = {e.episode_id: self._labels(e.episode_id) for e in episodes}
        new = [e for e in episodes if known[e.episode_id] is None]
        self._check_cameras(new)
        scores = self._model.score([clip_of(with_features(e, self._encoder)) for e in new])
        for episode, score in zip(new, scores, strict=True):
            fresh = labels_of(score, self._version)
            _check(fresh, episode)
            if self._store is not None:
                self._store.write_labels(episode.episode_id, fresh)
            known[episode.episode_id] = fresh
        return [labels for e in episodes if (labels := known[e.episode_id]) is not None]

    def deliver(self, episode: Episode | str) -> tuple[Note, LabelledEpisode]:
        """What the driver and the learner get of an episode; see `deliver_together`."""
        notes, *labelled = self.deliver_together(episode)
        return notes[0], labelled[0]

    def deliver_together(
        self, *episodes: Episode | str
    ) -> tuple[list[Note], *tuple[LabelledEpisode, ...]]:
        """What the driver and the learner get of episodes, or of the stored ones of that name.

        A reward that gives no answer now abstains, and the reason is logged. Whoever comes back to
        the episode, as a resumed run may, asks again.

        Returns:
            The notes, and after them one labelled episode for each.
        """
        held = [self.read(each) if isinstance(each, str) else each for each in episodes]
        seen = held if self._judge is None else [with_features(e, self._encoder) for e in held]
        notes: list[Note] = []
        labelled: list[LabelledEpisode] = []
        for episode, shown, labels in zip(held, seen, self._answers(seen), strict=True):
            if isinstance(labels, RewardUnavailable):
                logger.warning("%s gets abstaining labels: %s", episode.episode_id, labels)
                labels = labels_of(abstention(len(episode) + 1), NOBODY)
            notes.append(note_of(episode, labels, evidence(self._judge, shown)))
            labelled.append(label(episode, labels, keep_images=False))
        return notes, *labelled

    def _answers(self, episodes: Sequence[Episode]) -> list[Labels | RewardUnavailable]:
        """Labels of each episode, or why there are none.

        What got no answer together is asked one by one, so that none goes without for another.
        """
        if len(episodes) == 1 or not self._model.asked_alone:
            try:
                return [*self.label(episodes)]
            except RewardUnavailable as error:
                if len(episodes) == 1:
                    return [error]
        return [answer for episode in episodes for answer in self._answers([episode])]

    def read(self, episode_id: str) -> Episode:
        """An episode from disk, with features.

        Raises:
            BadInput: if there is no store.
            UnknownName: if there is no such episode.
        """
        if self._store is None:
            raise BadInput("there is no store to read episodes from.")
        return with_features(self._store.read(self._store.index_of(episode_id)), self._encoder)

    def outdated(self, versions: Mapping[str, int]) -> Outdated:
        """Those of the episodes that an earlier version labelled, or that none labelled.

        Args:
            versions: Of the labels that each episode has now, by id.
        """
        older = tuple(name for name, version in versions.items() if version < self._version)
        return Outdated(episode_ids=older, reward_version=self._version)

    def relabel(self, episode_ids: Sequence[str]) -> Mapping[str, Labels]:
        """Labels by this version of episodes that an earlier version labelled, by id.

        A few are in memory at a time; those that have such labels already are not read. Episodes
        that the reward gives no answer for are left out, and keep the labels that they have.
        """
        found = {name: self._labels(name) for name in episode_ids}
        missing = [name for name in episode_ids if found[name] is None]
        for names in batched(missing, RELABELLED_AT_ONCE):
            answers = self._answers([self.read(name) for name in names])
            for name, answer in zip(names, answers, strict=True):
                if isinstance(answer, RewardUnavailable):
                    logger.warning("%s keeps its earlier labels: %s", name, answer)
                else:
                    found[name] = answer
        return {name: labels for name, labels in found.items() if labels is not None}

    def _labels(self, episode_id: str) -> Labels | None:
        return None if self._store is None else self._store.read_labels(episode_id, self._version)

    def _check_cameras(self, episodes: Sequence[Episode]) -> None:
        for episode in episodes:
            missing = sorted(set(self._model.cameras) - set(episode.images))
            if missing:
                raise BadInput(
                    f"the reward needs camera {', '.join(missing)}; episode {episode.episode_id} "
                    f"has {', '.join(sorted(episode.images))}."
                )


def evidence(judge: RewardModel | None, episode: Episode) -> float | None:
    """How sure a judge is, at the episode's best moment, that the task is complete.

    None without a judge, and from one that cannot be asked now.
    """
    if judge is None:
        return None
    try:
        (score,) = judge.score([clip_of(episode)])
    except RewardUnavailable:
        return None
    return float(score.done.max())


def with_features(episode: Episode, encoder: FrameEncoder) -> Episode:
    """The episode with its frames encoded, if this encoder has not done so already."""
    if episode.features and episode.encoder == encoder.fingerprint:
        return episode
    features = {camera: encoder.encode(frames) for camera, frames in episode.images.items()}
    return replace(episode, features=features, encoder=encoder.fingerprint)


def _check(labels: Labels, episode: Episode) -> None:
    for field in fields(labels):
        if not np.isfinite(getattr(labels, field.name)).all():
            raise BadInput(
                f"reward version {labels.reward_version} says NaN or infinity for {field.name} of "
                f"episode {episode.episode_id}; train the reward again, or lower its learning rate."
            )
