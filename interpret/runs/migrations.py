"""The schema's history. A step, once released, is never edited: runs that have it exist. A change is a new
step.
"""

from __future__ import annotations

import json
import zlib

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE plan (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, settings TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE task (
    plan INTEGER NOT NULL REFERENCES plan(id), position INTEGER NOT NULL, address TEXT NOT NULL,
    layer TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'done', 'failed')),
    owner TEXT, beat REAL, attempts INTEGER NOT NULL DEFAULT 0, error TEXT, message TEXT,
    PRIMARY KEY (plan, address)) WITHOUT ROWID;
CREATE INDEX task_by_state ON task (plan, state, position);
CREATE INDEX task_by_layer ON task (plan, state, layer, position);
CREATE TABLE neuron (
    id INTEGER PRIMARY KEY, sort TEXT NOT NULL, revision INTEGER NOT NULL, plan INTEGER REFERENCES plan(id),
    digest TEXT NOT NULL, fingerprint TEXT NOT NULL, texts TEXT NOT NULL, figures BLOB NOT NULL,
    address TEXT NOT NULL, layer TEXT NOT NULL, verdict TEXT NOT NULL, formula TEXT NOT NULL, engine
    TEXT NOT NULL, kernel TEXT NOT NULL, link TEXT NOT NULL, title TEXT NOT NULL, model TEXT NOT
    NULL, claim TEXT NOT NULL, created TEXT NOT NULL,
    complexity REAL, terms REAL, misalignment REAL, misalignment_low REAL, misalignment_high REAL,
    alignment REAL, mse REAL, link_r2 REAL, link_monotone REAL, pearson REAL, r2 REAL, mae REAL,
    coverage95 REAL, loglik REAL, cancellation REAL, agreement REAL, noise REAL, examples REAL,
    formula_network REAL, gp_network REAL, formula_gp REAL, points_used REAL, points_dropped REAL,
    failing_share REAL, seed REAL, seconds REAL,
    UNIQUE (model, address, revision));
CREATE INDEX neuron_by_address ON neuron (address);
CREATE INDEX neuron_by_sort ON neuron (sort, id);
CREATE TABLE latest (
    model TEXT NOT NULL, address TEXT NOT NULL, neuron INTEGER NOT NULL REFERENCES neuron(id),
    PRIMARY KEY (model, address)) WITHOUT ROWID;
CREATE TABLE document (
    neuron INTEGER PRIMARY KEY REFERENCES neuron(id), body BLOB NOT NULL, volatile TEXT NOT NULL);
CREATE TABLE frontier (
    neuron INTEGER NOT NULL REFERENCES neuron(id), place INTEGER NOT NULL, complexity INTEGER NOT NULL,
    terms INTEGER NOT NULL, fitted REAL, held_out REAL, upper REAL, mse REAL, expression TEXT NOT NULL,
    chosen INTEGER NOT NULL, PRIMARY KEY (neuron, place)) WITHOUT ROWID;
CREATE TABLE neighbor (
    neuron INTEGER NOT NULL REFERENCES neuron(id), query INTEGER NOT NULL, place INTEGER NOT NULL,
    example INTEGER NOT NULL, similarity REAL, contribution REAL,
    PRIMARY KEY (neuron, query, place)) WITHOUT ROWID;
CREATE TABLE symbol (
    kind TEXT NOT NULL CHECK (kind IN ('variable', 'operator')), name TEXT NOT NULL,
    neuron INTEGER NOT NULL REFERENCES neuron(id), PRIMARY KEY (kind, name, neuron)) WITHOUT ROWID;
CREATE TABLE blob (hash TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pack (neuron INTEGER NOT NULL REFERENCES neuron(id), hash TEXT NOT NULL,
    PRIMARY KEY (neuron, hash)) WITHOUT ROWID;
"""
_KEPT = ("neuron", "document", "frontier", "neighbor", "symbol", "blob", "pack")
_TRIGGERS = "\n".join(
    f"CREATE TRIGGER {table}_keeps_{verb} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END;"
    for table in _KEPT
    for verb in ("UPDATE", "DELETE")
)
_SIGNATURES = """
CREATE TABLE signature (
    neuron INTEGER PRIMARY KEY REFERENCES neuron(id), variables TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX signature_by_variables ON signature (variables);
"""
#: What data and which weights a neuron was explained from, so that a run that holds several can tell.
_ORIGINS = f"""
ALTER TABLE neuron ADD COLUMN data_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE neuron ADD COLUMN model_hash TEXT NOT NULL DEFAULT '';
DROP TRIGGER neuron_keeps_UPDATE;
UPDATE neuron SET (data_hash, model_hash) =
    (SELECT origin(body, 'data_hash'), origin(body, 'model_hash') FROM document d WHERE d.neuron = neuron.id);
UPDATE neuron SET texts = texts || char(31) || data_hash || char(31) || model_hash;
{next(line for line in _TRIGGERS.splitlines() if "neuron_keeps_UPDATE" in line)}
"""
#: Signatures without variables that move nothing; and what distinguishes networks and data is found by an index.
_LEAN = """
UPDATE signature SET (variables, body) = (lean(variables, body, 0), lean(variables, body, 1));
CREATE INDEX neuron_by_origin ON neuron (model, model_hash, data_hash);
"""


def lean(variables: str, body: bytes, part: int) -> str | bytes:
    """Part 0 or 1 of a signature without the variables whose gradient is zero everywhere (used by the fourth
    step); one that cannot be read stays.
    """
    # A gradient of zero is zero in every bit but the sign; a signature has a row for each point.
    try:
        names = json.loads(variables)
        count = len(names)
        values = [body[2 * i : 2 * i + 2] for i in range(len(body) // 2)]
        moves = [any(_moves(v) for v in values[i::count]) for i in range(count)]
        if part == 0:
            return json.dumps([n for n, m in zip(names, moves, strict=True) if m])
        return b"".join(v for i, v in enumerate(values) if moves[i % count])
    except (ValueError, TypeError, ZeroDivisionError):
        return body if part else variables


def _moves(half: bytes) -> bool:
    """Whether a float16 is a number other than zero."""
    bits = int.from_bytes(half, "little") & 0x7FFF
    return 0 < bits < 0x7C00


def origin(body: bytes | None, name: str) -> str:
    """A hash from the provenance in a stored document; "" where it cannot be read (used by the third step)."""
    try:
        return str(json.loads(zlib.decompress(body or b""))["explanation"]["provenance"][name])
    except (zlib.error, ValueError, KeyError, TypeError):
        return ""


#: Version n is reached from n − 1 by MIGRATIONS[n − 1]; a new run goes through all of them.
MIGRATIONS = (_TABLES + _TRIGGERS, _SIGNATURES, _ORIGINS, _LEAN)
#: What ``PRAGMA user_version`` says after the last step.
VERSION = len(MIGRATIONS)
