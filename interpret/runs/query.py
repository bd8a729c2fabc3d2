"""Filters over a run's neurons, turned into one SQL statement of known columns and bound values."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from interpret.errors import QueryError
from interpret.outcome import Verdict
from interpret.runs import where as grammar
from interpret.runs.answers import FETCHED, Answer
from interpret.runs.rows import natural, spaceless, text
from interpret.runs.schema import TEXTS

_SLICE = re.compile(r"(?<=[\[,])\s*(\d*)\s*:\s*(\d*)\s*(?=[\],])")


@dataclass(frozen=True)
class _Filter:
    """One condition of the WHERE clause."""

    sql: str
    values: tuple[Any, ...] = ()


def select(
    connection: sqlite3.Connection,
    pattern: str | None = None,
    *,
    uses: str | Sequence[str] | None = None,
    has: str | Sequence[str] | None = None,
    verdict: str | Sequence[str] | None = None,
    min_alignment: float | None = None,
    model: str | None = None,
    **rest: Any,
) -> Answer:
    """Neurons that pass every filter.

    Args:
        connection: an open run's database.
        pattern: an address, with ``*``, ``?`` and unit ranges such as ``fc1[2:5]``.
        uses: variables that the formula must all have.
        has: operators or functions that the formula must all have.
        verdict: one or several of EXACT, APPROXIMATE, NONE.
        model: the title of the network, for runs that hold several.
        min_alignment: the least alignment, 1 − misalignment.
        rest: ``where`` (see :mod:`interpret.runs.where`), ``like`` (a formula: the same concept up to a monotone
        map),
            ``sort`` (a column), ``descending`` (default: figures yes, texts no), ``limit`` (rows),
            ``revisions`` (True: earlier fits too).

    Raises:
        QueryError: a filter does not parse, names no column, or is no filter.
    """
    options = _Options(**_known(rest))
    filters = _symbols("variable", uses) + _symbols("operator", has) + _verdicts(verdict)
    if min_alignment is not None:
        filters.append(_Filter("(n.alignment >= ?)", (float(min_alignment),)))
    if model is not None:
        filters.append(_Filter("(n.model = ?)", (text(model),)))
    if options.where is not None:
        condition = grammar.parse(options.where)
        filters.append(_Filter(condition.sql, condition.values))
    if options.like is not None:
        filters.append(_alike(connection, options.like))
    filtered = bool(filters)
    if pattern is not None:
        filters.append(_address(connection, pattern))
    rows = _run(connection, filters, options)
    return Answer(rows, pattern is not None and literal(pattern), filtered)


def _alike(connection: sqlite3.Connection, formula: str) -> _Filter:
    from interpret.runs.signature import alike

    found = alike(connection, formula)
    connection.create_function("alike", 1, lambda neuron: neuron in found, deterministic=True)
    return _Filter("alike(n.id)")


@dataclass(frozen=True)
class _Options:
    where: str | None = None
    like: str | None = None
    sort: str | None = None
    descending: bool | None = None
    limit: int | None = None
    revisions: bool = False


def _known(rest: dict[str, Any]) -> dict[str, Any]:
    names = _Options.__dataclass_fields__
    for name in rest:
        if name not in names:
            raise QueryError(
                f"query has no filter {name!r}; it has pattern, uses, has, verdict, model, min_alignment, "
                f"{', '.join(names)}"
            )
    limit = rest.get("limit")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise QueryError(f"limit is a number of rows, 0 or more; {limit!r} came")
    return rest


def _run(connection: sqlite3.Connection, filters: list[_Filter], options: _Options) -> list[tuple[Any, ...]]:
    every = options.revisions or _each_once(connection)
    source = "neuron n" if every else "latest l JOIN neuron n ON n.id = l.neuron"
    clause = " WHERE " + " AND ".join(f.sql for f in filters) if filters else ""
    columns = ", ".join(f"n.{name}" for name in FETCHED)
    limit = "" if options.limit is None else f" LIMIT {int(options.limit)}"
    cursor = connection.cursor()
    cursor.row_factory = None
    sql = f"SELECT {columns} FROM {source}{clause} ORDER BY {_order(options)}{limit}"
    return cursor.execute(sql, [v for f in filters for v in f.values]).fetchall()


def _each_once(connection: sqlite3.Connection) -> bool:
    """Whether no neuron has an earlier revision, so that there is nothing to leave out."""
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM neuron), (SELECT count(*) FROM latest)"
    ).fetchone()
    return bool(counts[0] == counts[1])


def _order(options: _Options) -> str:
    if options.sort is None:
        return "n.sort, n.id"
    name = grammar.column(options.sort)
    descending = name not in TEXTS if options.descending is None else options.descending
    shown = "n.sort" if name == "address" else f"n.{name}"
    return f"{shown} IS NULL, {shown} {'DESC' if descending else 'ASC'}, n.sort, n.id"


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _symbols(kind: str, names: str | Sequence[str] | None) -> list[_Filter]:
    sql = "EXISTS (SELECT 1 FROM symbol s WHERE s.kind = ? AND s.name = ? AND s.neuron = n.id)"
    return [_Filter(sql, (kind, text(name))) for name in _listed(names)]


def _verdicts(verdict: str | Sequence[str] | None) -> list[_Filter]:
    words = [str(v).upper() for v in _listed(verdict)]
    for word in words:
        if word not in Verdict.__members__:
            raise QueryError(f"no verdict {word[:40]!r}; there are {', '.join(Verdict.__members__)}")
    return [_Filter(f"(n.verdict IN ({', '.join('?' * len(words))}))", tuple(words))] if words else []


def literal(pattern: str) -> bool:
    """Whether the text can only be one address: no ``*``, ``?`` or range in it."""
    return not any(sign in pattern for sign in "*?:")


def _address(connection: sqlite3.Connection, pattern: str) -> _Filter:
    """The address itself, however it is spaced; or every address that the pattern matches."""
    if literal(pattern):
        same = "SELECT id FROM neuron WHERE address = ? UNION SELECT id FROM neuron WHERE sort = ?"
        return _Filter(f"n.id IN ({same})", (text(pattern), natural(text(pattern))))
    match = matcher(pattern)
    connection.create_function("fits", 1, lambda address: match(address), deterministic=True)
    prefix = re.split(r"[*?\[]", text(pattern), maxsplit=1)[0].strip()
    return _Filter("(n.address >= ? AND n.address < ? AND fits(n.address))", (prefix, prefix + "\U0010ffff"))


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether an address matches: ranges stand for whole numbers, ``*`` and ``?`` for any text, spaces for
    nothing.
    """
    plain = spaceless(text(pattern))
    parts, ranges, at = [], [], 0
    for found in _SLICE.finditer(plain):
        parts += [_wild(plain[at : found.start()]), r"(\d+)"]
        ranges.append((int(found[1] or 0), int(found[2]) if found[2] else None))
        at = found.end()
    form = re.compile("".join([*parts, _wild(plain[at:])]), re.DOTALL)

    def match(address: str) -> bool:
        found = form.fullmatch(spaceless(address))
        if found is None:
            return False
        return all(
            low <= int(unit) and (high is None or int(unit) < high)
            for (low, high), unit in zip(ranges, found.groups(), strict=True)
        )

    return match


def _wild(text: str) -> str:
    """A regular expression: stars that follow one another are one, so that no text makes it slow."""
    plain = re.escape(re.sub(r"\*+", "*", text))
    return plain.replace(r"\*", ".*").replace(r"\?", ".")
