"""Filters over a run's neurons, turned into one SQL statement of known columns and bound values."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any

from interpret.errors import QueryError
from interpret.outcome import Verdict
from interpret.runs import names
from interpret.runs import where as grammar
from interpret.runs.answers import FETCHED, Answer
from interpret.runs.rows import natural, spaceless, text
from interpret.runs.schema import TEXTS

#: The most rows that SQLite can be asked for.
_MOST = 2**63 - 1
_SLICE = re.compile(r"(?<=[\[,])\s*(\d*)\s*:\s*(\d*)\s*(?=[\],])")


@dataclass(frozen=True)
class _Filter:
    """One condition of the WHERE clause."""

    sql: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Filters:
    """What a query asks for; every filter that is given must pass.

    ``uses`` are variables, and ``has`` operators or functions, that the formula must all have; ``verdict`` is one or
    several of EXACT, APPROXIMATE, NONE; ``min_alignment`` the least 1 − misalignment; ``where`` a condition
    (``interpret.runs.where``); ``like`` a formula: the same concept up to a monotone map. ``model`` is a
    network's title or the beginning of its hash, ``data`` the beginning of the data's hash: then the newest
    explanation from that network or data counts, though a later one from others exists. ``sort`` is a column,
    ``descending`` by default for figures and not for texts, ``limit`` a number of rows; ``revisions`` shows earlier
    fits too.
    """

    uses: str | Sequence[str] | None = None
    has: str | Sequence[str] | None = None
    verdict: str | Sequence[str] | None = None
    min_alignment: float | None = None
    where: str | None = None
    like: str | None = None
    model: str | None = None
    data: str | None = None
    sort: str | None = None
    descending: bool | None = None
    limit: int | None = None
    revisions: bool = False


def select(
    connection: sqlite3.Connection, pattern: str | None = None, run: str = "", **filters: Any
) -> Answer:
    """Neurons that pass every filter.

    Args:
        connection: an open run's database.
        pattern: an address, with ``*``, ``?`` and unit ranges such as ``fc1[2:5]``.
        run: what to call the run where a row turns out damaged.
        filters: see ``Filters``.

    Raises:
        QueryError: a filter does not parse, is no filter, or names a column, input, operator, network or data
            that the run does not have; the nearest are named.
    """
    asked = Filters(**_known(filters))
    conditions = _conditions(connection, asked)
    filtered = bool(conditions)
    if pattern is not None:
        conditions.append(_address(connection, pattern))
    rows = _run(connection, conditions, asked)
    return Answer(rows, pattern is not None and literal(pattern), filtered, run)


def _conditions(connection: sqlite3.Connection, asked: Filters) -> list[_Filter]:
    uses, has = _listed(asked.uses), _listed(asked.has)
    names.check_variables(connection, uses)
    names.check_operators(connection, has)
    found = _symbols("variable", uses) + _symbols("operator", has) + _verdicts(asked.verdict)
    if asked.min_alignment is not None:
        found.append(_Filter("(n.alignment >= ?)", (float(asked.min_alignment),)))
    if asked.model is not None or asked.data is not None:
        found.append(_origin(connection, asked))
    if asked.where is not None:
        condition = grammar.parse(asked.where)
        matchers = lru_cache(maxsize=None)(glob)
        connection.create_function("matches", 2, lambda v, p: matchers(p)(v), deterministic=True)
        found.append(_Filter(condition.sql, condition.values))
    if asked.like is not None:
        found.append(_alike(connection, asked.like))
    return found


def _origin(connection: sqlite3.Connection, asked: Filters) -> _Filter:
    """Of each neuron the newest explanation from that network and data; with ``revisions`` all of them."""
    parts, values = [], []
    if asked.model is not None:
        names.check_model(connection, asked.model)
        parts.append("(n.model = ? OR (length(?) > 3 AND substr(n.model_hash, 1, length(?)) = ?))")
        values += [text(asked.model)] * 4
    if asked.data is not None:
        names.check_data(connection, asked.data)
        parts.append("substr(n.data_hash, 1, length(?)) = ?")
        values += [text(asked.data)] * 2
    if asked.revisions or _each_once(connection):
        return _Filter("(" + " AND ".join(parts) + ")", tuple(values))
    newest = f"SELECT max(n.id) FROM neuron n WHERE {' AND '.join(parts)} GROUP BY n.model, n.address"
    return _Filter(f"n.id IN ({newest})", tuple(values))


def _alike(connection: sqlite3.Connection, formula: str) -> _Filter:
    from interpret.runs.signature import alike

    found = alike(connection, formula)
    connection.create_function("alike", 1, lambda neuron: neuron in found, deterministic=True)
    return _Filter("alike(n.id)")


def _known(filters: dict[str, Any]) -> dict[str, Any]:
    known = Filters.__dataclass_fields__
    for name in filters:
        if name not in known:
            raise QueryError(f"query has no filter {name!r}; it has pattern, {', '.join(known)}")
    for name in ("uses", "has", "verdict"):
        if not all(isinstance(word, str) for word in _listed(filters.get(name))):
            raise QueryError(f"{name} is a name or a list of names; {filters[name]!r} came")
    for name in ("where", "like", "model", "data", "sort"):
        if not isinstance(filters.get(name), str | None):
            raise QueryError(f"{name} is a text; {filters[name]!r} came")
    if not isinstance(filters.get("min_alignment"), Real | None):
        raise QueryError(f"min_alignment is a number; {filters['min_alignment']!r} came")
    limit = filters.get("limit")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise QueryError(f"limit is a number of rows, 0 or more; {limit!r} came")
    return filters


def _run(connection: sqlite3.Connection, filters: list[_Filter], asked: Filters) -> list[tuple[Any, ...]]:
    origin = asked.model is not None or asked.data is not None
    every = asked.revisions or origin or _each_once(connection)
    source = "neuron n" if every else "latest l JOIN neuron n ON n.id = l.neuron"
    clause = " WHERE " + " AND ".join(f.sql for f in filters) if filters else ""
    columns = ", ".join(f"n.{name}" for name in FETCHED)
    limit = "" if asked.limit is None else f" LIMIT {min(int(asked.limit), _MOST)}"
    cursor = connection.cursor()
    cursor.row_factory = None
    sql = f"SELECT {columns} FROM {source}{clause} ORDER BY {_order(asked)}{limit}"
    return cursor.execute(sql, [v for f in filters for v in f.values]).fetchall()


def _each_once(connection: sqlite3.Connection) -> bool:
    """Whether no neuron has an earlier revision, so that there is nothing to leave out."""
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM neuron), (SELECT count(*) FROM latest)"
    ).fetchone()
    return bool(counts[0] == counts[1])


def _order(asked: Filters) -> str:
    if asked.sort is None:
        return "n.sort, n.id"
    name = grammar.column(asked.sort)
    descending = name not in TEXTS if asked.descending is None else asked.descending
    shown = "n.sort" if name == "address" else f"n.{name}"
    return f"{shown} IS NULL, {shown} {'DESC' if descending else 'ASC'}, n.sort, n.id"


def _listed(value: str | Sequence[str] | None) -> list[str]:
    if value is None or isinstance(value, str):
        return [] if value is None else [value]
    if not isinstance(value, Iterable):
        raise QueryError(f"a name or a list of names is wanted; {value!r} came")
    return list(value)


def _symbols(kind: str, wanted: Sequence[str]) -> list[_Filter]:
    sql = "EXISTS (SELECT 1 FROM symbol s WHERE s.kind = ? AND s.name = ? AND s.neuron = n.id)"
    return [_Filter(sql, (kind, text(name))) for name in wanted]


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
    form = _compiled(spaceless(text(pattern)), _piece)

    def match(address: str) -> bool:
        if " " in address or not address.isprintable():
            address = spaceless(address)
        return form.fullmatch(address) is not None

    return match


def glob(pattern: str) -> Callable[[str], bool]:
    """SQLite's GLOB with ``*`` and ``?`` alone."""
    form = _compiled(pattern, _wild)
    return lambda value: form.fullmatch(value) is not None


def _compiled(pattern: str, piece: Callable[[str], str]) -> re.Pattern[str]:
    """Between stars stand pieces without one. Each is looked for behind the one before it, as early as possible,
    and never again (the group is atomic): no pattern makes it slow.
    """
    first, *others = map(piece, re.split(r"\*+", pattern))
    middle = "".join(f"(?>.*?{one})" for one in others[:-1])
    return re.compile(first + middle + (f".*?{others[-1]}" if others else ""), re.DOTALL)


def _piece(plain: str) -> str:
    """A regular expression of a piece of an address pattern."""
    parts, at = [], 0
    for found in _SLICE.finditer(plain):
        parts += [_wild(plain[at : found.start()]), _from(found[1]), _below(found[2])]
        at = found.end()
    return "".join([*parts, _wild(plain[at:])])


def _from(low: str) -> str:
    """A regular expression that looks ahead for a whole number of at least ``low``."""
    digits = low.lstrip("0")
    if not digits:
        return "(?=[0-9])"
    ways = [f"[1-9][0-9]{{{len(digits)},}}", digits]
    for i, digit in enumerate(digits):
        if digit < "9":
            ways.append(f"{digits[:i]}[{int(digit) + 1}-9][0-9]{{{len(digits) - i - 1}}}")
    return f"(?=0*(?:{'|'.join(ways)})(?![0-9]))"


def _below(high: str) -> str:
    """A regular expression of a whole number below ``high``; of any where that is empty."""
    if not high:
        return "[0-9]+"
    digits = high.lstrip("0")
    ways = [f"[0-9]{{1,{len(digits) - 1}}}"] if len(digits) > 1 else []
    for i, digit in enumerate(digits):
        if digit > "0":
            ways.append(f"{digits[:i]}[0-{int(digit) - 1}][0-9]{{{len(digits) - i - 1}}}")
    return f"0*(?:{'|'.join(ways)})(?![0-9])" if ways else "(?!)"


def _wild(text: str) -> str:
    """A regular expression of a piece without stars."""
    return re.escape(text).replace(r"\?", ".")
