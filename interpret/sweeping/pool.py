"""Worker processes on this machine. Each loads model and data itself and runs with one thread.

Workers share nothing with the coordinator but a socket, so one that crashes, hangs or is killed takes along
no more than the neuron it had in hand, which another one gets.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from typing import cast

from interpret import children
from interpret.errors import ModelError, UsageError, error_from_plain
from interpret.sweep import Result
from interpret.sweeping.frames import result_from_bytes
from interpret.sweeping.session import Order, Prepared, one_thread_environment
from interpret.sweeping.worker import FAILED
from interpret.threads import cores

#: A neuron whose worker died is given to another this many times.
_LIVES = 2
#: Seconds over the time limit that a worker has to end the neuron by itself before it is killed.
_GRACE = 5.0
#: The command of a worker that answers on a descriptor.
_WORKER = partial(children.command, "interpret.sweeping.worker")


@dataclass
class _Worker:
    """One process and what it has in hand."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    address: str | None = None
    last: str = ""
    since: float = 0.0
    ready: bool = field(default=False)


class Pool:
    """An executor of ``jobs`` processes (see `interpret.sweep.Executor`)."""

    def __init__(
        self,
        order: Order,
        jobs: int,
        command: Callable[[int], Sequence[str]] = _WORKER,
    ) -> None:
        most = max(8, 4 * cores())
        if jobs > most:
            raise UsageError(
                f"{jobs} worker processes on {cores()} cores: each holds the network and the data, and uses one "
                f"core. Use at most {most}, best one per core."
            )
        self._order, self._command = order, command
        self._deaths: dict[str, int] = {}
        self._workers = [self._start() for _ in range(jobs)]

    def _start(self) -> _Worker:
        ours, theirs = Pipe()
        with _blocked():
            process = subprocess.Popen(
                self._command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                env=one_thread_environment(),
                stdin=subprocess.DEVNULL,
            )
        theirs.close()
        worker = _Worker(process, ours)
        self._send(worker, self._order.to_json().encode("utf-8"))
        self._say(worker, {"do": "prepare"})
        return worker

    def _say(self, worker: _Worker, message: dict[str, str]) -> None:
        self._send(worker, json.dumps(message).encode("ascii"))

    @staticmethod
    def _send(worker: _Worker, content: bytes) -> None:
        # A worker that has just died is noticed when its answer is waited for.
        with suppress(OSError):
            worker.pipe.send_bytes(content)

    def prepare(self) -> Prepared:
        """Load model and data in every worker; the first to be ready says what there is to do.

        Raises:
            InterpretError: the model, the data or an address cannot be used.
        """
        pipes = {worker.pipe: worker for worker in self._workers}
        while True:
            for pipe in wait(list(pipes)):
                worker = pipes[cast(Connection, pipe)]
                try:
                    frame = worker.pipe.recv_bytes()
                except (EOFError, OSError) as error:
                    code = worker.process.wait()
                    raise ModelError(
                        f"a worker process ended with {_ending(code)} while it loaded the model and data "
                        f"(--jobs 1 shows more)"
                    ) from error
                plain = json.loads(frame[1:])
                if frame[:1] == FAILED:
                    raise error_from_plain(plain)
                worker.ready = True
                prepared = Prepared.from_plain(plain)
                self._dismiss(max(1, len(prepared.addresses)))
                return prepared

    def _dismiss(self, needed: int) -> None:
        """End workers that there is no neuron for; those that are ready stay."""
        ordered = sorted(self._workers, key=lambda worker: not worker.ready)
        self._workers = ordered[:needed]
        for worker in ordered[needed:]:
            self._end(worker, now=True)

    def free(self) -> str | None:
        """See Executor."""
        worker = self._idle()
        return None if worker is None else worker.last

    def _idle(self) -> _Worker | None:
        idle = [w for w in self._workers if w.address is None]
        return min(idle, key=lambda w: not w.ready, default=None)

    def submit(self, address: str) -> None:
        """See Executor."""
        worker = self._idle()
        assert worker is not None, "submit only when free() says so"
        worker.address, worker.last, worker.since = address, address, time.monotonic()
        self._say(worker, {"do": "explain", "address": address})

    def wait(self, seconds: float) -> list[Result]:
        """See Executor."""
        results = []
        pipes = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(pipes), timeout=seconds):
            result = self._receive(pipes[cast(Connection, pipe)])
            if result is not None:
                results.append(result)
        return results + self._overdue()

    def _receive(self, worker: _Worker) -> Result | None:
        try:
            frame = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            return self._lost(worker)
        if not worker.ready:
            # The answer to "prepare"; should loading have failed here alone, each neuron will say so.
            worker.ready = True
            worker.since = time.monotonic()
            return None
        worker.address = None
        return result_from_bytes(frame[1:])

    def _lost(self, worker: _Worker) -> Result | None:
        """A worker is gone: a new one takes its place and its neuron, unless that neuron kills every
        worker.
        """
        code = worker.process.wait()
        worker.pipe.close()
        address = worker.address
        self._workers[self._workers.index(worker)] = fresh = self._start()
        if address is None:
            return None
        self._deaths[address] = self._deaths.get(address, 0) + 1
        if self._deaths[address] > _LIVES:
            return Result(
                address,
                error="WorkerLost",
                message=f"its worker process ended with {_ending(code)}, {_LIVES + 1} times",
            )
        fresh.address = fresh.last = address
        fresh.since = time.monotonic()
        self._say(fresh, {"do": "explain", "address": address})
        return None

    def _overdue(self) -> list[Result]:
        """Neurons whose worker is over the time limit and did not notice: it hangs in a library, and is
        killed.
        """
        limit = self._order.limit
        if limit is None:
            return []
        results = []
        for i, worker in enumerate(self._workers):
            if worker.address is None or not worker.ready:
                continue
            if time.monotonic() - worker.since > limit + _GRACE:
                results.append(
                    Result(
                        worker.address,
                        error="TimeLimit",
                        seconds=limit,
                        message=f"took longer than {limit:g} s",
                    )
                )
                self._end(worker, now=True)
                self._workers[i] = self._start()
        return results

    def close(self, now: bool = False) -> None:
        """See Executor."""
        for worker in self._workers:
            if not now:
                self._say(worker, {"do": "end"})
            self._end(worker, now)

    @staticmethod
    def _end(worker: _Worker, now: bool) -> None:
        if now or not worker.ready:
            worker.process.kill()
        worker.pipe.close()
        try:
            worker.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


@contextmanager
def _blocked() -> Iterator[None]:
    """Ctrl-C waits meanwhile, and a process that is started here is born deaf to it: it hears of it from us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
