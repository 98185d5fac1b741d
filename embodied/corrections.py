"""Which of a person's steps are worth imitating.

A correction is given where the policy was about to fail, so it counts whatever became of the
episode. Yet people fumble, too, and an expert that cannot get out of a corner shows nothing but
the corner: what counts are interventions during which the learned progress rose, and by more than
what the reward is unsure of. A reward that knows nothing is sure of no rise, and teaches nothing.
"""

import numpy as np
from jaxtyping import Bool

from embodied.types import Actor, LabelledEpisode

GAIN = 0.1
"""Least rise of the progress during an intervention that helped."""
DOUBT = 2.0
"""Standard deviations of the two progress estimates that the rise must exceed, too."""


def helpful_steps(episode: LabelledEpisode) -> Bool[np.ndarray, " time"]:
    """Human steps of the interventions that the reward sees as progress, or as completing."""
    progress, doubt = episode.labels.progress, episode.labels.uncertainty
    done_index = episode.labels.done_index
    helpful = np.zeros(len(episode), bool)
    for number in np.unique(episode.intervention_id[episode.actor == Actor.HUMAN]):
        steps = np.flatnonzero(episode.intervention_id == number)
        start, end = steps[0], steps[-1] + 1
        least = max(GAIN, DOUBT * np.hypot(doubt[start], doubt[end]))
        helpful[steps] = progress[end] - progress[start] > least or start < done_index <= end
    helpful &= episode.actor == Actor.HUMAN
    return helpful
