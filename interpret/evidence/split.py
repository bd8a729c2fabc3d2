"""Which rows are explained from and which are judged on; rows of arrays, frames and nested batches alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from interpret.errors import BadInput, TooFewPoints
from interpret.explanation import Indices

HELD_OUT_SHARE = 0.2
HELD_OUT_MOST = 1000
FEWEST_ROWS = 20


def length(X: Any) -> int:
    """Number of rows of an array, tensor, frame, list, or of the first part of a tuple or dict of them."""
    if isinstance(X, dict):
        return length(next(iter(X.values())))
    if isinstance(X, tuple):
        return length(X[0])
    return len(X)


def take(X: Any, rows: Any) -> Any:
    """Rows of whatever `length` understands; ``rows`` is a slice or an integer array."""
    if isinstance(X, dict):
        return {key: take(value, rows) for key, value in X.items()}
    if isinstance(X, tuple):
        return tuple(take(value, rows) for value in X)
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, list):
        return X[rows] if isinstance(rows, slice) else [X[int(row)] for row in rows]
    return X[rows]


@dataclass(frozen=True)
class Split:
    """Training and test rows with the caller's own row numbers of both."""

    X: Any
    X_test: Any
    y: np.ndarray | None
    y_test: np.ndarray | None
    rows: Indices
    rows_test: Indices
    given: bool


def split(X: Any, y: Any, test: tuple[Any, Any] | None, seed: int) -> Split:
    """Hold out a seeded fifth of the rows (at most 1,000), or take the test rows as given.

    Raises:
        TooFewPoints: fewer than 20 rows. BadInput: ``y`` has another length than X.
    """
    n = length(X)
    labels = None if y is None else np.asarray(y)
    if labels is not None and len(labels) != n:
        raise BadInput(f"X has {n} rows and y has {len(labels)}; they must be the same rows")
    if n < FEWEST_ROWS:
        raise TooFewPoints(f"an explanation needs at least {FEWEST_ROWS} rows; X has {n}")
    if test is not None:
        X_test, y_test = test
        y_test = None if y_test is None else np.asarray(y_test)
        return Split(X, X_test, labels, y_test, np.arange(n), np.arange(length(X_test)), True)
    shuffled = np.random.default_rng(seed).permutation(n)
    held_out = min(HELD_OUT_MOST, max(1, int(HELD_OUT_SHARE * n)))
    rows_test, rows = np.sort(shuffled[:held_out]), np.sort(shuffled[held_out:])
    return Split(
        take(X, rows), take(X, rows_test),
        None if labels is None else labels[rows], None if labels is None else labels[rows_test],
        rows, rows_test, False,
    )  # fmt: skip
