"""`align.reward=attributes`: roll-outs ranked by what sliders ask for, safety first.

Attributes are learnt as the page's trainer learns them, so that the order of the roll-outs is the
one that a person saw there.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from embodied.align_asking import ROLLOUTS, Asking
from embodied.align_choice import given_direction, kept_by
from embodied.config import instantiate
from embodied.display import Status
from embodied.errors import BadInput
from embodied.given_dataset import image_size
from embodied.job import Job, build_cached_encoder
from embodied.preferences.attributes import learn_attributes
from embodied.preferences.embedding import COMPONENTS, components, mean_map


def rank_by_direction(
    job: Job, asking: Asking
) -> tuple[Float[np.ndarray, " rollout"], Mapping[str, Any]]:
    """The reward of each roll-out, and what it rests on: answers by attribute, and the direction.

    Raises:
        BadInput: without a direction, or if too few answers are about what it asks for.
    """
    store = asking.service.store
    direction = given_direction(job.cfg) or store.direction(kept_by(job.cfg))
    if direction is None:
        raise BadInput(
            f"{kept_by(job.cfg) or 'nobody'} kept no direction in the page's Sliders view; say "
            f"what matters: embodied resume {job.run_dir} 'align.sliders={{speed: 1}}'."
        )
    job.display.show(Status(stage="learn", doing="Learning what was said of each attribute."))
    dataset, encoder = job.store(ROLLOUTS), build_cached_encoder(job.cfg)
    clips, known = sorted(asking.clips), asking.service.clips
    maps = [mean_map(dataset, encoder, known[clip], image_size(job.cfg)) for clip in clips]
    vector = learn_attributes(
        store.labels(),
        clips,
        components(np.stack(maps), COMPONENTS),
        partial(instantiate, job.cfg.preferences.reward),
    )
    rests_on = {
        "attributes": vector.answers,
        "direction": {"sliders": dict(direction.sliders), "floor": direction.floor},
    }
    return vector.reward(direction)[np.searchsorted(clips, asking.clips)], rests_on
