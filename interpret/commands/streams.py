"""The ends of the program: streams that are closed, a reader that has gone, and who ended it."""

from __future__ import annotations

import os
import sys


def ended_by_typer(error: SystemExit) -> bool:
    """Whether the line that ended the program is one of typer's own, or of the click beneath it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] in ("typer", "click")


def discard_output() -> None:
    """The reader of our output has gone (`… | head`); Python would complain again on closing the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_closed() -> None:
    """Closed ones (`>&-`) become the null device; or the next file opened would be taken for them."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115
