"""What a worker says, one JSON object a line: ready, progress, frontier, done, failed. Nothing in it is trusted: any
bytes give a message or None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: A longer line is garbage, whatever it says.
LONGEST_LINE = 4_000_000
_LONGEST_EQUATION = 20_000
#: More rows than any search has sizes of formulas.
_MOST_ROWS = 1_000
_MOST_COMPLEX = 1_000_000


@dataclass(frozen=True)
class Equation:
    """A row of the frontier as the worker's engine wrote it; ``loss`` is its own figure on the fitting points, never
    negative and never NaN.
    """

    complexity: int
    loss: float
    text: str


@dataclass(frozen=True)
class Message:
    """One event of one job. ``equations`` come with "frontier" and "done"; ``kind`` says what failed."""

    event: str
    job: int = -1
    equations: tuple[Equation, ...] = ()
    text: str = ""
    kind: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


_EVENTS = ("ready", "progress", "frontier", "done", "failed")


def read(line: bytes) -> Message | None:
    """The message in a line, or None where it holds none; a part of a message that is not whole is left out."""
    try:
        plain = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(plain, dict) or plain.get("event") not in _EVENTS:
        return None
    job, versions, notes = plain.get("job", -1), plain.get("versions"), plain.get("notes")
    if not isinstance(job, int) or isinstance(job, bool):
        return None
    pairs = list(versions.items())[:20] if isinstance(versions, dict) else []
    return Message(
        event=plain["event"],
        job=job,
        equations=equations_of(plain.get("rows")),
        text=_clean(plain.get("message"), 2_000),
        kind=_clean(plain.get("kind"), 40),
        versions=tuple((_clean(name, 40), _clean(number, 40)) for name, number in pairs),
        notes=tuple(_clean(note, 500) for note in (notes[:100] if isinstance(notes, list) else [])),
    )


def best_rows(kept: Iterable[Equation], new: Iterable[Equation]) -> tuple[Equation, ...]:
    """Two frontiers of one search as one: for each complexity the row of the lowest loss, the newer one where they tie.

    A kept row goes where a new one is no more complex and no worse: an engine's own frontier drops it for the
    same reason, so the end of an undisturbed search is its last frontier, however often it was looked at.
    """
    rows = {row.complexity: row for row in sorted(new, key=lambda row: -row.loss)}
    latest = tuple(rows.values())
    for old in kept:
        if not any(row.complexity <= old.complexity and row.loss <= old.loss for row in latest):
            rows[old.complexity] = old
    return tuple(rows[size] for size in sorted(rows))


def equations_of(rows: Any) -> tuple[Equation, ...]:
    """The rows that are whole; a worker killed while writing may leave half of one."""
    found = []
    for row in rows[:_MOST_ROWS] if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        complexity, loss, text = row.get("complexity"), _number(row.get("loss")), row.get("equation")
        if not isinstance(complexity, int) or isinstance(complexity, bool):
            continue
        if loss is None or not isinstance(text, str) or len(text) > _LONGEST_EQUATION:
            continue
        if 0 < complexity < _MOST_COMPLEX:
            found.append(Equation(complexity, loss, _clean(text, _LONGEST_EQUATION)))
    return tuple(found)


def _number(value: Any) -> float | None:
    """A loss, or None where it is none: NaN, negative, or no number. Too large a number is infinite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    return number if number >= 0 else None


def _clean(value: Any, most: int) -> str:
    """Text that can go to a terminal and a file: no control characters, no halves of surrogate pairs."""
    if not isinstance(value, (str, int, float)):
        return ""
    try:
        text = str(value)[:most]
    except ValueError:
        # A number of thousands of digits has no text.
        return ""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )
