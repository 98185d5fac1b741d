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
from embodied.preferences.mix import Mix
from embodied.preferences.pairing import Groups, groups_of
from embodied.preferences.records import Clip
from embodied.preferences.schedule import Schedule
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
    groups: Groups
    """Those that may be compared."""
    kinds: Sequence[str] | None
    """Of the raters whose answers count; None for all."""

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
    same_start: bool = False,
    kinds: Sequence[str] | None = None,
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
        same_start: Compare only what begins in the same state; see `groups_of`.
        kinds: Of the raters whose answers count; None for all.

    Raises:
        BadInput: for a dataset without videos or with too few clips to compare.
        BadConfig: for a database that cannot be opened.
        CorruptFile: for one that is damaged or newer than this program.
    """
    new = clips_of(dataset, clip_s)
    database = Database(database_url)
    store = PreferenceStore(database)
    ids = set(store.add_clips(new))
    episodes = {(clip.revision, clip.episode) for clip in new}
    clips = [c for c in store.clips() if c.id in ids or (c.revision, c.episode) in episodes]
    asked = ids | store.branched()  # of another length than this are known, but not asked about
    compared = [clip for clip in clips if clip.id in asked]
    groups = groups_of(dataset, compared, same_start=same_start)
    book = LabelBook(database, served=[clip.id for clip in clips])
    return Service(
        store=store,
        book=book,
        schedule=Schedule(book, groups, seed, mix),
        films=Films(dataset, films_folder, films_bytes),
        clips={clip.id: clip for clip in clips},
        groups=groups,
        kinds=kinds,
    )
