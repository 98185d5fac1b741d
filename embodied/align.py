"""`embodied align`: a policy learns how a person wants a task to be done, from comparisons."""

from omegaconf import DictConfig

from embodied.align_choice import alignment
from embodied.align_stages import ALIGNMENT
from embodied.course import go_through
from embodied.runs import create_run


def align(cfg: DictConfig, *, way: str = "", rater: str = "") -> None:
    """Run every stage, in a new run.

    Args:
        cfg: The configuration; ``cfg.run`` names the run whose policy is aligned, if one is.
        way: See `alignment`.
        rater: See `alignment`.

    Raises:
        BadConfig: before anything is made, if it cannot work.
        UnknownName: for a way, rater, reward or update that does not exist.
        BadInput: if no answer says which roll-out is better.
    """
    chosen = alignment(cfg, way=way, rater=rater)
    ALIGNMENT.check(chosen, None)
    run_dir = create_run(chosen)
    try:
        go_through(ALIGNMENT, chosen, run_dir)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"To continue: embodied resume {run_dir}") from None
