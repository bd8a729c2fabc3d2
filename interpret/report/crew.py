"""The pages of a run written by several processes at once: this one, and helpers that open the run for themselves.

Which of them writes a page makes no difference to it. Helpers get a few neurons at a time, whenever they have
written the last ones, so that one that starts late or is slow takes fewer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from interpret.errors import ReportError, error_from_plain
from interpret.report.page_worker import line_from_plain, write_pages
from interpret.report.pages import Folder
from interpret.report.source import Keyed
from interpret.report.view import Line
from interpret.threads import cores

#: Neurons that a process is given at a time: about a sixth of a second.
_BATCH = 8

Batches = SimpleQueue[tuple[int, list[int]]]


def write_all(run: Keyed, folder: Folder, jobs: int) -> list[tuple[int, Line]]:
    """Write the page of every neuron of ``run``; (the neuron's key, its line of the index) in their order.

    Args:
        run: may be written to meanwhile; what it holds now is what is reported.
        folder: where the pages go.
        jobs: processes, this one among them; more than cores would only wait for each other.

    Raises:
        ReportError: a page cannot be written, or a helper ended.
        StoreError: the run cannot be read.
    """
    keys = run.keys()
    starts = range(0, len(keys), _BATCH)
    batches: Batches = SimpleQueue()
    for start in starts:
        batches.put((start, keys[start : start + _BATCH]))
    helpers = [_Helper(run.path, folder, batches) for _ in range(min(jobs, len(starts), cores()) - 1)]
    try:
        done = _own(run, folder, batches, helpers)
        for helper in helpers:
            helper.thread.join()
    finally:
        for helper in helpers:
            helper.end()
    for helper in helpers:
        if helper.error is not None:
            raise helper.error
        done |= helper.done
    lines = [line for start in starts for line in done[start]]
    return list(zip(keys, lines, strict=True))


def _own(run: Keyed, folder: Folder, batches: Batches, helpers: list[_Helper]) -> dict[int, list[Line]]:
    """Our own share: until nothing is left, or a helper has failed."""
    done: dict[int, list[Line]] = {}
    while not any(helper.error for helper in helpers):
        try:
            start, keys = batches.get_nowait()
        except Empty:
            break
        done[start] = write_pages(run, keys, folder)
    return done


class _Helper:
    """One further process, and the thread that hands it neurons: ``done`` and ``error`` are final once it has ended."""

    def __init__(self, run: Path, folder: Folder, batches: Batches) -> None:
        self.done: dict[int, list[Line]] = {}
        self.error: Exception | None = None
        self._batches = batches
        # In a session of its own Ctrl-C does not reach it; it ends with its input, however we end.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "interpret.report.page_worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii", start_new_session=True,
        )  # fmt: skip
        self._order = {"run": str(run.absolute()), "folder": str(folder.path.absolute()), "home": folder.home}
        self.thread = Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            self._tell(self._order)
            while True:
                start, keys = self._batches.get_nowait()
                self._tell(keys)
                self.done[start] = self._heard()
        except Empty:
            return
        except Exception as error:  # told by whoever waits for this thread
            self.error = error

    def _tell(self, what: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._lost() from None

    def _heard(self) -> list[Line]:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise self._lost()
        plain = json.loads(answer)
        if isinstance(plain, dict):
            raise error_from_plain(plain)
        return [line_from_plain(line) for line in plain]

    def _lost(self) -> ReportError:
        return ReportError(
            f"a process that writes pages ended with exit code {self._process.wait()}. Pages that are there are "
            f"whole; write the report again, with --jobs 1 if this happens again."
        )

    def end(self) -> None:
        """End the process; it has no more to do, or nobody waits for it."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was to be said to it is in the pipe still
                pipe and pipe.close()
        self._process.wait()
