"""Who explains which neuron: tasks of a run, claimed one by one, so that several processes share a sweep.

A claim carries its owner and a heartbeat. A claim is free again when its owner is gone: at once when the
process that made it on this machine no longer runs, after LEASE seconds without a heartbeat when it was made
elsewhere.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from interpret.errors import StoreError
from interpret.runs.rows import layer_of
from interpret.runs.schema import connect, transaction
from interpret.runs.temporary import alive
from interpret.store import Run

#: Seconds after which a silent owner on another machine counts as gone, and between heartbeats.
LEASE, BEAT = 120.0, 15.0


@dataclass(frozen=True)
class Counts:
    """How many tasks of a plan are in each state."""

    waiting: int = 0
    claimed: int = 0
    done: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All tasks."""
        return self.waiting + self.claimed + self.done + self.failed


@dataclass(frozen=True)
class Failure:
    """A neuron that could not be explained."""

    address: str
    error: str
    message: str
    attempts: int
    model: str = ""


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _started(pid: int) -> str:
    """When a process began, so that a number used again is not taken for the process that had it before."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "-"


def new_owner() -> str:
    """An owner that other processes can check: machine, boot, process, its start, and a random part."""
    pid = os.getpid()
    return "|".join((socket.gethostname(), _boot(), str(pid), _started(pid), uuid.uuid4().hex[:12]))


def is_gone(owner: str, beat: float, now: float) -> bool:
    """Whether the owner of a claim no longer works on it."""
    host, boot, pid, started, *_ = [*owner.split("|"), "", "", "", ""]
    if (host, boot) != (socket.gethostname(), _boot()) or not pid.isdigit():
        return now - beat > LEASE
    return not alive(int(pid)) or _started(int(pid)) != started


class Claims:
    """The tasks of one plan, as one sweeping process sees them. Use from one thread."""

    def __init__(self, run: Run, plan: int, owner: str | None = None) -> None:
        self.run, self.plan = run, plan
        self.owner = owner or new_owner()

    @classmethod
    def register(cls, run: Run, key: str, settings: str, addresses: Sequence[str]) -> Claims:
        """Tasks for every address under a plan of that key; those that exist keep their state."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with run.writing():
            run.connection.execute(
                "INSERT OR IGNORE INTO plan (key, settings, created) VALUES (?, ?, ?)", (key, settings, now)
            )
            plan = int(run.connection.execute("SELECT id FROM plan WHERE key = ?", (key,)).fetchone()[0])
            start = run.connection.execute("SELECT count(*) FROM task WHERE plan = ?", (plan,)).fetchone()[0]
            run.connection.executemany(
                "INSERT OR IGNORE INTO task (plan, position, address, layer) VALUES (?, ?, ?, ?)",
                [(plan, start + i, address, layer_of(address)) for i, address in enumerate(addresses)],
            )
        return cls(run, plan)

    def counts(self) -> Counts:
        """Tasks by state."""
        with self.run.reading():
            rows = self.run.connection.execute(
                "SELECT state, count(*) FROM task WHERE plan = ? GROUP BY state", (self.plan,)
            ).fetchall()
        return Counts(**{row[0]: row[1] for row in rows})

    def any_claimed(self) -> bool:
        """Whether some task is in somebody's hands."""
        sql = "SELECT 1 FROM task WHERE plan = ? AND state = 'claimed' LIMIT 1"
        with self.run.reading():
            return self.run.connection.execute(sql, (self.plan,)).fetchone() is not None

    def take(self, last: str = "", others: Collection[str] = ()) -> str | None:
        """Claim the next task; None when none is free.

        What neurons of a layer share is computed once by each process that explains some of them. So it is a
        task of the layer of ``last``, else of a layer that none of ``others`` is of, else whichever comes
        first.
        """
        with self.run.writing(durable=False):
            found = self._waiting(last, others)
            if found is None:
                found = self._abandoned()
            if found is None:
                return None
            self.run.connection.execute(
                "UPDATE task SET state = 'claimed', owner = ?, beat = ?, attempts = attempts + 1 "
                "WHERE plan = ? AND address = ?",
                (self.owner, time.time(), self.plan, found),
            )
        return found

    def _waiting(self, last: str, others: Collection[str]) -> str | None:
        """By few steps in an index, however many tasks there are: a sweep asks at every neuron."""
        found = self._first("AND layer = ? ORDER BY position", layer_of(last)) if last else None
        if found is None and others:
            taken = set(map(layer_of, others))
            found = self._first("ORDER BY layer, position")
            while found is not None and found["layer"] in taken:
                found = self._first("AND layer > ? ORDER BY layer, position", found["layer"])
        found = found or self._first("ORDER BY position")
        return None if found is None else str(found["address"])

    def _first(self, which: str, *values: str) -> sqlite3.Row | None:
        sql = f"SELECT address, layer FROM task WHERE plan = ? AND state = 'waiting' {which} LIMIT 1"
        return self.run.connection.execute(sql, (self.plan, *values)).fetchone()  # type: ignore[no-any-return]

    def _abandoned(self) -> str | None:
        now = time.time()
        for row in self.run.connection.execute(
            "SELECT address, owner, beat FROM task WHERE plan = ? AND state = 'claimed' ORDER BY position",
            (self.plan,),
        ).fetchall():
            if row["owner"] != self.owner and is_gone(row["owner"], row["beat"], now):
                return str(row["address"])
        return None

    def close_task(self, address: str, state: str, error: str = "", message: str = "") -> bool:
        """Set a claimed task's outcome, inside the caller's transaction; False when the claim is no longer
        ours.
        """
        cursor = self.run.connection.execute(
            "UPDATE task SET state = ?, error = ?, message = ?, owner = NULL, beat = NULL "
            "WHERE plan = ? AND address = ? AND state = 'claimed' AND owner = ?",
            (state, error or None, message or None, self.plan, address, self.owner),
        )
        return cursor.rowcount == 1

    def fail(self, address: str, error: str, message: str) -> bool:
        """Record that a neuron could not be explained."""
        with self.run.writing():
            return self.close_task(address, "failed", error, message)

    def release(self, address: str | None = None) -> None:
        """Give back a claim, or all of ours."""
        with self.run.writing():
            self.run.connection.execute(
                "UPDATE task SET state = 'waiting', owner = NULL, beat = NULL, attempts = attempts - 1 "
                "WHERE plan = ? AND state = 'claimed' AND owner = ? AND address = ifnull(?, address)",
                (self.plan, self.owner, address),
            )

    def retry_failed(self) -> int:
        """Make failed tasks wait again; how many."""
        with self.run.writing():
            return self.run.connection.execute(
                "UPDATE task SET state = 'waiting', error = NULL, message = NULL WHERE plan = ? AND state = "
                "'failed'",
                (self.plan,),
            ).rowcount

    def failures(self) -> list[Failure]:
        """Neurons that could not be explained, in order."""
        return failures(self.run, self.plan)


def failures(run: Run, plan: int | None = None) -> list[Failure]:
    """Failed tasks of a plan; or of a whole run, those that no later plan of the same network ended otherwise."""
    sql = (
        "SELECT plan, state, address, error, message, attempts FROM task WHERE state = 'failed' AND plan = ? "
        "ORDER BY position"
        if plan is not None
        else "SELECT plan, state, address, error, message, attempts FROM task "
        "WHERE state IN ('failed', 'done') AND address IN (SELECT address FROM task WHERE state = 'failed') "
        "ORDER BY plan, position"
    )
    with run.reading():
        rows = run.connection.execute(sql, () if plan is None else (plan,)).fetchall()
        plans = run.connection.execute("SELECT id, settings FROM plan").fetchall() if rows else []
        titles = {row["id"]: _title(row["settings"]) for row in plans}
        last: dict[tuple[str, str], sqlite3.Row] = {}
        for row in rows:  # by growing plan: what came of an address at last
            for name in ("address", "error", "message"):
                if not isinstance(row[name], str | None):
                    raise TypeError(f"{row[name]!r} is no text")
            key = titles[row["plan"]], row["address"]
            last.pop(key, None)
            last[key] = row
    return [
        Failure(row["address"], row["error"], row["message"], row["attempts"], title)
        for (title, _), row in last.items()
        if row["state"] == "failed"
    ]


def _title(settings: str) -> str:
    """The network's title in the order of a plan; "" where it cannot be read."""
    from interpret.sweeping.session import title_of

    try:
        order = json.loads(settings)
        return str(order.get("title") or title_of(str(order.get("model", ""))))
    except (ValueError, AttributeError, TypeError):
        return ""


class Heart:
    """A thread that tells other machines that this owner's claims are alive, on a connection of its own."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder, self._owner = folder, owner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            # A missed beat is made good by the next one; the lease is many beats long.
            with suppress(StoreError, sqlite3.Error):
                self._once()

    def _once(self) -> None:
        # The index is named, or SQLite would walk through every task of every plan.
        sql = (
            "UPDATE task INDEXED BY task_by_state SET beat = ? "
            "WHERE plan IN (SELECT id FROM plan) AND state = 'claimed' AND owner = ?"
        )
        with closing(connect(self._folder, patience=BEAT)) as connection, transaction(connection):
            connection.execute(sql, (time.time(), self._owner))
