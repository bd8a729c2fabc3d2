"""A worker process of a local pool: it answers messages on a descriptor that it is given.

It is started with one thread per library, ignores Ctrl-C, which is the coordinator's to handle, and ends
when the coordinator is gone.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection

from interpret.errors import InterpretError, LoadError, ModelError, error_to_plain, said
from interpret.sweep import attempt
from interpret.sweeping.frames import result_to_bytes
from interpret.sweeping.session import Order, Session

PREPARED, RESULT, FAILED = b"P", b"R", b"E"


def main(descriptor: int, make: Callable[[Order], Session] = Session) -> None:
    """Serve until told to end or until the coordinator is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    # What a user's model prints belongs to the person's screen, not between our messages.
    with suppress(OSError):  # closed before we were started
        os.dup2(2, 1)
    connection = Connection(descriptor)
    try:
        _serve(connection, make)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _follow(coordinator: int) -> None:
    """End with the coordinator, however it ended, though a neuron be in hand."""
    while os.getppid() == coordinator:
        time.sleep(1.0)
    os._exit(1)


def _serve(connection: Connection, make: Callable[[Order], Session]) -> None:
    session = make(Order.from_json(connection.recv_bytes().decode("utf-8")))
    while True:
        asked = json.loads(connection.recv_bytes())
        if asked["do"] == "end":
            return
        if asked["do"] == "prepare":
            connection.send_bytes(_prepared(session))
        else:
            connection.send_bytes(RESULT + result_to_bytes(attempt(session, asked["address"])))


def _prepared(session: Session) -> bytes:
    try:
        return PREPARED + json.dumps(asdict(session.prepare())).encode("ascii")
    except SystemExit as error:
        ended = LoadError(
            f"the model's file ended the program, sys.exit({error.code!r}); it is to be imported"
        )
        return FAILED + json.dumps(error_to_plain(ended)).encode("ascii")
    except InterpretError as error:
        return FAILED + json.dumps(error_to_plain(error)).encode("ascii")
    except BaseException as error:  # a model may fail in any way
        failed = ModelError(f"the model fails: {type(error).__name__}: {said(error)}")
        return FAILED + json.dumps(error_to_plain(failed)).encode("ascii")
