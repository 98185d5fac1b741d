"""`embodied view`: a run's episodes in Rerun, in its window or in a file."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from embodied.dataset import EpisodeStore
from embodied.dataset_layout import INFO
from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.run_record import read_run
from embodied.types import Actor, Episode, Labels

LAST_PORT = 65535
PARTS = ("demos", "failures", "held_out", "episodes", "evaluation_before", "evaluation_after")


def view(run_dir: Path, *, part: str, save: Path | None, port: int) -> None:
    """Show every episode of one part of a run, one after the other, on the timeline ``seconds``.

    Args:
        run_dir: The run.
        part: One of `PARTS`, or what `embodied eval` wrote.
        save: Write this ``.rrd`` file instead of opening a window, and say how to open it.
        port: Where Rerun's window listens.

    Raises:
        UnknownName: if there is no such part.
        BadInput: if the run does not have it yet.
        BadConfig: if the port is taken (naming a free one), or no window or file can be opened.
    """
    os.environ.setdefault("RUST_LOG", "off")  # Rerun's own reports; read when it is imported
    import rerun

    measured = [path.parent.parent.name for path in run_dir.glob(f"evaluation_*/{INFO}")]
    if part not in (*PARTS, *measured):
        raise UnknownName("part of a run", part, {*PARTS, *measured})
    store = read_run(run_dir).store(part)
    if store is None or not len(store):
        raise BadInput(f"{run_dir} holds no {part} yet; choose another --part.")
    recording = rerun.RecordingStream(f"embodied-{run_dir.name}")
    try:
        if save is not None:
            recording.save(save)
        else:
            _open_window(recording, port)
        start = 0.0
        for index in range(len(store)):
            start = _show(recording, store, index, start)
        recording.flush()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        tried = f"{save} cannot be written" if save is not None else "Rerun's window did not open"
        raise BadConfig(f"{tried} ({reason}); use --save with another file.") from error
    recording.disconnect()
    if save is not None:
        told = f"{save}: {len(store)} episodes of {run_dir / part}. To open it: rerun {save}"
        Console().print(told, highlight=False, soft_wrap=True, markup=False)


def _open_window(recording: Any, port: int) -> None:
    if not 0 < port <= LAST_PORT:
        raise BadConfig(f"--port is {port}; a port is a number from 1 to {LAST_PORT}.")
    if not _is_free(port):
        near = range(port + 1, min(port + 100, LAST_PORT + 1))
        free = next((other for other in near if _is_free(other)), "another one")
        raise BadConfig(
            f"port {port} is taken, perhaps by a window that is still open; close it, or take "
            f"--port {free}."
        )
    # Rerun looks for its viewer on the PATH; pip puts it beside our own command.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    recording.spawn(port=port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _show(recording: Any, store: EpisodeStore, index: int, start: float) -> float:
    """Log one episode from second ``start`` on; returns where the next one starts."""
    import rerun

    episode = store.read(index)
    labels = store.read_labels(episode.episode_id)
    seconds = start + episode.timestamp
    recording.set_time("seconds", duration=start)
    recording.log("episode", rerun.TextLog(_describe(episode, index)))
    for camera, frames in episode.images.items():
        for time, frame in zip(seconds, frames, strict=True):
            recording.set_time("seconds", duration=float(time))
            recording.log(f"camera/{camera}", rerun.Image(frame).compress(jpeg_quality=90))
    for name, values in _curves(episode, labels).items():
        times = rerun.TimeColumn("seconds", duration=seconds[: len(values)])
        recording.send_columns(name, [times], rerun.Scalars.columns(scalars=values))
    return float(seconds[-1]) + 1.0


def _curves(episode: Episode, labels: Labels | None) -> dict[str, Any]:
    """Every curve by its path: state, actions, who acted, and what the reward said."""
    curves: dict[str, Any] = {}
    for name in ("state", "action", "policy_action"):
        columns = getattr(episode, name).T.astype(np.float64)
        curves |= {f"{name}/{i}": column for i, column in enumerate(columns)}
    curves["who_acts"] = episode.actor.astype(np.float64)
    if labels is not None:
        for name in ("progress", "done", "uncertainty", "reward"):
            curves[f"reward/{name}"] = getattr(labels, name).astype(np.float64)
    return curves


def _describe(episode: Episode, index: int) -> str:
    outcome = {True: "success", False: "failure", None: "unknown"}[episode.success]
    human = int((episode.actor == Actor.HUMAN).sum())
    return (
        f"{index}: {episode.episode_id}, {episode.instruction}: {outcome}; "
        f"a person acted in {human} of {len(episode)} steps (who_acts: 0 policy, 1 human)"
    )
