"""`embodied serve-reward`: one reward, for runs on this machine or on others."""

import hashlib
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from rich.console import Console

from embodied.access import reach, read_token
from embodied.audit_pins import fingerprint
from embodied.errors import BadConfig
from embodied.first_checks import check_values
from embodied.job import CACHE_FOLDER, REWARD, build_cached_encoder, build_reward
from embodied.reward_models.base import RewardModel
from embodied.scorer import Scorer
from embodied.serving import Limits, RewardServer
from embodied.wire import TOKEN_VARIABLE

TOKEN_FILE = "serve-token"


def serve_reward(cfg: DictConfig) -> None:
    """Answer until Ctrl-C.

    Raises:
        BadConfig: without a trained reward, or if the port is taken.
    """
    check_values(cfg)
    server = build_server(cfg)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(
        f"Serving {server.identity['fingerprint']} at {server.url}{reach(str(cfg.serve.host))}."
    )
    console.print(f"Its token is in {token_path(cfg)}. Ctrl-C ends it.", markup=False)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        console.print("Ended.")
    finally:
        server.server_close()
        server.scorer.close()


def build_server(cfg: DictConfig) -> RewardServer:
    """The server, listening already."""
    run_dir = Path(cfg.run) if cfg.run else None
    if run_dir is not None and not (run_dir / REWARD).exists():
        raise BadConfig(f"{run_dir} has no reward yet; `embodied audit {run_dir}` trains one.")
    model: RewardModel = build_reward(cfg, run_dir)
    stored = b"" if run_dir is None else (run_dir / REWARD).read_bytes()
    version = int(getattr(model, "version", 1))
    if version == 0:
        raise BadConfig(
            "this reward has to be trained; name a run that has done so: "
            "embodied serve-reward runs/<name>."
        )
    scorer = Scorer(
        model,
        build_cached_encoder(cfg) if _takes_features(cfg.reward) else None,
        places=cfg.serve.places,
        clips_at_once=cfg.serve.clips_at_once,
    )
    return RewardServer(
        scorer,
        identity_of(model, version, stored),
        token=read_token(token_path(cfg), TOKEN_VARIABLE),
        host=str(cfg.serve.host),
        port=int(cfg.serve.port),
        limits=Limits(
            max_bytes=int(cfg.serve.max_mb * 2**20), deadline_s=float(cfg.serve.deadline_s)
        ),
    )


def _takes_features(node: Any) -> bool:
    """Whether a reward, or a part of it, has the run's encoder: its frames are encoded once."""
    if isinstance(node, DictConfig):
        return "encoder" in node or any(map(_takes_features, node.values()))
    return isinstance(node, ListConfig) and any(map(_takes_features, node))


def identity_of(model: RewardModel, version: int, stored: bytes = b"") -> dict[str, Any]:
    """What a client has to know of a reward.

    Args:
        model: The reward.
        version: Of it.
        stored: What its file holds: of some rewards the settings say more than the weights.
    """
    digest = hashlib.sha256(fingerprint(model).encode() + stored).hexdigest()
    return {
        "fingerprint": f"{type(model).__name__}-{digest[:12]}",
        "version": version,
        "cameras": list(model.cameras),
        "causal": bool(model.causal),
    }


def token_path(cfg: DictConfig) -> Path:
    """Where the token is kept."""
    return Path(cfg.serve.token_file or Path(cfg.runs_dir) / CACHE_FOLDER / TOKEN_FILE)
