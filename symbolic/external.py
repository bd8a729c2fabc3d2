"""Many neurons on an external engine: as many workers as asked for, one seeded search and one formula for each
neuron.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interpret.errors import BackendFailed, BadInput, InterpretError, NameMismatch
from symbolic import assemble, targets
from symbolic.backends.base import SearchResult, Settings
from symbolic.backends.pysr import PySR
from symbolic.formula import Formula
from symbolic.many import Skipped

Array = NDArray[np.float64]


def fit_units(
    points: ArrayLike,
    gradients: ArrayLike,
    values: ArrayLike | None,
    settings: Settings,
    names: Sequence[str] | None = None,
    workers: int = 1,
    backend: PySR | None = None,
) -> list[Formula | Skipped]:
    """Formulas of many units by PySR, in the units' order.

    Ctrl-C ends the searches and keeps what they found: a unit without anything is `Skipped`, and a formula whose search
    was cut short says so (``interrupted``).

    Args:
        points: (N, d) inputs, the same for all units.
        gradients: (N, units, d).
        values: (N, units), or None for no links.
        settings: of every search; its time limit is each unit's own.
        names: d column names.
        workers: processes; one core each. The formulas do not depend on their number.
        backend: another worker command; the installed PySR by default.

    Raises:
        BackendMissing: PySR is not installed.
        BadInput: the shapes or names do not fit; what is wrong with one unit's gradients alone skips that unit.
        KeyboardInterrupt: the user cancelled before anything was found.
    """
    x, g, v = _arrays(points, gradients, values)
    engine = PySR() if backend is None else backend
    missing = engine.available()
    if missing is not None:
        raise missing.error()
    aims = [
        _aim(unit, x, g[:, unit], None if v is None else v[:, unit], names, settings)
        for unit in range(g.shape[1])
    ]
    usable = [aim for aim in aims if isinstance(aim, targets.Targets)]
    started = time.monotonic()
    found = iter(engine.search_many(usable, settings, workers))
    return _formulas(aims, found, settings, started)


def _arrays(
    points: ArrayLike, gradients: ArrayLike, values: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    try:
        x, g = np.asarray(points, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
        v = None if values is None else np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"points, gradients and values must be arrays of numbers: {error}") from error
    if g.ndim != 3:
        raise BadInput(f"gradients must have shape (N, units, d), got {g.shape}")
    if x.shape != (g.shape[0], g.shape[2]):
        raise BadInput(f"points must have shape {(g.shape[0], g.shape[2])}, got {x.shape}")
    if v is not None and v.shape != g.shape[:2]:
        raise BadInput(f"values must have shape {g.shape[:2]}, got {v.shape}")
    return x, g, v


def _formulas(
    aims: Sequence[targets.Targets | Skipped],
    found: Iterator[SearchResult | BackendFailed],
    settings: Settings,
    started: float,
) -> list[Formula | Skipped]:
    """Score and judge what was found, unit after unit; Ctrl-C ends that too, and keeps the units before."""
    formulas: list[Formula | Skipped] = []
    for unit, aim in enumerate(aims):
        if isinstance(aim, Skipped):
            formulas.append(aim)
            continue
        result = next(found)
        try:
            formula = _formula(unit, result, aim, settings, started)
        except KeyboardInterrupt:
            if not any(isinstance(other, Formula) for other in formulas):
                raise
            break
        formulas.append(formula)
        searched = isinstance(result, SearchResult) and not result.interrupted
        if searched and isinstance(formula, Formula) and formula.interrupted:
            # The search had ended: it was its scoring that the user cut short.
            break
    return formulas + [Skipped(unit, "cancelled") for unit in range(len(formulas), len(aims))]


def _aim(
    unit: int, points: Array, gradients: Array, values: Array | None, names: Any, settings: Settings
) -> targets.Targets | Skipped:
    try:
        return targets.build(points, gradients, values, names=names, seed=settings.seed)
    except NameMismatch:
        # The names are all units'.
        raise
    except BadInput as error:
        return Skipped(unit, str(error))


def _formula(
    unit: int, result: SearchResult | BackendFailed, aim: targets.Targets, settings: Settings, started: float
) -> Formula | Skipped:
    try:
        if isinstance(result, BackendFailed):
            raise result
        return assemble.assemble(result, "pysr", aim, settings, started)
    except InterpretError as error:
        return Skipped(unit, f"{type(error).__name__}: {error}")
