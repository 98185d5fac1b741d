"""Independent episodes in several processes: recording and evaluation use both cores."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from typing import Any

import torch

from embodied.errors import WorkerLost

_work: Callable[[Any], Any] | None = None
"""What this process does with an item; set once when the process starts."""


def in_processes[Item, Result](
    set_up: Callable[[], Callable[[Item], Result]], items: Sequence[Item], processes: int
) -> Iterator[Result]:
    """Results of independent items, in their order.

    Args:
        set_up: Called once in each process (builds the environment, say); returns what is called
            with each item. Both are pickled.
        items: At most one process is started per item.
        processes: 1 works in this process.

    Yields:
        Each result as soon as all before it are known. Ctrl-C gives up what was not started.

    Raises:
        WorkerLost: if a process dies.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        yield from map(set_up(), items) if items else ()
        return
    executor = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(set_up,)
    )
    try:
        with deaf_children():
            results = executor.map(_do, items)
        yield from results
    except BrokenProcessPool as error:
        raise WorkerLost(
            "a process died, perhaps for want of memory; what was finished is on disk. Go on with "
            "`embodied resume`; processes=1 needs the least memory."
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal. Those started here leave it to the parent."""
    resource_tracker.ensure_running()  # which unblocks the signal once it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(set_up: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    torch.set_num_threads(1)
    _work = set_up()


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)
