"""Rows of a table as examples: which columns to show beside a query, and how dark to shade a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from interpret.explanation import Thumbnail
from interpret.report.clean import escaped
from interpret.report.view import Example

#: Columns a strip of table rows shows.
MOST_COLUMNS = 6


def closest_columns(query: Thumbnail, strip: Sequence[Thumbnail], every: Sequence[Thumbnail]) -> list[int]:
    """Columns in which ``strip`` lies closest to ``query``, against the spread over ``every`` row shown.

    These are what the neighbors share with the query; at most ``MOST_COLUMNS``, in the table's own order.
    """
    width = len(query.values) if query.kind == "row" else 0
    if width <= MOST_COLUMNS:
        return list(range(width))
    near, spread = _matrix(strip, width), _matrix(every, width)
    if not len(near):
        return list(range(MOST_COLUMNS))
    distance = np.abs(near - np.asarray(query.values)).mean(axis=0)
    relative = np.nan_to_num(distance / np.maximum(spread.std(axis=0), 1e-12), nan=np.inf)
    # A column that never varies is close for everybody and says nothing.
    relative[spread.std(axis=0) < 1e-12] = np.inf
    return sorted(np.argsort(relative, kind="stable")[:MOST_COLUMNS].tolist())


def _matrix(rows: Sequence[Thumbnail], width: int) -> np.ndarray:
    kept = [row.values for row in rows if row.kind == "row" and len(row.values) == width]
    return np.asarray(kept, dtype=np.float64).reshape(len(kept), width)


def widest_columns(rows: Sequence[Thumbnail], every: Sequence[Thumbnail]) -> list[int]:
    """Columns in which ``rows`` lie furthest from the middle of ``every`` row shown: what sets them apart."""
    if not rows:
        return []
    width = len(rows[0].values)
    if width <= MOST_COLUMNS:
        return list(range(width))
    listed, spread = _matrix(rows, width), _matrix(every, width)
    apart = np.abs(listed - spread.mean(axis=0)).mean(axis=0) / np.maximum(spread.std(axis=0), 1e-12)
    return sorted(np.argsort(-np.nan_to_num(apart), kind="stable")[:MOST_COLUMNS].tolist())


def ranges(rows: Sequence[Thumbnail], columns: Sequence[int]) -> list[tuple[float, float]]:
    """Smallest and largest finite value of each column over ``rows``."""
    found, lines = [], [row.values for row in rows if row.kind == "row"]
    for column in columns:
        finite = [line[column] for line in lines if column < len(line) and math.isfinite(line[column])]
        found.append((min(finite), max(finite)) if finite else (0.0, 0.0))
    return found


def shades(values: Sequence[float], scale: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """How far each value lies between the smallest and largest seen in its column, in percent."""
    if len(values) != len(scale):
        return (0.0,) * len(values)
    return tuple(_shade(value, low, high) for value, (low, high) in zip(values, scale, strict=True))


def bar(value: float) -> Markup:
    """A bar to the left or right of nothing, ``value`` percent of the longest."""
    way = "down" if value < 0 else "up"
    return Markup(
        f'<span class="bar {way}" aria-hidden="true"><i style="width:{abs(value) / 2}%"></i></span>'
    )


def cells(example: Example, columns: Sequence[str]) -> Markup:
    """The cells of a table row, each a number over its shade; empty ones where the example has no numbers.

    Written here and not in a template: a page holds hundreds, and these are numbers, no foreign text. ``bar`` too.
    """
    filled = (
        f'<td class="n shade"><i style="width:{shade}%"></i><b>{escaped(cell)}</b></td>'
        for shade, cell in zip(example.shades, example.cells, strict=True)
    )
    return Markup("".join(filled) + '<td class="n shade"></td>' * (len(columns) - len(example.cells)))


def _shade(value: float, low: float, high: float) -> float:
    if not math.isfinite(value) or high <= low:
        return 0.0
    return round(100 * (value - low) / (high - low), 1)
