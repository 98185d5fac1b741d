"""What the preference page is made of, put together once: database, schedule and films."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from embodied.dataset import EpisodeStore
from embodied.preferences.clipping import clips_of
from embodied.preferences.database import Database
from embodied.preferences.films import Films
from embodied.preferences.labels import LabelBook
from embodied.preferences.records import Clip
from embodied.preferences.schedule import Mix, Schedule
from embodied.preferences.store import PreferenceStore


@final
@dataclass(frozen=True, kw_only=True)
class Service:
    """Behind the page."""

    store: PreferenceStore
    book: LabelBook
    schedule: Schedule
    films: Films
    clips: dict[int, Clip]
    """Those of the dataset, by id."""

    def close(self) -> None:
        """Close the database."""
        self.store.database.close()


def open_service(
    dataset: EpisodeStore,
    database_url: str,
    films_folder: Path,
    *,
    clip_s: float = 4.0,
    films_bytes: int = 2 * 2**30,
    seed: int = 0,
    mix: Mix | None = None,
) -> Service:
    """Open or make a preference database of a dataset.

    Args:
        dataset: Whose episodes are compared.
        database_url: See `Database`.
        films_folder: Cache of films.
        clip_s: Seconds of a clip.
        films_bytes: Most that the cache takes.
        seed: Of the schedule.
        mix: Shares of queries.

    Raises:
        BadInput: for a dataset without videos or with too few clips.
        BadConfig: for a database that cannot be opened.
        CorruptFile: for one that is damaged or newer than this program.
    """
    clips = clips_of(dataset, clip_s)
    database = Database(database_url)
    store, book = PreferenceStore(database), LabelBook(database)
    ids: Sequence[int] = store.add_clips(clips)
    episodes = {(clip.revision, clip.episode) for clip in clips}
    return Service(
        store=store,
        book=book,
        schedule=Schedule(book, seed, mix),
        films=Films(dataset, films_folder, films_bytes),
        clips={
            clip.id: clip
            for clip in store.clips()
            if clip.id in ids or (clip.revision, clip.episode) in episodes
        },
    )
