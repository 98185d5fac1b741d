"""Which of a person's steps are worth imitating.

A correction is given where the policy was about to fail, so it counts whatever became of the
episode. Yet people fumble, too, and an expert that cannot get out of a corner shows nothing but
the corner: what counts are interventions during which the learned progress rose.

To ask for a rise beyond the reward's own doubt was tried: it also keeps corrections from teaching
where the reward knows nothing, and it discards half of the good ones on tasks where the reward is
unsure (`docs/results.md`).
"""

import numpy as np
from jaxtyping import Bool

from embodied.types import Actor, LabelledEpisode

GAIN = 0.02
"""Least rise of the progress during an intervention that helped; less is noise."""


def helpful_steps(episode: LabelledEpisode) -> Bool[np.ndarray, " time"]:
    """Human steps of the interventions that the reward sees as progress, or as completing."""
    progress, done_index = episode.labels.progress, episode.labels.done_index
    helpful = np.zeros(len(episode), bool)
    for number in np.unique(episode.intervention_id[episode.actor == Actor.HUMAN]):
        steps = np.flatnonzero(episode.intervention_id == number)
        start, end = steps[0], steps[-1] + 1
        helpful[steps] = progress[end] - progress[start] > GAIN or start < done_index <= end
    helpful &= episode.actor == Actor.HUMAN
    return helpful
