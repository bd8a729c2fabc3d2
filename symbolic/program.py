"""A formula as straight-line steps: values, gradients, and how gradients move with one constant.

A tree is walked once; what is then repeated for every step of every fit is a loop over a tuple. Formulas that differ in
their constants only share one program. Moving one constant changes the steps between it and the root and no others:
those alone are taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interpret.errors import ExpressionError
from symbolic.operators import BUILTIN, Operator, lookup

Array = NDArray[np.float64]
#: A variable by its index k ≥ 0, constant number k as ~k, or an operator with the positions of its arguments.
Step = int | tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The steps of a formula, arguments before what they enter, and the variables that occur, in order."""

    steps: tuple[Step, ...]
    variables: tuple[int, ...]

    def path(self, constant: int) -> tuple[int, ...]:
        """The positions of a constant and of everything that it enters, the root last."""
        inside = self.steps.index(~constant)
        found = [inside]
        for at in range(inside + 1, len(self.steps)):
            step = self.steps[at]
            if not isinstance(step, int) and found[-1] in step[1]:
                found.append(at)
        return tuple(found)


@lru_cache(maxsize=64)
def _unit_rows(width: int) -> tuple[Array, ...]:
    """The gradient (1, width) of each of so many variables."""
    rows = np.eye(width)
    rows.flags.writeable = False
    return tuple(row[None, :] for row in rows)


class Run:
    """One evaluation: at every step taken the value, and the gradient in the variables ``wrt``, None where it is zero
    everywhere. Values are (N,) or a number, gradients (N, w), or broadcast to it.
    """

    def __init__(
        self,
        program: Program,
        points: Array,
        constants: Sequence[complex],
        wrt: Sequence[int],
        known: Mapping[str, Operator],
        leave: Collection[int] = (),
        given: Mapping[int, tuple[Array, Array]] = MappingProxyType({}),
    ) -> None:
        """Takes all steps but those to ``leave`` out. Variables that are no columns have their values and gradients
        ``given``, with axes in front of the points' if there are several.
        """
        self.program, self.known = program, known
        seeds = dict(zip(wrt, _unit_rows(len(wrt)), strict=True))
        self.values: list[Any] = []
        self.slopes: list[Any] = []
        for at, step in enumerate(program.steps):
            value = slope = None
            if at in leave:
                pass
            elif not isinstance(step, int):
                value, slope = self._applied(step, self.values, self.slopes)
            elif step < 0:
                value = np.asarray(constants[~step])
            elif step in given:
                value, slope = given[step]
            else:
                value, slope = points[:, step], seeds.get(step)
            self.values.append(value)
            self.slopes.append(slope)

    def moved(self, path: Sequence[int], constant: complex) -> Any:
        """The root's gradient with another value for the constant at the beginning of the path."""
        values, slopes = self.values.copy(), self.slopes.copy()
        values[path[0]], slopes[path[0]] = np.asarray(constant), None
        for at in path[1:]:
            step = self.program.steps[at]
            assert not isinstance(step, int)
            values[at], slopes[at] = self._applied(step, values, slopes)
        return slopes[path[-1]]

    def _applied(
        self, step: tuple[str, tuple[int, ...]], values: list[Any], slopes: list[Any]
    ) -> tuple[Any, Any]:
        name, args = step
        op = self.known.get(name) or lookup(name, self.known)
        if len(args) != op.arity:
            raise ExpressionError(f"operator {op.name!r} takes {op.arity} arguments, got {len(args)}")
        arguments = [values[k] for k in args]
        total: Any = None
        if op is BUILTIN.get(name) and name in _PLAIN:
            total = _PLAIN[name](*arguments, *(slopes[k] for k in args))
        else:
            total = _chain(op, arguments, [slopes[k] for k in args])
        return np.asarray(op.function(*arguments)), total


def _chain(op: Operator, arguments: Sequence[Any], slopes: Sequence[Any]) -> Any:
    """The chain rule: Σ ∂op/∂argument · its gradient."""
    total: Any = None
    for slope, partial in zip(slopes, op.partials, strict=True):
        if slope is not None:
            part = np.asarray(partial(*arguments))[..., None] * slope
            total = part if total is None else total + part
    return total


def _plus(a: Any, b: Any, da: Any, db: Any) -> Any:
    return db if da is None else da if db is None else da + db


def _minus(a: Any, b: Any, da: Any, db: Any) -> Any:
    if db is None:
        return da
    return -db if da is None else da - db


def _product(a: Any, b: Any, da: Any, db: Any) -> Any:
    left = None if da is None else b[..., None] * da
    if db is None:
        return left
    right = a[..., None] * db
    return right if left is None else left + right


def _power(a: Any, b: Any, da: Any, db: Any) -> Any:
    if da is not None and db is None and b.ndim == 0 and b == 2:
        return (2.0 * a)[..., None] * da
    return _chain(BUILTIN["^"], (a, b), (da, db))


#: The same in fewer passes over the points: partial derivatives of one are not multiplied by.
_PLAIN: Mapping[str, Callable[..., Any]] = {
    "+": _plus, "-": _minus, "*": _product, "^": _power,
    "neg": lambda a, da: None if da is None else -da,
}  # fmt: skip
