"""Worker processes on Ray: started, called, waited for, and started again when they die."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch

from embodied.errors import EmbodiedError, WaitTimeout, WorkerLost
from embodied.hardware.base import Account
from embodied.loop import stop_at_interrupt
from embodied.messages import Published, Request
from embodied.types import Actor, Episode

TICK_S = 0.5
"""How often the driver looks up to see whether Ctrl-C was pressed, or a timeout has passed."""
START_ATTEMPTS = 3
DEATHS_IN_A_ROW = 3
SETTINGS = {
    "health_check_initial_delay_ms": 60_000,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 10,
    "worker_niceness": 0,
}
"""Ray gives up on a machine that does not answer for some seconds. Ours is the one we are on: if it
does not answer, then because it is busy. Workers would run at the lowest priority: they are the
work itself."""


class RayUnavailable(EmbodiedError):
    """Ray could not be started, or its cluster not be reached."""


class ProcessDied(Exception):
    """A process died while it was waited for; whoever waited starts it again."""


class Host:
    """Lives in a Ray process, and passes calls on to the worker that was built there."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._worker: Any = None

    def start(self, factory: Callable[[], Any]) -> int:
        """Build the worker, in the thread that will use it; returns the process' id."""
        self._worker = factory()
        return os.getpid()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the worker."""
        return getattr(self._worker, method)(*arguments)

    def collect(self, request: Request, pinned: Published | None) -> tuple[Account, Episode]:
        """An actor's episode, after the steps that it took."""
        episode: Episode = self._worker.collect(request, pinned)
        human_steps = int((episode.actor == Actor.HUMAN).sum())
        return Account(steps=len(episode), human_steps=human_steps), episode

    def adopt(self, published: Published) -> None:
        """Leave weights with an actor while it collects: runs in a thread of its own."""
        self._worker.adopt(published)


@dataclass(kw_only=True, eq=False)
class Process:
    """A worker process, and how to start it again."""

    name: str
    factory: Callable[[], Any]
    handle: Any = None
    pid: int = -1
    deaths: int = 0
    """In a row, without a finished call between them."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that has not finished yet."""

    process: Process
    refs: tuple[Any, ...]
    done: Callable[..., None]
    """Takes the first result as a value and the others as references."""
    failed: Callable[[EmbodiedError], None] | None
    waited_for: str
    numbers: tuple[int, ...]
    """Of the episodes that it is about."""
    since: float = field(default_factory=time.monotonic)


class Cluster:
    """Ray, and all calls that are under way. A context manager: it ends what it started.

    Args:
        address: Of a running cluster; None starts one in this machine.
        object_store_mb: Shared memory of a cluster started here.
        timeout_s: Longest wait for one call.
    """

    def __init__(self, address: str | None, object_store_mb: int, timeout_s: float) -> None:
        self._address, self._object_store_mb = address, object_store_mb
        self._timeout_s = timeout_s
        self._calls: list[Call] = []
        self._processes: list[Process] = []
        self._owns_ray = False

    def __enter__(self) -> "Cluster":
        self._owns_ray = start_ray(self._address, self._object_store_mb)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import ray

        self._calls = []
        for process in self._processes:
            if process.handle is not None:
                ray.kill(process.handle)
        if self._owns_ray:
            ray.shutdown()

    @property
    def busy(self) -> list[Process]:
        """Processes with calls under way; once per call."""
        return [call.process for call in self._calls]

    def start(self, *processes: Process) -> None:
        """Start processes at the same time, or start them again.

        Raises:
            WorkerLost: if one dies while it starts, again and again.
        """
        starting = [(process, self._begin(process)) for process in processes]
        for process, reference in starting:
            while process.pid < 0:
                try:
                    process.pid = self._get(reference, f"the {process.name} to start")
                except ProcessDied:
                    self.count_death(process)
                    reference = self._begin(process)

    def _begin(self, process: Process) -> Any:
        import ray

        if process not in self._processes:
            self._processes.append(process)
        hosts = ray.remote(concurrency_groups={"mail": 1}, num_cpus=0, max_restarts=0)(Host)
        process.pid = -1
        process.handle = hosts.remote()
        return process.handle.start.remote(process.factory)

    def count_death(self, process: Process) -> None:
        """Note that a process died.

        Raises:
            WorkerLost: if it did so too often without finishing a call.
        """
        process.deaths += 1
        if process.deaths > DEATHS_IN_A_ROW:
            raise WorkerLost(
                f"the {process.name} died {process.deaths} times in a row without finishing "
                "anything; see Ray's log, or run with loop=inline to see its error."
            )

    def submit(
        self,
        process: Process,
        method: str,
        *arguments: Any,
        done: Callable[..., None],
        waited_for: str,
        failed: Callable[[EmbodiedError], None] | None = None,
        results: int = 1,
        numbers: Sequence[int] = (),
    ) -> None:
        """Begin a call. References among the arguments arrive as what they refer to."""
        if method == "collect":
            refs = process.handle.collect.options(num_returns=results).remote(*arguments)
        else:
            refs = process.handle.call.options(num_returns=results).remote(method, *arguments)
        listed = tuple(refs) if results > 1 else (refs,)
        call = Call(
            process=process, refs=listed, done=done, failed=failed, waited_for=waited_for,
            numbers=tuple(numbers),
        )  # fmt: skip
        self._calls.append(call)

    def post(self, process: Process, published: Published) -> None:
        """Leave weights with an actor, without waiting; a dead one is noticed elsewhere."""
        process.handle.adopt.options(concurrency_group="mail").remote(published)

    def ask(self, process: Process, method: str, *arguments: Any) -> Any:
        """Call and wait.

        Raises:
            ProcessDied: if the process did.
            WaitTimeout: naming the process and the method.
        """
        reference = process.handle.call.remote(method, *arguments)
        return self._get(reference, f"the {process.name} to {method}")

    def forget(self, process: Process) -> list[Call]:
        """Give up the calls of a process; returns them."""
        lost = [call for call in self._calls if call.process is process]
        self._calls = [call for call in self._calls if call.process is not process]
        return lost

    def step(self) -> Process | None:
        """Wait a moment for one call to finish, and act on it; returns the process if it died.

        Raises:
            WaitTimeout: naming a call that takes too long.
        """
        import ray

        by_ref = {call.refs[0]: call for call in self._calls}
        if not by_ref:
            return None
        ready, _ = ray.wait(list(by_ref), num_returns=1, timeout=TICK_S)
        if not ready:
            oldest = min(self._calls, key=lambda call: call.since)
            if time.monotonic() - oldest.since > self._timeout_s:
                raise WaitTimeout(oldest.waited_for, self._timeout_s)
            return None
        call = by_ref[ready[0]]
        try:
            value = ray.get(call.refs[0])
        except ray.exceptions.RayActorError:
            return call.process
        except ray.exceptions.RayTaskError as error:
            self._calls.remove(call)
            if call.failed is None or not isinstance(error.cause, EmbodiedError):
                raise error.cause from None
            call.failed(error.cause)
            return None
        self._calls.remove(call)
        call.process.deaths = 0
        call.done(value, *call.refs[1:])
        return None

    def _get(self, reference: Any, waited_for: str) -> Any:
        import ray

        try:
            return ray.get(reference, timeout=self._timeout_s)
        except ray.exceptions.GetTimeoutError:
            raise WaitTimeout(waited_for, self._timeout_s) from None
        except ray.exceptions.RayActorError as error:
            raise ProcessDied from error
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


def start_ray(address: str | None, object_store_mb: int) -> bool:
    """Start Ray, or join a cluster, unless this process has done so already.

    Returns:
        Whether it was started here, so that it must be ended here.

    Raises:
        RayUnavailable: after a few attempts.
        KeyboardInterrupt: once Ray is up, if Ctrl-C was pressed meanwhile.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A failed call of two results is told once for each; the second is one that nobody asks for.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    if address is None:
        # Ray turns 127.0.0.1 into the machine's outer address, unless it believes that it cannot
        # form clusters: it then stays on the loopback interface.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():
        return False
    local: dict[str, Any] = {
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "object_store_memory": object_store_mb * 2**20,
        "_system_config": SETTINGS,
    }
    # Ray, while it starts, may swallow the exception that Ctrl-C raises.
    with stop_at_interrupt() as interrupted:
        for left in reversed(range(START_ATTEMPTS)):
            started = _try_to_start(address, {} if address else local, left)
            if interrupted():
                ray.shutdown()
                raise KeyboardInterrupt
            if started:
                return True
    raise AssertionError("the last attempt returns or raises")


def _try_to_start(address: str | None, local: Mapping[str, Any], attempts_left: int) -> bool:
    import ray

    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **local)
    except ConnectionError as error:
        raise RayUnavailable(f"no Ray cluster at {address}: {error}.") from error
    except Exception as error:  # ray.init raises plain Exception where a busy machine is slow
        with contextlib.suppress(RuntimeError):
            ray.shutdown()
        if attempts_left == 0:
            raise RayUnavailable(
                f"Ray did not start in {START_ATTEMPTS} attempts ({error}); is the machine busy? "
                "loop=inline does without Ray."
            ) from error
        return False
    return True
