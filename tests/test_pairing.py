"""Which clips may be compared: of one instruction, and of one start where that is demanded."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodied.align_answers import rolled_of
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.preferences.pairing import candidates, draw, groups_of
from embodied.preferences.schedule import Schedule
from embodied.preferences.service import open_service
from embodied.testing.preferences import pushing_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return pushing_dataset(
        tmp_path_factory.mktemp("data") / "pushing", episodes=4, cameras=["front"], starts=2
    )


def test_pairs_share_their_start_where_that_is_demanded(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'p.sqlite'}"
    service = open_service(dataset, url, tmp_path / "films", clip_s=1.0, same_start=True)
    ann = service.store.sign_in("ann")[1]
    drawn = service.schedule.next(ann, 4)
    for showing in drawn:
        one, two = (service.clips[number] for number in showing.clip_ids)
        assert one.episode % 2 == two.episode % 2
        assert one.start == two.start
    other = [replace(clip, instruction=f"{clip.id}") for clip in service.clips.values()]
    with pytest.raises(BadInput, match="same_start=true"):
        groups_of(dataset, other, same_start=True)
    with pytest.raises(BadInput, match="the same instruction"):
        groups_of(dataset, other, same_start=False)
    service.close()


def test_clips_of_another_length_are_known_but_not_asked_about(
    dataset: EpisodeStore, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'p.sqlite'}"
    whole = open_service(dataset, url, tmp_path / "films", clip_s=100.0)
    first = set(whole.clips)
    whole.close()
    cut = open_service(dataset, url, tmp_path / "films", clip_s=1.0)
    asked = {clip for group in cut.groups for clip in group}
    assert first < set(cut.clips), "what was answered about them still counts"
    assert not first & asked
    assert {cut.clips[clip].stop - cut.clips[clip].start for clip in asked} == {10}
    ann = cut.store.sign_in("ann")[1]
    assert cut.schedule.pick(ann, sorted(asked)[:2])
    with pytest.raises(BadInput, match="differ in instruction, start or length"):
        cut.schedule.pick(ann, [min(first), min(asked)])
    cut.close()
    again = open_service(dataset, url, tmp_path / "films", clip_s=100.0)
    rolled = rolled_of(dataset)
    assert set(rolled.clips(again.clips)) == first
    again.close()


def test_clips_of_two_instructions_cannot_be_picked(dataset: EpisodeStore, tmp_path: Path) -> None:
    service = open_service(dataset, f"sqlite:///{tmp_path / 'p.sqlite'}", tmp_path, clip_s=1.0)
    clips = sorted(service.clips)
    mixed = Schedule(service.book, [clips[:3], clips[3:]], seed=0)
    ann = service.store.sign_in("ann")[1]
    with pytest.raises(BadInput, match="cannot be compared"):
        mixed.pick(ann, [clips[2], clips[3]])
    assert mixed.pick(ann, clips[3:5]).acquisition == "picked"
    service.close()


def test_every_pair_that_may_be_asked_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    groups = [[1, 2, 3], [4, 5], [6]]
    counts = Counter(frozenset(draw(groups, 2, rng) or []) for _ in range(4000))
    assert set(counts) == {frozenset(p) for p in ((1, 2), (1, 3), (2, 3), (4, 5))}
    assert all(850 < count < 1150 for count in counts.values())
    assert draw(groups, 4, rng) is None


@pytest.mark.parametrize("most", [100, 20])
def test_candidates_are_bounded_of_one_group_and_were_not_asked(most: int) -> None:
    groups, asked = [[*range(10)], [*range(10, 14)]], {frozenset((0, 1)), frozenset((10, 11))}
    found = candidates(groups, asked, most, np.random.default_rng(0))
    pairs = [frozenset(pair) for pair in found.tolist()]
    assert len(set(pairs)) == len(pairs) <= most
    assert not asked & set(pairs)
    assert all((first < 10) == (second < 10) for first, second in found.tolist())
    if most == 100:
        assert len(pairs) == 45 + 6 - 2
