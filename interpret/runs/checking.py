"""Is a run what was written? Reads everything, changes nothing."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from interpret.errors import InterpretError
from interpret.runs.answers import join, pack
from interpret.runs.codec import decode, sha256
from interpret.runs.rows import COLUMNS
from interpret.runs.schema import check_log, decoding
from interpret.runs.writing import Entry, entry

if TYPE_CHECKING:
    from interpret.store import Run

_DETAILS = {
    "frontier": "SELECT place, complexity, terms, fitted, held_out, upper, mse, expression, chosen "
    "FROM frontier WHERE neuron = ? ORDER BY place",
    "neighbors": "SELECT query, place, example, similarity, contribution FROM neighbor WHERE neuron = ? "
    "ORDER BY query, place",
    "symbols": "SELECT kind, name FROM symbol WHERE neuron = ? ORDER BY kind, name",
    "packs": "SELECT hash FROM pack WHERE neuron = ? ORDER BY hash",
}


def problems(run: Run) -> list[str]:
    """What is wrong with a run: the database's own checks, missing or altered arrays, and of every revision a
    document that does not decode or rows that are not what the document says.
    """
    run.files.forget()
    run.pictures.forget()
    with decoding(run.path):
        check_log(run.path)
        found = _database(run.connection) + _arrays(run)
    return found or [*_latest(run), *_neurons(run)]


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


def _latest(run: Run) -> list[str]:
    """``latest`` must point at the highest revision of each neuron."""
    sql = (
        "SELECT n.model, n.address, max(n.revision), n.id, l.neuron FROM neuron n LEFT JOIN latest l "
        "ON l.model = n.model AND l.address = n.address GROUP BY n.model, n.address"
    )
    with decoding(run.path):
        return [
            f"{row[1]}: the row listed is not the latest revision"
            for row in run.connection.execute(sql)
            if row[3] != row[4]
        ]


def _neurons(run: Run) -> Iterator[str]:
    with decoding(run.path):
        ids = run.connection.execute("SELECT id, address, revision FROM neuron ORDER BY sort, id").fetchall()
    for key, address, revision in ids:
        try:
            with decoding(run.path):
                wrong = _differences(run, key)
        except InterpretError as error:
            yield f"{address}: {error}"
        else:
            if wrong:
                yield f"{address}, revision {revision}: {', '.join(wrong)} not what its document says"


def _differences(run: Run, key: int) -> list[str]:
    """What of a revision's rows is not what its document gives; figures and texts are exact, so they must be
    equal.
    """
    ask = run.connection.execute
    row = ask("SELECT * FROM neuron WHERE id = ?", (key,)).fetchone()
    document = ask("SELECT body, volatile FROM document WHERE neuron = ?", (key,)).fetchone()
    if document is None:
        return ["a document that is missing:"]
    try:
        body = zlib.decompress(document["body"])
    except zlib.error as error:
        raise ValueError(str(error)) from error
    made = entry(decode(body, json.loads(document["volatile"]), run))
    should = dict(zip(COLUMNS, made.neuron, strict=True))
    wrong = [name for name in COLUMNS if row[name] != should[name]]
    if row["digest"] != sha256(body):
        wrong.append("digest")
    if row["texts"] != join(should):
        wrong.append("texts")
    # Figures that came later are missing at the end of an older row.
    if not row["figures"] or pack(should)[: len(row["figures"])] != row["figures"]:
        wrong.append("figures")
    return wrong + _details(run, key, made)


def _details(run: Run, key: int, made: Entry) -> list[str]:
    ask = run.connection.execute
    should: dict[str, list[tuple[Any, ...]]] = {
        "frontier": made.frontier,
        "neighbors": made.neighbors,
        "symbols": sorted(made.symbols),
        "packs": sorted((h,) for h in made.packs),
    }
    wrong = [name for name, sql in _DETAILS.items() if [tuple(r) for r in ask(sql, (key,))] != should[name]]
    signed = ask("SELECT variables, body FROM signature WHERE neuron = ?", (key,)).fetchone()
    if signed is not None and tuple(signed) != made.signature:
        wrong.append("signature")
    return wrong
