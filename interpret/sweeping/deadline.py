"""Ends work that takes too long, in whatever thread it runs.

The thread gets an exception at its next Python instruction, so ``finally`` clauses run and a model is left
as found. Work that hangs inside a library is beyond its reach; there the worker process is ended instead.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Expired(BaseException):
    """The time is over. No Exception, so that no engine takes it for a failure of its own and goes on."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise Expired in this thread once ``seconds`` are over; None means no limit."""
    if seconds is None:
        yield
        return
    clock = _Clock(threading.get_ident())
    timer = threading.Timer(seconds, clock.ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        clock.stop()


class _Clock:
    """Rings at most once, and never after it was stopped."""

    def __init__(self, thread: int) -> None:
        self._thread = ctypes.c_ulong(thread)
        self._lock = threading.Lock()
        self._open = True
        self._rang = False

    def ring(self) -> None:
        with self._lock:
            if self._open:
                self._rang = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(Expired))

    def stop(self) -> None:
        with self._lock:
            self._open = False
            if self._rang:
                # Rung but not yet delivered: without this it would strike whatever the thread does next.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, None)
