"""The rows that one explanation becomes, written inside the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
import zlib
from typing import Any

from interpret.explanation import NeuronExplanation
from interpret.runs.answers import join, pack
from interpret.runs.codec import Encoded
from interpret.runs.rows import frontier_rows, neighbor_rows, neuron_row, symbol_rows, text
from interpret.runs.signature import signature


def insert(connection: sqlite3.Connection, e: NeuronExplanation, encoded: Encoded, plan: int | None) -> int:
    """Insert an explanation as the next revision of its address; its id.

    A result equal to a stored one of the same address and plan is not stored twice.
    """
    who = (text(e.model), text(e.address))
    equal = connection.execute(
        "SELECT id FROM neuron WHERE model = ? AND address = ? AND digest = ? AND plan IS ?",
        (*who, encoded.digest, plan),
    ).fetchone()
    if equal is not None:
        return int(equal[0])
    last = connection.execute(
        "SELECT max(revision) FROM neuron WHERE model = ? AND address = ?", who
    ).fetchone()[0]
    row: dict[str, Any] = neuron_row(e)
    row |= {
        "revision": (last or 0) + 1,
        "plan": plan,
        "digest": encoded.digest,
        "texts": join(row),
        "figures": pack(row),
    }
    marks = ", ".join("?" * len(row))
    key = int(
        connection.execute(
            f"INSERT INTO neuron ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        ).lastrowid
        or 0
    )
    connection.execute(
        "INSERT INTO latest VALUES (?, ?, ?) ON CONFLICT (model, address) DO UPDATE SET neuron = "
        "excluded.neuron",
        (*who, key),
    )
    _details(connection, key, e, encoded)
    return key


def _details(connection: sqlite3.Connection, key: int, e: NeuronExplanation, encoded: Encoded) -> None:
    body = zlib.compress(encoded.document, 6)
    volatile = json.dumps(encoded.volatile, sort_keys=True)
    connection.execute("INSERT INTO document VALUES (?, ?, ?)", (key, body, volatile))
    many = connection.executemany
    many("INSERT INTO frontier VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [(key, *r) for r in frontier_rows(e)])
    many("INSERT INTO neighbor VALUES (?, ?, ?, ?, ?, ?)", [(key, *r) for r in neighbor_rows(e)])
    many("INSERT INTO symbol VALUES (?, ?, ?)", [(*r, key) for r in symbol_rows(e)])
    signed = signature(e.formula) if e.formula is not None else None
    if signed is not None:
        connection.execute("INSERT INTO signature VALUES (?, ?, ?)", (key, *signed))
    many("INSERT INTO pack VALUES (?, ?)", [(key, h) for h in encoded.packs])
    many("INSERT OR IGNORE INTO blob VALUES (?, ?)", list(encoded.blobs.items()))
