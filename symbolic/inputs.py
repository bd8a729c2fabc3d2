"""What the user gives, as what the search takes: settings checked, arrays in float64, rows of the probe's place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from interpret.errors import BadInput, UsageError
from symbolic.backends.base import Settings
from symbolic.operators import Operator, lookup
from symbolic.targets import Targets

if TYPE_CHECKING:
    from interpret.probe import Probe

Array = NDArray[np.float64]


def settings_of(
    operators: Iterable[str | Operator],
    max_terms: int,
    max_complexity: int,
    seed: int,
    time_limit: float | None,
    units: Sequence[str] | None = None,
    progress: Any = None,
    accuracy: float | None = None,
    memory_limit: int | None = None,
    pysr_options: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of a search, checked.

    Raises:
        UsageError: a bound is below one, or the time limit is not positive.
        ExpressionError: an operator is unknown.
    """
    listed = list(operators)
    own = tuple(op for op in listed if isinstance(op, Operator))
    names = tuple(lookup(op).name for op in listed if not isinstance(op, Operator))
    if max_terms < 1 or max_complexity < 1:
        raise UsageError(
            f"max_terms and max_complexity must be at least 1, got {max_terms} and {max_complexity}"
        )
    if time_limit is not None and not time_limit > 0:
        raise UsageError(f"time_limit must be a positive number of seconds, got {time_limit}")
    return Settings(
        operators=names,
        user_operators=own,
        max_terms=max_terms,
        max_complexity=max_complexity,
        seed=seed,
        time_limit=time_limit,
        units=None if units is None else tuple(units),
        progress=progress,
        accuracy=accuracy,
        memory_limit=memory_limit,
        options=dict(pysr_options or {}),
    )


def as_rows(gradients: Any, hint: str) -> Array:
    """Anything array-like of shape (N, …) as (N, d) in float64."""
    array = np.asarray(
        gradients.detach().cpu().double().numpy() if hasattr(gradients, "detach") else gradients
    )
    if array.ndim < 2:
        raise BadInput(f"gradients must have shape (N, …), got {array.shape}; {hint}")
    return np.asarray(array.reshape(len(array), -1), dtype=np.float64)


def as_column(values: Any) -> Array:
    """A scalar unit's values (N,) in float64."""
    array = np.asarray(values.detach().cpu().double().numpy() if hasattr(values, "detach") else values)
    if array.ndim != 1:
        raise BadInput(f"the probe must name one scalar unit, and its values have shape {array.shape}")
    return np.asarray(array, dtype=np.float64)


def as_points(probe: Probe, X: Any) -> Array:
    """The place the gradient is taken in, flattened to (N, d)."""
    if probe.wrt:
        return as_rows(probe.capture(X, [probe.wrt])[probe.wrt], "of the place named by wrt")
    return as_rows(plain(X), "of the input")


def prepare(X: Any, most: int, seed: int) -> tuple[Any, NDArray[np.int64]]:
    """At most ``most`` rows of X, drawn by the seed, and their indices."""
    data = plain(X)
    order = np.random.default_rng([seed, 6]).permutation(len(data))[:most]
    return data[order], order


def plain(X: Any) -> Any:
    """A DataFrame as its array; anything else as it is."""
    if hasattr(X, "to_numpy"):
        return X.to_numpy()
    return X


def redrawn(probe: Probe, X: Any, targets: Targets) -> Any:
    """The control's gradients: the same unit of the same network with re-drawn weights, at the same rows."""
    if probe.wrt:
        # With other weights the place itself holds other values; there is nothing to compare.
        return None

    def gradients(seed: int, rows: NDArray[np.int64]) -> Array:
        return as_rows(probe.reinitialized(seed).gradients(plain(X)[rows]), "of the control")

    return gradients
