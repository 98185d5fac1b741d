"""The trainer's process: what it makes of a dataset, and what is told when it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embodied.config import compose
from embodied.dataset import EpisodeStore
from embodied.errors import BadInput
from embodied.preferences.embedding import components
from embodied.preferences.service import Service, open_service
from embodied.preferences.trainer_process import TrainerJob, TrainerProcess
from embodied.preferences.trainer_work import COMPONENTS, look_at
from embodied.testing.preferences import pushing_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    root = tmp_path_factory.mktemp("data") / "pushing"
    return pushing_dataset(root, episodes=3, cameras=["front"])


@pytest.fixture
def service(dataset: EpisodeStore, tmp_path: Path) -> Iterator[Service]:
    found = open_service(dataset, url_of(tmp_path), tmp_path / "films", clip_s=1.0)
    yield found
    found.close()


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'labels.sqlite'}"


def job_of(service: Service, folder: Path) -> TrainerJob:
    return TrainerJob(
        config=compose([f"runs_dir={folder}", "encoder=pixels"]),
        root=service.films.store.root,
        database=url_of(folder),
        clips=sorted(service.clips),
        groups=service.groups,
    )


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_each_clip_becomes_a_vector_and_a_damaged_one_is_left_out(
    service: Service, tmp_path: Path
) -> None:
    job, told = job_of(service, tmp_path), []
    looked, trouble = look_at(job, told.append)
    assert (looked.clips, trouble) == (sorted(service.clips), "")
    assert looked.features.shape == (len(service.clips), min(COMPONENTS, len(service.clips) - 1))
    assert told[-1] == f"Looks at the clips: {len(looked.clips) - 1} of {len(looked.clips)}."
    (video, *_) = sorted((job.root / "videos").rglob("*.mp4"))
    whole = video.read_bytes()
    try:
        video.write_bytes(whole[:40])
        less, trouble = look_at(job, told.append)
    finally:
        video.write_bytes(whole)
    lost = {number for number, clip in service.clips.items() if clip.episode == 0}
    assert set(less.clips) == set(service.clips) - lost
    assert not lost & {clip for group in less.groups for clip in group}
    assert trouble.startswith(f"{len(lost)} clips are left out: ")


def test_too_few_clips_are_told(service: Service, tmp_path: Path) -> None:
    job = job_of(service, tmp_path)
    alone = TrainerJob(
        config=job.config, root=job.root, database=job.database, clips=[1], groups=[[1]]
    )
    with pytest.raises(BadInput, match="fewer than two clips"):
        look_at(alone, lambda sentence: None)


def test_components_keep_their_proportions() -> None:
    rng = np.random.default_rng(0)
    signal_, noise = rng.normal(size=(50, 1)) * [[10.0]], rng.normal(size=(50, 6)) * 0.1
    found = components(np.hstack([signal_, noise]), 4)
    assert found.shape == (50, 4)
    np.testing.assert_allclose(found[:, 0].std(), 1.0, rtol=1e-6)
    assert (found[:, 1:].std(0) < 0.02).all()
    assert abs(np.corrcoef(found[:, 0], signal_[:, 0])[0, 1]) > 0.999


def test_a_trainer_that_is_killed_is_told_of_and_started_again(
    service: Service, tmp_path: Path
) -> None:
    trainer = TrainerProcess(job_of(service, tmp_path), restart_s=0.5)
    try:
        first = trainer.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: "ended unexpectedly (code -9)" in trainer.status.trouble)
        until(lambda: trainer.pid != first)
        until(lambda: trainer.status.trouble == "")  # it works again, and says so
    finally:
        trainer.close()
    last = trainer.pid
    assert last is not None
    until(lambda: not Path(f"/proc/{last}").exists())


def test_ctrl_c_is_left_to_the_server() -> None:
    """Also by the first process that is started, before which Python starts one of its own."""
    code = (
        "import signal\n"
        "from multiprocessing import get_context\n"
        "from embodied.pool import deaf_children\n"
        "with deaf_children():\n"
        "    pool = get_context('spawn').Pool(1)\n"
        "print(signal.SIGINT in pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, ())))\n"
        "pool.terminate()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
