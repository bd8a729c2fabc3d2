"""Sweeps: many neurons of one network, each committed when done, resumable, on one process or many."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Protocol

from interpret.errors import InterpretError, NoAnswer, said
from interpret.runs.claims import Claims, Counts, Failure, Heart
from interpret.runs.temporary import clear
from interpret.runs.writing import Entry, entry
from interpret.store import Run, create_run
from interpret.sweeping.deadline import Expired, deadline
from interpret.sweeping.session import Order, Prepared, Session

#: Seconds between looks at what other processes did.
_PAUSE = 0.5
#: Seconds between counts of all tasks.
_RECOUNT = 5.0


@dataclass(frozen=True)
class Result:
    """What came of one neuron: what the run keeps of its explanation, or the name and text of an error."""

    address: str
    entry: Entry | None = None
    error: str = ""
    message: str = ""
    seconds: float = 0.0


class Executor(Protocol):
    """Where neurons are explained: this process, a pool of them, or a cluster."""

    def prepare(self) -> Prepared:
        """Load model and data and expand the addresses; raises what is wrong with them."""

    def free(self) -> str | None:
        """None while nothing can be taken on; else what the free worker explained last, or ""."""

    def submit(self, address: str) -> None:
        """Take on a neuron."""

    def wait(self, seconds: float) -> list[Result]:
        """Results that are ready, after at most about that long."""

    def close(self, now: bool = False) -> None:
        """End all workers; ``now`` without letting them finish."""


@dataclass(frozen=True)
class Event:
    """Something that happened in a sweep, for progress and logs: "start", "warning", "done", "failed" or
    "end".
    """

    kind: str
    address: str
    counts: Counts
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended. ``explained`` counts this process's neurons, ``counts`` all of the plan's."""

    counts: Counts
    explained: int
    interrupted: bool
    failures: tuple[Failure, ...] = field(default=())
    seconds: float = 0.0


Watch = Callable[[Event], None]


class Stop:
    """Set by the first Ctrl-C or a TERM signal: the neuron in hand is finished, then the sweep ends."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals within; the second one interrupts at once. Elsewhere than the main thread, none
        are.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.asked.is_set():
            raise KeyboardInterrupt
        self.asked.set()


def attempt(session: Session, address: str) -> Result:
    """Explain one neuron and make its entry; an error becomes part of the result."""
    started = time.perf_counter()
    try:
        with deadline(session.order.limit):
            explanation = session.explain(address)
        if not explanation.answered:
            raise NoAnswer("; ".join(f"{engine}: {why}" for engine, why in explanation.failures))
        made = entry(explanation)
    except Expired:
        limit = f"took longer than {session.order.limit:g} s"
        return Result(address, error="TimeLimit", message=limit, seconds=_since(started))
    except InterpretError as error:
        return Result(address, error=type(error).__name__, message=str(error), seconds=_since(started))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A neuron's failure of any kind must not end ten thousand others; it is recorded.
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{said(error)} ({Path(where.filename).name}:{where.lineno})"
        return Result(address, error=type(error).__name__, message=message, seconds=_since(started))
    return Result(address, made, seconds=_since(started))


def _since(started: float) -> float:
    return time.perf_counter() - started


class Serial:
    """The executor of one process: a neuron is explained when it is waited for."""

    def __init__(self, order: Order, session: Session | None = None) -> None:
        self._session = session or Session(order)
        self._next: str | None = None
        self._last = ""

    def prepare(self) -> Prepared:
        """See Executor."""
        return self._session.prepare()

    def free(self) -> str | None:
        """See Executor."""
        return self._last if self._next is None else None

    def submit(self, address: str) -> None:
        """See Executor."""
        self._next = self._last = address

    def wait(self, seconds: float) -> list[Result]:
        """See Executor."""
        if self._next is None:
            time.sleep(seconds)
            return []
        address, self._next = self._next, None
        return [attempt(self._session, address)]

    def close(self, now: bool = False) -> None:
        """See Executor."""


def sweep(
    order: Order,
    out: str | Path,
    *,
    executor: Executor | None = None,
    retry_failed: bool = False,
    watch: Watch | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Explain every neuron of the order that the run at ``out`` does not hold yet.

    Nothing is written before model, data and addresses are known to be good. Killed at any moment, the same
    call goes on where it stopped; another process may sweep the same run at the same time.

    Raises:
        InterpretError: model, data, an address or the run cannot be used.
    """
    executor = executor or Serial(order)
    stop = stop or Stop()
    now = True
    try:
        prepared = executor.prepare()
        key = sha256(f"{prepared.title}|{prepared.fingerprint}".encode("utf-8", "surrogatepass")).hexdigest()
        with create_run(out) as run:
            clear(run.path)
            clear(run.path / "arrays")
            claims = Claims.register(run, key, order.to_json(), prepared.addresses)
            if retry_failed:
                claims.retry_failed()
            with Heart(run.path, claims.owner):
                warning = run.mixed(prepared.title, prepared.data_hash, prepared.model_hash)
                outcome = _Loop(run, claims, executor, watch or _ignore, stop).go(warning)
        now = outcome.interrupted
        return outcome
    finally:
        executor.close(now)


def _ignore(event: Event) -> None:
    del event


class _Loop:
    """Hands out claims and commits results until nothing is left or a stop is asked for."""

    def __init__(self, run: Run, claims: Claims, executor: Executor, watch: Watch, stop: Stop) -> None:
        self._run, self._claims, self._executor, self._watch, self._stop = run, claims, executor, watch, stop
        self._hand: set[str] = set()
        self._explained = 0
        self._counts, self._counted = claims.counts(), time.monotonic()
        self._started = time.perf_counter()

    def go(self, warning: str = "") -> Outcome:
        """The whole sweep; claims that are not done are given back however it ends."""
        try:
            with self._stop.listening():
                self._tell("start", "")
                if warning:
                    self._tell("warning", "", message=warning)
                while self._fill():
                    results = self._executor.wait(_PAUSE)
                    self._hand -= {result.address for result in results}
                    self._fill()
                    for result in results:
                        self._commit(result)
        except BaseException:
            # The error at hand is the one to show; claims of a process that has ended are free anyway.
            with suppress(InterpretError):
                self._claims.release()
            raise
        counts = self._counts = self._claims.counts()
        self._tell("end", "")
        unfinished = counts.waiting + counts.claimed > 0
        return Outcome(
            counts,
            self._explained,
            self._stop.asked.is_set() and unfinished,
            tuple(self._claims.failures()),
            _since(self._started),
        )

    def _fill(self) -> bool:
        """Give the executor what it has room for; False when all is done."""
        while not self._stop.asked.is_set() and (last := self._executor.free()) is not None:
            address = self._claims.take(last, self._hand)
            if address is None:
                break
            self._hand.add(address)
            self._executor.submit(address)
        if self._hand:
            return True
        # Claims of other living processes are waited for: should one of them die, its neurons are taken over.
        return not self._stop.asked.is_set() and self._claims.any_claimed()

    def _commit(self, result: Result) -> None:
        if result.entry is None:
            self._claims.fail(result.address, result.error, result.message)
        else:
            self._run.write_files(result.entry.packs)
            with self._run.writing():
                # A claim that another process took over is its to commit; ours is dropped, being the same
                # bytes.
                if self._claims.close_task(result.address, "done"):
                    self._run.insert(result.entry, self._claims.plan)
        self._explained += 1
        self._count(bool(result.error))
        self._tell("failed" if result.error else "done", result.address, result.seconds, result.message)

    def _tell(self, kind: str, address: str, seconds: float = 0.0, message: str = "") -> None:
        self._watch(Event(kind, address, self._counts, seconds, message))

    def _count(self, failed: bool) -> None:
        """Follow our own results; what other processes did is looked up now and then, for a million tasks
        take long.
        """
        if time.monotonic() - self._counted > _RECOUNT:
            self._counts, self._counted = self._claims.counts(), time.monotonic()
            return
        c = self._counts
        self._counts = replace(c, waiting=c.waiting - 1, done=c.done + (not failed), failed=c.failed + failed)
