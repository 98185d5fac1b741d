"""`embodied serve-preferences`: the preference page of a dataset, until Ctrl-C."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from omegaconf import DictConfig
from rich.console import Console

from embodied.access import reach, read_token
from embodied.dataset import EpisodeStore
from embodied.errors import BadConfig
from embodied.first_checks import compared_dataset, database_url, rater_kinds
from embodied.preferences.mix import Mix
from embodied.preferences.service import Service, open_service
from embodied.preferences.trainer_process import TrainerJob, TrainerProcess
from embodied.preferences.web import build_app
from embodied.runs import CACHE_FOLDER

TOKEN_VARIABLE = "EMBODIED_PREFERENCES_TOKEN"
TOKEN_FILE = "preferences-token"
FILMS_FOLDER = "films"
BACKLOG = 128
STOP_S = 3
"""For requests under way when the server is told to stop."""


def serve_preferences(cfg: DictConfig, *, dataset: str = "") -> None:
    """Answer until Ctrl-C.

    Args:
        cfg: The configuration; ``cfg.run`` or ``dataset`` says whose clips are compared.
        dataset: A LeRobotDataset's folder.

    Raises:
        BadConfig: if nothing is named, the port is taken, or the database cannot be opened.
        BadInput: if the dataset has no videos or too few clips.
        CorruptFile: if its metadata or the database is damaged.
    """
    root = compared_dataset(cfg, dataset=dataset)
    path = token_path(cfg)
    token = read_token(path, TOKEN_VARIABLE)
    listening = listen(str(cfg.preferences.host), int(cfg.preferences.port))
    try:
        service = build_service(cfg, root)
        try:
            _tell(cfg, service, path, listening)
            with training(cfg, root, service) as trainer:
                app = build_app(service, token, trainer)
                server_of(app).run(sockets=[listening])
        except KeyboardInterrupt:
            _console().print("Ended.")
        finally:
            service.close()
    finally:
        listening.close()


def build_service(cfg: DictConfig, root: Path) -> Service:
    """What the page is made of, by the configuration."""
    wanted = cfg.preferences
    return open_service(
        EpisodeStore(root),
        database_url(cfg, root),
        Path(cfg.runs_dir) / CACHE_FOLDER / FILMS_FOLDER,
        clip_s=float(wanted.clip_s),
        films_bytes=int(wanted.films_mb * 2**20),
        seed=int(cfg.seed),
        mix=Mix.configured(wanted.mix),
        same_start=bool(wanted.same_start),
        kinds=rater_kinds(wanted),
    )


@contextmanager
def training(cfg: DictConfig, root: Path, service: Service) -> Iterator[TrainerProcess | None]:
    """A trainer beside the server, unless ``preferences.train=false``."""
    if not cfg.preferences.train:
        yield None
        return
    job = TrainerJob(
        config=cfg,
        root=root,
        database=database_url(cfg, root),
        clips=sorted(service.clips),
        groups=service.groups,
    )
    trainer = TrainerProcess(job)
    try:
        yield trainer
    finally:
        trainer.close()


def server_of(app: FastAPI) -> uvicorn.Server:
    """Serves the page. A client can write any address into a proxy's headers: none is believed."""
    settings = uvicorn.Config(
        app, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=STOP_S
    )
    return uvicorn.Server(settings)


def token_path(cfg: DictConfig) -> Path:
    """Where the token is kept."""
    return Path(cfg.preferences.token_file or Path(cfg.runs_dir) / CACHE_FOLDER / TOKEN_FILE)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        BadConfig: if it cannot listen there.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise BadConfig(
            f"cannot listen at {host}:{port} ({error.strerror or error}); choose another "
            "preferences.port or preferences.host."
        ) from error
    return listening


def _tell(cfg: DictConfig, service: Service, token: Path, listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    console = _console()
    console.print(
        f"{len(service.clips)} clips at http://{host}:{port}{reach(str(cfg.preferences.host))}."
    )
    console.print(f"Labels go to {service.store.database.name}.", markup=False)
    console.print(f"The token to sign in is in {token}. Ctrl-C ends it.", markup=False)


def _console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)
