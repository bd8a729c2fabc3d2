"""The pages of a run written by several processes at once: this one, and helpers that open the run for themselves.

Which of them writes a page makes no difference to it. Helpers get a few neurons at a time, whenever they have
written the last ones, so that one that starts late or is slow takes fewer; and the neurons of one that is lost
are written by another.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from interpret import children
from interpret.errors import ReportError
from interpret.report.page_worker import error_told, line_from_plain, write_pages
from interpret.report.pages import Folder
from interpret.report.source import Keyed
from interpret.report.view import Line
from interpret.threads import cores

#: Neurons that a process is given at a time: about a sixth of a second.
_BATCH = 8
#: Neurons whose process was lost are given to another this many times.
_LIVES = 1
#: Seconds that a helper has to end what it has in hand, so that it leaves no half of a page.
_GRACE = 1.0


@dataclass(frozen=True)
class _Batch:
    """Neurons that stand side by side: where, which, and how many processes were lost over them."""

    start: int
    keys: list[int]
    lost: int = 0


Batches = SimpleQueue[_Batch]


def write_all(run: Keyed, folder: Folder, jobs: int) -> list[tuple[int, Line]]:
    """Write the page of every neuron of ``run``; (the neuron's key, its line of the index) in their order.

    Args:
        run: may be written to meanwhile; what it holds now is what is reported.
        folder: where the pages go.
        jobs: processes, this one among them; more than cores would only wait for each other.

    Raises:
        ReportError: a page cannot be written, or helpers end over it.
        StoreError: the run cannot be read.
    """
    keys = run.keys()
    starts = range(0, len(keys), _BATCH)
    batches: Batches = SimpleQueue()
    for start in starts:
        batches.put(_Batch(start, keys[start : start + _BATCH]))
    done: dict[int, list[Line]] = {}
    helpers: list[_Helper] = []
    try:
        for _ in range(min(jobs, len(starts), cores()) - 1):
            helpers.append(_Helper(run.path, folder, batches))  # noqa: PERF401 - those begun are ended
        while not batches.empty():  # what a helper was lost over comes back
            done |= _own(run, folder, batches, helpers)
            if not any(helper.error for helper in helpers):
                for helper in helpers:
                    helper.thread.join()
            for helper in helpers:
                if helper.error is not None:
                    raise helper.error
    finally:
        for helper in helpers:
            helper.end()
    for helper in helpers:
        done |= helper.done
    lines = [line for start in starts for line in done[start]]
    return list(zip(keys, lines, strict=True))


def _own(run: Keyed, folder: Folder, batches: Batches, helpers: list[_Helper]) -> dict[int, list[Line]]:
    """Our own share: until nothing is left, or a helper has failed."""
    done: dict[int, list[Line]] = {}
    while not any(helper.error for helper in helpers):
        try:
            batch = batches.get_nowait()
        except Empty:
            break
        done[batch.start] = write_pages(run, batch.keys, folder)
    return done


class _Helper:
    """One further process, and the thread that hands it neurons: ``done`` and ``error`` are final once it has ended."""

    def __init__(self, run: Path, folder: Folder, batches: Batches) -> None:
        self.done: dict[int, list[Line]] = {}
        self.error: Exception | None = None
        self._batches = batches
        self._answers, theirs = Pipe(duplex=False)
        with theirs:
            # In a session of its own Ctrl-C does not reach it; it ends with its input, however we end.
            self._process = subprocess.Popen(
                children.command("interpret.report.page_worker", theirs.fileno()), pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, encoding="ascii", start_new_session=True,
            )  # fmt: skip
        self._order = {"run": str(run.absolute()), "folder": str(folder.path.absolute()), "home": folder.home}
        self.thread = Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            if not self._told(self._order):
                return
            while True:
                batch = self._batches.get_nowait()
                lines = self._heard() if self._told(batch.keys) else None
                if lines is None:
                    self._give_back(batch)
                    return
                self.done[batch.start] = lines
        except Empty:
            return
        except Exception as error:  # told by whoever waits for this thread
            self.error = error

    def _told(self, what: object) -> bool:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # it is lost, or we have ended it
            return False
        return True

    def _heard(self) -> list[Line] | None:
        """The lines of what was asked for; None when the process is lost."""
        try:
            plain = json.loads(self._answers.recv_bytes())
        except (OSError, EOFError):
            return None
        if isinstance(plain, dict):
            raise error_told(plain)
        return [line_from_plain(line) for line in plain]

    def _give_back(self, batch: _Batch) -> None:
        """Let another process write what this one was lost over; a second loss is no chance any more."""
        if batch.lost < _LIVES:
            self._batches.put(_Batch(batch.start, batch.keys, batch.lost + 1))
            return
        self.error = ReportError(
            f"{batch.lost + 1} processes ended over the same {len(batch.keys)} pages, the last with exit code "
            f"{self._process.wait()}. Pages that are there are whole; write the report again, with --jobs 1 if this "
            f"happens again."
        )

    def end(self) -> None:
        """End the process; it has no more to do, or nobody waits for it."""
        with suppress(OSError):  # what was to be said to it is in the pipe still
            self._process.stdin and self._process.stdin.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.thread.join()
        self._answers.close()
