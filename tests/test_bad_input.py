"""Whatever is wrong, a command ends with one sentence (docs/errors.md), and nothing is lost."""

import json
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from embodied import checkpoint, cli
from embodied.checkpoint import previous
from embodied.config import save_config
from embodied.dataset import EpisodeStore
from embodied.errors import OutOfSpace
from embodied.job import REWARD, STATE_FILE
from embodied.metrics import JsonlSink, read_metrics
from embodied.stages import STAGES
from embodied.testing.runs import toy_job

ORDER = list(STAGES)
VIDEO = "held_out/videos/observation.images.front/chunk-000/file-001.mp4"
LATEST = "checkpoints/latest.pt"
MADE = {
    "record": ["demos", "failures", "held_out", "metrics.jsonl"],
    "reward": ["reward"],
    "audit": ["reward_card.json", "reward_card.html"],
    "clone": ["policy_base"],
    "evaluate_before": ["evaluation_before"],
    "fine_tune": ["episodes", "checkpoints", "policy"],
    "evaluate_during": [],
    "evaluate_after": ["evaluation_after"],
    "report": ["summary.json", "report.html"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    run = tmp_path_factory.mktemp("runs") / "toy"
    run.mkdir()
    save_config(toy_job(run.parent), run)
    assert cli.main(["resume", str(run)]) == 0
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, seen from the folder that holds ``runs``."""
    monkeypatch.chdir(tmp_path)
    copy = Path("runs/toy")
    shutil.copytree(whole, copy)
    return copy


def back_to(run: Path, stage: str) -> None:
    """The run as it was when this stage began."""
    left = ORDER[ORDER.index(stage) :]
    for path in (run / made for name in left for made in MADE[name]):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = ORDER[: ORDER.index(stage)]
    (run / STATE_FILE).write_text(json.dumps({"finished": done, "seconds": {}}))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence with which a command ends; all else are the display's lines."""
    capsys.readouterr()
    assert cli.main([*words]) == 2
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if not line.startswith("[")]
    assert len(said) == 1, said
    assert said[0].startswith("embodied: ")
    return said[0]


def is_whole(run: Path) -> bool:
    state = json.loads((run / STATE_FILE).read_text())
    return set(state["finished"]) == set(ORDER) and (run / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["env.task=drawer-opn-v3"], "did you mean drawer-open-v3"),
        (["env=robosuite", "env.task=Lit"], "did you mean Lift"),
        (["env.cameras=[frnt]"], "did you mean front"),
        (["env.cameras=front"], "must be a list"),
        (["env=pusht", "reward.cameras=[wrist]"], "names 'wrist'; env.cameras has front"),
        (["seed=abc"], "must be a whole number"),
        (["seed=null"], "must be a whole number"),
        (["seed=10000"], "between 0 and 9999"),
        (["override_audit=1"], "must be true or false"),
        (["policy.chunk=four"], "must be a whole number"),
        (["demos.policy=0"], "demos.policy is 0; it must be at least 1"),
        (["fine_tune.demo_share=-1"], "fine_tune.demo_share is -1; it must be at least 0"),
        (["fine_tune.demo_share=0", "fine_tune.online_share=0"], "are both 0"),
        (["fine_tune.episodes=3"], "between 0 and the budget of 3"),
        (["env=pusht", "runs_dir=/proc/nowhere"], "choose another runs_dir="),
    ],
)
@pytest.mark.parametrize("command", ["train", "record"])
def test_a_mistake_is_told_before_a_run_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in told(capsys, command, "operator=none", *words)
    assert os.listdir(tmp_path) == []


def test_a_device_that_is_missing_is_told_before_a_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_JOYSTICK_DISABLE_UDEV", "1")
    if any(Path("/dev/input").glob("js*")):
        pytest.skip("there is a gamepad")
    assert cli.main(["train", "env=pusht", "operator=gamepad"]) == 2
    assert "no gamepad was found; connect it" in capfd.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["resume", "audit", "record"])
def test_a_camera_that_the_stored_episodes_lack_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    other = ["+env.cameras=[wrist]", "reward.cameras=[wrist]"]
    said = told(capsys, command, "toy", *other)
    assert "env.cameras names 'wrist'; the episodes in runs/toy/demos have front" in said
    assert "camera" not in OmegaConf.load(run / "config.yaml").env, "the mistake was kept"
    said = told(capsys, command, "toy", "reward.cameras=[wrist]")
    assert "reward.cameras names 'wrist'; env.cameras has front" in said


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 9 // 10)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [truncate, flip, empty])
@pytest.mark.parametrize(
    ("name", "stage", "words", "remedy"),
    [
        (VIDEO, "audit", ["audit", "toy"], "delete runs/toy/held_out"),
        (VIDEO.replace("held_out", "demos"), "reward", ["resume", "toy"], "delete runs/toy/demos"),
        (f"{VIDEO[:8]}/data/chunk-000/file-001.parquet", "audit", ["audit", "toy"], "held_out,"),
        (REWARD, "audit", ["audit", "toy"], "Delete it, and `embodied resume runs/toy`"),
        ("policy/model.safetensors", "report", ["eval", "toy"], "Delete runs/toy/policy, and"),
    ],
)
def test_a_damaged_file_is_named_and_so_is_the_way_out(
    run: Path, capsys: pytest.CaptureFixture[str], damage, name, stage, words, remedy
) -> None:
    back_to(run, stage)
    damage(run / name)
    shutil.rmtree(run / "evaluation_policy_task", ignore_errors=True)
    said = told(capsys, *words)
    assert f"runs/toy/{name}" in said
    assert remedy in said


def test_a_damaged_video_that_another_wrote_is_named_too(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "held_out/meta/embodied.json").unlink()
    for damage in (truncate, empty):
        damage(run / VIDEO)
        assert f"runs/toy/{VIDEO}" in told(capsys, "audit", "toy")


def test_what_was_damaged_can_be_deleted_and_comes_out_the_same(run: Path) -> None:
    before = checkpoint.load(run / REWARD)
    (run / REWARD).unlink()
    for name in ("held_out", "policy_base", "policy", "evaluation_before"):
        shutil.rmtree(run / name)
    digests = (run / "reward_card.json").read_text()
    assert cli.main(["resume", "toy"]) == 0
    assert is_whole(run)
    again = checkpoint.load(run / REWARD)
    assert again["learned"]["state"]
    assert all(
        (before["learned"]["state"][k] == v).all() for k, v in again["learned"]["state"].items()
    )
    assert (run / "reward_card.json").read_text() == digests, "a finished stage was repeated"
    assert len(EpisodeStore(run / "held_out")) == 4


def test_a_damaged_checkpoint_is_replaced_by_the_one_before_it(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    back_to(run, "evaluate_after")
    shutil.rmtree(run / "policy")
    truncate(run / LATEST)
    assert cli.main(["resume", "toy"]) == 0
    assert "latest.pt is damaged" in caplog.text
    assert is_whole(run)


def test_without_a_whole_checkpoint_the_stored_episodes_are_learnt_from_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back_to(run, "evaluate_after")
    shutil.rmtree(run / "policy")
    flip(run / LATEST)
    truncate(previous(run / LATEST))
    said = told(capsys, "resume", "toy")
    assert "latest.pt is damaged" in said
    assert "Delete runs/toy/checkpoints, and `embodied resume` learns again" in said
    shutil.rmtree(run / "checkpoints")
    episodes = EpisodeStore(run / "episodes").episode_ids()
    assert cli.main(["resume", "toy"]) == 0
    assert is_whole(run)
    assert EpisodeStore(run / "episodes").episode_ids() == episodes


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (STATE_FILE, "", "delete it, and `embodied resume runs/toy`"),
        ("metrics.jsonl", "no row\n{}\n", "line 1 of runs/toy/metrics.jsonl is no JSON"),
        ("config.yaml", "a: [\n", "config.yaml cannot be read"),
        ("config.yaml", "seed: 1\n", "config.yaml lacks '"),
    ],
)
def test_a_damaged_text_file_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, expected: str
) -> None:
    back_to(run, "report")
    (run / name).write_text(content)
    assert expected in told(capsys, "resume", "toy")


def test_a_policy_that_says_nan_ends_the_run_and_the_advice_works(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back_to(run, "fine_tune")
    longer = ["fine_tune.episodes=20", "fine_tune.validate_every=19"]
    capsys.readouterr()
    assert cli.main(["resume", "toy", *longer, "algorithm.learning_rate=1e30"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "3 episodes in a row were dropped" in said
    assert "proposed NaN or infinity in online-" in said
    assert "delete runs/toy/checkpoints" in said
    dropped = [row for row in read_metrics(run / "metrics.jsonl") if "dropped_id" in row]
    assert len(dropped) == 3
    shutil.rmtree(run / "checkpoints")
    assert cli.main(["resume", "toy", "algorithm.learning_rate=1e-4"]) == 0
    assert is_whole(run)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([float("nan"), 0.0], "commanded [nan  0.] at step 3 of online-000000"),
        ([0.0], "commanded 1 numbers at step 3 of online-000000; the action has 2"),
    ],
)
def test_an_operator_that_commands_nonsense_is_told_and_the_run_goes_on_without(
    run: Path, capsys: pytest.CaptureFixture[str], command: list[float], expected: str
) -> None:
    back_to(run, "fine_tune")
    config = OmegaConf.load(run / "config.yaml")
    sane = config.operator
    target = "embodied.testing.operators.FixedOperator"
    config.operator = {"_target_": target, "command": command, "step": 3}
    save_config(config, run)
    assert expected in told(capsys, "resume", "toy")
    config.operator = sane
    save_config(config, run)
    assert cli.main(["resume", "toy"]) == 0
    assert is_whole(run)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to let files grow beyond this, as where a disk or a quota is full."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize(
    ("stage", "size", "name", "command"),
    [
        ("record", 3_000, "data/chunk-000/file-000.parquet", "record"),
        ("reward", 50_000, REWARD, "audit"),
        ("audit", 50_000, "reward_card.html", "audit"),
        ("clone", 15_000, "policy_base", "resume"),
        ("fine_tune", 100_000, LATEST, "resume"),
        ("report", 60_000, "report.html", "resume"),
    ],
)
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_space(
    run: Path, capsys: pytest.CaptureFixture[str], stage: str, size: int, name: str, command: str
) -> None:
    back_to(run, stage)
    config = (run / "config.yaml").read_text()
    with files_of_at_most(size):
        said = told(capsys, command, "toy")
    assert "no space to write runs/toy/" in said
    assert name in said
    assert "nothing written before is lost" in said
    assert not list(run.rglob("*.partial"))
    assert (run / "config.yaml").read_text() == config
    assert cli.main([command, "toy"]) == 0
    assert all((run / made).exists() for made in MADE[stage])
    if command == "resume":
        assert is_whole(run)


def test_metrics_keep_whole_lines_where_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonlSink(path)
    for number in range(10):
        sink.write({"number": number, "text": "x" * 70})
    with files_of_at_most(1030), pytest.raises(OutOfSpace, match=r"metrics\.jsonl"):
        sink.write({"number": 10, "text": "x" * 70})
    sink.write({"number": -1})
    sink.close()
    assert [row["number"] for row in read_metrics(path)] == [*range(10), -1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk takes more rights")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_nearly_full_is_left_alone(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_disk / "toy"
    run.mkdir()
    save_config(toy_job(small_disk), run)
    assert "64 MiB must stay free" in told(capsys, "resume", str(run))
    assert not list(run.rglob("*.parquet"))
    (small_disk / "filler").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096))
    assert "no space to write" in told(capsys, "resume", str(run), "seed=1")
    assert OmegaConf.load(run / "config.yaml").seed == 0


def test_a_taken_port_is_told_with_one_that_is_free(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = told(capsys, "view", "toy", "--port", str(port))
    assert f"port {port} is taken" in said
    assert "take --port " in said
    assert said.split("--port ")[1].rstrip(".").isdigit()


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_cannot_be_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    assert "a number from 1 to 65535" in told(capsys, "view", "toy", "--port", port)


def test_a_file_that_rerun_cannot_write_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, "view", "toy", "--save", "nowhere/toy.rrd")
    assert "nowhere/toy.rrd cannot be written" in said
