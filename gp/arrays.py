"""A feature map that is given: features and targets from arrays, a callable or chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gp.kernels import Array, Block, Heads
from gp.rows import RowBlock
from interpret.errors import BadInput, WidthMismatch

#: Numbers of a chunk that is made float64 at once: few enough to stay in the processor's cache.
CHUNK = 2**19


@dataclass(frozen=True)
class ArrayMap:
    """The identity: X is an array of features (N, D). See ``gp.kernels.FeatureMap``."""

    heads: Heads
    metric: str
    center: bool
    width: int | None = None
    kind: str = "features"
    groups: int = 1
    places: tuple[int, ...] = ()
    noise: Array | None = None
    notes: tuple[str, ...] = ()
    linear: bool = field(default=True)

    def blocks(self, X: Any) -> Iterator[Block]:
        """Features as they are; targets are unknown and NaN.

        Raises:
            WidthMismatch: they have another number of columns than the training rows.
            BadInput: they are no array (N, D) of finite numbers.

        """
        for features, rows in sliced(X, self.width):
            unknown = features.new_full((len(features), 1, len(self.heads)), torch.nan)
            yield Block(rows, features[None, :, None], unknown, unknown[:, 0])

    def tail(self, X: Any, latent: torch.Tensor) -> torch.Tensor:
        """The identity."""
        return latent

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Only the heads."""
        return {"shape": list(self.heads.shape)}, {}


def sliced(X: Any, width: int | None = None) -> Iterator[tuple[torch.Tensor, slice]]:
    """An array (N, D) in float64 pieces; one of shape (D,) is a single row."""
    try:
        array = X if isinstance(X, torch.Tensor) else np.asarray(X)
    except ValueError as error:
        raise BadInput("features are an array (N, D); these rows have different lengths") from error
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        raise BadInput(f"features are an array (N, D); got shape {list(array.shape)}")
    if width is not None and array.shape[1] != width:
        raise WidthMismatch(f"the training rows have {width} features; got {array.shape[1]}")
    step = max(1, CHUNK // max(1, array.shape[1]))
    for start in range(0, len(array), step):
        piece = array[start : start + step]
        exact = as_double(piece)
        if not bool(torch.isfinite(exact).all()):
            row = start + int((~torch.isfinite(exact)).nonzero()[0, 0])
            raise BadInput(
                f"the features hold a value that is not finite, first in row {row}; drop or fill it"
            )
        yield exact, slice(start, start + len(piece))


def as_double(piece: Any) -> torch.Tensor:
    """A float64 tensor of numbers."""
    if isinstance(piece, torch.Tensor):
        return piece.detach().double()
    array = np.asarray(piece)
    if array.dtype.kind not in "fiub":
        raise BadInput(f"features and targets are numbers; got dtype {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


@dataclass(frozen=True)
class Source:
    """Where rows come from. ``again`` says whether they can be read more than once."""

    read: Callable[[], Iterator[tuple[Any, Any]]]
    again: bool

    def blocks(self) -> Iterator[RowBlock]:
        """Rows (1, n, 1, D) with targets (n, 1, L); chunks without rows are passed over.

        Raises:
            BadInput: chunks of other shapes than (n, D) and (n, L), or not all of the same widths.

        """
        start, widths = 0, None
        for features, targets in self.read():
            h, v = as_double(features), as_double(targets)
            v = v[:, None] if v.ndim == 1 else v
            if h.ndim != 2 or v.ndim != 2 or len(h) != len(v) or not h.shape[1] or not v.shape[1]:
                raise BadInput(
                    f"features are (n, D) and targets (n,) or (n, L) of the same rows; "
                    f"got {list(h.shape)} and {list(v.shape)}"
                )
            widths = widths or (h.shape[1], v.shape[1])
            if widths != (h.shape[1], v.shape[1]):
                raise BadInput(
                    f"every chunk has the same columns; the first had {widths[0]} features and {widths[1]} targets, "
                    f"one from row {start} has {h.shape[1]} and {v.shape[1]}"
                )
            if not len(h):
                continue
            yield RowBlock(slice(start, start + len(h)), h[None, :, None], v[:, None])
            start += len(h)


def source(U: Any, V: Any) -> Source:
    """Rows from arrays U (M, D) and V (M,) or (M, L), from callables, or from (re-)iterables of chunks.

    With V None, U gives pairs (U chunk, V chunk). A callable is called anew for each reading.

    Raises:
        BadInput: neither arrays, callables nor iterables; different numbers of rows.

    """
    if _is_array(U):
        if not _is_array(V):
            raise BadInput("with an array of features the targets are an array too")
        if len(U) != len(V):
            raise BadInput(f"there are {len(U)} rows of features and {len(V)} of targets")
        return Source(lambda: _paired(U, V), True)
    if not all(part is None or callable(part) or isinstance(part, Iterable) for part in (U, V)) or U is None:
        raise BadInput(
            f"features are an array, a callable or chunks; got {type(U).__name__} and {type(V).__name__}"
        )
    once = any(isinstance(part, Iterator) for part in (U, V))

    def read() -> Iterator[tuple[Any, Any]]:
        first = U() if callable(U) else U
        if V is None:
            yield from first
        else:
            yield from zip(first, V() if callable(V) else V, strict=True)

    return Source(read, not once)


def _is_array(part: Any) -> bool:
    return hasattr(part, "shape") or (isinstance(part, list) and bool(part) and _numeric(part[0]))


def _numeric(part: Any) -> bool:
    return isinstance(part, int | float | np.number) or (
        isinstance(part, list | tuple) and bool(part) and isinstance(part[0], int | float | np.number)
    )


def _paired(U: Any, V: Any) -> Iterator[tuple[Any, Any]]:
    U = U if isinstance(U, torch.Tensor) or hasattr(U, "dtype") else np.asarray(U)
    V = V if isinstance(V, torch.Tensor) or hasattr(V, "dtype") else np.asarray(V)
    step = max(1, CHUNK // max(1, int(np.prod(U.shape[1:]))))
    for start in range(0, len(U), step):
        yield U[start : start + step], V[start : start + step]
