"""One search in a worker: arrays written to files, frontiers collected as they come, every way to end survived."""

from __future__ import annotations

import math
import tempfile
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
    ExpressionError,
    InterpretError,
)
from symbolic.backends.base import Progress, SearchResult, Settings
from symbolic.backends.messages import Equation, Message
from symbolic.backends.pysr_loss import SETUP
from symbolic.backends.pysr_options import Plan
from symbolic.backends.worker import Worker
from symbolic.expression import Tree
from symbolic.operators import Operator
from symbolic.parser import parse

if TYPE_CHECKING:
    from symbolic.targets import Targets

Array = NDArray[np.float64]

_TICK = 0.25
#: Relative fall of the loss that counts as an improvement.
_IMPROVEMENT = 0.01
#: Seconds a worker gets to stop by itself, when it was asked to, before it is killed.
_GRACE = 20.0


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

    started: float = field(default_factory=time.monotonic)
    improved: float = field(default_factory=time.monotonic)
    best: float = math.inf
    equations: tuple[Equation, ...] = ()
    notes: list[str] = field(default_factory=list)
    failure: InterpretError | None = None
    cancelled: bool = False
    out_of_time: bool = False
    asked_to_stop: float | None = None
    finished: bool = False

    def take(self, equations: tuple[Equation, ...]) -> bool:
        """Keep a frontier; whether it is better than the last."""
        if not equations:
            return False
        self.equations = equations
        best = min(equation.loss for equation in equations)
        better = best < self.best * (1 - _IMPROVEMENT)
        if better:
            self.best, self.improved = best, time.monotonic()
        return better


def run_job(worker: Worker, job: Job) -> SearchResult:
    """Run one job; ``worker.usable`` then says whether it can serve another.

    Raises:
        BackendFailed: nothing was found before the worker failed or time ran out; the class says how.
        KeyboardInterrupt: the user cancelled before anything was found.
    """
    search = _Search()
    worker.usable = False
    with tempfile.TemporaryDirectory(prefix="twinscope-pysr-", ignore_cleanup_errors=True) as folder:
        try:
            wait_until_ready(
                worker, job.plan.own["startup_limit"], job.deadline, lambda text: _report(job, search, text)
            )
            worker.send(_request(job, Path(folder)))
            _listen(worker, job, search, Path(folder))
        except KeyboardInterrupt:
            search.cancelled = True
            if not search.equations:
                raise
        except BackendFailed as error:
            search.failure = error
    worker.usable = search.finished and worker.alive
    return _result(worker, job, search)


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
    while not worker.ready:
        if tell is not None:
            tell("starting Julia")
        message = worker.receive(_TICK)
        if message is not None and message.event == "failed" and message.kind == "memory":
            raise _failure(message, worker)
        if message is not None and message.event == "failed":
            raise BackendFailed(f"PySR did not start: {message.text}{worker.last_words()}")
        if message is not None and message.event == "ready":
            worker.ready = True
            worker.versions = message.versions
        elif time.monotonic() > until:
            raise BackendTimeout(
                f"PySR did not start within {time.monotonic() - started:.0f} s. The first start on a machine "
                f"compiles for minutes: run 'twinscope doctor', or give more time.{worker.last_words()}"
            )


def _request(job: Job, folder: Path) -> dict[str, Any]:
    for name in ("points", "directions", "weights", "projectors"):
        np.save(folder / f"{name}.npy", getattr(job, name), allow_pickle=False)
    remaining = job.remaining()
    return {
        "job": 1,
        "folder": str(folder),
        "setup": SETUP,
        "arguments": job.plan.arguments,
        "custom_operators": list(job.plan.custom_operators),
        "enough": job.plan.own["enough"],
        # The engine stops by itself a little earlier than it would be killed.
        "seconds": None if remaining is None else max(0.5, 0.9 * remaining - 1),
    }


def _listen(worker: Worker, job: Job, search: _Search, folder: Path) -> None:
    while not search.finished:
        message = worker.receive(_TICK)
        if message is not None:
            _handle(message, worker, job, search)
            continue
        _check_time(worker, job, search, folder)
        if search.out_of_time:
            return


def _handle(message: Message, worker: Worker, job: Job, search: _Search) -> None:
    if message.event in ("frontier", "done") and search.take(message.equations):
        _report(job, search, "searching")
    search.notes.extend(message.notes)
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


def _check_time(worker: Worker, job: Job, search: _Search, folder: Path) -> None:
    now = time.monotonic()
    if job.deadline is not None and now >= job.deadline:
        search.out_of_time = True
    elif search.asked_to_stop is not None:
        search.out_of_time = now > search.asked_to_stop + _GRACE
    elif search.equations and now > search.improved + job.plan.own["patience"]:
        # PySR looks for this file in its stopping rule; its worker then stays usable.
        (folder / "stop").touch()
        search.asked_to_stop = now
        search.notes.append(f"stopped after {job.plan.own['patience']:g} s without improvement")
    elif (
        job.deadline is None and not search.equations and now > search.started + job.plan.own["startup_limit"]
    ):
        search.out_of_time = True


def _report(job: Job, search: _Search, text: str) -> None:
    if job.progress is not None:
        job.progress(Progress("pysr", text, search.best, time.monotonic() - search.started))


def _result(worker: Worker, job: Job, search: _Search) -> SearchResult:
    trees, unread = candidates(search.equations, job.operators)
    messages = [*job.plan.notes, *search.notes, *unread]
    failure = search.failure
    if search.out_of_time and not search.equations:
        failure = BackendTimeout(
            f"PySR found nothing within {time.monotonic() - search.started:.0f} s.{worker.last_words()}"
        )
    if worker.garbage:
        messages.append(f"{worker.garbage} lines from PySR's worker were no messages and were skipped")
    if search.out_of_time:
        messages.append("PySR ran out of time; these are the best formulas until then")
    if search.cancelled:
        messages.append("PySR was cancelled; these are the best formulas until then")
    if failure is not None:
        messages.append(str(failure))
        if not trees:
            raise failure
    elif not trees:
        raise BackendFailed(
            "PySR found no formula with a finite gradient at every point." + worker.last_words()
        )
    interrupted = search.out_of_time or search.cancelled or failure is not None
    return SearchResult(trees, interrupted, tuple(dict.fromkeys(messages)), failure)


def candidates(
    equations: tuple[Equation, ...], operators: tuple[Operator, ...] = ()
) -> tuple[tuple[Tree, ...], tuple[str, ...]]:
    """The trees of a frontier, and a message for each row that is no formula of ours."""
    trees: list[Tree] = []
    unread: list[str] = []
    for equation in equations:
        try:
            trees.append(parse(equation.text, None, operators))
        except ExpressionError as error:
            unread.append(f"a row of PySR's frontier was skipped: {str(error).splitlines()[0]}")
    return tuple(trees), tuple(unread)
