"""Checkpoints are whole or absent, and generators go on where they stopped."""

import os
import random
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embodied import checkpoint
from embodied.errors import BadInput, CorruptFile, OutOfSpace
from embodied.replay import Replay
from embodied.seeding import generator_state, set_generator_state, spawn_seeds
from embodied.testing.episodes import random_labelled_episode

FORK = get_context("fork")
"""Children use small tensors only: PyTorch's threads do not survive a fork."""

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(state=st.dictionaries(st.text(), plain))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_plain_values_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("checkpoint") / "state.pt"
    checkpoint.save(path, state)
    assert checkpoint.load(path) == state


def test_a_model_its_optimizer_and_the_replay_come_back(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3)}
    optimizer = {"state": {0: moments}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]}
    replay = Replay(100)
    replay.add(random_labelled_episode(np.random.default_rng(0), interventions=((2, 4),)))
    path = tmp_path / "deep/state.pt"
    state = {"model": model.state_dict(), "optimizer": optimizer}
    checkpoint.save(path, state | {"replay": replay.state_dict()})

    loaded = checkpoint.load(path)
    torch.testing.assert_close(loaded["model"], dict(model.state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(loaded["optimizer"], optimizer, rtol=0, atol=0)
    restored = Replay(100)
    restored.load_state_dict(loaded["replay"])
    assert restored.episode_ids() == replay.episode_ids()
    draws = [r.sample(32, 4, torch.Generator().manual_seed(0)) for r in (replay, restored)]
    for name in ("action", "noise", "reward", "state", "next_state", "corrected"):
        a, b = (getattr(batch, name) for batch in draws)
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.pt"
    for step in (1, 2):
        checkpoint.save(path, {"step": step, "weights": torch.full((1000,), float(step))})
    ruin(path, damage)
    assert checkpoint.load(path)["step"] == 1
    assert "damaged" in caplog.text
    ruin(checkpoint.previous(path), damage)
    with pytest.raises(CorruptFile, match=r"state.pt is damaged.*previous is damaged"):
        checkpoint.load(path)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_any_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("checkpoint") / "state.pt"
    checkpoint.save(path, {"weights": torch.arange(50)})
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(CorruptFile):
        checkpoint.load(path)


def test_kill_9_while_saving_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, {"step": -1})
    pauses = np.random.default_rng(os.getpid()).uniform(0.02, 0.1, 6)
    for pause in pauses:
        process = FORK.Process(target=save_for_ever, args=(path,))
        process.start()
        time.sleep(pause)
        process.kill()
        process.join()
        state = checkpoint.load(path)
        assert state["step"] == -1 or (state["weights"] == state["step"]).all()
        assert path.exists()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, {"step": 1})
    process = FORK.Process(target=save_on_a_full_disk, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert checkpoint.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [np.zeros(3), np.float64(1), {1, 2}, object(), random.Random()])
def test_what_would_need_code_to_load_is_refused_when_saving(tmp_path: Path, value: object) -> None:
    with pytest.raises(BadInput, match=r"state\['deep'\]\[1\] is a"):
        checkpoint.save(tmp_path / "state.pt", {"deep": [0, value]})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no checkpoint at"):
        checkpoint.load(tmp_path / "state.pt")


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.default_rng(3),
        lambda: np.random.Generator(np.random.MT19937(3)),
        lambda: torch.Generator().manual_seed(3),
        lambda: random.Random(3),
    ],
)
def test_a_restored_generator_goes_on_exactly(tmp_path: Path, make: Any) -> None:
    generator, restored = make(), make()
    draw(generator)
    checkpoint.save(tmp_path / "g.pt", {"generator": generator_state(generator)})
    set_generator_state(restored, checkpoint.load(tmp_path / "g.pt")["generator"])
    assert [draw(generator) for _ in range(5)] == [draw(restored) for _ in range(5)]
    with pytest.raises(BadInput, match="not the state of"):
        set_generator_state(restored, "[1]")


def test_seeds_differ_and_depend_on_their_own_name_only() -> None:
    few, many = spawn_seeds(7, ["actor", "learner"]), spawn_seeds(7, ["x", "learner", "actor"])
    assert few["actor"] == many["actor"]
    assert few["learner"] == many["learner"]
    names = [f"actor-{i}" for i in range(1000)]
    both = [*spawn_seeds(0, names).values(), *spawn_seeds(1, names).values()]
    assert len(set(both)) == 2000


def draw(generator: Any) -> float:
    if isinstance(generator, torch.Generator):
        return float(torch.randn(1, generator=generator))
    return float(generator.normal() if hasattr(generator, "normal") else generator.gauss(0, 1))


def ruin(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    keep = {"flipped bit": len(content), "truncated": len(content) // 2, "empty": 0}[damage]
    path.write_bytes(content[:keep])


def save_for_ever(path: Path) -> None:
    step = 0
    while True:
        step += 1
        checkpoint.save(path, {"step": step, "weights": torch.full((10_000,), float(step))})


def save_on_a_full_disk(path: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    with pytest.raises(OutOfSpace):
        checkpoint.save(path, {"weights": torch.zeros(10_000)})
