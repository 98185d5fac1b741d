"""`embodied audit dataset=FOLDER`: episodes to fit a reward on, and others to judge it by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from embodied.dataset import EpisodeStore
from embodied.dataset_outcomes import read_outcomes
from embodied.envs.catalogue import instructions, suites
from embodied.errors import BadInput
from embodied.given_dataset import open_given, read_given
from embodied.job import (
    OTHER_INSTRUCTIONS,
    Job,
    other_instructions,
    read_part,
    spread,
    trained_run,
)
from embodied.rewarding import with_features
from embodied.types import Episode, FrameEncoder

LEAST = 2
"""Episodes of each outcome without which nothing can be judged."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Indices of episodes, successes and failures apart; no episode is in two lists."""

    fit: tuple[list[int], list[int]]
    """The reward learns from these; empty for one that is trained already."""
    held_out: tuple[list[int], list[int]]
    """The audit sees these alone."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Episodes with features: to fit a reward on, and to judge it by."""

    successes: list[Episode]
    failures: list[Episode]
    held_out: list[Episode]
    other_instructions: list[str]
    where: str
    """What the episodes come from."""
    shifted: Sequence[Episode] = ()
    """The task seen by a camera that was really moved."""
    other_robot: Sequence[Episode] = ()
    """The task done by another robot."""
    unknown: int = 0
    """Episodes that were left out because nobody said whether they succeeded."""

    def told(self, fitted: bool) -> str:
        """How many there were of each, in a sentence."""
        good = sum(episode.success is True for episode in self.held_out)
        judged = f"{good} successes and {len(self.held_out) - good} failures"
        left = f" {_left_out(self.unknown)}" if self.unknown else ""
        if not fitted:
            return f"Judged on {judged} of {self.where}; trained before, on others.{left}"
        return (
            f"Fitted to {len(self.successes)} successes and {len(self.failures)} failures of "
            f"{self.where}, judged on {judged} that it was not fitted to.{left}"
        )


def split_episodes(
    outcomes: dict[int, bool | None],
    most_fit: tuple[int, int],
    most_held_out: int,
    *,
    seed: int,
    dataset: str,
) -> Split:
    """Draw episodes to fit on and episodes to judge by.

    Where there are fewer than wanted, both get their share, but the audit `LEAST` of each outcome.

    Args:
        outcomes: Success of each episode; those whose success is unknown are left out.
        most_fit: Successes and failures to fit on; zeros for a reward that is trained already.
        most_held_out: Successes, and as many failures, to judge by.
        seed: Of the draw.
        dataset: Its name, for the error.

    Raises:
        BadInput: without two successes and two failures for the audit.
    """
    rng = np.random.default_rng(seed)
    fit: list[list[int]] = []
    held: list[list[int]] = []
    for outcome, most in zip((True, False), most_fit, strict=True):
        known = [index for index, success in outcomes.items() if success is outcome]
        drawn = rng.permutation(known).tolist() if known else []
        share = min(1.0, len(drawn) / max(most + most_held_out, 1))
        kept = min(max(round(share * most_held_out), LEAST), most_held_out, len(drawn))
        held.append(sorted(drawn[:kept]))
        fit.append(sorted(drawn[kept : kept + most]))
    enough = min(map(len, held)) >= LEAST and (len(fit[0]) > 0 or most_fit[0] == 0)
    if not enough:
        good, bad = ([*outcomes.values()].count(side) for side in (True, False))
        needed = "two successes and two failures"
        if most_fit[0] > 0:
            needed = "three successes, one of them to fit the reward on, and two failures"
        unknown = len(outcomes) - good - bad
        raise BadInput(
            f"an audit needs {needed}; {dataset} has {good} successes and {bad} failures."
            + (f" {_left_out(unknown)}" if unknown else "")
        )
    return Split(fit=(fit[0], fit[1]), held_out=(held[0], held[1]))


def read_material(
    cfg: DictConfig,
    root: Path,
    cameras: Sequence[str],
    encoder: FrameEncoder,
    *,
    success_key: str,
    fits: bool,
    seed: int,
    shows: Callable[[int, int], None],
) -> Material:
    """Read and encode what an audit of this dataset needs.

    Args:
        cfg: ``demos.reward``, ``.failures`` and ``.held_out`` say how many episodes at most.
        root: The dataset.
        cameras: That any of the rewards looks at.
        encoder: Makes the features.
        success_key: Column that says which episodes succeeded, if it has no usual name.
        fits: Whether a reward has to be fitted.
        seed: Of the split.
        shows: Is told how many episodes were read, of how many.

    Raises:
        BadInput: saying what the dataset lacks.
    """
    store = open_given(root, cameras)
    _check_unseen(cfg, root)
    outcomes = read_outcomes(store, success_key)
    most_fit = (int(cfg.demos.reward), int(cfg.demos.failures)) if fits else (0, 0)
    split = split_episodes(
        outcomes, most_fit, int(cfg.demos.held_out), seed=seed, dataset=str(root)
    )
    every = sorted({*split.fit[0], *split.fit[1], *split.held_out[0], *split.held_out[1]})
    episodes: dict[int, Episode] = {}
    for number, index in enumerate(every):
        shows(number, len(every))
        episode = read_given(store, index, cfg, cameras)
        episodes[index] = with_features(_with_outcome(episode, outcomes[index]), encoder)
    return Material(
        successes=[episodes[index] for index in split.fit[0]],
        failures=[episodes[index] for index in split.fit[1]],
        held_out=[episodes[index] for side in split.held_out for index in side],
        other_instructions=instructions_beside(store),
        where=f"the dataset {root.name}",
        unknown=sum(outcome is None for outcome in outcomes.values()),
    )


def read_beside(
    cfg: DictConfig, root: Path, cameras: Sequence[str], encoder: FrameEncoder, success_key: str
) -> list[Episode]:
    """Episodes of a dataset that stands beside the one that is judged by, encoded.

    Of each outcome the first ``demos.held_out`` at most.

    Raises:
        BadInput: without two successes and two failures, or saying what else the dataset lacks.
    """
    store = open_given(root, cameras)
    outcomes = read_outcomes(store, success_key)
    sides = [[i for i, found in outcomes.items() if found is side] for side in (True, False)]
    if min(map(len, sides)) < LEAST:
        raise BadInput(
            f"{root} has {len(sides[0])} successes and {len(sides[1])} failures; two of each are "
            "the least to say anything of."
        )
    return [
        with_features(
            _with_outcome(read_given(store, index, cfg, cameras), outcomes[index]), encoder
        )
        for side in sides
        for index in side[: int(cfg.demos.held_out)]
    ]


def run_material(job: Job, encoder: FrameEncoder, *, fits: bool) -> Material:
    """The same from a run's own episodes."""

    def read(part: str, count: int | None = None) -> list[Episode]:
        episodes = read_part(job.cfg, job.run_dir, part, count)
        return [with_features(episode, encoder) for episode in episodes]

    return Material(
        successes=read("demos", job.cfg.demos.reward) if fits else [],
        failures=read("failures", job.cfg.demos.failures) if fits else [],
        held_out=read("held_out"),
        other_instructions=other_instructions(job.cfg),
        where="the run",
    )


def instructions_beside(store: EpisodeStore) -> list[str]:
    """The dataset's own instructions if it has several, then some of other tasks."""
    own = list(dict.fromkeys(store.summary(index).instruction for index in range(len(store))))
    others = spread([text for text in instructions(suites()) if text not in own])
    return [*(own if len(own) > 1 else []), *others][:OTHER_INSTRUCTIONS]


def _left_out(unknown: int) -> str:
    return f"Episodes of unknown outcome, left out: {unknown}."


def _with_outcome(episode: Episode, success: bool | None) -> Episode:
    return replace(episode, success=success)


def _check_unseen(cfg: DictConfig, root: Path) -> None:
    """A run's reward is not judged by what it was trained on."""
    run_dir = trained_run(cfg)
    for part in ("demos", "failures"):
        if run_dir is not None and root.resolve() == (run_dir / part).resolve():
            raise BadInput(
                f"the reward of {cfg.run} was trained on {root}; an audit needs other episodes."
            )
