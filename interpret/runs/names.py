"""Names that a filter may give: inputs, operators, networks, data. One that the run does not have is an error,
not an empty answer, for it is misspelt far more often than not.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from interpret.errors import QueryError
from interpret.runs.rows import text

#: Tables whose inputs are looked up; a run of more mixes more than anybody asks about at once.
_TABLES = 50
_SHOWN = 60


def check_variables(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Raises QueryError for a name that is no input of any neuron here that has a formula."""
    missing = _unused(connection, "variable", names)
    if not missing:
        return
    known = _inputs(connection)
    for name in missing:
        if known and name not in known:
            raise QueryError(f"no neuron of this run has an input {name[:_SHOWN]!r}; {_nearest(name, known)}")


def check_operators(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Raises QueryError for a name that is no operator, neither of the engine nor of a formula here."""
    missing = _unused(connection, "operator", names)
    if not missing:
        return
    from symbolic.backends.base import DEFAULT_OPERATORS

    used = connection.execute("SELECT DISTINCT name FROM symbol WHERE kind = 'operator'").fetchall()
    known = {str(row[0]) for row in used} | {str(name) for name in DEFAULT_OPERATORS} | set("+-*/^")
    for name in missing:
        if name not in known:
            raise QueryError(f"no formula has an operator {name[:_SHOWN]!r}; {_nearest(name, known)}")


def check_model(connection: sqlite3.Connection, name: str) -> None:
    """Raises QueryError for what is neither a network's title here nor the beginning of its hash."""
    rows = connection.execute("SELECT DISTINCT model, model_hash FROM neuron").fetchall()
    titles, hashes = {str(row[0]) for row in rows}, {str(row[1]) for row in rows}
    wanted = text(name)
    if rows and wanted not in titles and not (len(wanted) > 3 and any(h.startswith(wanted) for h in hashes)):
        raise QueryError(f"the run holds no network {name[:_SHOWN]!r}; {_nearest(name, titles | hashes)}")


def check_data(connection: sqlite3.Connection, start: str) -> None:
    """Raises QueryError for what begins no hash of data here."""
    known = {str(row[0]) for row in connection.execute("SELECT DISTINCT data_hash FROM neuron").fetchall()}
    if known and not (start and any(name.startswith(start) for name in known)):
        raise QueryError(
            f"no neuron of this run was explained from data {start[:_SHOWN]!r}; {_nearest(start, known)}"
        )


def _unused(connection: sqlite3.Connection, kind: str, names: Sequence[str]) -> list[str]:
    sql = "SELECT 1 FROM symbol WHERE kind = ? AND name = ? LIMIT 1"
    return [name for name in names if connection.execute(sql, (kind, text(name))).fetchone() is None]


def _inputs(connection: sqlite3.Connection) -> set[str]:
    """Names of the inputs that the formulas here could have used: those of one neuron for each data and model."""
    sql = (
        "SELECT body FROM document WHERE neuron IN "
        f"(SELECT max(id) FROM neuron WHERE formula <> '' GROUP BY fingerprint ORDER BY 1 LIMIT {_TABLES})"
    )
    found: set[str] = set()
    for row in connection.execute(sql):
        try:
            found.update(json.loads(zlib.decompress(row[0]))["explanation"]["formula"]["names"])
        except (zlib.error, ValueError, KeyError, TypeError):
            continue
    return found


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name[:200], [n[:200] for n in names], n=3, cutoff=0.4) or names[:5]
    more = "" if len(names) <= len(near) else f" (of {len(names)})"
    return f"there {'is' if len(near) == 1 else 'are'} {', '.join(repr(n[:_SHOWN]) for n in near)}{more}"
