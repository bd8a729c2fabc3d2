"""Probe data in every accepted form, cut into batches. Inside there is one form: a structure of tensors per batch."""

from __future__ import annotations

import inspect
import mmap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from interpret.errors import BadInput, TooFewPoints
from interpret.probing import structure

#: Pages of a memory map are let go of each time this much has been read.
FORGET_BYTES = 64 * 2**20
FORMS = "an array, a tensor, a DataFrame, a tuple or dict of those, a Dataset, a DataLoader or interpret.data.Data"


def rows_of(X: Any) -> int | None:
    """The number of rows of ``X``, or None where only iterating tells."""
    if is_loader(X):
        return None
    if hasattr(X, "iloc") or is_dataset(X):
        return len(X)
    return _common_rows(plain(X))


def batches(X: Any, batch_size: int, model: nn.Module | None = None) -> Iterator[tuple[slice, Any]]:
    """Yield ``(rows, batch)`` in order: a slice of row numbers and a structure of tensors with those rows.

    Batches of a DataLoader are taken as it cuts them. Of what a Dataset or DataLoader yields, as many leading parts are
    kept as the model's forward requires, so that ``(x, label)`` works.
    """
    X = plain(X)
    if isinstance(X, torch.utils.data.IterableDataset):
        X = torch.utils.data.DataLoader(X, batch_size)
    source = _loaded if is_loader(X) else _collated if is_dataset(X) else _sliced
    start = 0
    for batch in source(X, batch_size, model):
        count = _common_rows(batch)
        yield slice(start, start + count), batch
        start += count
    if start == 0:
        raise TooFewPoints(f"the data has no rows; got {type(X).__name__}")


def count(batch: Any) -> int:
    """The number of rows of one batch."""
    return _common_rows(batch)


def cut(batch: Any, rows: slice) -> Any:
    """Some rows of one batch."""
    total = count(batch)
    return structure.mapped(lambda part: part[rows] if part.ndim and len(part) == total else part, batch)


def is_loader(X: Any) -> bool:
    """Is it an iterable of batches rather than an array: a DataLoader, or any re-iterable without a shape?"""
    if isinstance(X, torch.utils.data.DataLoader | torch.utils.data.IterableDataset):
        return True
    plain = isinstance(X, torch.Tensor | np.ndarray | Mapping | tuple | list | str | bytes) or hasattr(
        X, "shape"
    )
    return isinstance(X, Iterable) and not plain and not hasattr(X, "__getitem__")


def is_dataset(X: Any) -> bool:
    """Is it a map-style dataset: a length and items, but no array, sequence or mapping?"""
    plain = isinstance(X, torch.Tensor | np.ndarray | Mapping | tuple | list | str | bytes) or hasattr(
        X, "shape"
    )
    return not plain and hasattr(X, "__getitem__") and hasattr(X, "__len__")


def fixed_columns(X: Any) -> tuple[int, ...]:
    """Columns that no derivative is taken in: those that Data declares, or a DataFrame by its types."""
    declared = getattr(X, "fixed", None)
    if isinstance(declared, tuple):
        return declared
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        return tuple(i for i, kind in enumerate(X.dtypes) if kind.name in ("bool", "boolean", "category"))
    return ()


def plain(X: Any) -> Any:
    """Tables become arrays, lists of numbers too; all else stays what it is."""
    if type(X).__name__ == "Data" and hasattr(X, "X"):
        X = X.X
    if hasattr(X, "columns") and hasattr(X, "to_numpy"):
        return _table(X)
    if hasattr(X, "to_numpy") and hasattr(X, "dtype"):
        return X.to_numpy()
    if isinstance(X, list):
        if any(isinstance(part, torch.Tensor | np.ndarray) for part in X):
            raise BadInput(
                "a list of arrays is ambiguous; stack rows into one array, or pass several inputs as a tuple"
            )
        return _array(X)
    return X


def _table(frame: Any) -> np.ndarray:
    import pandas as pd

    columns = []
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.cat.codes
        try:
            columns.append(column.to_numpy(dtype=np.float64))
        except (TypeError, ValueError):
            raise BadInput(
                f"column {name!r:.80} holds {column.dtype}, not numbers; encode it, or declare it categorical "
                f"(frame.astype({{{name!r:.40}: 'category'}}))"
            ) from None
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))


def _array(X: Any) -> np.ndarray:
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise BadInput(f"the rows have different lengths: {error}") from None
    if array.dtype.kind not in "fiub":
        raise BadInput(f"expected numbers, got dtype {array.dtype}; the data must be {FORMS}")
    return array


def _tensor(part: Any) -> Any:
    """A tensor of one input's rows; what is no array (None, a flag) passes through."""
    if isinstance(part, torch.Tensor):
        return part.detach()
    if hasattr(part, "columns") and hasattr(part, "to_numpy"):
        return torch.from_numpy(_table(part))
    if isinstance(part, np.ndarray):
        array = _array(part)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        return torch.tensor(array)  # copies: the rows may be a read-only memory map
    return part


def _sliced(X: Any, batch_size: int, model: nn.Module | None) -> Iterator[Any]:
    total = _common_rows(X)
    for start in range(0, total, batch_size):
        rows = slice(start, min(start + batch_size, total))
        yield _cut(X, rows)
        for _, part in _arrays(X):
            _forget(part, rows)


def _forget(part: Any, rows: slice) -> None:
    """Let go of the pages of a memory map that have been read, or a pass over it fills the memory."""
    if not isinstance(part, np.memmap) or part.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
        return
    row = part.nbytes // max(1, len(part))
    pages = getattr(part, "_mmap", None)
    if pages is not None and rows.start * row // FORGET_BYTES != rows.stop * row // FORGET_BYTES:
        pages.madvise(mmap.MADV_DONTNEED)


def _cut(X: Any, rows: slice) -> Any:
    if isinstance(X, Mapping):
        return {key: _cut(part, rows) for key, part in X.items()}
    if isinstance(X, tuple):
        parts = [_cut(part, rows) for part in X]
        return type(X)(*parts) if hasattr(X, "_fields") else tuple(parts)
    if hasattr(X, "iloc"):
        return _tensor(X.iloc[rows])
    if isinstance(X, torch.Tensor | np.ndarray) and X.ndim:
        return _tensor(X[rows])
    return X


def _collated(X: Any, batch_size: int, model: nn.Module | None) -> Iterator[Any]:
    collate = torch.utils.data.default_collate
    for start in range(0, len(X), batch_size):
        yield _inputs(collate([X[i] for i in range(start, min(start + batch_size, len(X)))]), model)


def _loaded(X: Iterable, batch_size: int, model: nn.Module | None) -> Iterator[Any]:
    for batch in X:
        yield _inputs(
            _array(batch) if isinstance(batch, list) and batch and np.isscalar(batch[0]) else batch, model
        )


def _inputs(batch: Any, model: nn.Module | None) -> Any:
    """Leading parts of ``(x, label)`` that the model's forward requires."""
    if isinstance(batch, tuple | list):
        parts = tuple(_tensor(part) for part in batch)[: _required(model)]
        return parts[0] if len(parts) == 1 else parts
    if isinstance(batch, Mapping):
        return {key: _tensor(part) for key, part in batch.items()}
    return _tensor(batch)


def _required(model: nn.Module | None) -> int | None:
    if model is None:
        return None
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(1, sum(p.kind in positional and p.default is p.empty for p in parameters))


def _common_rows(X: Any) -> int:
    sizes = {".".join(keys) or "the data": len(part) for keys, part in _arrays(X) if part.ndim}
    if not sizes:
        raise BadInput(
            f"expected {FORMS}; got {type(X).__name__}" + (" (0 axes)" if hasattr(X, "ndim") else "")
        )
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in list(sizes.items())[:6])
        raise BadInput(f"the inputs differ in their number of rows ({listed})")
    return next(iter(sizes.values()))


def _arrays(X: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(X, torch.Tensor | np.ndarray) or hasattr(X, "iloc"):
        yield keys, X
    else:
        for key, part in structure.children(X).items():
            yield from _arrays(part, (*keys, key))


def prepared(batch: Any, device: torch.device, dtype: torch.dtype | None, start: int = 0) -> Any:
    """A copy of ``batch`` as the model takes it: on its device, floats in its type; integers and flags as they are.

    Raises:
        BadInput: a value is not finite; the message names its row, counted from ``start``.
    """
    tensors = list(structure.leaves(batch))

    def prepare(part: torch.Tensor) -> torch.Tensor:
        floats = part.is_floating_point()
        return part.to(device, dtype if floats and dtype is not None else part.dtype, copy=True)

    for keys, part in tensors:
        if part.is_floating_point():
            _check_finite(part, ".".join(keys), start, alone=len(tensors) == 1)
    return structure.mapped(prepare, batch)


def _check_finite(part: torch.Tensor, name: str, start: int, alone: bool) -> None:
    # A mask beside the data may hold -inf; a NaN never means anything.
    bad = ~torch.isfinite(part) if alone else torch.isnan(part)
    if not bad.any():
        return
    first = [int(i) for i in bad.nonzero()[0]]
    what = float(part[tuple(first)])
    where = f"row {start + first[0]}" + (f", position {first[1:]}" if first[1:] else "")
    raise BadInput(
        f"the data{f' ({name})' if name else ''} holds {int(bad.sum())} values that are not finite; the first is {what}"
        f" at {where}. Drop or fill those rows"
    )
