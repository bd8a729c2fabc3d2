"""Is a run what was written? Reads everything, changes nothing."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from interpret.errors import InterpretError
from interpret.runs.schema import named_errors

if TYPE_CHECKING:
    from interpret.store import Run


def problems(run: Run) -> list[str]:
    """What is wrong with a run: the database's own checks, missing or altered arrays, documents that do not
    decode.
    """
    run.files.forget()
    run.pictures.forget()
    with named_errors(run.path):
        found = _database(run.connection) + _arrays(run)
    return found + (_documents(run) if not found else [])


def _database(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA integrity_check").fetchall()
    found = [f"database: {row[0]}" for row in rows if row[0] != "ok"]
    broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    return found + [f"database: a row of {row[0]} points at nothing in {row[2]}" for row in broken[:10]]


def _arrays(run: Run) -> list[str]:
    found = []
    for (key,) in run.connection.execute("SELECT DISTINCT hash FROM pack").fetchall():
        try:
            run.pack(key)
        except InterpretError as error:
            found.append(str(error))
    return found


def _documents(run: Run) -> list[str]:
    found = []
    explanations = run.entries()
    for model, address in explanations:
        try:
            run.load(address, model=model)
        except InterpretError as error:
            found.append(f"{address}: {error}")
    return found
