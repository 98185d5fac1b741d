"""What cannot work is told before anything is recorded or trained.

What needs no heavy library is told sooner, by `embodied.first_checks`.
"""

from collections.abc import Iterable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from embodied.config import instantiate
from embodied.dataset import EpisodeStore
from embodied.dataset_layout import INFO
from embodied.errors import BadConfig, BadInput
from embodied.fine_tuning import schedule
from embodied.first_checks import check_values
from embodied.hardware.base import Operator
from embodied.job import REWARD, build_env, inner_reward
from embodied.judge import check_judge
from embodied.preferences.answered import check_answers
from embodied.recording import PARTS
from embodied.seed_ranges import episode_seed


def check_run(cfg: DictConfig, run_dir: Path | None = None) -> None:
    """Build the environment once, and compare what the parts want with what they will get.

    Args:
        cfg: The configuration.
        run_dir: Of a run that exists: its episodes must have the cameras.

    Raises:
        BadConfig: naming the key and the values that it may have.
        UnknownName: for a task, camera or judge that does not exist.
        BadInput: if stored episodes lack a camera.
    """
    check_values(cfg)
    schedule(cfg)
    check_judge(cfg)
    episode_seed("demo", cfg.seed, 0)
    env = build_env(cfg)
    env.close()
    for camera in cfg.reward.get("cameras") or ():
        if camera not in env.cameras:
            raise BadConfig(
                f"reward.cameras names '{camera}'; env.cameras has {', '.join(env.cameras)}."
            )
    if run_dir is not None:
        _check_stored_cameras(run_dir, env.cameras)


def check_taught(cfg: DictConfig, run_dir: Path | None = None) -> None:
    """Whether a reward that is still to be trained gets the answers that it learns from.

    Args:
        cfg: The configuration.
        run_dir: Of a run that exists; it may have trained the reward.

    Raises:
        BadConfig: if it is not told where they are, or the database cannot be opened.
        BadInput: if there is no answer, no dataset, or no camera.
    """
    if "labels" not in cfg.reward or (run_dir is not None and (run_dir / REWARD).exists()):
        return
    inner = inner_reward(cfg.reward)
    needs = getattr(hydra.utils.get_class(inner["_target_"]), "needs_preferences", False)
    if needs and not cfg.reward.get("labels"):
        raise BadConfig(
            "this reward learns from people's answers: write reward.labels=FOLDER, the dataset "
            "whose clips were compared with `embodied serve-preferences dataset=FOLDER`."
        )
    check_answers(cfg, inner.get("cameras") or ())


def check_operator(cfg: DictConfig) -> None:
    """Build the operator once: a device that is missing is told before the work begins.

    Raises:
        BadConfig: if the operator cannot be built, or not be told how far an episode is.
    """
    operator: Operator = instantiate(cfg.operator)
    operator.close()
    reward = hydra.utils.get_class(cfg.reward["_target_"])
    if operator.needs_progress and not getattr(reward, "causal", True):
        raise BadConfig(
            "this operator needs progress at every step, and this reward judges whole episodes; "
            "choose operator=none, keyboard or gamepad."
        )


def _check_stored_cameras(run_dir: Path, cameras: Iterable[str]) -> None:
    roots = [run_dir / part for part in sorted(set(PARTS.values()))]
    for root in (root for root in roots if (root / INFO).exists()):
        stored = EpisodeStore(root).cameras
        missing = [camera for camera in cameras if stored and camera not in stored]
        if missing:
            raise BadInput(
                f"env.cameras names '{missing[0]}'; the episodes in {root} have "
                f"{', '.join(stored)}. Another camera needs a new run."
            )
