"""`fit`, `fit_gradients` and `fit_many`: from a probe or arrays to a `Formula`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interpret.errors import BadInput, UsageError
from symbolic import assemble
from symbolic.backends.base import DEFAULT_OPERATORS, Settings
from symbolic.deepen import EXACT, TRAINED
from symbolic.formula import Formula
from symbolic.operators import Operator
from symbolic.targets import Targets, build

if TYPE_CHECKING:
    from interpret.probe import Probe

Array = NDArray[np.float64]


def fit(
    probe: Probe,
    X: Any,
    names: Sequence[str] | None = None,
    engine: str = "auto",
    operators: Iterable[str | Operator] = DEFAULT_OPERATORS,
    max_terms: int = 10,
    max_complexity: int = 30,
    seed: int = 0,
    time_limit: float | None = None,
    units: Sequence[str] | None = None,
    focus: str = "auto",
    accuracy: float | None = None,
    progress: Any = None,
    memory_limit: int | None = None,
    pysr_options: Mapping[str, Any] | None = None,
) -> Formula:
    """Name the closed-form concept that a unit encodes.

    Args:
        probe: of one scalar unit.
        X: (N, *input) points to look at: the data the network was trained on, or like it.
        names: one for each input, in the order of the flattened place the gradient is taken in.
        engine: "eigen", "pysr", or "auto": eigen, then pysr where it is installed and eigen's verdict is NONE.
        operators: names of operators the formula may use, and `Operator` objects of your own.
        max_terms: of the formula's outermost sum.
        max_complexity: nodes of the formula's tree.
        seed: everything random follows from it.
        time_limit: seconds after which the search stops and returns what it has.
        units: of measurement, one for each input; formulas then respect them.
        focus: "boundary" looks near the sign change of the values only, "all" everywhere, "auto" decides.
        accuracy: misalignment below which a short formula ends the search; None stands for 1.5e-3, what training
            leaves of a concept.
        progress: called with a `Progress` after each stage.
        memory_limit: bytes that a PySR worker may use.
        pysr_options: parameters of ``PySRRegressor``, for the engine "pysr".

    Returns:
        The formula with its frontier, link, verdict and controls.

    Raises:
        BadInput, TooFewPoints, DeadUnit: the data do not allow a search.
        BackendMissing: the engine asked for is not installed.

    The loss is Wetzel's (2024, eq. 5) without its sign: 1 − |mean cos| between ∇T and the unit's gradient.
    """
    started = time.monotonic()
    settings = _settings(
        operators,
        max_terms,
        max_complexity,
        seed,
        time_limit,
        units,
        progress,
        accuracy or TRAINED,
        memory_limit,
        pysr_options,
    )
    gradients = _rows(probe.gradients(X), "the unit must be scalar")
    values = _column(probe.values(X))
    points = _points(probe, X)
    targets = build(points, gradients, values, names=names, seed=seed, focus=focus)
    return assemble.formula(targets, settings, engine, started, _redrawn(probe, X, targets))


def fit_gradients(
    points: ArrayLike,
    gradients: ArrayLike,
    values: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    engine: str = "auto",
    operators: Iterable[str | Operator] = DEFAULT_OPERATORS,
    max_terms: int = 10,
    max_complexity: int = 30,
    seed: int = 0,
    time_limit: float | None = None,
    units: Sequence[str] | None = None,
    focus: str = "auto",
    accuracy: float | None = None,
    progress: Any = None,
    memory_limit: int | None = None,
    pysr_options: Mapping[str, Any] | None = None,
) -> Formula:
    """The same as `fit` from arrays of any framework: points (N, d), gradients (N, d), values (N,) or None.

    Without values there is no link, and no verdict of EXACT. As the gradients may be exact, the search goes on until
    a misalignment of 1e-9 unless ``accuracy`` says otherwise; for a trained network's 1.5e-3 is faster.
    """
    started = time.monotonic()
    settings = _settings(
        operators,
        max_terms,
        max_complexity,
        seed,
        time_limit,
        units,
        progress,
        accuracy or EXACT,
        memory_limit,
        pysr_options,
    )
    targets = build(points, gradients, values, names=names, seed=seed, focus=focus)
    return assemble.formula(targets, settings, engine, started)


def _settings(
    operators: Iterable[str | Operator],
    max_terms: int,
    max_complexity: int,
    seed: int,
    time_limit: float | None,
    units: Sequence[str] | None,
    progress: Any,
    accuracy: float,
    memory_limit: int | None = None,
    pysr_options: Mapping[str, Any] | None = None,
) -> Settings:
    from symbolic.operators import lookup

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


def _rows(gradients: Any, hint: str) -> Array:
    array = np.asarray(
        gradients.detach().cpu().double().numpy() if hasattr(gradients, "detach") else gradients
    )
    if array.ndim < 2:
        raise BadInput(f"gradients must have shape (N, …), got {array.shape}; {hint}")
    return np.asarray(array.reshape(len(array), -1), dtype=np.float64)


def _column(values: Any) -> Array:
    array = np.asarray(values.detach().cpu().double().numpy() if hasattr(values, "detach") else values)
    if array.ndim != 1:
        raise BadInput(f"the probe must name one scalar unit, and its values have shape {array.shape}")
    return np.asarray(array, dtype=np.float64)


def _points(probe: Probe, X: Any) -> Array:
    """The place the gradient is taken in, flattened to (N, d)."""
    if probe.wrt:
        return _rows(probe.capture(X, [probe.wrt])[probe.wrt], "of the place named by wrt")
    return _rows(_array(X), "of the input")


def _array(X: Any) -> Any:
    if hasattr(X, "to_numpy"):
        return X.to_numpy()
    return X


def _redrawn(probe: Probe, X: Any, targets: Targets) -> Any:
    """The control's gradients: the same unit of the same network with re-drawn weights, at the same rows."""
    if probe.wrt:
        # With other weights the place itself holds other values; there is nothing to compare.
        return None

    def gradients(seed: int, rows: NDArray[np.int64]) -> Array:
        return _rows(probe.reinitialized(seed).gradients(_array(X)[rows]), "of the control")

    return gradients
