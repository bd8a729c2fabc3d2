"""The derivatives that a user gives with an operator, checked against finite differences of its function.

Directions are all that a search sees, so that a wrong derivative makes a wrong formula without any other sign of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from interpret.errors import BadInput
from symbolic.operators import Operator

Array = NDArray[np.float64]

#: The central difference's step, as a share of the argument or of 1; wide enough for functions in float32.
STEP = 1e-4
#: A derivative is wrong at an argument where it differs by this share of the larger figure, or of the typical one.
WRONG = 1e-2
#: It is wrong altogether where it is so at this share of the arguments: kinks and poles are at a few.
MOST = 0.1
#: Arguments that are tried, and fewest that must be inside the domain.
ARGUMENTS, FEWEST = 400, 8


def check(operators: Iterable[Operator], points: Array) -> None:
    """Check every derivative of every operator at the inputs' values at points (N, d).

    Raises:
        BadInput: a derivative differs from the central difference of its function at more than a tenth of the
            arguments; the message names the worst. Or one of the two cannot be called on arrays.
    """
    for operator in operators:
        given = _arguments(points, operator.arity)
        for k in range(operator.arity):
            _check(operator, k, given)


def _arguments(points: Array, arity: int) -> list[Array]:
    """Columns one after the other, and beside each its neighbor where two arguments are needed."""
    rows = points[:: max(1, points.size // ARGUMENTS)]
    return [np.roll(rows, -k, axis=1).ravel() for k in range(arity)]


def _check(operator: Operator, k: int, given: Sequence[Array]) -> None:
    step = STEP * np.maximum(1.0, np.abs(given[k]))
    above, below = list(given), list(given)
    above[k], below[k] = given[k] + step, given[k] - step
    try:
        with np.errstate(all="ignore"):
            rise = _called(operator.function, above) - _called(operator.function, below)
            measured, told = rise / (2 * step), _called(operator.partials[k], given)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise BadInput(
            f"operator {operator.name!r} cannot be called on float64 arrays of shape {given[k].shape}: {error}"
        ) from error
    # Outside the domain of either nothing is said; a derivative that is finite nowhere finds no formula anyway.
    inside = np.isfinite(measured) & np.isfinite(told)
    if inside.sum() < FEWEST:
        return
    size = np.maximum(np.abs(measured), np.abs(told))[inside]
    apart = np.abs(measured - told)[inside]
    wrong = apart > WRONG * np.maximum(size, np.median(size))
    if wrong.mean() <= MOST:
        return
    worst = int(np.flatnonzero(inside)[np.argmax(apart)])
    place = ", ".join(f"{argument[worst]:.4g}" for argument in given)
    raise BadInput(
        f"operator {operator.name!r}: its derivative in argument {k + 1} differs from finite differences of its "
        f"function at {wrong.mean():.0%} of the points' values; worst at ({place}): {told[worst]:.4g} was given, "
        f"{measured[worst]:.4g} is measured"
    )


def _called(function: object, arguments: Sequence[Array]) -> Array:
    assert callable(function)
    value = np.asarray(function(*arguments), dtype=np.float64)
    return np.asarray(np.broadcast_to(value, arguments[0].shape))
