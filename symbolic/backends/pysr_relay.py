"""The process beside PySR's own: it sends every improved frontier, guards the memory limit, and ends everything when
the parent is gone. Plain Python, loaded by `pysr_worker` from its file: neither symbolic nor torch nor NumPy.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import re
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

_TICK = 0.25
#: The variable that names a worker's folder; all that descends from the worker has it too.
FOLDER = "TWINSCOPE_FOLDER"
_ROUNDS = 20
#: A number as Julia prints it in single precision: 1.5f-3.
_SINGLE = re.compile(r"(?<![\w.])(\d+\.?\d*)f([+-]?\d+)\b")


def hall_of(folder: Path) -> Path:
    """Where PySR writes the frontier of the job that has this folder."""
    return folder / "run" / "hall_of_fame.csv"


def read_hall(path: Path) -> list[dict[str, Any]]:
    """The best row of each complexity in PySR's file and its backup: either may be half written when it is read."""
    best: dict[int, dict[str, Any]] = {}
    for candidate in (Path(f"{path}.bkup"), Path(f"{path}.bak"), path):
        for row in hall_rows(candidate):
            kept = best.get(row["complexity"])
            if kept is None or row["loss"] <= kept["loss"]:
                best[row["complexity"]] = row
    return [best[size] for size in sorted(best)]


def hall_rows(path: Path) -> list[dict[str, Any]]:
    """The whole rows of one file: a last line that has no end is not one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        return []
    whole = [line for line in lines if line.endswith("\n")]
    try:
        rows = [hall_row(row) for row in csv.DictReader(whole, strict=True)]
    except csv.Error:
        return []
    return [row for row in rows if row is not None]


def hall_row(row: dict[str, str]) -> dict[str, Any] | None:
    """A row as plain data, or None where it is not whole or its loss is no number that others could be less than."""
    try:
        loss = float(in_double(row["Loss"]))
        if not math.isfinite(loss):
            return None
        return {
            "complexity": int(row["Complexity"]),
            "loss": loss,
            "equation": in_double(row["Equation"].strip()),
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def in_double(text: str) -> str:
    """Julia's single-precision numbers in the usual notation."""
    return _SINGLE.sub(r"\1e\2", text)


class Relay:
    """Forwards the worker's lines; between them, watches the file, the memory, and the parent."""

    def __init__(
        self, listen: int, answers: int, parent: Parent, worker: int, memory_limit: int, folder: str
    ) -> None:
        self.listen, self.answers, self.parent = listen, answers, parent
        self.worker, self.memory_limit, self.folder = worker, memory_limit, folder
        self.job, self.sent = -1, ""
        self.path: Path | None = None
        self.buffer = b""

    def run(self) -> None:
        """Until the worker has ended, or must be; then until somebody has removed its folder."""
        while self.step():
            pass
        os.close(self.answers)
        while self.folder and os.path.isdir(self.folder):
            if self.parent.gone():
                self.end()
            time.sleep(_TICK)

    def step(self) -> bool:
        """Wait for a moment, and do what there is to do; False once the worker has ended."""
        readable, _, _ = select.select([self.listen], [], [], _TICK)
        data = os.read(self.listen, 1 << 16) if readable else None
        if data is not None:
            *lines, self.buffer = (self.buffer + data).split(b"\n")
            for line in lines:
                self.forward(line)
        self.look()
        if self.parent.gone():
            self.end()
        if 0 < self.memory_limit < resident(self.worker):
            self.stop_for_memory()
            return False
        return data != b""

    def stop_for_memory(self) -> None:
        """Say that the limit is passed, and end the worker."""
        used, allowed = (f"{size / 2**20:.0f} MiB" for size in (resident(self.worker), self.memory_limit))
        text = f"the worker used {used} of {allowed} allowed"
        self.say({"event": "failed", "job": self.job, "kind": "memory", "message": text})
        self.kill()

    def forward(self, line: bytes) -> None:
        """Send a line on, or keep it where it is for the relay."""
        message = json.loads(line)
        if message["event"] == "watch":
            self.job, self.path, self.sent = message["job"], Path(message["path"]), ""
        elif message["event"] == "unwatch":
            self.path = None
        else:
            self.write(line + b"\n")

    def look(self) -> None:
        """Send the frontier where it has changed."""
        rows = [] if self.path is None else read_hall(self.path)
        text = json.dumps(rows)
        if rows and text != self.sent:
            self.say({"event": "frontier", "job": self.job, "rows": rows})
            self.sent = text

    def say(self, message: dict[str, Any]) -> None:
        """Send a message of the relay's own."""
        self.write(json.dumps(message).encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Write everything, or end the worker: nobody listens any more."""
        try:
            while data:
                data = data[os.write(self.answers, data) :]
        except BrokenPipeError:
            self.kill()

    def kill(self) -> None:
        """End the worker alone; this process and the folder are left for the parent."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.worker, signal.SIGKILL)

    def end(self) -> None:
        """End the group where the parent is gone, and do what it would have done: remove the folder."""
        self.kill()
        until = time.monotonic() + 5
        while running(self.worker) and time.monotonic() < until:
            # What it still writes would be left behind.
            time.sleep(0.01)
        kill_strays(self.worker, self.folder)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)


class Parent:
    """The process that started the worker. ``child`` is its child, where that is known: a child that has another parent
    has lost its own, whoever bears the number now.
    """

    def __init__(self, process: int, child: int | None) -> None:
        self.process, self.child = process, child

    def gone(self) -> bool:
        """Whether it has ended, be it that nobody collected it yet."""
        if not running(self.process):
            return True
        own = None if self.child is None else stat(self.child)
        return own is not None and int(own[1]) != self.process


def running(process: int) -> bool:
    """Whether a process of that number runs: one that has ended and waits to be collected does not."""
    state = stat(process)
    if state is not None:
        return state[0] not in ("Z", "X")
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def stat(process: int | str) -> list[str] | None:
    """State, parent, group and so on of a process, from /proc; None where it is not to be had."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses before may hold anything.
    return text.rpartition(")")[2].split()


def resident(worker: int) -> int:
    """Bytes of resident memory of the group and of all that descends from the worker, for Julia may start processes;
    0 where the system does not tell.
    """
    group, everything = str(os.getpgrp()), processes()
    members = descendants(worker, everything) | {
        process for process, fields in everything.items() if fields[2] == group
    }
    pages = sum(int(everything[process][21]) for process in members if everything[process][0] != "Z")
    return pages * os.sysconf("SC_PAGE_SIZE")


def processes() -> dict[int, list[str]]:
    """What `stat` says of each process of the machine; empty where there is no /proc."""
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    found = {int(name): stat(name) for name in names if name.isdigit()}
    return {process: fields for process, fields in found.items() if fields is not None}


def descendants(process: int, everything: dict[int, list[str]]) -> set[int]:
    """Children of a process, their children and so on, whatever group or session they are in."""
    children: dict[int, list[int]] = {}
    for child, fields in everything.items():
        children.setdefault(int(fields[1]), []).append(child)
    found: set[int] = set()
    waiting = [process]
    while waiting:
        new = [child for child in children.get(waiting.pop(), []) if child not in found]
        found.update(new)
        waiting += new
    return found


def kill_strays(worker: int, folder: str) -> None:
    """End what descends from a worker, in any session: by its parents, and where these have ended by the worker's
    folder, whose name every descendant has in its environment.
    """
    mark = f"{FOLDER}={folder}".encode()
    for _ in range(_ROUNDS):
        everything = processes()
        found = descendants(worker, everything) | {
            process for process in everything if folder and mark in environment(process)
        }
        found = {process for process in found - {os.getpid()} if everything[process][0] not in ("Z", "X")}
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        # One that was being started while we looked shows in the next round.
        if not found:
            return


def environment(process: int) -> list[bytes]:
    """The variables that a process was started with; none where that is not ours to read."""
    try:
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
