"""Several environments side by side, as Gymnasium's vector environments."""

from collections.abc import Callable, Sequence

from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from embodied.envs.base import TaskEnv
from embodied.errors import BadConfig


def make_vector(make: Sequence[Callable[[], TaskEnv]], *, processes: bool) -> VectorEnv:
    """A vector environment whose pictures stay uint8, batch x height x width x 3.

    Args:
        make: One function per environment; all must have the same spaces.
        processes: Whether each environment runs in a process of its own. Processes are started
            afresh, not forked: an OpenGL context does not survive a fork.

    Raises:
        BadConfig: if there is no environment.
    """
    if not make:
        raise BadConfig("a vector environment needs at least one environment.")
    if processes:
        return AsyncVectorEnv(list(make), context="spawn")
    return SyncVectorEnv(list(make))
