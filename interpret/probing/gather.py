"""From a module's raw output to what an address names: batch axis first, items taken, remaining axes reduced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from interpret.address import Reduced

#: How axes that an index does not cover become one number.
REDUCTIONS: dict[str, Callable[[torch.Tensor, tuple[int, ...]], torch.Tensor]] = {
    "mean": lambda t, axes: t.mean(axes),
    "sum": lambda t, axes: t.sum(axes),
    "max": lambda t, axes: t.amax(axes),
    "min": lambda t, axes: t.amin(axes),
    "norm": lambda t, axes: torch.linalg.vector_norm(t, dim=axes),
}


def rows_first(value: torch.Tensor, axis: int, rows: int) -> torch.Tensor:
    """``value`` with its batch axis in front; an axis that holds several entries a row, such as N·T, becomes (N, T)."""
    value = value.movedim(axis, 0)
    return value if len(value) == rows else value.reshape(rows, -1, *value.shape[1:])


def batch_axis(shape: tuple[int, ...], rows: int, again: Callable[[int], tuple[int, ...]]) -> int | None:
    """Which axis holds the rows. ``again(n)`` is the shape there when ``n`` rows are run; asked only when unclear."""
    same = [axis for axis, size in enumerate(shape) if size == rows]
    if same == [0]:
        return 0
    other = again(rows + 1)
    if len(other) != len(shape):
        return same[0] if same else None
    for axis, (size, changed) in enumerate(zip(shape, other, strict=True)):
        if size != changed and size % rows == 0 and size // rows * (rows + 1) == changed:
            return axis
    return None


def take(value: torch.Tensor, items: tuple[Any, ...], reduce: str) -> torch.Tensor:
    """``value`` (N, *shape) at one settled item per axis: ints select, lists keep, ``Reduced`` reduces."""
    whole = tuple(item if isinstance(item, int) else _run(item) for item in items)
    value = value[(slice(None), *whole)]
    axis, reduced = 1, []
    for item in items:
        if isinstance(item, int):
            continue
        if isinstance(item, Reduced):
            reduced.append(axis)
        elif _run(item) == slice(None):
            value = value.index_select(axis, torch.tensor(item, device=value.device))
        axis += 1
    return REDUCTIONS[reduce](value, tuple(reduced)) if reduced else value


def _run(item: Any) -> slice:
    """A list of ascending neighbors as a slice, which is a view; anything else is kept whole here."""
    if isinstance(item, list) and item == list(range(item[0], item[-1] + 1)):
        return slice(item[0], item[-1] + 1)
    return slice(None)
