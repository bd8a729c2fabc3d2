"""Whether what a formula leaves over is noise alone, or noise with a pattern that the formula misses.

A lack-of-fit test: beside independent noise, the right formula leaves directions whose errors no smooth function of the
inputs predicts. It says nothing where there is hardly any noise: a trained network's own errors are smooth, too.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from symbolic.expression import Tree, value_and_gradient
from symbolic.operators import Operator
from symbolic.targets import Targets

Array = NDArray[np.float64]

#: The errors of near points agree less than this where noise prevails; 1 where they are one smooth field.
NOISY = 0.3
#: Errors of a mean square below this are rounding, which has patterns of its own.
ROUNDING = 1e-9
#: Chance of a pattern this strong in noise alone, below which it is held for one.
CHANCE = 1e-3
#: Points per unknown of the smooth function, at least, and the degrees tried.
POINTS_PER_TERM = 5
DEGREES = (3, 2, 1)
#: Of which neighbors are looked for; their distances take memory quadratic in it.
MOST_POINTS = 2000


def pattern(tree: Tree, targets: Targets, user: tuple[Operator, ...] = ()) -> float | None:
    """The share of the leftover's variance that a pattern explains, where noise prevails and the pattern is no chance.

    The errors e_n are the parts of û_n across ∇T/‖∇T‖ at held-out points, (N, d), and b_n a polynomial basis of the
    inputs there, of the highest degree that the points bear. Of the right formula the sum S of the products b_n ⊗ e_n
    has mean zero, and S'V⁻¹S with V = Σ (b_n ⊗ e_n)(b_n ⊗ e_n)' follows χ² with rank(V) degrees of freedom, whatever
    the noise's size from point to point (White, Econometrica 1980). None where errors of nearest neighbors agree (no
    noise), where chance explains the sum, or where the points do not suffice.
    """
    at = targets.held_out
    points = targets.points[at][:, list(targets.effective_inputs)]
    errors, good = _errors(tree, targets, user)
    points, errors = points[good], errors[good]
    if points.shape[1] < 2 or len(points) < POINTS_PER_TERM or not _noisy(points, errors):
        return None
    basis = _basis(points, errors.shape[1])
    if basis is None:
        return None
    products = (basis[:, :, None] * errors[:, None, :]).reshape(len(points), -1)
    values, axes = np.linalg.eigh(products.T @ products)
    kept = values > 1e-9 * values[-1]
    along = axes[:, kept].T @ products.sum(0)
    if _chance_above(float((along**2 / values[kept]).sum()), int(kept.sum())) >= CHANCE:
        return None
    explained = float(((basis.T @ errors) ** 2).sum()) / float((errors**2).sum())
    free = 1.0 - basis.shape[1] / len(points)  # what noise alone would explain is taken off
    return float(max(0.0, 1.0 - (1.0 - explained) / free))


def _errors(tree: Tree, targets: Targets, user: tuple[Operator, ...]) -> tuple[Array, NDArray[np.bool_]]:
    """Parts of the held-out directions across the formula's, (N, d), and the rows where both are finite."""
    at = targets.held_out
    with np.errstate(all="ignore"):
        gradient = targets.project(value_and_gradient(tree, targets.points[at], user or None)[1], at)
        unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    along = (unit * targets.directions[at]).sum(1, keepdims=True)
    errors = targets.directions[at] - along * unit
    good = np.isfinite(errors).all(1)
    return np.sign(np.nansum(along)) * errors, good


def _chance_above(square: float, freedom: int) -> float:
    """Chance that χ² with ``freedom`` exceeds ``square`` (its cube root is near normal: Wilson, Hilferty 1931)."""
    spread = 2.0 / (9.0 * freedom)
    return 0.5 * math.erfc(((square / freedom) ** (1 / 3) - 1.0 + spread) / math.sqrt(2.0 * spread))


def _noisy(points: Array, errors: Array) -> bool:
    """Whether the errors of nearest neighbors hardly agree."""
    scaled = points / np.maximum(points.std(0), np.finfo(float).tiny)
    scaled, errors = scaled[:MOST_POINTS], errors[:MOST_POINTS]
    power = float((errors**2).sum())
    if power <= ROUNDING * len(errors):
        return False
    square = (scaled**2).sum(1)
    apart = square[:, None] + square - 2 * scaled @ scaled.T
    np.fill_diagonal(apart, np.inf)
    near = apart.argmin(1)
    return float((errors * errors[near]).sum()) / power < NOISY


def _basis(points: Array, columns: int) -> Array | None:
    """Orthonormal columns that span the polynomials of the inputs, (N, terms); None where points are too few."""
    scaled = (points - points.mean(0)) / np.maximum(points.std(0), np.finfo(float).tiny)
    for degree in DEGREES:
        picks = [
            p for k in range(degree + 1) for p in combinations_with_replacement(range(scaled.shape[1]), k)
        ]
        if len(picks) * columns * POINTS_PER_TERM <= len(points):
            powers = np.stack([scaled[:, list(p)].prod(1) for p in picks], axis=1)
            left, values, _ = np.linalg.svd(powers, full_matrices=False)
            return np.asarray(left[:, values > 1e-10 * values[0]])
    return None
