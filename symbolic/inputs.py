"""What the user gives, as what the search takes: settings checked, arrays in float64, rows of the probe's place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from interpret.errors import BadInput, UsageError
from symbolic.arrays import to_device
from symbolic.backends.base import Settings, shown
from symbolic.operators import Operator, lookup
from symbolic.targets import Targets

if TYPE_CHECKING:
    from interpret.probe import Probe

Array = NDArray[np.float64]


def settings_of(
    operators: Iterable[str | Operator], units: Sequence[str] | None = None, **fields: Any
) -> Settings:
    """The settings of a search, checked; ``fields`` are those of `Settings` by name.

    Raises:
        BadInput: an accuracy that is no number above 0.
        UsageError: no operators; a bound, limit, seed or set of options that is none; or a device that torch cannot
            use.
        ExpressionError: an operator is unknown.
    """
    listed = _operators(operators)
    if fields.get("time_limit") == np.inf:
        fields["time_limit"] = None
    _check(fields)
    if fields.get("memory_limit") is not None:
        fields["memory_limit"] = int(fields["memory_limit"])
    settings = Settings(
        operators=tuple(lookup(op).name for op in listed if not isinstance(op, Operator)),
        user_operators=tuple(op for op in listed if isinstance(op, Operator)),
        units=None if units is None else tuple(units),
        **fields,
    )
    to_device(np.zeros(1), settings.device)
    return settings


def options_of(given: Any, engine: Any) -> dict[str, Any]:
    """The options for PySR, as a new dictionary.

    Raises:
        UsageError: no dictionary, or the engine asked for is another.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"pysr_options must be a dictionary of PySR's parameters, got {shown(given)}")
    if given and engine == "eigen":
        raise UsageError("pysr_options are for engine='pysr' or 'auto', and the engine asked for is 'eigen'")
    return dict(given)


def _operators(given: Any) -> list[Any]:
    listed = list(given) if isinstance(given, Iterable) else [given]
    wrong = [op for op in listed if not isinstance(op, (str, Operator))]
    if wrong:
        raise UsageError(f"operators must be names or user operators, got {shown(wrong[0])}")
    if not listed:
        raise UsageError("operators is empty, and a search needs at least one, such as '+'")
    return listed


def _check(fields: Mapping[str, Any]) -> None:
    for name in ("max_terms", "max_complexity"):
        if name in fields and not (_is_number(fields[name], whole=True) and fields[name] >= 1):
            raise UsageError(f"{name} must be at least 1, a whole number, got {shown(fields[name])}")
    if "seed" in fields and not (_is_number(fields["seed"], whole=True) and fields["seed"] >= 0):
        raise UsageError(f"seed must be a whole number, not negative, got {shown(fields['seed'])}")
    wanted = fields.get("accuracy")
    if wanted is not None and not (_is_number(wanted) and 0 < float(wanted) < np.inf):
        raise BadInput(
            f"accuracy must be a positive number, the misalignment to stop at, got {shown(wanted)}"
        )
    for name, unit in (("time_limit", "seconds"), ("memory_limit", "bytes")):
        value = fields.get(name)
        if value is not None and not (_is_number(value) and value > 0 and float(value) < np.inf):
            raise UsageError(f"{name} must be a positive number of {unit}, got {shown(value)}")


def _is_number(value: Any, whole: bool = False) -> bool:
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, int) and value.bit_length() > 63):
        return False
    return isinstance(value, (int, np.integer) if whole else (int, float, np.integer, np.floating))


def device_of(probe: Probe) -> str | None:
    """The GPU that a probe's model is on, or None."""
    first = next(probe.model.parameters(), None)
    return str(first.device) if first is not None and first.device.type == "cuda" else None


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
