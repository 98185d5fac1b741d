"""A model's opinion of queries, kept beside people's answers and never among them.

It is asked about the best of the queue and about what people were shown. Its opinion is not shown
to who answers: the dashboard compares both, once a person has answered.
"""

from typing import final

from embodied.dataset import EpisodeStore
from embodied.errors import EmbodiedError, RewardUnavailable
from embodied.preferences.clipping import is_of
from embodied.preferences.records import Clip
from embodied.preferences.store import PreferenceStore
from embodied.reward_models.base import Compares, RewardModel
from embodied.types import Clip as Seen


@final
class Proposer:
    """Lets a pairwise model propose.

    Args:
        store: Where queries are and proposals go.
        dataset: Of the clips.
        model: Which can compare.
        source: Its name, for the dashboard.
    """

    def __init__(
        self, store: PreferenceStore, dataset: EpisodeStore, model: RewardModel, source: str
    ) -> None:
        assert isinstance(model, Compares)  # checked where it was built
        self.store, self.dataset, self.source = store, dataset, source
        self._cameras, self._compare = model.cameras, model.compare
        self._refused: set[int] = set()

    def propose(self) -> int | None:
        """Propose for one query.

        Returns:
            The query, or None if there is none left.

        Raises:
            EmbodiedError: if the model gives no answer; it is not asked about this query again,
                unless it could not be reached.
        """
        found = self._next()
        if found is None:
            return None
        query, clips = found
        try:
            (ahead,) = self._compare(*([self._seen(clip)] for clip in clips))
        except RewardUnavailable:  # later, perhaps
            raise
        except EmbodiedError:
            self._refused.add(query)
            raise
        self.store.propose(query, self.source, 1.0 - float(ahead))
        return query

    def _next(self) -> tuple[int, list[Clip]] | None:
        """The best query whose clips are of this dataset: a database may hold several."""
        for query, clip_ids in self.store.unproposed(self.source):
            if query in self._refused:
                continue
            clips = self.store.clips(clip_ids)
            if all(is_of(self.dataset, clip) for clip in clips):
                return query, clips
        return None

    def _seen(self, clip: Clip) -> Seen:
        frames = self.dataset.read_frames(clip.episode, self._cameras, clip.start, clip.stop)
        return Seen(frames=frames, features={}, instruction=clip.instruction)
