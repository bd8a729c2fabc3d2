"""Progress of long verbs: live on a terminal, nothing elsewhere, lines of JSON when asked for."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from interpret.commands import terminal

if TYPE_CHECKING:
    from interpret.sweep import Event


def seen() -> bool:
    """Whether a person looks at standard error."""
    return sys.stderr.isatty()


class Watcher:
    """Shows the events of a sweep: done, failed, neurons per minute, time left."""

    def __init__(self, quiet: bool, json: bool) -> None:
        self._json, self._quiet = json, quiet
        self._live: Any = None
        self._task: Any = None
        self._wanted = seen() and not quiet and not json
        self._started = time.monotonic()
        self._first = 0

    def __enter__(self) -> Watcher:
        if self._wanted:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            text = TextColumn("{task.fields[note]}", markup=False)
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                text,
                transient=True,
                console=terminal.console(stderr=True),
            )
            self._task = self._live.add_task("loading", total=None, note="")
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "start":
            self._started, self._first = time.monotonic(), event.counts.done + event.counts.failed
        if self._json:
            terminal.told(terminal.json_line(self._record(event)))
        elif event.kind == "warning":
            self._warn(f"twinscope: {event.message}")
        elif self._live is not None:
            counts = event.counts
            self._live.update(
                self._task,
                description=terminal.shortened(terminal.safe(event.address), 24) or event.kind,
                total=counts.total,
                completed=counts.done + counts.failed,
                note=self._note(event),
            )

    def _warn(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(terminal.safe(text))
        elif not self._quiet:
            terminal.message(text)

    def _record(self, event: Event) -> dict[str, Any]:
        counts = event.counts
        record = {"event": event.kind, "done": counts.done, "failed": counts.failed, "total": counts.total}
        if event.address or event.kind in ("done", "failed"):
            record |= {"address": event.address, "seconds": round(event.seconds, 3)}
        if event.message:
            record["message"] = event.message
        return record

    def _note(self, event: Event) -> str:
        counts = event.counts
        ended = counts.done + counts.failed
        spent = time.monotonic() - self._started
        failed = f"{counts.failed} failed  " if counts.failed else ""
        if ended <= self._first or spent <= 0:
            return failed
        rate = (ended - self._first) / spent
        return f"{failed}{rate * 60:.1f}/min  {clock((counts.total - ended) / rate)} left"


def clock(seconds: float) -> str:
    """A duration as people say it: ``42 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class Steps:
    """A bar per step of a job that says (message, share done); a line per step where no person looks."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Steps:
        if seen() and not self._quiet:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=terminal.console(stderr=True),
            )
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, message: str, share: float) -> None:
        """``share`` of the step called ``message`` is done, from 0 to 1."""
        if self._quiet:
            return
        if message not in self._tasks:
            if self._live is None:
                terminal.message(message)
            self._tasks[message] = self._live.add_task(message, total=1.0) if self._live is not None else None
        if self._live is not None:
            self._live.update(self._tasks[message], completed=share)
