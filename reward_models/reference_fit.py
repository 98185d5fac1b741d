"""Training the reference critics: each never sees some tasks, and on these all are calibrated.

With fewer than two tasks for each member it is episodes that a member never sees, as in
`progress_fit.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.reward_models.progress_ensemble import Maps
from embodied.reward_models.progress_fit import (
    Bags,
    OnStep,
    Recipe,
    Said,
    Say,
    Trained,
    bootstrap,
    calibrate,
    train_members,
)
from embodied.reward_models.progress_lessons import Encoded, channel_statistics, lay_out
from embodied.reward_models.progress_training import descend
from embodied.reward_models.reference_attention import InContextCritic
from embodied.reward_models.reference_ensemble import InContextEnsemble, Reference
from embodied.reward_models.reference_training import Tasks, member_losses, token_places

LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Known:
    """Episodes of several tasks, the lists running parallel."""

    clips: Sequence[Encoded]
    success: Sequence[bool]
    task: Sequence[int]

    def references(self, clip: int) -> list[int]:
        """Successes of the clip's task that it may be shown; itself if there is no other."""
        same = [n for n, task in enumerate(self.task) if task == self.task[clip]]
        good = [n for n in same if self.success[n]]
        return [n for n in good if n != clip] or good


def fit_ensemble(
    ensemble: InContextEnsemble,
    known: Known,
    wrong_texts: Float[Tensor, "wrong text"],
    recipe: Recipe,
) -> dict[str, float]:
    """Replace all members by new ones, and calibrate them; returns metrics by name."""
    rng = np.random.default_rng(recipe.seed)
    mean, scale = channel_statistics([clip.variants[0] for clip in known.clips])
    ensemble.mean.copy_(mean)
    ensemble.scale.copy_(scale)
    bags = draw_bags(known, len(ensemble), rng)
    strands = lay_out(known.clips, mean, scale, linger=recipe.linger)

    def learn(number: int, generator: torch.Generator, on_step: OnStep) -> Trained:
        critic = InContextCritic(*ensemble.sizes)
        tasks = Tasks(
            strands=strands,
            task=torch.tensor(known.task)[strands.clip],
            success=torch.tensor(known.success)[strands.clip],
            weight=torch.from_numpy(bags[number].astype(np.float32))[strands.clip],
            wrong_texts=wrong_texts,
            linger=recipe.linger,
        )
        losses = descend(
            critic,
            lambda: member_losses(critic, tasks, generator),
            steps=recipe.steps,
            learning_rate=LEARNING_RATE,
            on_step=on_step,
        )
        return critic, losses

    losses = train_members(ensemble.critics, learn, recipe)

    return losses | calibrate_on(ensemble, known, bags, recipe.linger)


def calibrate_on(
    ensemble: InContextEnsemble, known: Known, bags: Bags, linger: int
) -> dict[str, float]:
    """Calibrate on what members say of clips that they never saw; returns metrics by name."""

    def outcomes(say: Say) -> tuple[Said, Said]:
        good = np.flatnonzero(known.success)
        bad = np.flatnonzero(~np.array(known.success))
        asked = (good.tolist(), bad.tolist())
        passed, failed = (_strangers(ensemble, known, bags, own, linger, say) for own in asked)
        return passed, failed

    return calibrate(ensemble.calibration, ensemble.success, outcomes)


def draw_bags(known: Known, members: int, rng: np.random.Generator) -> Bags:
    """Weights of the episodes for each member; those of its own fold are 0."""
    tasks = len(set(known.task))
    if tasks >= 2 * members:
        return bootstrap(tasks, members, rng)[:, known.task]
    bags = np.empty((members, len(known.clips)))
    for outcome in (True, False):
        chosen = np.flatnonzero(np.array(known.success) == outcome)
        bags[:, chosen] = bootstrap(len(chosen), members, rng)
    return bags


def reference_of(maps: Maps, text: Float[Tensor, " text"], linger: int) -> Reference:
    """What is looked at of a demonstration, given its features."""
    places = token_places(len(maps[0]), linger).numpy()
    return Reference(maps=[camera[places] for camera in maps], text=text)


def _strangers(
    ensemble: InContextEnsemble,
    known: Known,
    bags: Bags,
    clips: Sequence[int],
    linger: int,
    say: Say,
) -> Said:
    """What members that never saw a clip say of it beside another success, clip by clip."""
    found: list[float] = []
    for number in clips:
        clip, others = known.clips[number], known.references(number)
        strangers = np.flatnonzero(bags[:, number] == 0).tolist()
        reference = None
        if others:
            shown = known.clips[others[0]]
            reference = reference_of(shown.variants[0], shown.text, linger)
        opinions = ensemble.judge(clip.variants[0], clip.text, reference, strangers)
        found.extend(say(opinions).tolist())
    return np.array(found, np.float64)
