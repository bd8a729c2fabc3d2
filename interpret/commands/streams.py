"""The ends of the program: streams that are closed, a reader that has gone, and who ended it."""

from __future__ import annotations

import codecs
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def ended_by_typer(error: SystemExit) -> bool:
    """Whether the line that ended the program is one of typer's own, or of the click beneath it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] in ("typer", "click")


def discard_output(stream: Any = None) -> None:
    """The reader of our output, or of ``stream``, has gone (`… | head`); Python would complain again on closing
    the pipe.
    """
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, (stream or sys.stdout).fileno())
    os.close(nothing)


#: What stands for a character that the terminal's encoding lacks, where one of the same width says the same.
_PLAIN = {"·": ".", "–": "-", "−": "-", "→": ">", "×": "x", "…": "~", "²": "2", "\ufffd": "?"}


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    spelled = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in found)
    return "".join(spelled), error.end


def print_anything() -> None:
    """Characters that the encoding of standard output lacks are spelled out, whoever prints them."""
    codecs.register_error("twinscope", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="twinscope")


def open_closed() -> None:
    """Closed ones (`>&-`) become the null device; or the next file opened would be taken for them."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(descriptor, True)  # our workers have theirs from us
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115


def interrupts_end() -> None:
    """Until ``interrupts_raise``, Ctrl-C ends the command in one line: while it imports, nothing is begun."""
    if os.path.basename(sys.argv[0] if sys.argv else "").partition(".")[0] != "twinscope":
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupts_raise() -> None:
    """Ctrl-C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    os.write(2, b"twinscope: interrupted before anything was begun\n")
    os._exit(130)


#: Seconds that an end has after the second Ctrl-C.
_GRACE = 1.0


@contextmanager
def second_interrupt_ends() -> Iterator[None]:
    """The second Ctrl-C ends the program soon, though it be waiting inside a library, such as for a database."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_count, args=(ours,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()


def _count(signals: socket.socket) -> None:
    """Read a byte per signal; the end of all is that nobody waits for them any more."""
    with signals:
        left = 2
        while left:
            heard = signals.recv(1)
            if not heard:
                return
            left -= heard[0] in (signal.SIGINT, signal.SIGTERM)
        signals.settimeout(_GRACE)
        try:
            while signals.recv(1):
                pass
        except TimeoutError:
            os.write(2, b"twinscope: interrupted; the same command goes on where it stopped\n")
            os._exit(130)
