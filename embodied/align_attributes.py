"""`align.reward=attributes`: roll-outs ranked by what sliders ask for, safety first.

Attributes are learnt as the page's trainer learns them, so that the order of the roll-outs is the
one that a person saw there.
"""

from functools import partial
from typing import Any

import numpy as np

from embodied.align_asking import ROLLOUTS, Asking, open_asking
from embodied.align_choice import given_direction, kept_by
from embodied.config import instantiate
from embodied.display import Status
from embodied.errors import BadInput
from embodied.given_dataset import image_size
from embodied.job import Job, build_cached_encoder
from embodied.preferences.attributes import AttributeVector, learn_attributes
from embodied.preferences.embedding import COMPONENTS, components, mean_map
from embodied.preferences.export import write_exports
from embodied.preferences.records import CONSTRAINED, Direction
from embodied.reward_models.base import decided

HIGH, LOW = 0.9, 0.1
"""Strengths that a policy is told first: as in the best tenth of its roll-outs, or the worst."""


def rank_by_direction(job: Job) -> dict[str, Any]:
    """What the stage `learn` writes: all pairs of one start as the direction ranks them.

    Raises:
        BadInput: without a direction, or if too few answers are about what it asks for.
    """
    job.display.show(Status(stage="learn", doing="Learning what was said of each attribute."))
    with open_asking(job) as asking:
        store = asking.service.store
        direction = given_direction(job.cfg) or store.direction(kept_by(job.cfg))
        if direction is None:
            raise BadInput(
                f"{kept_by(job.cfg) or 'nobody'} kept no direction in the page's Sliders view; say "
                f"what matters: embodied resume {job.run_dir} 'align.sliders={{speed: 1}}'."
            )
        write_exports(store, asking.service.clips, job.run_dir / "labels", asking.service.kinds)
        answers, bad = asking.answers(), asking.bad()
        vector = _learnt(job, asking)
    reward = vector.reward(direction)
    told = decided(answers.first, answers.second, answers.target)
    return {
        "answers": len(answers),
        "preferences": len(told),
        "raters": list(answers.raters),
        "bad": bad,
        "direction": {
            "sliders": dict(direction.sliders),
            "floor": direction.floor,
            "answers": dict(vector.answers),
        },
        "attributes": dict(vector.scores),
        "target": first_target(direction),
        "rollouts": asking.rolled.names,
        "told": told,
        "ranked": asking.rolled.ranked(reward),
        "reward": reward,
    }


def first_target(direction: Direction) -> dict[str, float]:
    """What a policy that can be told of attributes acts towards at first, as the sliders point.

    Safety is a constraint: if there is a floor, much of it is asked for.
    """
    wanted = {name: slider for name, slider in direction.sliders.items() if slider}
    target = {name: HIGH if slider > 0 else LOW for name, slider in wanted.items()}
    return target | ({CONSTRAINED: max(HIGH, direction.floor)} if direction.floor else {})


def _learnt(job: Job, asking: Asking) -> AttributeVector:
    """The attributes of the roll-outs, in the order of their names."""
    dataset, encoder = job.store(ROLLOUTS), build_cached_encoder(job.cfg)
    known = [asking.service.clips[clip] for clip in asking.clips]
    maps = [mean_map(dataset, encoder, clip, image_size(job.cfg)) for clip in known]
    return learn_attributes(
        asking.service.store.labels(),
        asking.clips,
        components(np.stack(maps), COMPONENTS),
        partial(instantiate, job.cfg.preferences.reward),
        asking.service.kinds,
    )
