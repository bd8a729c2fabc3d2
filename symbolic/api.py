"""`fit`, `fit_gradients` and `fit_many`: from a probe or arrays to a `Formula`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symbolic import assemble
from symbolic.backends.base import DEFAULT_OPERATORS, Backend
from symbolic.deepen import EXACT, TRAINED
from symbolic.formula import Formula
from symbolic.inputs import as_column, as_points, as_rows, device_of, options_of, redrawn, settings_of
from symbolic.operators import Operator
from symbolic.targets import build

if TYPE_CHECKING:
    from interpret.probe import Probe

Array = NDArray[np.float64]


def fit(
    probe: Probe,
    X: Any,
    names: Sequence[str] | None = None,
    engine: str | Backend = "auto",
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
    device: str | None = None,
) -> Formula:
    """Name the closed-form concept that a unit encodes.

    Args:
        probe: of one scalar unit.
        X: (N, *input) points to look at: the data the network was trained on, or like it.
        names: one for each input, in the order of the flattened place the gradient is taken in.
        engine: "eigen", "pysr", or "auto": eigen, then pysr where it is installed and eigen's verdict is NONE;
            or a `Backend` of your own.
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
        device: where the search's sums over points are taken, such as "cuda"; None stands for the model's GPU if it is
            on one, else for NumPy.

    Returns:
        The formula with its frontier, link, verdict and controls.

    Raises:
        BadInput, TooFewPoints, DeadUnit: the data do not allow a search.
        BackendMissing: the engine asked for is not installed.

    The loss is Wetzel's (2024, eq. 5) without its sign: 1 − |mean cos| between ∇T and the unit's gradient.
    """
    started = time.monotonic()
    settings = settings_of(
        operators,
        units,
        max_terms=max_terms,
        max_complexity=max_complexity,
        seed=seed,
        time_limit=time_limit,
        progress=progress,
        accuracy=TRAINED if accuracy is None else accuracy,
        memory_limit=memory_limit,
        options=options_of(pysr_options, engine),
        device=device or device_of(probe),
    )
    gradients = as_rows(probe.gradients(X), "the unit must be scalar")
    values = as_column(probe.values(X))
    points = as_points(probe, X)
    targets = build(points, gradients, values, names=names, seed=seed, focus=focus)
    return assemble.formula(targets, settings, engine, started, redrawn(probe, X, targets))


def fit_gradients(
    points: ArrayLike,
    gradients: ArrayLike,
    values: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    engine: str | Backend = "auto",
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
    device: str | None = None,
) -> Formula:
    """The same as `fit` from arrays of any framework.

    Without values there is no link, no verdict of EXACT, and nothing that says where a classifier's decision boundary
    is: all points count alike, also those far from it, where training leaves the direction loose. As the gradients may
    be exact, the search goes on until a misalignment of 1e-9 unless ``accuracy`` says otherwise; for a trained
    network's 1.5e-3 is faster.

    Args:
        points: (N, d) inputs, float64 or what converts to it.
        gradients: (N, d) of the unit at these points, of any length: only directions count.
        values: (N,) of the unit there, or None.
        names: one for each input.
        engine: as for `fit`.
        operators: as for `fit`.
        max_terms: of the formula's outermost sum.
        max_complexity: nodes of the formula's tree.
        seed: everything random follows from it.
        time_limit: seconds after which the search stops and returns what it has.
        units: of measurement, one for each input; formulas then respect them.
        focus: as for `fit`; it needs values.
        accuracy: misalignment below which a short formula ends the search; None stands for 1e-9.
        progress: called with a `Progress` after each stage.
        memory_limit: bytes that a PySR worker may use.
        pysr_options: parameters of ``PySRRegressor``, for the engine "pysr".
        device: where the search's sums over points are taken, such as "cuda"; None stands for NumPy.

    Returns:
        The formula with its frontier, link (where there are values), verdict and controls.

    Raises:
        BadInput, TooFewPoints, DeadUnit: the data do not allow a search.
        BackendMissing: the engine asked for is not installed.
    """
    started = time.monotonic()
    settings = settings_of(
        operators,
        units,
        max_terms=max_terms,
        max_complexity=max_complexity,
        seed=seed,
        time_limit=time_limit,
        progress=progress,
        accuracy=EXACT if accuracy is None else accuracy,
        memory_limit=memory_limit,
        options=options_of(pysr_options, engine),
        device=device,
    )
    targets = build(points, gradients, values, names=names, seed=seed, focus=focus)
    return assemble.formula(targets, settings, engine, started)
