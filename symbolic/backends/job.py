"""One search in a worker: arrays written to files, frontiers collected as they come, every way to end survived."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from interpret.errors import (
    BackendFailed,
    BackendOutOfMemory,
    BackendTimeout,
    InterpretError,
)
from symbolic.backends.base import Progress, SearchResult, Settings
from symbolic.backends.frontier import Frontier
from symbolic.backends.messages import Equation, Message, equations_of
from symbolic.backends.pysr_loss import SETUP
from symbolic.backends.pysr_options import Plan
from symbolic.backends.pysr_parameters import ESSENTIAL
from symbolic.backends.pysr_relay import hall_of, read_hall
from symbolic.backends.worker import Worker
from symbolic.operators import Operator

if TYPE_CHECKING:
    from symbolic.targets import Targets

Array = NDArray[np.float64]

_TICK = 0.25
#: Relative fall of the loss that counts as an improvement.
_IMPROVEMENT = 0.01
#: Seconds a worker gets to stop by itself, when it was asked to, before it is killed.
_GRACE = 20.0
#: Seconds between two reports of a search that goes on without news.
_HEARTBEAT = 1.0
_MOST_NOTES = 100


@dataclass(frozen=True)
class Job:
    """What one search is given. ``points`` (N, d), unit ``directions`` (N, d), ``weights`` (N,); ``projectors`` (1 or
    N, d, d), or empty where the data fill their space. ``deadline`` is a reading of `time.monotonic`.
    """

    points: Array
    directions: Array
    weights: Array
    projectors: Array
    plan: Plan
    operators: tuple[Operator, ...] = ()
    deadline: float | None = None
    progress: Callable[[Progress], None] | None = None

    @staticmethod
    def of(targets: Targets, settings: Settings, plan: Plan, deadline: float | None = None) -> Job:
        """The job on the fitting rows of the targets; the earlier of deadline and time limit counts."""
        rows = targets.fit
        projector = targets.projector
        if projector is None:
            projectors = np.zeros((0, 0, 0))
        else:
            projectors = projector[None] if projector.ndim == 2 else projector[rows]
        limits = [t for t in (deadline,) if t is not None]
        if settings.time_limit is not None:
            limits.append(time.monotonic() + settings.time_limit)
        return Job(
            points=targets.points[rows],
            directions=targets.directions[rows],
            weights=targets.weights[rows],
            projectors=projectors,
            plan=plan,
            operators=settings.user_operators,
            deadline=min(limits, default=None),
            progress=settings.progress,
        )

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()


@dataclass
class _Search:
    """The state of a running search."""

    frontier: Frontier
    started: float = field(default_factory=time.monotonic)
    sent: float = math.inf
    improved: float = math.inf
    told: float = -math.inf
    best: float = math.inf
    notes: list[str] = field(default_factory=list)
    failure: InterpretError | None = None
    cancelled: bool = False
    out_of_time: bool = False
    asked_to_stop: float | None = None
    finished: bool = False

    @property
    def equations(self) -> tuple[Equation, ...]:
        """The best rows so far that are formulas."""
        return self.frontier.equations

    def take(self, equations: tuple[Equation, ...]) -> bool:
        """Keep the best of a frontier and of what is there; whether it is better than the last."""
        first = not self.equations
        self.frontier.show(equations)
        if not self.equations:
            return False
        best = min(equation.loss for equation in self.equations)
        better = first or best < self.best * (1 - _IMPROVEMENT)
        if better:
            self.best, self.improved = best, time.monotonic()
        return better

    def status(self) -> str:
        """What a progress bar says while the engine searches."""
        if not self.equations:
            return "compiling and searching: no formula yet"
        best = min(self.equations, key=lambda equation: equation.loss)
        return (
            f"searching: {_count(len(self.equations), 'formula')}, misalignment {best.loss:.2g} "
            f"with {_count(best.complexity, 'node')}"
        )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def run_job(worker: Worker, job: Job) -> SearchResult:
    """Run one job; ``worker.usable`` then says whether it can serve another, or must be stopped.

    Raises:
        BackendFailed: nothing was found before the worker failed or time ran out; the class says how.
        KeyboardInterrupt: the user cancelled before anything was found.
    """
    search = _Search(Frontier(job.operators, job.points.shape[1]))
    worker.usable = False
    worker.jobs += 1
    folder = worker.folder / str(worker.jobs)
    try:
        wait_until_ready(
            worker, job.plan.own["startup_limit"], job.deadline, lambda text: _report(job, search, text)
        )
        worker.send(_request(job, folder, worker.jobs))
        search.sent = time.monotonic()
        _listen(worker, job, search, folder)
    except KeyboardInterrupt:
        search.cancelled = True
    except BackendFailed as error:
        search.failure = error
    worker.usable = search.finished and worker.alive
    if worker.usable:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        # The folder, where it still writes, goes when the worker has been stopped.
        _collect(worker, search, folder)
    try:
        return _result(worker, job, search)
    finally:
        worker.garbage = 0


def _collect(worker: Worker, search: _Search, folder: Path) -> None:
    """End a worker, and take what it had found but nobody heard of: what is in the pipe, then its file."""
    worker.kill()
    for message in worker.rest():
        if message.event in ("frontier", "done") and message.job == worker.jobs:
            search.take(message.equations)
    search.take(equations_of(read_hall(hall_of(folder))))


def wait_until_ready(
    worker: Worker, limit: float, deadline: float | None = None, tell: Callable[[str], None] | None = None
) -> None:
    """Wait for Julia, once in a worker's life, for at most ``limit`` seconds.

    Raises:
        BackendTimeout: it did not start in time.
        BackendFailed: it failed to start.
    """
    started = time.monotonic()
    until = min(started + limit, math.inf if deadline is None else deadline)
    stage = "starting Julia"
    while not worker.ready:
        if tell is not None:
            tell(stage)
        message = worker.receive(_TICK)
        if message is not None and message.event == "failed" and message.kind == "memory":
            raise _failure(message, worker)
        if message is not None and message.event == "failed":
            raise BackendFailed(f"PySR did not start: {message.text}{worker.last_words()}")
        if message is not None and message.event == "progress":
            stage = message.text
        if message is not None and message.event == "ready":
            worker.ready = True
            worker.versions = message.versions
        elif time.monotonic() > until:
            raise BackendTimeout(
                f"PySR did not start within {time.monotonic() - started:.0f} s. The first start on a machine "
                f"compiles for minutes: run 'twinscope doctor', or give more time.{worker.last_words()}"
            )


def _request(job: Job, folder: Path, number: int) -> dict[str, Any]:
    try:
        folder.mkdir()
        for name in ("points", "directions", "weights", "projectors"):
            np.save(folder / f"{name}.npy", getattr(job, name), allow_pickle=False)
    except OSError as error:
        raise BackendFailed(f"the points cannot be written for PySR's worker: {error}") from error
    remaining = job.remaining()
    return {
        "job": number,
        "folder": str(folder),
        "setup": SETUP,
        "arguments": job.plan.arguments,
        "essential": sorted(ESSENTIAL),
        "custom_operators": list(job.plan.custom_operators),
        "enough": job.plan.own["enough"],
        # The engine stops by itself a little earlier than it would be killed.
        "seconds": None if remaining is None else max(0.5, 0.9 * remaining - 1),
    }


def _listen(worker: Worker, job: Job, search: _Search, folder: Path) -> None:
    while not search.finished and not search.out_of_time:
        message = worker.receive(_TICK)
        if message is not None:
            _handle(message, worker, job, search)
        elif time.monotonic() > search.told + _HEARTBEAT:
            _report(job, search, search.status())
        # Also after a message: a worker that never stops talking has no more time than a silent one.
        _check_time(job, search, folder)


def _handle(message: Message, worker: Worker, job: Job, search: _Search) -> None:
    everybodys = message.event == "failed" and message.kind == "memory"
    if message.job != worker.jobs and not everybodys:
        # What a worker still had to say of the job before; only its memory is that of all jobs.
        return
    if message.event in ("frontier", "done") and search.take(message.equations):
        _report(job, search, search.status())
    search.notes.extend(message.notes[: max(0, _MOST_NOTES - len(search.notes))])
    if message.event == "progress":
        _report(job, search, message.text)
    elif message.event == "done":
        search.finished = True
    elif message.event == "failed":
        search.finished = message.kind == "search"
        raise _failure(message, worker)


def _failure(message: Message, worker: Worker) -> BackendFailed:
    if message.kind == "memory":
        return BackendOutOfMemory(
            f"PySR ran out of memory: {message.text}. Give it more with memory_limit=, or fewer points"
        )
    return BackendFailed(f"PySR failed: {message.text}{worker.last_words()}")


def _check_time(job: Job, search: _Search, folder: Path) -> None:
    if search.finished:
        return
    now, own = time.monotonic(), job.plan.own
    if job.deadline is not None and now >= job.deadline:
        search.out_of_time = True
    elif search.asked_to_stop is not None:
        search.out_of_time = now > search.asked_to_stop + _GRACE
    elif search.equations and now > search.improved + own["patience"]:
        # PySR looks for this file in its stopping rule; its worker then stays usable.
        (folder / "stop").touch()
        search.asked_to_stop = now
        search.notes.append(f"stopped after {own['patience']:g} s without improvement")
    elif job.deadline is None and not search.equations:
        search.out_of_time = now > search.sent + own["startup_limit"]


def _report(job: Job, search: _Search, text: str) -> None:
    search.told = time.monotonic()
    if job.progress is not None:
        job.progress(Progress("pysr", text, search.best, search.told - search.started))


def _result(worker: Worker, job: Job, search: _Search) -> SearchResult:
    trees, unread = search.frontier.trees, search.frontier.unread
    reason = f" ({unread[0]})" if unread else ""
    if search.cancelled and not trees:
        raise KeyboardInterrupt
    failure = search.failure
    if search.out_of_time and not trees:
        failure = BackendTimeout(
            f"PySR found nothing within {time.monotonic() - search.started:.0f} s{reason}.{worker.last_words()}"
        )
    if failure is None and not trees:
        failure = BackendFailed(
            f"PySR found no formula with a finite gradient at every point{reason}.{worker.last_words()}"
        )
    if failure is not None and not trees:
        raise failure
    messages = [*job.plan.notes, *search.notes, *unread]
    if worker.garbage:
        messages.append(f"{worker.garbage} lines from PySR's worker were no messages and were skipped")
    if search.out_of_time:
        messages.append("PySR ran out of time; these are the best formulas until then")
    if search.cancelled:
        messages.append("PySR was cancelled; these are the best formulas until then")
    if failure is not None:
        messages.append(str(failure))
    interrupted = search.out_of_time or search.cancelled or failure is not None
    return SearchResult(trees, interrupted, tuple(dict.fromkeys(messages)), failure)
