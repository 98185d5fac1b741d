"""Which seeds an environment is ever reset with: one range per purpose, none of them overlapping.

``seed = PURPOSES.index(purpose) * 100_000_000 + run_seed * 10_000 + number``, so that each run has
10 000 seeds of its own per purpose. Evaluation leaves the run's seed out: every run, and every
method, is evaluated on the same episodes, which nothing else ever sees.
"""

from typing import Literal, get_args

from embodied.errors import BadConfig

Purpose = Literal[
    "demo",
    "failure",
    "held-out",
    "held-out-failure",
    "online",
    "validation",
    "evaluation",
    "attack",
]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
PURPOSE_WIDTH = 100_000_000
RUN_WIDTH = 10_000


def episode_seed(purpose: Purpose, run_seed: int, number: int) -> int:
    """Seed of one episode.

    Raises:
        BadConfig: if the run's seed or the number lies outside of 0 to 9999.
    """
    for name, value in (("seed", run_seed), ("episode number", number)):
        if not 0 <= value < RUN_WIDTH:
            raise BadConfig(f"the {name} is {value}; it must lie between 0 and {RUN_WIDTH - 1}.")
    own = 0 if purpose == "evaluation" else run_seed
    return PURPOSES.index(purpose) * PURPOSE_WIDTH + own * RUN_WIDTH + number
