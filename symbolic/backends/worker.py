"""A worker process: started, spoken to in JSON lines, listened to with a deadline, and ended with all its children and
its scratch folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interpret.errors import BackendCrashed, BackendFailed, BackendGarbled, BackendTimeout
from symbolic.backends.messages import LONGEST_LINE, Message, read
from symbolic.backends.pysr_relay import FOLDER, kill_strays

_MOST_GARBAGE = 200
#: Seconds in which what is left of a process that has ended may still speak for it.
_AFTERLIFE = 3.0
_TAIL = 4_000
#: Seconds in which a process that is ready must read what it is sent.
_LISTENS = 60.0
#: Bytes of stderr kept on disk; what came earlier is given up.
_MOST_STDERR = 64 << 20


class Worker:
    """One process and whatever it starts, in a process group of its own: Ctrl-C reaches only the parent.

    ``stop`` (or leaving the ``with`` block, or the end of the parent) ends the whole group and then removes ``folder``,
    the worker's scratch space: in this order, or the process would write into what is being removed. What the process
    writes to stderr is kept in a file; `last_words` gives its end.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.folder, self._stderr = _scratch()
        try:
            self.process = subprocess.Popen(
                [*command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={
                    **(os.environ if environment is None else environment),
                    FOLDER: str(self.folder),
                },
                start_new_session=True,
            )
        except BaseException as error:
            os.close(self._stderr)
            shutil.rmtree(self.folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise BackendCrashed(f"the worker could not be started: {error}") from error
            raise
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._selector = selectors.DefaultSelector()
        # Also when the parent ends without calling stop.
        self._finish = weakref.finalize(
            self, _finish, self.process, self._selector, self._stderr, self.folder, os.getpid()
        )
        self._selector.register(self.process.stdout, selectors.EVENT_READ)
        self._buffer = b""
        self._inbox: deque[Message] = deque()
        self._closed = False
        self._ended: float | None = None
        self._garbled: BackendGarbled | None = None
        self.garbage = 0
        self.jobs = 0
        self.ready = False
        self.usable = True
        self.versions: tuple[tuple[str, str], ...] = ()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the process still runs and listens."""
        return not self._closed and self.process.poll() is None

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one JSON line.

        Raises:
            BackendCrashed: the process is gone.
            BackendTimeout: it does not read.
        """
        assert self.process.stdin is not None
        data, until = json.dumps(message).encode() + b"\n", time.monotonic() + _LISTENS
        try:
            pipe = self.process.stdin.fileno()
            with selectors.DefaultSelector() as ready:
                ready.register(pipe, selectors.EVENT_WRITE)
                while data:
                    if not ready.select(max(0.0, until - time.monotonic())):
                        raise BackendTimeout(f"the worker did not read its job.{self.last_words()}")
                    # A pipe that is ready takes this much without blocking.
                    data = data[os.write(pipe, data[: select.PIPE_BUF]) :]
        except (BrokenPipeError, ValueError) as error:
            raise self.crashed() from error

    def receive(self, timeout: float) -> Message | None:
        """The next message, or None after ``timeout`` seconds without one.

        Raises:
            BackendCrashed: the process ended.
            BackendGarbled: it keeps writing lines that are no messages.
        """
        until = time.monotonic() + timeout
        self._bound_stderr()
        while not self._inbox:
            # What came before the end, or before the garbage, has been delivered by now.
            if self._garbled is not None:
                raise self._garbled
            if self._closed:
                raise self.crashed()
            if not self._selector.select(max(0.0, until - time.monotonic())):
                self._look_for_the_end()
                return None
            self._read()
            # A process that never stops writing nonsense must not hold its listener beyond the timeout either.
            if time.monotonic() >= until:
                break
        return self._inbox.popleft() if self._inbox else None

    def _look_for_the_end(self) -> None:
        """A process that has ended while a child of its own holds its output, and says nothing, has ended."""
        if self._ended is None and self.process.poll() is not None:
            self._ended = time.monotonic()
        self._closed |= self._ended is not None and time.monotonic() > self._ended + _AFTERLIFE

    def rest(self) -> list[Message]:
        """What a process that was killed had already written; to be called once it has ended."""
        until = time.monotonic() + _AFTERLIFE
        with contextlib.suppress(OSError, ValueError, KeyError):
            while not self._closed and self._garbled is None and time.monotonic() < until:
                if not self._selector.select(0.0):
                    break
                self._read()
        found, self._inbox = list(self._inbox), deque()
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._closed = True
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > LONGEST_LINE:
            self._garbled = BackendGarbled(
                f"the worker wrote a line of more than {LONGEST_LINE:,} bytes.{self.last_words()}"
            )
        for line in lines:
            message = read(line)
            if message is not None:
                self._inbox.append(message)
            else:
                self._count_garbage(line)

    def _bound_stderr(self) -> None:
        # The file turns sparse: its size goes on growing with the process's offset, the blocks before are freed.
        if os.fstat(self._stderr).st_blocks * 512 > _MOST_STDERR:
            os.ftruncate(self._stderr, 0)

    def _count_garbage(self, line: bytes) -> None:
        self.garbage += 1
        if self.garbage > _MOST_GARBAGE:
            excerpt = line[:80].decode("utf-8", "replace")
            self._garbled = BackendGarbled(
                f"the worker wrote {self.garbage} lines that are no messages, the last {excerpt!r}.{self.last_words()}"
            )

    def crashed(self) -> BackendCrashed:
        """The error that says how the process ended, with its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.returncode
        if code is None:
            how = "closed its output but did not end"
        elif code < 0:
            how = f"was killed by {_signal_name(-code)}"
            if -code == signal.SIGKILL:
                how += " (often the system's way to say that memory ran out)"
        else:
            how = f"ended with exit status {code}"
        return BackendCrashed(f"the worker {how} before it was done.{self.last_words()}")

    def last_words(self) -> str:
        """The end of what the process wrote to stderr, for a message; empty where it wrote nothing."""
        size = os.fstat(self._stderr).st_size
        tail = os.pread(self._stderr, _TAIL, max(0, size - _TAIL)).lstrip(b"\0")
        lines = tail.decode("utf-8", "replace").strip().splitlines()[-20:]
        return "\nIts last words were:\n  " + "\n  ".join(lines) if lines else ""

    def kill(self) -> None:
        """End the process and its children now; a thread that waits in `receive` then gets `BackendCrashed`."""
        if self._finish.alive:
            _kill_all(self.process, self.folder)

    def stop(self) -> None:
        """End the process and its children by force, and remove the folder."""
        self._closed = True
        self._finish()


def _finish(
    process: subprocess.Popen[bytes], selector: selectors.BaseSelector, stderr: int, folder: Path, owner: int
) -> None:
    if os.getpid() != owner:
        # A forked copy of the owner ends: the worker is not its to kill.
        return
    _kill_all(process, folder)
    selector.close()
    with contextlib.suppress(OSError):
        os.close(stderr)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    shutil.rmtree(folder, ignore_errors=True)


def _kill_all(process: subprocess.Popen[bytes], folder: Path) -> None:
    # Before the process itself, whose children are not known as such once it has ended.
    kill_strays(process.pid, str(folder))
    # The group outlives its leader while a child runs, so it is signalled even when the leader has ended.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)


def _scratch() -> tuple[Path, int]:
    """A new folder, and an open file for stderr that has no name any more."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="twinscope-pysr-"))
    except OSError as error:
        raise BackendFailed(
            f"no folder for the worker's files can be made; TMPDIR names one: {error}"
        ) from error
    try:
        stderr, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BackendFailed(f"the worker's files cannot be written to {folder}: {error}") from error
    return folder, stderr


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
