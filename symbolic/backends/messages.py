"""What a worker says, one JSON object a line: ready, progress, frontier, done, failed. Everything is
checked.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

#: A longer line is garbage, whatever it says.
LONGEST_LINE = 4_000_000
_LONGEST_EQUATION = 20_000


@dataclass(frozen=True)
class Equation:
    """A row of the frontier as the worker's engine wrote it; ``loss`` is its own figure on the fitting
    points.
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
    """The message in a line, or None where it holds none."""
    try:
        plain = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(plain, dict) or plain.get("event") not in _EVENTS:
        return None
    job = plain.get("job", -1)
    if not isinstance(job, int):
        return None
    versions = plain.get("versions", {})
    return Message(
        event=plain["event"],
        job=job,
        equations=_equations(plain.get("rows", [])),
        text=str(plain.get("message", ""))[:2_000],
        kind=str(plain.get("kind", ""))[:40],
        versions=tuple((str(k), str(v)) for k, v in versions.items()) if isinstance(versions, dict) else (),
        notes=tuple(str(note)[:500] for note in plain.get("notes", ()) if isinstance(note, str)),
    )


def _equations(rows: Any) -> tuple[Equation, ...]:
    """The rows that are whole; a worker killed while writing may leave half of one."""
    found = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        complexity, loss, text = row.get("complexity"), row.get("loss"), row.get("equation")
        if not isinstance(complexity, int) or not isinstance(text, str) or len(text) > _LONGEST_EQUATION:
            continue
        number = float(loss) if isinstance(loss, (int, float)) else math.inf
        found.append(Equation(complexity, number, text))
    return tuple(sorted(found, key=lambda equation: equation.complexity))
