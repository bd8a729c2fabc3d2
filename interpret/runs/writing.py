"""What one explanation becomes in the tables: an ``Entry`` of plain values, and the rows it is inserted as.

An entry needs no database, so whoever explained the neuron makes it; the one process that writes to a run only
hands it to SQLite, and its transaction is short.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from dataclasses import dataclass
from typing import Any

from interpret.explanation import NeuronExplanation
from interpret.runs.answers import join, pack
from interpret.runs.codec import Encoded, encode
from interpret.runs.rows import COLUMNS, frontier_rows, neighbor_rows, neuron_row, symbol_rows
from interpret.runs.signature import signature

_COLUMNS = (*COLUMNS, "revision", "plan", "digest", "texts", "figures")
_INSERT = f"INSERT INTO neuron ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


@dataclass(frozen=True)
class Entry:
    """One explanation as a run keeps it; texts, numbers, None and bytes only.

    ``neuron`` has its columns in the order of COLUMNS, ``body`` is the compressed document; ``packs`` are files
    for the ``arrays`` folder by their hash, ``blobs`` pictures by theirs.
    """

    neuron: tuple[Any, ...]
    digest: str
    body: bytes
    volatile: str
    frontier: list[tuple[Any, ...]]
    neighbors: list[tuple[Any, ...]]
    symbols: list[tuple[str, str]]
    signature: tuple[str, bytes] | None
    packs: dict[str, bytes]
    blobs: dict[str, bytes]


def entry(e: NeuronExplanation, encoded: Encoded | None = None) -> Entry:
    """All that a run keeps of an explanation; ``encoded`` where it is known already."""
    code = encoded or encode(e)
    row = neuron_row(e)
    return Entry(
        tuple(row[name] for name in COLUMNS),
        code.digest,
        zlib.compress(code.document, 6),
        json.dumps(code.volatile, sort_keys=True),
        frontier_rows(e),
        neighbor_rows(e),
        symbol_rows(e),
        signature(e.formula) if e.formula is not None else None,
        code.packs,
        code.blobs,
    )


def insert(connection: sqlite3.Connection, e: Entry, plan: int | None) -> int:
    """Insert an entry as the next revision of its address, inside the caller's transaction; its id.

    A result equal to a stored one of the same address and plan is not stored twice.
    """
    row = dict(zip(COLUMNS, e.neuron, strict=True))
    who = row["model"], row["address"]
    known = connection.execute(
        "SELECT id, revision, digest, plan FROM neuron WHERE model = ? AND address = ? ORDER BY revision", who
    ).fetchall()
    for key, _, digest, made_by in known:
        if (digest, made_by) == (e.digest, plan):
            return int(key)
    revision = known[-1][1] + 1 if known else 1
    values = (*e.neuron, revision, plan, e.digest, join(row), pack(row))
    key = int(connection.execute(_INSERT, values).lastrowid or 0)
    connection.execute(
        "INSERT INTO latest VALUES (?, ?, ?) ON CONFLICT (model, address) DO UPDATE SET neuron = "
        "excluded.neuron",
        (*who, key),
    )
    _details(connection, key, e)
    return key


def _details(connection: sqlite3.Connection, key: int, e: Entry) -> None:
    connection.execute("INSERT INTO document VALUES (?, ?, ?)", (key, e.body, e.volatile))
    many = connection.executemany
    many("INSERT INTO frontier VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [(key, *r) for r in e.frontier])
    many("INSERT INTO neighbor VALUES (?, ?, ?, ?, ?, ?)", [(key, *r) for r in e.neighbors])
    many("INSERT INTO symbol VALUES (?, ?, ?)", [(*r, key) for r in e.symbols])
    if e.signature is not None:
        connection.execute("INSERT INTO signature VALUES (?, ?, ?)", (key, *e.signature))
    many("INSERT INTO pack VALUES (?, ?)", [(key, h) for h in e.packs])
    many("INSERT OR IGNORE INTO blob VALUES (?, ?)", list(e.blobs.items()))
