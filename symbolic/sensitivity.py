"""How the gradient of a formula moves with its constants, exactly: what fits and grafts follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symbolic.expression import Operators, Tree, constants, points_of, program, variables
from symbolic.operators import Operator, lookup, table
from symbolic.program import Program, Run

Array = NDArray[np.float64]


def gradient_by_constants(
    tree: Tree, X: ArrayLike, operators: Operators = None, at: Sequence[int] | None = None
) -> Array:
    """How the gradient moves with each constant: ∂(∇T)/∂c as (N, d, p), constants in the order of
    `symbolic.expression.constants`, or those at the positions ``at``.

    By the complex step (Squire & Trapp, SIAM Review 1998), which is exact to rounding; by central differences
    where an operator takes real arrays only.
    """
    points = points_of(X, tree)
    values, used, known = constants(tree), variables(tree), table(operators)
    steps = program(tree)
    asked = range(len(values)) if at is None else at
    result = np.zeros((len(asked), *points.shape))
    if not used or not asked:
        return np.moveaxis(result, 0, 2)
    analytic = _analytic(steps, known)
    paths = [steps.path(k) for k in asked]
    with np.errstate(all="ignore"):
        run = Run(steps, points, values, used, known, set(paths[0]).intersection(*paths[1:]))
        for moved, k, path in zip(result, asked, paths, strict=True):
            moved[:, list(used)] = _by_constant(run, path, values[k], analytic)
    return np.moveaxis(result, 0, 2)


def gradients_by_constant(
    tree: Tree, X: Array, at: int, part: int, given: tuple[Array, Array], operators: Operators = None
) -> Array:
    """How the gradient moves with the constant at position ``at``, for many formulas at once: ∂(∇T)/∂c as (P, N, d).

    They differ in what stands for the variable number ``part``, whose values (P, N) and gradients (P, N, d) are given.
    """
    steps, known = program(tree), table(operators)
    path = steps.path(at)
    with np.errstate(all="ignore"):
        run = Run(steps, X, constants(tree), range(X.shape[1]), known, set(path), {part: given})
        moved = _by_constant(run, path, constants(tree)[at], _analytic(steps, known))
    return np.broadcast_to(moved, given[1].shape)


def _analytic(steps: Program, known: Mapping[str, Operator]) -> bool:
    """Whether all operators take complex arrays."""
    return all(lookup(step[0], known).analytic for step in steps.steps if not isinstance(step, int))


def _by_constant(run: Run, path: Sequence[int], value: float, analytic: bool) -> Array:
    """∂(∇T)/∂c (N, w) for the constant at the beginning of the path."""
    if analytic:
        moved = run.moved(path, value + 1e-30j)
        return np.asarray(0.0 if moved is None else np.imag(moved) / 1e-30, dtype=np.float64)
    step = 6e-6 * max(1.0, abs(value))
    up, down = run.moved(path, value + step), run.moved(path, value - step)
    return np.asarray(0.0 if up is None else (up - down) / (2 * step), dtype=np.float64)
