"""PySR as a search backend: in a worker process that never sees torch, while this one never sees Julia.

``import symbolic.backends.pysr`` imports neither pysr nor juliacall, and neither does `PySR.available`. One
worker is started on the first search and serves the following ones, because its start takes tens of seconds; a worker
that had to be killed is replaced. `search_many` runs as many workers as asked for.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from interpret.errors import BackendFailed, BackendTimeout
from symbolic.backends.base import Capabilities, Missing, SearchResult, Settings
from symbolic.backends.installed import installed, pysr_version
from symbolic.backends.interrupts import FirstInterrupt
from symbolic.backends.job import Job, run_job, wait_until_ready
from symbolic.backends.pysr_options import KNOWN_OPERATORS, plan
from symbolic.backends.pysr_parameters import Version, too_old
from symbolic.backends.worker import Worker

if TYPE_CHECKING:
    from symbolic.targets import Targets

Search = Future[SearchResult | BackendFailed]

_CANCELLED = "the search was cancelled before it found anything"
_SCRIPT = Path(__file__).with_name("pysr_worker.py")

#: One core for each worker, and nothing that asks the network when both Julia and its project are given.
_ENVIRONMENT = {
    "PYTHON_JULIACALL_THREADS": "1",
    "PYTHON_JULIACALL_HANDLE_SIGNALS": "yes",
    "JULIA_NUM_THREADS": "1",
}


@cache
def _of_process(process: int) -> PySR:
    return PySR()


def shared() -> PySR:
    """The backend of this process, so that its one worker serves all searches; a forked copy has one of its own."""
    return _of_process(os.getpid())


class PySR:
    """Implements `symbolic.backends.base.Backend`; a context manager that ends its worker.

    ``command`` replaces the worker's command line, for tests and for a PySR in another Python; it is then taken to be
    available, and its version to be unknown. ``environment`` is added to the worker's variables.
    """

    name = "pysr"

    def __init__(
        self, command: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = None if command is None else tuple(command)
        self._environment = dict(environment or {})
        self._worker: Worker | None = None
        self._memory_limit: int | None = None
        self._killed = False
        self._turn = threading.Lock()
        self._guard = threading.Lock()

    def __enter__(self) -> PySR:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        return Capabilities(operators=KNOWN_OPERATORS, manifold=True, user_operators=True)

    def available(self) -> Missing | None:
        """None where the package is installed; Julia itself is only met when a worker starts."""
        if self._command is not None:
            return None
        if not installed("pysr"):
            return Missing(self.name, "the package 'pysr' is not installed", "pip install 'twinscope[pysr]'")
        reason = too_old(self.version())
        return Missing(self.name, reason, "pip install --upgrade 'twinscope[pysr]'") if reason else None

    def search(self, targets: Targets, settings: Settings, deadline: float | None = None) -> SearchResult:
        """One deterministic serial search for one neuron.

        The result is interrupted, with what was found, where time runs out, the worker fails, or Ctrl-C comes.

        Raises:
            BackendMissing: PySR is not installed.
            BackendFailed: the worker could not start, or failed before it found anything (`BackendTimeout`,
                `BackendCrashed`, `BackendOutOfMemory`, `BackendGarbled`).
            UsageError: an option or operator that this PySR does not have.
        """
        missing = self.available()
        if missing is not None:
            raise missing.error()
        job = Job.of(targets, settings, plan(settings, self.version()), deadline)
        with FirstInterrupt():
            return self._run(job, settings)

    def _run(self, job: Job, settings: Settings) -> SearchResult:
        # One search at a time; threads that share a backend wait for one another, as long as they have time.
        remaining = job.remaining()
        if not self._turn.acquire(timeout=-1 if remaining is None else max(0.0, remaining)):
            raise BackendTimeout("PySR found nothing: its worker served another search until time was up")
        try:
            worker = self._ready_worker(settings)
            try:
                return run_job(worker, job)
            finally:
                if not worker.usable:
                    self.close()
        finally:
            self._turn.release()

    def search_many(
        self,
        targets: Sequence[Targets],
        settings: Settings,
        workers: int = 1,
        deadline: float | None = None,
    ) -> list[SearchResult | BackendFailed]:
        """One search for each neuron on ``workers`` processes; a neuron whose search failed gives the error.

        The results do not depend on the number of workers: every search has a seed and an engine of its own. Ctrl-C
        ends the searches; what was found until then is returned, and `BackendFailed` for the neurons without.

        Raises:
            BackendMissing: PySR is not installed.
            UsageError: an option or operator that this PySR does not have.
            KeyboardInterrupt: the user cancelled before anything was found.
        """
        pool = [PySR(self._command, self._environment) for _ in range(max(1, min(workers, len(targets))))]
        with FirstInterrupt():
            return _together(
                pool, targets, lambda backend, target: backend.search(target, settings, deadline)
            )

    def start(self, limit: float = 900.0) -> tuple[str, float]:
        """Start a worker without a search: the versions it reports, and the seconds it took.

        Raises:
            BackendMissing: PySR is not installed.
            BackendFailed: Julia did not start; `BackendTimeout` where it took longer than ``limit`` seconds.
        """
        missing = self.available()
        if missing is not None:
            raise missing.error()
        started = time.monotonic()
        worker = self._ready_worker(Settings())
        wait_until_ready(worker, limit)
        return ", ".join(f"{name} {number}" for name, number in worker.versions), time.monotonic() - started

    def version(self) -> Version | None:
        """The installed PySR's version, read from its metadata; None where a command stands in for it."""
        if self._command is not None:
            return None
        return pysr_version()

    def kill(self) -> None:
        """End the worker from another thread; the search that waits for it fails, and no other starts."""
        with self._guard:
            self._killed = True
            if self._worker is not None:
                self._worker.kill()

    def close(self) -> None:
        """End the worker, if there is one."""
        with self._guard:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def _ready_worker(self, settings: Settings) -> Worker:
        # The memory limit is the process's, so another limit needs another process.
        if self._worker is not None and (
            not self._worker.alive or self._memory_limit != settings.memory_limit
        ):
            self.close()
        # Under the guard: a worker that starts while `kill` looks for one would outlive it.
        with self._guard:
            if self._killed:
                raise BackendFailed(_CANCELLED)
            if self._worker is None:
                self._memory_limit = settings.memory_limit
                self._worker = Worker(self._command or self._script(), self._variables())
            return self._worker

    def _script(self) -> tuple[str, ...]:
        # -P: the script's own folder, which holds this very pysr.py, must not shadow the package.
        return sys.executable, "-P", str(_SCRIPT), str(os.getpid()), str(self._memory_limit or 0)

    def _variables(self) -> dict[str, str]:
        defaults = dict(_ENVIRONMENT)
        if self._memory_limit is not None:
            # Julia collects its garbage before the limit, not long after it.
            defaults["PYTHON_JULIACALL_HEAP_SIZE_HINT"] = f"{max(1, int(0.6 * self._memory_limit) >> 20)}M"
        return defaults | dict(os.environ) | self._environment


def _together(
    pool: Sequence[PySR], targets: Sequence[Targets], search: Callable[[PySR, Targets], SearchResult]
) -> list[SearchResult | BackendFailed]:
    """Search for every target, each with the next idle backend; the backends are closed in the end."""
    idle: SimpleQueue[PySR] = SimpleQueue()
    for backend in pool:
        idle.put(backend)

    def one(target: Targets) -> SearchResult | BackendFailed:
        backend = idle.get()
        try:
            return search(backend, target)
        except BackendFailed as error:
            return error
        finally:
            idle.put(backend)

    with ThreadPoolExecutor(len(pool)) as threads:
        futures = [threads.submit(one, target) for target in targets]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            _cancel(futures, pool)
            found = [_ended(future) for future in futures]
            if not any(isinstance(result, SearchResult) for result in found):
                raise
            return found
        except BaseException:
            _cancel(futures, pool)
            raise
        finally:
            for _ in range(len(pool)):
                idle.get().close()


def _cancel(futures: Sequence[Search], pool: Sequence[PySR]) -> None:
    """End every search: the threads wait for their workers, and without these they end."""
    for future in futures:
        future.cancel()
    for backend in pool:
        backend.kill()


def _ended(future: Search) -> SearchResult | BackendFailed:
    """What a cancelled search leaves, once it has ended."""
    try:
        return future.result()
    except CancelledError:
        return BackendFailed(_CANCELLED)
