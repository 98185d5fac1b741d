"""Independent episodes in several processes: recording and evaluation use both cores."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

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
    """
    processes = min(processes, len(items))
    if processes <= 1:
        yield from map(set_up(), items) if items else ()
        return
    executor = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(set_up,)
    )
    try:
        yield from executor.map(_do, items)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _begin(set_up: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    torch.set_num_threads(1)
    _work = set_up()


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)
